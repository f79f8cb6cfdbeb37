"""Area that two polygons share, exactly.

With ``s`` the direction of an edge along x (+1 or -1) and ``y(x)`` its line, the part of a closed
polygon in the column at ``x`` is the signed sum of its edges' heights there. So the area that two
polygons share is the sum over all pairs of edges ``a``, ``b`` of::

    - s_a s_b (integral of max(y_b(x) - y_a(x), 0) where both lie)

because whatever depends on one of the edges alone cancels around its polygon. Polygons that run
round once, whichever way, give their common area; there is no branch that rounding could send the
wrong way.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@njit(cache=True, nogil=True)
def describe_edges(
    vertices: NDArray[np.int16], dy: int, dx: int, edges: NDArray[np.float64]
) -> None:
    """Edges of a polygon for :func:`shared_area`.

    Parameters
    ----------
    vertices
        int16 ``[n, 2]``, (y, x).
    dy, dx
        Added to them.
    edges
        float64 ``[5, n]``, written: first and last x, slope, height at x = 0, and direction.
    """
    count = len(vertices)
    for k in range(count):
        following = k + 1 if k + 1 < count else 0
        ay, ax = np.float64(vertices[k, 0] + dy), np.float64(vertices[k, 1] + dx)
        by, bx = np.float64(vertices[following, 0] + dy), np.float64(vertices[following, 1] + dx)
        edges[4, k] = 1.0 if bx > ax else -1.0
        if bx == ax:
            # An upright edge has nothing below it; it must not be wide anywhere.
            edges[0, k], edges[1, k], edges[2, k], edges[3, k] = ax, ax, 0.0, ay
            continue
        slope = (by - ay) / (bx - ax)
        edges[0, k], edges[1, k] = min(ax, bx), max(ax, bx)
        edges[2, k], edges[3, k] = slope, ay - slope * ax


@njit(cache=True, nogil=True)
def shared_area(a: Floats, b: Floats, sums: Floats) -> float:
    """The area that two polygons share, given their edges; ``sums`` float64 ``[n]`` is scratch."""
    count = b.shape[1]
    sums[:count] = 0.0
    for i in range(a.shape[1]):
        low_a, high_a, slope_a, height_a, way = a[0, i], a[1, i], a[2, i], a[3, i], a[4, i]
        if low_a == high_a:
            continue
        # Every turn does the same, so that it is compiled to vector instructions.
        for k in range(count):
            low = b[0, k] if b[0, k] > low_a else low_a
            high = b[1, k] if b[1, k] < high_a else high_a
            slope, height = b[2, k] - slope_a, b[3, k] - height_a
            first, last = height + slope * low, height + slope * high
            above_first = first if first > 0.0 else 0.0
            above_last = last if last > 0.0 else 0.0
            change = last - first
            safe = change if change != 0.0 else 1.0
            # The integral of max(d, 0) over a line from first to last is the difference of
            # max(d, 0)² / 2, divided by the slope.
            rising = (above_last * above_last - above_first * above_first) / (2.0 * safe)
            mean = rising if change != 0.0 else above_first
            width = high - low if high > low else 0.0
            sums[k] -= way * b[4, k] * width * mean
    total = 0.0
    for k in range(count):
        total += sums[k]
    return abs(total)


@njit(cache=True, nogil=True)
def polygon_area(vertices: NDArray[np.int16]) -> float:
    """Area of a polygon int16 ``[n, 2]``."""
    count = len(vertices)
    twice = 0.0
    for k in range(count):
        following = k + 1 if k + 1 < count else 0
        twice += float(vertices[k, 1]) * float(vertices[following, 0])
        twice -= float(vertices[k, 0]) * float(vertices[following, 1])
    return abs(twice) / 2
