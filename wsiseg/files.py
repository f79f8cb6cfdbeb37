"""Files that are either whole or absent.

A file is written under a temporary name beside its place, flushed to the disk, moved into
place in one step, and the folder is flushed too. Temporary names carry host, process and a
random part, so that two processes never write into the same one and leftovers of a crash can
be told apart and swept.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import orjson

from wsiseg.errors import DiskFullError, StoreError

_TEMPORARY = ".partial-"

FOREIGN_SECONDS = 600.0
"""Temporary files of other machines are left alone until they are this old."""

_FLUSHED_AT_ONCE = 8

_STORAGE_TROUBLE = {
    errno.EIO,
    errno.ESTALE,
    errno.ETIMEDOUT,
    errno.ENETDOWN,
    errno.ENETUNREACH,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
    errno.ECONNRESET,
    errno.ECONNABORTED,
    errno.ECONNREFUSED,
    errno.ENOTCONN,
    errno.EREMOTEIO,
    errno.ENXIO,
}
"""What a disk or file server says that cannot be reached, but may come back."""


def temporary_name(path: Path) -> Path:
    """A fresh temporary name beside ``path``."""
    host = socket.gethostname().split(".")[0]
    return path.with_name(f"{_TEMPORARY}{host}-{os.getpid()}-{secrets.token_hex(4)}-{path.name}")


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Yield a temporary path; move what was written there to ``path`` when the block ends well.

    Works for files and for folders; an existing file or folder at ``path`` is replaced.

    Raises
    ------
    DiskFullError
        If the disk is full; the message names it.
    StoreError
        If the file cannot be written for another reason of the system's.
    """
    temporary = temporary_name(path)
    try:
        with named_disk(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            _flush_tree(temporary)
            if path.is_dir():
                # A folder cannot be replaced in one step: the old one steps aside first.
                aside = temporary_name(path)
                path.rename(aside)
                temporary.rename(path)
                shutil.rmtree(aside)
            else:
                temporary.replace(path)
            flush(path.parent)
    finally:
        _remove(temporary)


@contextmanager
def named_disk(path: Path) -> Iterator[None]:
    """Turn the system's errors of writing below ``path`` into ours, which name the disk."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(
                f"the disk is full: {_disk_of(path)} has no room left for {path.name}; free some "
                "space there and run the same command again, finished work is kept"
            ) from error
        raise StoreError(f"cannot write {path}: {error.strerror or error}") from error


def storage_trouble(error: BaseException) -> bool:
    """Whether an error, or what caused it, is that of storage which may come back."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in _STORAGE_TROUBLE:
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def write_json(path: Path, value: object) -> None:
    """Write ``value`` as indented JSON, whole or not at all."""
    with writing(path) as temporary:
        temporary.write_bytes(orjson.dumps(value, option=orjson.OPT_INDENT_2) + b"\n")


def read_json(path: Path) -> object:
    """The value of a JSON file.

    Raises
    ------
    StoreError
        If the file is missing or not JSON.
    """
    try:
        value: object = orjson.loads(path.read_bytes())
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror or error}") from error
    except orjson.JSONDecodeError as error:
        raise StoreError(f"{path} is not valid JSON ({error}); delete it and run again") from error
    return value


def stored_bytes(path: Path) -> int:
    """Size of a file, or of all files in a folder; -1 where there is neither."""
    if path.is_dir():
        return sum(child.stat().st_size for child in path.rglob("*") if child.is_file())
    return path.stat().st_size if path.exists() else -1


def sweep(folder: Path) -> None:
    """Remove temporary files below ``folder`` that dead processes left.

    To be called by whoever holds the folder. Those of this machine go if their process is
    dead, those of other machines if they are older than ``FOREIGN_SECONDS`` by the clock of the
    file server.
    """
    host = socket.gethostname().split(".")[0]
    found = list(folder.rglob(f"{_TEMPORARY}*"))
    now = _server_time(folder) if found else 0.0
    for path in found:
        owner = path.name.removeprefix(f"{_TEMPORARY}{host}-").split("-")[0]
        gone = not alive(int(owner)) if owner.isdigit() else _age(path, now) > FOREIGN_SECONDS
        if gone:
            _remove(path)


def _age(path: Path, now: float) -> float:
    """Seconds since the path was written; 0 where it is gone."""
    try:
        return now - path.stat().st_mtime
    except OSError:
        return 0.0


def _server_time(folder: Path) -> float:
    probe = temporary_name(folder / "time")
    with named_disk(probe):
        try:
            probe.touch()
            return probe.stat().st_mtime
        finally:
            probe.unlink(missing_ok=True)


def alive(pid: int) -> bool:
    """Whether a process of this host is running."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def flush(path: Path) -> None:
    """Wait until a file or folder is on the disk as it is now."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _flush_tree(path: Path) -> None:
    if path.is_dir():
        # One after another, each waits for the disk by itself: ten times as long for many files.
        with ThreadPoolExecutor(_FLUSHED_AT_ONCE) as pool:
            for _ in pool.map(flush, path.rglob("*")):
                pass
    flush(path)


def _remove(path: Path) -> None:
    """Remove what may be there; what cannot be removed is swept by a later run."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def _disk_of(path: Path) -> Path:
    place = path if path.exists() else path.parent
    while not place.exists():
        place = place.parent
    while not place.is_mount():
        place = place.resolve().parent
    return place
