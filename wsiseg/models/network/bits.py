"""Rasters of small polygons: 64 rows of 64 bits about a middle, whose pixel has bit and row 32."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

SIDE = 64
HALF = 32
Bits = NDArray[np.uint64]
"""uint64 ``[.., 64]``, a row a number; bit 0 is the leftmost pixel."""


@njit(cache=True, nogil=True)
def toggle(rows: Bits, ax: float, ay: float, bx: float, by: float) -> None:
    """Flip, in every row an edge crosses, the pixels whose centre lies right of the crossing."""
    if ay > by:
        ax, ay, bx, by = bx, by, ax, ay
    first, last = math.ceil(ay - 0.5), math.ceil(by - 0.5)
    for row in range(first, last):
        x = ax + (bx - ax) * ((row + 0.5 - ay) / (by - ay))
        start = math.ceil(x - 0.5)
        rows[row] ^= ~np.uint64(0) << np.uint64(start)


@njit(cache=True, nogil=True)
def ones(value: np.uint64) -> int:
    """Bits set, by adding neighbouring fields."""
    value = value - ((value >> np.uint64(1)) & np.uint64(0x5555555555555555))
    value = (value & np.uint64(0x3333333333333333)) + (
        (value >> np.uint64(2)) & np.uint64(0x3333333333333333)
    )
    value = (value + (value >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return int((value * np.uint64(0x0101010101010101)) >> np.uint64(56))


@njit(cache=True, nogil=True)
def span(value: np.uint64) -> tuple[int, int]:
    """The first bit set and the one after the last; of no bits ``64, 0``."""
    first = ones(~value & (value - np.uint64(1)))
    for step in (1, 2, 4, 8, 16, 32):
        value |= value >> np.uint64(step)
    return first, ones(value)


@njit(cache=True, nogil=True)
def shared_pixels(
    bits: Bits, boxes: NDArray[np.int32], middles: NDArray[np.int32], one: int, other: int
) -> int:
    """Pixels that two rasters share.

    Parameters
    ----------
    bits, boxes, middles
        The rasters ``[n, 64]``, the half-open boxes of their pixels ``[n, 4]`` (``x0, y0, x1,
        y1``) and their middles ``[n, 2]`` (``y, x``), all in one window.
    one, other
        Which two; their boxes overlap.
    """
    dx = np.int64(middles[other, 1]) - middles[one, 1]
    total = 0
    first = max(boxes[one, 1], boxes[other, 1])
    last = min(boxes[one, 3], boxes[other, 3])
    for y in range(first, last):
        line = bits[one, y - middles[one, 0] + HALF]
        shifted = bits[other, y - middles[other, 0] + HALF]
        shifted = shifted << np.uint64(dx) if dx >= 0 else shifted >> np.uint64(-dx)
        total += ones(line & shifted)
    return total
