"""One driver at a time in a run directory.

The lock is a file that names its owner and carries a count that the owner raises every
``HEARTBEAT`` seconds. On the owner's own machine its process is asked for; elsewhere a lock
whose count has stood still for ``STALE`` seconds is taken for dead. Ages are differences of
times that the file server itself has set, so that the clocks of machines need not agree.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import psutil

from wsiseg.errors import RunLockedError, StoreError
from wsiseg.files import named_disk, temporary_name
from wsiseg.store.folders import RunFolder

HEARTBEAT = 10.0
"""Seconds between two signs of life of the driver."""

STALE = 60.0
"""A driver on another machine that gave no sign for this many seconds is taken for dead."""

_SIZE = 1024
_MISSING = (FileNotFoundError, NotADirectoryError)


@dataclass(frozen=True, slots=True)
class Owner:
    """Who holds a run directory.

    Attributes
    ----------
    host
        Name of the machine.
    machine
        Tells this start of that machine, and its processes' numbering, from every other.
    pid, started
        The process and when it began, in seconds since 1970 by that machine's clock.
    epoch
        A name that no other driver has had.
    beat
        How many signs of life it has given.
    """

    host: str
    machine: str
    pid: int
    started: float
    epoch: str
    beat: int = 0

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


class Lock:
    """A run directory that this process holds."""

    def __init__(self, run: RunFolder, owner: Owner, descriptor: int) -> None:
        self._run = run
        self._owner = owner
        self._descriptor = descriptor
        self._lost = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="wsiseg-lock", daemon=True)
        self._thread.start()

    @property
    def epoch(self) -> str:
        """A name that no other driver has had."""
        return self._owner.epoch

    def check(self) -> None:
        """Complain if the lock was lost.

        Raises
        ------
        RunLockedError
            If another driver has taken the run directory over, or the lock was removed.
        """
        if self._lost:
            raise RunLockedError(
                f"{self._run.lock} {self._lost}: this run stops here; what it has finished is kept"
            )

    def release(self) -> None:
        """Let the run directory go."""
        self._stop.set()
        self._thread.join()
        os.close(self._descriptor)
        with suppress(StoreError):
            if lock_epoch(self._run) == self.epoch:
                self._run.lock.unlink(missing_ok=True)

    def _beat(self) -> None:
        beat = 0
        while not self._stop.wait(HEARTBEAT):
            beat += 1
            # Storage that cannot be reached for a while is no loss; the next beat tries again.
            with suppress(OSError, StoreError):
                holder = read_owner(self._run)
                if holder is None or holder.epoch != self.epoch:
                    self._lost = f"was taken over by {holder}" if holder else "was removed"
                    return
                # The open file is written, not the path: whoever took its place is not touched.
                os.pwrite(self._descriptor, _content(self._owner, beat), 0)
                os.fsync(self._descriptor)


@contextmanager
def locked(run: RunFolder) -> Iterator[Lock]:
    """Hold the run directory.

    A lock whose owner on this machine is dead is taken over.

    Raises
    ------
    RunLockedError
        If another driver is at work here, or one on another machine has not let go.
    """
    with named_disk(run.lock):
        run.root.mkdir(parents=True, exist_ok=True)
    owner = Owner(
        socket.gethostname(),
        _machine(),
        os.getpid(),
        psutil.Process().create_time(),
        secrets.token_hex(8),
    )
    with _alone(run.root):
        descriptor = _take(run.lock, owner)
        while descriptor is None:
            _clear_if_dead(run)
            descriptor = _take(run.lock, owner)
    lock = Lock(run, owner, descriptor)
    try:
        yield lock
    finally:
        lock.release()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep this machine's other drivers out, who could each clear the lock that another has just
    taken. Where the file system knows no such locks, the heartbeat finds out who lost."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def read_owner(run: RunFolder) -> Owner | None:
    """Who holds the run directory; ``None`` where nobody does.

    Raises
    ------
    StoreError
        If the lock cannot be read.
    """
    try:
        value = json.loads(run.lock.read_text())
        return Owner(**{**value, "beat": int(value["beat"])})
    except _MISSING:
        return None
    except OSError as error:
        raise StoreError(f"cannot read {run.lock}: {error.strerror or error}") from error
    except (ValueError, TypeError, KeyError):
        raise RunLockedError(
            f"{run.lock} cannot be read: if no other run is working there, clear it with: "
            f"wsiseg unlock --force {run.root}"
        ) from None


def lock_epoch(run: RunFolder) -> str | None:
    """Epoch of the driver that holds the run directory; ``None`` where nobody does.

    Raises
    ------
    StoreError
        If the lock cannot be read.
    """
    owner = read_owner(run)
    return owner.epoch if owner is not None else None


def owner_state(run: RunFolder, owner: Owner) -> Literal["alive", "dead", "silent"]:
    """Whether the owner of a lock lives.

    ``"dead"``: its process on this machine is gone. ``"silent"``: it is on another machine and
    gave no sign for ``STALE`` seconds.
    """
    if owner.machine == _machine():
        return "alive" if _running(owner) else "dead"
    return "silent" if _age(run.lock) > STALE else "alive"


def unlock(run: RunFolder, *, force: bool = False) -> Owner | None:
    """Remove the lock of a driver that is dead; who it was, ``None`` where there was no lock.

    Parameters
    ----------
    run
        The run directory.
    force
        Remove it whoever holds it. A driver that is alive stops at its next heartbeat, and
        what its workers have under way is not committed.

    Raises
    ------
    RunLockedError
        If its owner is alive.
    """
    try:
        owner = read_owner(run)
    except RunLockedError:
        if not force:
            raise
        run.lock.unlink(missing_ok=True)
        return None
    if owner is None:
        return None
    if not force:
        state = owner_state(run, owner)
        if state == "alive" or (state == "silent" and _gives_sign(run, owner)):
            raise RunLockedError(
                f"{owner} is working on {run.root}: wait for it, or stop it. Where that cannot be "
                f"done, --force takes the directory from it"
            )
    _remove(run.lock, owner)
    return owner


def _gives_sign(run: RunFolder, owner: Owner) -> bool:
    """Whether the owner raises its count, or another takes its place, in two heartbeats."""
    end = time.monotonic() + 2 * HEARTBEAT
    while time.monotonic() < end:
        time.sleep(min(1.0, HEARTBEAT / 5))
        now = read_owner(run)
        if now is None:
            return False
        if now != owner:
            return True
    return False


def _content(owner: Owner, beat: int) -> bytes:
    """Two beats differ in some digits alone: whoever reads between two writes can read it."""
    value = {**asdict(owner), "beat": f"{beat:012d}"}
    return json.dumps(value).encode().ljust(_SIZE - 1) + b"\n"


def _take(lock: Path, owner: Owner) -> int | None:
    """Make the lock with its content in one step; its open file, ``None`` if there is one."""
    own = temporary_name(lock)
    with named_disk(lock):
        descriptor = os.open(own, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644)
        try:
            os.write(descriptor, _content(owner, 0))
            os.fsync(descriptor)
            os.link(own, lock)
        except FileExistsError:
            os.close(descriptor)
            return None
        except OSError:
            os.close(descriptor)
            raise
        finally:
            own.unlink(missing_ok=True)
    return descriptor


def _clear_if_dead(run: RunFolder) -> None:
    """Remove a lock whose owner on this machine is dead; complain of any other."""
    owner = read_owner(run)
    if owner is None:
        return
    state = owner_state(run, owner)
    if state == "dead":
        _remove(run.lock, owner)
        return
    if state == "alive":
        raise RunLockedError(
            f"another run is working on {run.root} ({owner}); wait for it, or stop it"
        )
    raise RunLockedError(
        f"another run has been working on {run.root} ({owner}), but gave no sign for more than "
        f"{STALE:.0f} s; if it is dead, clear its lock with: wsiseg unlock {run.root}"
    )


def _remove(lock: Path, owner: Owner) -> None:
    """Remove a lock unless it is another's by now.

    Of several that see the same dead owner, one succeeds in moving its lock aside; should it
    have moved a fresh one that took its place meanwhile, it is put back.
    """
    aside = temporary_name(lock)
    with suppress(FileNotFoundError):
        lock.rename(aside)
        if json.loads(aside.read_text()).get("epoch") != owner.epoch:
            with suppress(FileExistsError):
                os.link(aside, lock)
        aside.unlink()


def _running(owner: Owner) -> bool:
    try:
        return abs(psutil.Process(owner.pid).create_time() - owner.started) < 2.0
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def _age(lock: Path) -> float:
    """Seconds since the lock was written, both times being the file server's."""
    now = temporary_name(lock)
    with named_disk(lock):
        try:
            now.touch()
            return now.stat().st_mtime - lock.stat().st_mtime
        except _MISSING:
            return 0.0
        finally:
            now.unlink(missing_ok=True)


def _machine() -> str:
    """What tells this start of this machine, and its processes' numbering, from any other."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    space = Path("/proc/self/ns/pid")
    try:
        return f"{boot.read_text().strip()} {space.readlink()}"
    except OSError:
        return f"{socket.gethostname()} {psutil.boot_time():.0f}"
