"""How the C library of Linux keeps memory for a process. Elsewhere nothing is done."""

from __future__ import annotations

import ctypes
import sys
from functools import cache

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
"""Names of settings, see mallopt(3)."""

_KEPT_BYTES = 64 << 20
_LARGE_BYTES = 16 << 20
_HEAPS = 2


@cache
def keep_freed_memory() -> None:
    """Have this process keep up to 64 MiB that it freed for its next use.

    Otherwise arrays of some hundred kilobytes go back to the system and are got again, page by
    page, for every tile: a tenth of a run. Arrays of 16 MiB and more still go back at once.
    """
    _set(_TRIM_THRESHOLD, _KEPT_BYTES)
    _set(_MMAP_THRESHOLD, _LARGE_BYTES)


def share_heaps() -> None:
    """Have the threads of this process share two heaps, so that what one frees serves the others.

    To be called before there are threads: heaps that are there already stay.
    """
    _set(_ARENA_MAX, _HEAPS)


def _set(name: int, value: int) -> None:
    if sys.platform == "linux":
        library = ctypes.CDLL(None)
        # Other C libraries have no such call.
        if hasattr(library, "mallopt"):
            library.mallopt(name, value)
