"""Non-maximum suppression: of polygons that overlap too much only the most probable one stays.

From the most probable candidate down, a candidate stays unless it shares more than a given part
of the smaller of the two with one that stays. This is StarDist's rule, and as there corners are
brought to whole pixels for it. Of equal probabilities the upper, then the left candidate comes
first, so the order does not change when the window moves.

Whether a candidate stays may hang on a chain of others. A candidate that stays does so because
each of those before it that it conflicts with is itself suppressed by one that stays, and so on
upwards. The boxes of all these, grown by the longest ray (where the middle of whatever might
overlap them must lie), hold everything that the decision hangs on: in any other window that shows
this much, it is the same.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wsiseg.models.stardist.overlap import describe_edges, polygon_area, shared_area

_BIN = 16

Boxes = NDArray[np.int32]


@njit(cache=True, nogil=True)
def suppress(
    vertices: NDArray[np.int16],
    middles: NDArray[np.int32],
    overlap: float,
    margin: int,
) -> tuple[NDArray[np.int32], Boxes]:
    """Settle which candidates stay.

    Parameters
    ----------
    vertices
        int16 ``[n, rays, 2]``, (y, x) from the middle, most probable candidate first.
    middles
        int32 ``[n, 2]``, (y, x), not negative.
    overlap
        Greatest part of the smaller polygon that two may share.
    margin
        How far from its middle a polygon may reach, in pixels.

    Returns
    -------
    The candidate that suppresses each, int32 ``[n]``, itself if it stays; and for those that stay
    int32 ``[n, 4]`` boxes ``x0, y0, x1, y1`` of all that their outline, and what covers it, hangs
    on.
    """
    count, rays = len(vertices), vertices.shape[1]
    boxes, areas = _measure(vertices, middles)
    first, members, extents = _bins(middles, boxes)
    keepers = np.full(count, -1, np.int32)
    reasons = boxes.copy()
    edges, others, sums = np.empty((5, rays)), np.empty((5, rays)), np.empty(rays)
    widest = _widest(boxes, middles)
    # Members up to here have been settled in every bin.
    settled = first.copy()
    for n in range(count):
        if keepers[n] >= 0:
            continue
        keepers[n] = n
        for side in range(4):
            reasons[n, side] += margin if side >= 2 else -margin
        describe_edges(vertices[n], 0, 0, edges)
        for place in _near(boxes[n], extents, widest):
            while settled[place] < first[place + 1] and keepers[members[settled[place]]] >= 0:
                settled[place] += 1
            for k in range(first[place], first[place + 1]):
                other = members[k]
                before = other < n
                # Those before n that stay do not conflict with it; those after it that are settled
                # are none of its business.
                known = keepers[other] == other if before else keepers[other] >= 0
                if known or (k < settled[place] and not before):
                    continue
                limit = overlap * min(areas[n], areas[other])
                if _common(boxes[n], boxes[other]) <= limit:
                    continue
                dy, dx = middles[other, 0] - middles[n, 0], middles[other, 1] - middles[n, 1]
                describe_edges(vertices[other], dy, dx, others)
                if shared_area(edges, others, sums) <= limit:
                    continue
                if before:
                    _widen(reasons[n], reasons[keepers[other]])
                else:
                    keepers[other] = n
    return keepers, _with_cover(keepers, boxes, reasons, first, members, extents, widest)


@njit(cache=True, nogil=True)
def _with_cover(
    keepers: NDArray[np.int32],
    boxes: Boxes,
    reasons: Boxes,
    first: NDArray[np.int64],
    members: NDArray[np.int32],
    extents: NDArray[np.int32],
    widest: int,
) -> Boxes:
    """Add to the reasons of those that stay the reasons of all before them that might cover
    them: that these stay, or are suppressed."""
    found = reasons.copy()
    for n in range(len(keepers)):
        if keepers[n] != n:
            continue
        for place in _near(boxes[n], extents, widest):
            for k in range(first[place], first[place + 1]):
                other = members[k]
                if other >= n:
                    break
                if _meet(boxes[other], boxes[n]):
                    _widen(found[n], reasons[keepers[other]])
    return found


@njit(cache=True, nogil=True)
def _widest(boxes: Boxes, middles: NDArray[np.int32]) -> int:
    """How far from its middle any candidate reaches."""
    found = 0
    for n in range(len(boxes)):
        for axis in range(2):
            middle = middles[n, 1 - axis]
            found = max(found, boxes[n, axis + 2] - middle, middle - boxes[n, axis])
    return found


@njit(cache=True, nogil=True)
def _near(box: NDArray[np.int32], extents: NDArray[np.int32], widest: int) -> NDArray[np.int64]:
    """The squares of which a member may meet a box."""
    rows, columns = extents.shape[0], extents.shape[1]
    top, left = max(box[1] - widest, 0) // _BIN, max(box[0] - widest, 0) // _BIN
    bottom = min((box[3] + widest) // _BIN + 1, rows)
    right = min((box[2] + widest) // _BIN + 1, columns)
    found = np.empty(max(bottom - top, 0) * max(right - left, 0), np.int64)
    count = 0
    for row in range(top, bottom):
        for column in range(left, right):
            if _meet(extents[row, column], box):
                found[count] = row * columns + column
                count += 1
    return found[:count]


@njit(cache=True, nogil=True)
def _measure(
    vertices: NDArray[np.int16], middles: NDArray[np.int32]
) -> tuple[Boxes, NDArray[np.float64]]:
    """Boxes ``x0, y0, x1, y1`` of the pixels that polygons may cover, and their areas."""
    count = len(vertices)
    boxes, areas = np.empty((count, 4), np.int32), np.empty(count)
    for n in range(count):
        y, x = vertices[n, :, 0], vertices[n, :, 1]
        boxes[n, 0], boxes[n, 1] = middles[n, 1] + x.min(), middles[n, 0] + y.min()
        # Corners were moved down to whole pixels: the outline may reach one further.
        boxes[n, 2], boxes[n, 3] = middles[n, 1] + x.max() + 2, middles[n, 0] + y.max() + 2
        areas[n] = polygon_area(vertices[n])
    return boxes, areas


@njit(cache=True, nogil=True)
def _bins(
    middles: NDArray[np.int32], boxes: Boxes
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int32]]:
    """Candidates by square of ``_BIN`` pixels: where each square's begin in the list of members
    (in order), the list, and for each square the box of its members' boxes ``[y, x, 4]``."""
    rows = columns = 0
    for n in range(len(middles)):
        rows = max(rows, int(middles[n, 0]) // _BIN + 1)
        columns = max(columns, int(middles[n, 1]) // _BIN + 1)
    first = np.zeros(rows * columns + 1, np.int64)
    extents = np.empty((rows, columns, 4), np.int32)
    extents[:, :, :2], extents[:, :, 2:] = 2147483647, -2147483648
    for n in range(len(middles)):
        row, column = middles[n, 0] // _BIN, middles[n, 1] // _BIN
        first[row * columns + column + 1] += 1
        _widen(extents[row, column], boxes[n])
    for place in range(len(first) - 1):
        first[place + 1] += first[place]
    free, members = first[:-1].copy(), np.empty(len(middles), np.int32)
    for n in range(len(middles)):
        place = middles[n, 0] // _BIN * columns + middles[n, 1] // _BIN
        members[free[place]] = n
        free[place] += 1
    return first, members, extents


@njit(cache=True, nogil=True)
def _meet(a: NDArray[np.int32], b: NDArray[np.int32]) -> bool:
    return bool(a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3])


@njit(cache=True, nogil=True)
def _common(a: NDArray[np.int32], b: NDArray[np.int32]) -> float:
    """Area that two boxes share: their polygons share no more."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return float(width) * float(height) if width > 0 and height > 0 else 0.0


@njit(cache=True, nogil=True)
def _widen(box: NDArray[np.int32], other: NDArray[np.int32]) -> None:
    box[0], box[1] = min(box[0], other[0]), min(box[1], other[1])
    box[2], box[3] = max(box[2], other[2]), max(box[3], other[3])
