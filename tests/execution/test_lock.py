"""One driver at a time, and what becomes of the locks of dead ones."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from runs import leave_lock_of_dead_process, wsiseg_command
from wsiseg.errors import RunLockedError
from wsiseg.store import lock as module
from wsiseg.store.folders import RunFolder
from wsiseg.store.lock import Owner, lock_epoch, locked, owner_state, read_owner, unlock


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "out")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEARTBEAT", 0.1)


def elsewhere(run: RunFolder, *, silent_for: float) -> Owner:
    """A lock as another machine holds it, which gave its last sign so many seconds ago."""
    with locked(run):
        owner = read_owner(run)
        assert owner is not None
        content = run.lock.read_bytes()
    other = replace(owner, host="elsewhere", machine="another boot", epoch="other")
    run.lock.write_text(json.dumps({**asdict(other), "beat": "000000000007"}))
    assert len(content) > 300
    stamp = time.time() - silent_for
    os.utime(run.lock, (stamp, stamp))
    return replace(other, beat=7)


def eventually(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def test_the_second_driver_is_refused_and_the_first_undisturbed(run: RunFolder) -> None:
    with locked(run) as lock:
        with pytest.raises(RunLockedError, match=f"process {os.getpid()}"), locked(run):
            pass
        assert lock_epoch(run) == lock.epoch
        lock.check()
    assert lock_epoch(run) is None
    assert list(run.root.iterdir()) == []


def test_of_many_at_once_one_gets_it(run: RunFolder) -> None:
    leave_lock_of_dead_process(run)
    held, refused = [], []
    start = threading.Barrier(8)
    over = threading.Event()

    def contend() -> None:
        start.wait()
        try:
            with locked(run) as lock:
                held.append(lock.epoch)
                over.wait(20)
        except RunLockedError as error:
            refused.append(error)

    threads = [threading.Thread(target=contend) for _ in range(8)]
    for thread in threads:
        thread.start()
    eventually(lambda: len(held) + len(refused) == 8)
    assert len(held) == 1
    assert lock_epoch(run) == held[0]
    over.set()
    for thread in threads:
        thread.join()


@pytest.mark.usefixtures("quick")
def test_the_heart_beats(run: RunFolder) -> None:
    with locked(run):
        first = read_owner(run)
        assert first is not None
        eventually(lambda: (read_owner(run) or first).beat > first.beat + 1)


@pytest.mark.usefixtures("quick")
def test_a_driver_hears_that_it_lost_its_lock(run: RunFolder) -> None:
    def lost() -> bool:
        try:
            mine.check()
        except RunLockedError as error:
            return "taken over by" in str(error)
        return False

    with locked(run) as mine:
        assert unlock(run, force=True) is not None
        with locked(run) as other:
            eventually(lost)
            assert lock_epoch(run) == other.epoch
    assert not run.lock.exists()


def test_a_process_number_that_is_used_again_is_no_sign_of_life(run: RunFolder) -> None:
    with locked(run):
        owner = read_owner(run)
        assert owner is not None
        assert owner_state(run, owner) == "alive"
        assert owner_state(run, replace(owner, started=owner.started - 3600)) == "dead"


def test_a_live_lock_of_another_machine_is_respected(run: RunFolder) -> None:
    owner = elsewhere(run, silent_for=5)
    assert owner_state(run, owner) == "alive"
    with pytest.raises(RunLockedError, match="elsewhere"), locked(run):
        pass
    with pytest.raises(RunLockedError, match="--force"):
        unlock(run)
    assert read_owner(run) == owner


@pytest.mark.usefixtures("quick")
def test_a_silent_lock_of_another_machine_is_cleared_by_the_command_alone(run: RunFolder) -> None:
    owner = elsewhere(run, silent_for=600)
    with pytest.raises(RunLockedError, match="wsiseg unlock"), locked(run):
        pass
    assert unlock(run) == owner
    with locked(run):
        pass


@pytest.mark.usefixtures("quick")
def test_a_lock_that_still_beats_is_not_cleared_however_old_it_looks(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere(run, silent_for=600)
    pauses = []

    def beat(seconds: float) -> None:
        pauses.append(seconds)
        values = json.loads(run.lock.read_text())
        run.lock.write_text(json.dumps({**values, "beat": f"{int(values['beat']) + 1:012d}"}))

    monkeypatch.setattr(module.time, "sleep", beat)
    with pytest.raises(RunLockedError, match="wait for it"):
        unlock(run)
    assert pauses
    assert run.lock.exists()


def test_unlock_as_a_user_calls_it(run: RunFolder) -> None:
    leave_lock_of_dead_process(run)
    done = wsiseg_command("unlock", run.root)
    assert done.returncode == 0, done.stderr
    assert "Cleared the lock of process" in done.stdout
    assert "There is no lock" in wsiseg_command("unlock", run.root).stdout
    with locked(run):
        done = wsiseg_command("unlock", run.root)
        assert done.returncode == 1
        assert str(os.getpid()) in done.stderr
        assert wsiseg_command("unlock", "--force", run.root).returncode == 0
        assert not run.lock.exists()


def test_what_is_no_lock_is_cleared_by_force_alone(run: RunFolder) -> None:
    run.root.mkdir()
    run.lock.write_text("not a lock")
    with pytest.raises(RunLockedError, match="--force"):
        unlock(run)
    unlock(run, force=True)
    assert not run.lock.exists()
