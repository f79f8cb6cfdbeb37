"""One driver at a time in a run directory."""

from __future__ import annotations

import json
import os
import secrets
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from wsiseg.errors import RunLockedError
from wsiseg.files import alive, named_disk, temporary_name
from wsiseg.store.folders import RunFolder


@contextmanager
def locked(run: RunFolder) -> Iterator[str]:
    """Hold the run directory; yields the epoch, a name that no other driver has had.

    A lock whose owner on this host is dead is taken over.

    Raises
    ------
    RunLockedError
        If another driver is at work here, or one on another host has not let go.
    """
    with named_disk(run.lock):
        run.root.mkdir(parents=True, exist_ok=True)
    epoch = secrets.token_hex(8)
    owner = {"host": socket.gethostname(), "pid": os.getpid(), "epoch": epoch}
    while not _taken(run.lock, owner):
        _clear_if_stale(run.lock)
    try:
        yield epoch
    finally:
        if lock_epoch(run) == epoch:
            run.lock.unlink(missing_ok=True)


def lock_epoch(run: RunFolder) -> str | None:
    """Epoch of the driver that holds the run directory."""
    try:
        value = json.loads(run.lock.read_text())
    except (OSError, ValueError):
        return None
    return str(value.get("epoch")) if isinstance(value, dict) else None


def _taken(lock: Path, owner: Mapping[str, object]) -> bool:
    """Make the lock with its content in one step, unless there is one."""
    own = temporary_name(lock)
    with named_disk(lock):
        own.write_text(json.dumps(owner))
        try:
            os.link(own, lock)
        except FileExistsError:
            return False
        finally:
            own.unlink(missing_ok=True)
    return True


def _clear_if_stale(lock: Path) -> None:
    """Remove a lock whose owner on this host is dead; complain of any other."""
    try:
        content = lock.read_text()
        owner = json.loads(content)
        host, pid = str(owner["host"]), int(owner["pid"])
    except FileNotFoundError:
        return
    except (ValueError, KeyError, TypeError):
        raise RunLockedError(
            f"{lock} cannot be read: if no other run is working there, delete it"
        ) from None
    if host != socket.gethostname() or alive(pid):
        raise RunLockedError(
            f"another run is working on {lock.parent} (process {pid} on {host}); wait for it, or "
            f"if it is surely dead, delete {lock}"
        )
    # Of several drivers that see the same dead owner, one succeeds in moving its lock aside;
    # should it have moved a fresh one that took its place meanwhile, it is put back.
    aside = temporary_name(lock)
    with suppress(FileNotFoundError):
        lock.rename(aside)
        if aside.read_text() != content:
            with suppress(FileExistsError):
                os.link(aside, lock)
        aside.unlink()
