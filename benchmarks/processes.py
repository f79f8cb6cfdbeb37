"""Runs a command and watches the memory of all its processes: the same for every tool."""

from __future__ import annotations

import itertools
import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

EVERY_SECONDS = 0.1
_SHARES_EVERY = 5


@dataclass(frozen=True, slots=True)
class Process:
    """Peak resident memory of a process, and its processor time when it was last seen.

    ``role`` is ``driver`` for the one that was started, ``helper`` for what Python starts to look
    after worker processes or to fork them from, else ``worker``.
    """

    pid: int
    role: str
    peak_bytes: int
    busy_seconds: float


@dataclass(frozen=True, slots=True)
class Watched:
    """What a command took.

    Attributes
    ----------
    code, output, errors
        Its exit code and what it wrote.
    seconds, busy_seconds
        By the clock; of processor time of all its processes.
    peak_bytes
        Most resident memory of all its processes together at one time. Pages that processes share
        count in each.
    shared_peak_bytes
        The same with such pages divided among those that share them (Linux: PSS).
    processes
        All that were seen.
    """

    code: int
    output: str
    errors: str
    seconds: float
    busy_seconds: float
    peak_bytes: int
    shared_peak_bytes: int
    processes: tuple[Process, ...]


def watch(command: Sequence[str | Path], settings: Mapping[str, str] | None = None) -> Watched:
    """Run a command to its end, with ``settings`` added to the environment."""
    together, divided, seen = 0, 0, {}
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        begin = time.perf_counter()
        process = subprocess.Popen(
            [str(part) for part in command],
            stdout=output,
            stderr=errors,
            env={**os.environ, **(settings or {})},
        )
        for look in itertools.count():
            if process.poll() is not None:
                break
            members = _family(process.pid)
            if look % _SHARES_EVERY == 0:
                divided = max(divided, sum(_share(member.pid) for member, _ in members))
            together = max(together, sum(resident for _, resident in members))
            seen.update({member.pid: member for member, _ in members})
            time.sleep(EVERY_SECONDS)
        seconds = time.perf_counter() - begin
        output.seek(0)
        errors.seek(0)
        return Watched(
            process.returncode,
            output.read(),
            errors.read(),
            seconds,
            sum(member.busy_seconds for member in seen.values()),
            together,
            divided,
            tuple(seen.values()),
        )


def _family(pid: int) -> list[tuple[Process, int]]:
    """A process and all that it started: the most that each had so far, and what it has now."""
    found = []
    try:
        root = psutil.Process(pid)
        members = [root, *root.children(recursive=True)]
    except psutil.Error:
        return []
    for member in members:
        try:
            text = Path(f"/proc/{member.pid}/status").read_text(encoding="ascii", errors="replace")
            told = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
            peak, now = (int(told[name].split()[0]) * 1024 for name in ("VmHWM", "VmRSS"))
            times = member.cpu_times()
            busy = times.user + times.system
            found.append((Process(member.pid, _role(member, pid), peak, busy), now))
        except (psutil.Error, OSError, KeyError):
            continue  # it ended while it was looked at
    return found


def _share(pid: int) -> int:
    """Resident memory of a process, pages it shares divided among those that share them."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    except (OSError, StopIteration):
        return 0


def _role(member: psutil.Process, driver: int) -> str:
    if member.pid == driver:
        return "driver"
    # Workers are forked from a child of the driver, and look as it does.
    return "helper" if member.ppid() == driver else "worker"
