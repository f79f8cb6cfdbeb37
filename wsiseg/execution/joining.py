"""What a worker says of itself before it is given anything, and what speaks against it."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wsiseg import __version__
from wsiseg.errors import StoreError
from wsiseg.files import temporary_name
from wsiseg.store.folders import RunFolder
from wsiseg.store.lock import lock_epoch

GIB = 1 << 30


def introduce(root: str, epoch: str) -> dict[str, Any]:
    """Performed by a worker: its versions, and whether it sees this very run directory.

    ``holds`` says whether it sees the lock of the driver with that epoch, ``refusal`` why it
    cannot write there (empty where it can). Plain values, so that workers of any version can
    answer drivers of any other.
    """
    run = RunFolder(Path(root))
    try:
        holds = lock_epoch(run) == epoch
    except StoreError:
        holds = False
    return {
        "wsiseg": __version__,
        "python": ".".join(platform.python_version_tuple()[:2]),
        "host": platform.node(),
        "holds": holds,
        "refusal": _refusal(run.root) if holds else "",
    }


def objection(
    facts: Mapping[str, Any] | BaseException, root: Path, memory_limit: int, needed: int
) -> str:
    """Why a worker cannot be used; empty if it can.

    Parameters
    ----------
    facts
        Its introduction, or what came in place of one.
    root
        The run directory.
    memory_limit, needed
        Bytes that it may take (0: no limit) and that a task may need.
    """
    python = ".".join(platform.python_version_tuple()[:2])
    if isinstance(facts, BaseException):
        return (
            f"it has no wsiseg {__version__} that can be started: {type(facts).__name__}: {facts}"
        )
    if facts["wsiseg"] != __version__:
        return (
            f"it has wsiseg {facts['wsiseg']}, but this is wsiseg {__version__}: install the same "
            "version on both sides"
        )
    if facts["python"] != python:
        return f"it runs Python {facts['python']}, but this is Python {python}"
    if not facts["holds"]:
        return (
            f"it runs on {facts['host']} and does not see {root}: the run directory must be on "
            "storage that all workers share, under the same path"
        )
    if facts["refusal"]:
        return f"it runs on {facts['host']} and cannot write to {root}: {facts['refusal']}"
    if memory_limit and memory_limit < needed:
        return (
            f"it may take {memory_limit / GIB:.1f} GiB of memory, but may need "
            f"{needed / GIB:.1f} GiB: start it with a higher --memory-limit"
        )
    return ""


def _refusal(root: Path) -> str:
    probe = temporary_name(root / "probe")
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        return error.strerror or str(error)
    return ""
