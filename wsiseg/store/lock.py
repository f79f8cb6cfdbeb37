"""One driver at a time in a run directory."""

from __future__ import annotations

import json
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wsiseg.errors import RunLockedError, StoreError
from wsiseg.files import alive
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
    run.root.mkdir(parents=True, exist_ok=True)
    epoch = secrets.token_hex(8)
    owner = {"host": socket.gethostname(), "pid": os.getpid(), "epoch": epoch}
    while True:
        try:
            descriptor = os.open(run.lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            _clear_if_stale(run.lock)
            continue
        except OSError as error:
            raise StoreError(f"cannot write in {run.root}: {error.strerror}") from error
        with os.fdopen(descriptor, "w") as file:
            json.dump(owner, file)
        break
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


def _clear_if_stale(lock: Path) -> None:
    try:
        owner = json.loads(lock.read_text())
        host, pid = str(owner["host"]), int(owner["pid"])
    except FileNotFoundError:
        return
    except (ValueError, KeyError, TypeError):
        host, pid = "an unknown host", -1
    if host == socket.gethostname() and not alive(pid):
        lock.unlink(missing_ok=True)
        return
    raise RunLockedError(
        f"another run is working on {lock.parent} (process {pid} on {host}); wait for it, or if "
        f"it is surely dead, delete {lock}"
    )
