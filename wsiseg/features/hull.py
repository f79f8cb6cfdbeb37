"""Convex hulls of rasters: area, Feret diameters, perimeter.

Coordinates are in half pixels, in which pixel ``(x, y)`` has its centre at ``(2 x, 2 y)`` and
the midpoints of its edges beside it: all are integers, so nothing hangs on rounding.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def hull_measures(
    mask: NDArray[np.uint8], spacing: tuple[float, float]
) -> tuple[int, float, float, float]:
    """Convex area, Feret diameters and perimeter of the hull of one object.

    Parameters
    ----------
    mask
        uint8 ``[y, x]``, 1 inside, with an empty margin of one pixel; at least one pixel.
    spacing
        Pixel size ``(x, y)``.

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
    left, right = _empty_sides(levels, wide)
    inner_left, inner_right = _empty_sides(levels, wide)
    for y in range(1, mask.shape[0] - 1):
        first, last = -1, -1
        for x in range(mask.shape[1]):
            if mask[y, x]:
                first = x if first < 0 else first
                last = x
        if first >= 0:
            _add_row(left, right, y, first, last)
            inner_left[2 * y], inner_right[2 * y] = 2 * first, 2 * last
    # The right side is the left side of the mirror image.
    low = _even_columns(left, wide)
    high = _even_columns(-right, wide)
    area = 0
    hull_left, hull_right = _empty_sides(levels, wide)
    for y in range(1, mask.shape[0] - 1):
        if low[2 * y] < wide and -high[2 * y] >= low[2 * y]:
            first, last = low[2 * y] // 2, -high[2 * y] // 2
            area += last - first + 1
            _add_row(hull_left, hull_right, y, first, last)
    points = _hull_points(hull_left, hull_right, wide)
    longest, shortest = _feret(points, spacing)
    perimeter = _length(_hull_points(inner_left, inner_right, wide)) / 2
    return area, longest, shortest, perimeter


@njit(cache=True, nogil=True)
def _empty_sides(levels: int, wide: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return np.full(levels, wide, np.int64), np.full(levels, -wide, np.int64)


@njit(cache=True, nogil=True)
def _add_row(
    left: NDArray[np.int64], right: NDArray[np.int64], y: int, first: int, last: int
) -> None:
    """Widen the sides by the edges' midpoints of a row of pixels."""
    for level, reach in ((2 * y - 1, 0), (2 * y, 1), (2 * y + 1, 0)):
        left[level] = min(left[level], 2 * first - reach)
        right[level] = max(right[level], 2 * last + reach)


@njit(cache=True, nogil=True)
def _chain(side: NDArray[np.int64], absent: int) -> NDArray[np.int64]:
    """Levels of the corners of the hull's left side, from top to bottom."""
    chain = np.empty(len(side), np.int64)
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
    return chain[:n]


@njit(cache=True, nogil=True)
def _even_columns(side: NDArray[np.int64], absent: int) -> NDArray[np.int64]:
    """The leftmost even column at or right of the hull's left side, for every level."""
    chain = _chain(side, absent)
    columns = np.full(len(side), absent, np.int64)
    for k in range(len(chain) - 1):
        a, b = chain[k], chain[k + 1]
        rise, run = side[b] - side[a], 2 * (b - a)
        for level in range(a, b + 1):
            at = side[a] * (b - a) + rise * (level - a)
            columns[level] = 2 * -(-at // run)
    return columns


@njit(cache=True, nogil=True)
def _hull_points(
    left: NDArray[np.int64], right: NDArray[np.int64], absent: int
) -> NDArray[np.int64]:
    """Corners ``[n, 2]`` (x, y) of the hull in order, in half pixels; some may coincide."""
    down = _chain(left, absent)
    up = _chain(-right, absent)
    points = np.empty((len(down) + len(up), 2), np.int64)
    for k in range(len(down)):
        points[k, 0], points[k, 1] = left[down[k]], down[k]
    for k in range(len(up)):
        level = up[len(up) - 1 - k]
        points[len(down) + k, 0], points[len(down) + k, 1] = right[level], level
    return points


@njit(cache=True, nogil=True)
def _feret(points: NDArray[np.int64], spacing: tuple[float, float]) -> tuple[float, float]:
    """Greatest and least extent of a convex polygon given in half pixels."""
    longest, shortest = 0.0, math.inf
    n = len(points)
    for i in range(n):
        after = (i + 1) % n
        dx = (points[after, 0] - points[i, 0]) * spacing[0] / 2
        dy = (points[after, 1] - points[i, 1]) * spacing[1] / 2
        edge = math.hypot(dx, dy)
        width = 0.0
        for j in range(n):
            x = (points[j, 0] - points[i, 0]) * spacing[0] / 2
            y = (points[j, 1] - points[i, 1]) * spacing[1] / 2
            longest = max(longest, x * x + y * y)
            width = max(width, abs(dx * y - dy * x))
        if edge > 0:
            shortest = min(shortest, width / edge)
    return math.sqrt(longest), shortest


@njit(cache=True, nogil=True)
def _length(points: NDArray[np.int64]) -> float:
    """Length of a closed line, in the units of its points."""
    total = 0.0
    for i in range(len(points)):
        dx = points[i, 0] - points[i - 1, 0]
        dy = points[i, 1] - points[i - 1, 1]
        total += math.hypot(dx, dy)
    return total
