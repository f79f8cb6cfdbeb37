"""What a worker died of, as far as that can be known."""

from __future__ import annotations

import signal
from pathlib import Path

FULL = 0.9
"""A worker that was last seen with this share of its memory limit ran into it."""

GIB = 1 << 30


def oom_kills(counters: Path = Path("/proc/vmstat")) -> int:
    """How many processes the kernel of this machine has killed for want of memory so far."""
    try:
        for line in counters.read_text().splitlines():
            name, _, count = line.partition(" ")
            if name == "oom_kill":
                return int(count)
    except (OSError, ValueError):
        pass
    return 0


def cause_of_death(
    exit_code: int | None, *, killed_for_memory: bool, resident: int, limit: int
) -> str:
    """What to say of a worker's death.

    Parameters
    ----------
    exit_code
        Of its process, negative for a signal; ``None`` where it is not known.
    killed_for_memory
        Whether the kernel has killed a process for want of memory at about that time.
    resident, limit
        Bytes it was last seen with, and was allowed (0: no limit).
    """
    if limit and resident > FULL * limit:
        return (
            f"out of memory (last seen with {resident / GIB:.1f} of {limit / GIB:.1f} GiB): give "
            "workers more memory, or use fewer"
        )
    if exit_code is None:
        return "a crash in the slide reader, not enough memory, or the loss of its machine"
    if exit_code == -signal.SIGKILL:
        if killed_for_memory:
            return "out of memory (killed by the system): use fewer workers (--workers)"
        return "killed from outside (signal 9)"
    if exit_code < 0:
        try:
            name = signal.Signals(-exit_code).name
        except ValueError:
            name = f"signal {-exit_code}"
        return f"a crash in the slide reader or another library ({name})"
    return f"its process ended with status {exit_code}"
