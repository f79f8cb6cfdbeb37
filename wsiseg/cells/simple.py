"""Outlines whose validity can be seen at once, without building a geometry of each."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wsiseg.cells.polygons import Polygons

_MOST_VERTICES = 512
"""Every edge is held against every other: a geometry library is faster on longer rings."""

_WIDEST = 1 << 17
"""Hundredths. Edges of this length that do not touch are too far apart on the lattice for any
rounding of their ends to bring them together: one over their length at least, where float64
pixels of an int32 lattice are off by less than a millionth."""


def plainly_valid(polygons: Polygons) -> NDArray[np.bool_]:
    """Which polygons are seen to be valid (OGC 06-103r4, 6.1.11), also once divided by 100.

    bool ``[n]``; true for a single ring no two edges of which meet but neighbours at their
    common end. Others may be valid, too: rings that touch themselves in a point, polygons with
    holes, very long or very wide rings.
    """
    out = np.zeros(len(polygons), np.bool_)
    _judge(
        out,
        np.ascontiguousarray(polygons.vertices),
        polygons.ring_offsets,
        polygons.polygon_offsets,
    )
    return out


@njit(cache=True, nogil=True)
def _judge(
    out: NDArray[np.bool_],
    vertices: NDArray[np.int32],
    ring_offsets: NDArray[np.int64],
    polygon_offsets: NDArray[np.int64],
) -> None:
    boxes = np.empty((4, _MOST_VERTICES), np.int32)
    for i in range(len(out)):
        ring = polygon_offsets[i]
        start, stop = ring_offsets[ring], ring_offsets[ring + 1]
        if polygon_offsets[i + 1] - ring == 1 and 3 <= stop - start <= _MOST_VERTICES:
            points = vertices[start:stop]
            out[i] = _turns_well(points) and _keeps_apart(points, boxes)


@njit(cache=True, nogil=True)
def _turns_well(points: NDArray[np.int32]) -> bool:
    """Whether a ring is small, every edge has a length and none runs back over the one before."""
    count = len(points)
    low_x = high_x = points[0, 0]
    low_y = high_y = points[0, 1]
    ux = np.int64(points[0, 0]) - points[count - 1, 0]
    uy = np.int64(points[0, 1]) - points[count - 1, 1]
    for k in range(count):
        following = k + 1 if k + 1 < count else 0
        vx = np.int64(points[following, 0]) - points[k, 0]
        vy = np.int64(points[following, 1]) - points[k, 1]
        if (vx == 0 and vy == 0) or (ux * vy == uy * vx and ux * vx + uy * vy < 0):
            return False
        ux, uy = vx, vy
        low_x, high_x = min(low_x, points[k, 0]), max(high_x, points[k, 0])
        low_y, high_y = min(low_y, points[k, 1]), max(high_y, points[k, 1])
    return bool(np.int64(high_x) - low_x < _WIDEST and np.int64(high_y) - low_y < _WIDEST)


@njit(cache=True, nogil=True)
def _keeps_apart(points: NDArray[np.int32], boxes: NDArray[np.int32]) -> bool:
    """Whether no two edges meet that are not neighbours; ``boxes`` is room for theirs."""
    count = len(points)
    x0, y0, x1, y1 = boxes[0], boxes[1], boxes[2], boxes[3]
    for k in range(count):
        a, b = points[k], points[k + 1 if k + 1 < count else 0]
        x0[k], x1[k] = min(a[0], b[0]), max(a[0], b[0])
        y0[k], y1[k] = min(a[1], b[1]), max(a[1], b[1])
    for k in range(count - 2):
        left, right, top, bottom = x0[k], x1[k], y0[k], y1[k]
        last = count if k else count - 1
        near = 0
        for j in range(k + 2, last):
            near += (x0[j] <= right) & (x1[j] >= left) & (y0[j] <= bottom) & (y1[j] >= top)
        if near and _meets_any(points, k, last):
            return False
    return True


@njit(cache=True, nogil=True)
def _meets_any(points: NDArray[np.int32], k: int, last: int) -> bool:
    """Whether edge ``k`` may meet one from the second after it up to ``last``."""
    count = len(points)
    a, b = points[k], points[k + 1]
    for j in range(k + 2, last):
        c, d = points[j], points[j + 1 if j + 1 < count else 0]
        apart = (
            max(a[0], b[0]) < min(c[0], d[0])
            or max(c[0], d[0]) < min(a[0], b[0])
            or max(a[1], b[1]) < min(c[1], d[1])
            or max(c[1], d[1]) < min(a[1], b[1])
            or _beside(a, b, c, d)
            or _beside(c, d, a, b)
        )
        if not apart:
            return True
    return False


@njit(cache=True, nogil=True)
def _beside(
    a: NDArray[np.int32], b: NDArray[np.int32], c: NDArray[np.int32], d: NDArray[np.int32]
) -> bool:
    """Whether both ``c`` and ``d`` lie on one side of the line through ``a`` and ``b``."""
    one, other = _side(a, b, c), _side(a, b, d)
    return bool((one > 0 and other > 0) or (one < 0 and other < 0))


@njit(cache=True, nogil=True)
def _side(a: NDArray[np.int32], b: NDArray[np.int32], c: NDArray[np.int32]) -> int:
    ux, uy = np.int64(b[0]) - a[0], np.int64(b[1]) - a[1]
    return int(ux * (np.int64(c[1]) - a[1]) - uy * (np.int64(c[0]) - a[0]))
