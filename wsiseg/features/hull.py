"""Convex hulls of rasters: area, Feret diameters, perimeter.

Coordinates are in half pixels, in which pixel ``(x, y)`` has its centre at ``(2 x, 2 y)`` and
the midpoints of its edges beside it: all are integers, so nothing hangs on rounding.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

_ROWS = 9
"""Of the room that measuring a hull takes."""


@njit(cache=True, nogil=True)
def hull_room(height: int) -> NDArray[np.int64]:
    """Room for the hulls of masks of at most so many rows: to get it for each would take as long
    as the rest."""
    return np.empty((_ROWS, 2 * (2 * height + 1)), np.int64)


@njit(cache=True, nogil=True)
def hull_measures(
    mask: NDArray[np.uint8], spacing: tuple[float, float], room: NDArray[np.int64]
) -> tuple[int, float, float, float]:
    """Convex area, Feret diameters and perimeter of the hull of one object.

    Parameters
    ----------
    mask
        uint8 ``[y, x]``, 1 inside, with an empty margin of one pixel; at least one pixel.
    spacing
        Pixel size ``(x, y)``.
    room
        From :func:`hull_room`; what it holds does not matter.

    Returns
    -------
    area
        Pixels whose centre lies in the hull of the midpoints of all pixels' edges.
    longest, shortest
        Greatest distance of two points, and least distance of two parallel lines that hold
        all between them, of the midpoints of those pixels' edges, in units of ``spacing``.
    perimeter
        Of the hull of the mask's pixel centres, in pixels.
    """
    levels, wide = 2 * mask.shape[0] + 1, 4 * mask.shape[1]
    room[:6, :levels] = wide
    # The right side is kept as the left side of the mirror image.
    outer, inner, hull = room[:2, :levels], room[2:4, :levels], room[4:6, :levels]
    for y in range(1, mask.shape[0] - 1):
        first, last = -1, -1
        for x in range(mask.shape[1]):
            if mask[y, x]:
                first = x if first < 0 else first
                last = x
        if first >= 0:
            _add_row(outer, y, first, last)
            inner[0, 2 * y], inner[1, 2 * y] = 2 * first, -2 * last
    chain = room[6]
    for side in outer:
        _move_to_hull(side, chain, wide)
    area = 0
    for y in range(1, mask.shape[0] - 1):
        first, last = outer[0, 2 * y], -outer[1, 2 * y]
        if first < wide and last >= first:
            area += (last - first) // 2 + 1
            _add_row(hull, y, first // 2, last // 2)
    points = room[7:]
    longest, shortest = _feret(points[:, : _place_points(hull, points, chain, wide)], spacing)
    perimeter = _length(points[:, : _place_points(inner, points, chain, wide)]) / 2
    return area, longest, shortest, perimeter


@njit(cache=True, nogil=True)
def _add_row(sides: NDArray[np.int64], y: int, first: int, last: int) -> None:
    """Widen the sides by the edges' midpoints of a row of pixels."""
    for level, reach in ((2 * y - 1, 0), (2 * y, 1), (2 * y + 1, 0)):
        sides[0, level] = min(sides[0, level], 2 * first - reach)
        sides[1, level] = min(sides[1, level], -2 * last - reach)


@njit(cache=True, nogil=True)
def _chain(side: NDArray[np.int64], chain: NDArray[np.int64], absent: int) -> int:
    """Put the levels of the corners of the hull's left side into ``chain``, from top to bottom;
    their number."""
    n = 0
    for level in range(len(side)):
        if side[level] == absent:
            continue
        while n > 1:
            a, b = chain[n - 2], chain[n - 1]
            turn = (side[b] - side[a]) * (level - a) - (side[level] - side[a]) * (b - a)
            if turn < 0:
                break
            n -= 1
        chain[n] = level
        n += 1
    return n


@njit(cache=True, nogil=True)
def _move_to_hull(side: NDArray[np.int64], chain: NDArray[np.int64], absent: int) -> None:
    """Move every level of a side to the leftmost even column at or right of the hull's side."""
    corners = _chain(side, chain, absent)
    for k in range(corners - 1):
        a, b = chain[k], chain[k + 1]
        rise, run = side[b] - side[a], 2 * (b - a)
        # Half the column is the least number of runs that reaches `at`: divided once a corner.
        at = side[a] * (b - a)
        half = (side[a] + 1) // 2
        for level in range(a, b):
            side[level] = 2 * half
            at += rise
            while half * run < at:
                half += 1
            while (half - 1) * run >= at:
                half -= 1
    last = chain[corners - 1]
    side[last] = (side[last] + 1) // 2 * 2


@njit(cache=True, nogil=True)
def _place_points(
    sides: NDArray[np.int64], points: NDArray[np.int64], chain: NDArray[np.int64], absent: int
) -> int:
    """Put the corners of the hull into ``points``, ``[2, n]`` (x, y), in order and in half pixels;
    their number. Some may coincide."""
    down: int = _chain(sides[0], chain, absent)
    for k in range(down):
        points[0, k], points[1, k] = sides[0, chain[k]], chain[k]
    up: int = _chain(sides[1], chain, absent)
    for k in range(up):
        level = chain[up - 1 - k]
        points[0, down + k], points[1, down + k] = -sides[1, level], level
    return down + up


@njit(cache=True, nogil=True)
def _feret(points: NDArray[np.int64], spacing: tuple[float, float]) -> tuple[float, float]:
    """Greatest and least extent of a convex polygon given in half pixels."""
    longest, shortest = 0.0, math.inf
    n = points.shape[1]
    for i in range(n):
        after = i + 1 if i + 1 < n else 0
        dx = (points[0, after] - points[0, i]) * spacing[0] / 2
        dy = (points[1, after] - points[1, i]) * spacing[1] / 2
        edge = math.hypot(dx, dy)
        width = 0.0
        for j in range(n):
            x = (points[0, j] - points[0, i]) * spacing[0] / 2
            y = (points[1, j] - points[1, i]) * spacing[1] / 2
            longest = max(longest, x * x + y * y)
            width = max(width, abs(dx * y - dy * x))
        if edge > 0:
            shortest = min(shortest, width / edge)
    return math.sqrt(longest), shortest


@njit(cache=True, nogil=True)
def _length(points: NDArray[np.int64]) -> float:
    """Length of a closed line, in the units of its points."""
    total = 0.0
    for i in range(points.shape[1]):
        dx = points[0, i] - points[0, i - 1]
        dy = points[1, i] - points[1, i - 1]
        total += math.hypot(dx, dy)
    return total
