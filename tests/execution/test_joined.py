"""Schedulers and workers that are started from the shell, as on a cluster."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import wsiseg
from runs import (
    FAST_MODEL,
    assert_equal_results,
    committed,
    job_of,
    plain,
    start,
    wait_until,
    wsiseg_command,
)
from wsiseg.demo import write_demo_slide
from wsiseg.errors import ClusterError
from wsiseg.execution import dask_link
from wsiseg.execution.cluster import Joined
from wsiseg.execution.progress import Progress


class Shell:
    """Processes of a cluster, each started as a user does."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = ExitStack()
        self._file = folder / "scheduler.json"
        self.scheduler = self._dask(
            "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"
        )
        end = time.monotonic() + 60
        while not (self._file.exists() and self._file.read_text().endswith("}")):
            assert time.monotonic() < end, "the scheduler does not start"
            time.sleep(0.05)
        self.address: str = json.loads(self._file.read_text())["address"]

    def worker(self, *options: str) -> subprocess.Popen[bytes]:
        """One more worker, with its nanny."""
        return self._dask("worker", "--nthreads", "1", "--no-dashboard", *options)

    def wait_for(self, text: str) -> None:
        """Wait until the scheduler or a worker says something."""
        end = time.monotonic() + 60
        while text not in (self._folder / "cluster.log").read_text(errors="replace"):
            assert time.monotonic() < end, f"nobody says {text}"
            time.sleep(0.05)

    def close(self) -> None:
        """End all of them."""
        self._stack.close()

    def _dask(self, *arguments: str) -> subprocess.Popen[bytes]:
        log = (self._folder / "cluster.log").open("ab")
        process = subprocess.Popen(
            [sys.executable, "-m", "dask", *arguments, "--scheduler-file", str(self._file)],
            stdout=log,
            stderr=log,
            cwd=self._folder,
        )
        self._stack.callback(log.close)
        self._stack.callback(_end, process)
        return process


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(30)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_demo_slide(tmp_path_factory.mktemp("slide") / "demo.tiff", side_px=5120)


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    shell = Shell(tmp_path_factory.mktemp("cluster"))
    yield shell
    shell.close()


def test_workers_come_and_go_while_a_run_goes_on(demo: Path, shell: Shell, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start("run", demo, "--model", FAST_MODEL, "-o", out, "--scheduler", shell.address)
    first = shell.worker()
    wait_until(lambda: len(committed(out)) >= 1, process)
    second = shell.worker()
    wait_until(lambda: len(committed(out)) >= 3, process)
    first.send_signal(signal.SIGTERM)
    told, errors = process.communicate(timeout=300)
    assert process.returncode == 0, told + errors
    assert first.wait(30) is not None
    assert second.poll() is None, "a cluster that was joined is left standing"
    second.terminate()
    second.wait(30)
    undisturbed = tmp_path / "undisturbed"
    assert not wsiseg.run(job_of(demo), undisturbed, inline=True).failed
    assert_equal_results(undisturbed, out)


def test_workers_of_another_version_are_refused(demo: Path, shell: Shell, tmp_path: Path) -> None:
    preload = tmp_path / "older.py"
    preload.write_text("import wsiseg\nwsiseg.__version__ = '0.0.1'\n")
    worker = shell.worker("--preload", str(preload), "--no-nanny", "--name", "older")
    shell.wait_for("name: older")
    done = wsiseg_command(
        "run", demo, "--model", FAST_MODEL, "-o", tmp_path / "out", "--scheduler", shell.address
    )
    text = plain(done.stderr)
    worker.terminate()
    worker.wait(30)
    assert done.returncode == 1
    assert re.search(rf"wsiseg 0\.0\.1, but this is wsiseg {re.escape(wsiseg.__version__)}", text)


def test_a_slide_whose_reader_crashes_fails_alone(shell: Shell, tmp_path: Path) -> None:
    slides = [write_demo_slide(tmp_path / f"{n}.tiff", side_px=1536) for n in ("bad", "good")]
    preload = tmp_path / "crashing.py"
    preload.write_text(
        "import os, signal\n"
        "from wsiseg.execution import tasks\n"
        "from wsiseg.pipeline.block import run_block as real\n"
        "def run_block(run, task):\n"
        "    if task.slide == 'bad.tiff':\n"
        "        os.kill(os.getpid(), signal.SIGSEGV)\n"
        "    return real(run, task)\n"
        "tasks.run_block = run_block\n"
    )
    workers = [shell.worker("--preload", str(preload)) for _ in range(2)]
    cluster = Joined(address=shell.address)
    result = wsiseg.run(job_of(*slides, exports=("table",)), tmp_path / "out", cluster=cluster)
    for worker in workers:
        worker.terminate()
        worker.wait(60)
    reasons = {outcome.name: outcome.reason for outcome in result.failed}
    assert list(reasons) == ["bad.tiff"], reasons
    assert "3 worker processes died while they worked on this alone" in reasons["bad.tiff"]
    assert wsiseg.open_run(tmp_path / "out").complete == ("good.tiff",)


class Told(Progress):
    def __init__(self) -> None:
        self.messages: list[str] = []

    def message(self, text: str) -> None:
        self.messages.append(text)


def test_without_workers_a_run_waits_says_so_and_ends(
    demo: Path, shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wsiseg.execution.dask_executor.FIRST_WORD_SECONDS", 0.2)
    monkeypatch.setattr("wsiseg.execution.driver._LOOK_SECONDS", 0.1)
    told = Told()
    cluster = Joined(address=shell.address, wait_minutes=0.02)
    with pytest.raises(ClusterError, match="no worker for"):
        wsiseg.run(job_of(demo), tmp_path / "out", cluster=cluster, progress=told)
    assert any("dask worker tcp://" in text for text in told.messages)
    assert not (tmp_path / "out" / "run.lock").exists()


def test_without_a_scheduler_the_address_is_named(
    demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask_link, "CONNECT_SECONDS", 1)
    cluster = Joined(address="tcp://127.0.0.1:9")
    with pytest.raises(ClusterError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        wsiseg.run(job_of(demo), tmp_path / "out", cluster=cluster)


def test_a_scheduler_that_dies_ends_the_run_and_nothing_is_lost(
    demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask_link, "LOST_SECONDS", 0.5)
    (tmp_path / "cluster").mkdir()
    shell = Shell(tmp_path / "cluster")
    shell.worker()
    out = tmp_path / "out"

    class Assassin(Progress):
        def block_done(self, *_: object) -> None:
            shell.scheduler.kill()

    with pytest.raises(ClusterError, match="finished work is kept"):
        wsiseg.run(job_of(demo), out, cluster=Joined(address=shell.address), progress=Assassin())
    shell.close()
    assert committed(out)
    assert not (out / "run.lock").exists()
