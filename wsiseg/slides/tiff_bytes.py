"""Reading the bytes of tiles: in the order of the file, neighbours at once."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

GAP = 1 << 12
"""Bytes between two tiles that are read along rather than skipped."""

MOST = 1 << 22
"""Bytes read at once, unless one tile is larger."""

Extent = tuple[int, int]
"""Offset and length in bytes."""


def runs(extents: Sequence[Extent]) -> Iterator[tuple[Extent, list[Extent]]]:
    """Extents that are read together, with what is read, in the order of the file.

    Parameters
    ----------
    extents
        In any order; they may overlap.
    """
    together: list[Extent] = []
    first = stop = 0
    for offset, length in sorted(extents):
        end = max(stop, offset + length)
        if together and (offset > stop + GAP or end - first > MOST):
            yield (first, stop - first), together
            together = []
        if not together:
            first, end = offset, offset + length
        together.append((offset, length))
        stop = end
    if together:
        yield (first, stop - first), together


def read_extents(
    descriptor: int, extents: Sequence[Extent]
) -> Iterator[tuple[Extent, memoryview, int]]:
    """Every extent with its bytes, and what was read from the file for it, in file order.

    Fewer bytes come where the file ends early. What one read gives for several extents counts with
    the first of them.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    for (first, length), together in runs(extents):
        data = memoryview(_read(descriptor, length, first))
        fresh = len(data)
        for offset, size in together:
            yield (offset, size), data[offset - first : offset - first + size], fresh
            fresh = 0


def _read(descriptor: int, length: int, offset: int) -> bytes:
    data = os.pread(descriptor, length, offset)
    # Reads of more than 2 GiB, and some network file systems, stop early.
    while data and len(data) < length:
        more = os.pread(descriptor, length - len(data), offset + len(data))
        if not more:
            break
        data += more
    return data
