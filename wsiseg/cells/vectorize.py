"""From label images to polygons on pixel corners.

Every label keeps its largest 4-connected part. Its boundary is followed along pixel edges with
the part on the right hand. Where two pixels of the part meet in a corner only, the walk turns
left and so stays with one 4-connected piece of background; such a corner joins two different
pieces, because the part's 4-connected path from the one pixel to the other closes around one of
them. Hence no ring meets itself, two rings meet in corners at most, and no chain of holes cuts
the inside in two: the polygons are valid simple features.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wsiseg.cells.components import (
    RUN_PARENT,
    RUN_ROW,
    RUN_START,
    RUN_STOP,
    connected_runs,
    count_runs,
)
from wsiseg.cells.polygons import Polygons
from wsiseg.errors import ModelError
from wsiseg.geometry import HUNDREDTHS

_RIGHT, _DOWN, _LEFT, _UP = range(4)
_AREA, _SUM_X, _SUM_Y, _X0, _Y0, _X1, _Y1 = range(7)


@dataclass(frozen=True, slots=True)
class Traced:
    """The instances of one window as polygons.

    Attributes
    ----------
    index
        int32 ``[m]``, rising: which labels have pixels; label ``i + 1`` has index ``i``.
    polygons
        ``[m]`` outlines in level-0 hundredths of the slide. Every ring begins at its topmost,
        then leftmost vertex; shells run right, down, left, up, holes the other way; collinear
        vertices are left out. An object gives the same vertices wherever the window lies.
    boxes
        int64 ``[m, 4]``: half-open boxes ``x0, y0, x1, y1`` in pixels of the frame.
    area_px
        int64 ``[m]``: number of frame pixels.
    sum_x, sum_y
        int64 ``[m]``: sums of the columns and rows of these pixels in the frame.
    dropped_fragments, dropped_px
        Number of further parts of labels that were left out, and of their pixels.
    """

    index: NDArray[np.int32]
    polygons: Polygons
    boxes: NDArray[np.int64]
    area_px: NDArray[np.int64]
    sum_x: NDArray[np.int64]
    sum_y: NDArray[np.int64]
    dropped_fragments: int
    dropped_px: int


def vectorize(
    labels: NDArray[np.int32], count: int, origin: tuple[int, int], scale: tuple[float, float]
) -> Traced:
    """Trace the largest 4-connected part of every label.

    Of parts of equal size the one with the first pixel in row-major order is kept.

    Parameters
    ----------
    labels
        int32 ``[y, x]``: 0 is background, instances have labels 1 to ``count``.
    count
        Largest label allowed.
    origin
        Frame pixel ``(x, y)`` of ``labels[0, 0]``; may be negative.
    scale
        ``(fx, fy)``: level-0 pixels per frame pixel, from ``Frame.scale_to(level0)``. Corner
        ``(x, y)`` of the frame becomes vertex ``rint(x * fx * 100), rint(y * fy * 100)``.

    Raises
    ------
    ModelError
        If a label is negative or larger than ``count``.
    """
    labels = np.ascontiguousarray(labels, np.int32)
    total = count_runs(labels, count)
    if total < 0:
        raise ModelError(
            f"the segmenter returned labels outside 0..{count} "
            f"(from {labels.min()} to {labels.max()}); its instances cannot be used"
        )
    runs = connected_runs(labels, total)
    index, best, parts, dropped, dropped_px = _largest_parts(labels, runs, count)
    corners, ring_offsets, polygon_offsets = _trace(labels.shape, runs, best, index)
    moments = parts[best[index]]
    shift = np.array(origin, np.int64)
    vertices = np.rint((corners + shift) * np.array(scale, np.float64) * HUNDREDTHS)
    area = moments[:, _AREA]
    return Traced(
        index=index,
        polygons=Polygons(vertices.astype(np.int32), ring_offsets, polygon_offsets),
        boxes=moments[:, [_X0, _Y0, _X1, _Y1]] + np.tile(shift, 2),
        area_px=area,
        sum_x=moments[:, _SUM_X] + area * shift[0],
        sum_y=moments[:, _SUM_Y] + area * shift[1],
        dropped_fragments=dropped,
        dropped_px=dropped_px,
    )


@njit(cache=True, nogil=True)
def _largest_parts(
    labels: NDArray[np.int32], runs: NDArray[np.int32], count: int
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int64], int, int]:
    """Indices of labels with pixels; the kept part of every label; the moments of all parts."""
    slots = np.empty(len(runs), np.int32)
    n = 0
    for run in range(len(runs)):
        if runs[run, RUN_PARENT] == run:
            slots[run] = n
            n += 1
    parts = np.zeros((n, 7), np.int64)
    owners = np.empty(n, np.int32)
    for run in range(len(runs)):
        part = slots[runs[run, RUN_PARENT]]
        runs[run, RUN_PARENT] = part
        y, x0, x1 = runs[run, RUN_ROW], runs[run, RUN_START], runs[run, RUN_STOP]
        row = parts[part]
        if row[_AREA] == 0:
            owners[part] = labels[y, x0] - 1
            row[_X0], row[_Y0], row[_X1] = x0, y, x1
        length = np.int64(x1) - x0
        row[_AREA] += length
        row[_SUM_X] += length * (np.int64(x0) + x1 - 1) // 2
        row[_SUM_Y] += length * y
        row[_X0], row[_X1], row[_Y1] = min(row[_X0], x0), max(row[_X1], x1), y + 1
    best = np.full(count, -1, np.int32)
    kept, kept_px, all_px = 0, 0, 0
    for part in range(n):
        all_px += parts[part, _AREA]
        owner = owners[part]
        if best[owner] < 0:
            kept += 1
            best[owner] = part
        elif parts[part, _AREA] > parts[best[owner], _AREA]:
            best[owner] = part
    index = np.empty(kept, np.int32)
    i = 0
    for label in range(count):
        if best[label] >= 0:
            index[i] = label
            i += 1
            kept_px += parts[best[label], _AREA]
    return index, best, parts, n - kept, all_px - kept_px


@njit(cache=True, nogil=True)
def _trace(
    shape: tuple[int, int],
    runs: NDArray[np.int32],
    best: NDArray[np.int32],
    index: NDArray[np.int32],
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
    """Corners, ring offsets and polygon offsets of the kept parts, in window pixels."""
    ranks = np.full(runs[:, RUN_PARENT].max() + 1 if len(runs) else 0, -1, np.int32)
    for rank in range(len(index)):
        ranks[best[index[rank]]] = rank
    order, starts = _runs_by_rank(runs, ranks, len(index))
    # A margin of one pixel spares the walk all tests for the window's edge.
    kept = np.zeros((shape[0] + 2, shape[1] + 2), np.int32)
    for run in order:
        y = runs[run, RUN_ROW] + 1
        kept[y, runs[run, RUN_START] + 1 : runs[run, RUN_STOP] + 1] = (
            ranks[runs[run, RUN_PARENT]] + 1
        )
    seen = np.zeros(kept.shape, np.bool_)
    # Between two corners a ring turns; each run ends two upright stretches of four corners.
    corners = np.empty((4 * len(order), 2), np.int32)
    rings = np.zeros(len(order) + 1, np.int64)
    polygons = np.zeros(len(index) + 1, np.int64)
    n, ring = 0, 0
    for rank in range(len(index)):
        for position in range(starts[rank], starts[rank + 1]):
            row, x0, x1 = runs[order[position], :RUN_PARENT]
            y = row + 1
            if position == starts[rank]:
                n = _follow(kept, seen, corners, n, (x0 + 1, y, _RIGHT))
                ring += 1
                rings[ring] = n
            for x in range(x0 + 1, x1 + 1):
                if kept[y + 1, x] != rank + 1 and not seen[y, x]:
                    n = _follow(kept, seen, corners, n, (x, y + 1, _DOWN))
                    ring += 1
                    rings[ring] = n
        polygons[rank + 1] = ring
    return corners[:n] - 1, rings[: ring + 1].copy(), polygons


@njit(cache=True, nogil=True)
def _runs_by_rank(
    runs: NDArray[np.int32], ranks: NDArray[np.int32], count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The kept runs grouped by rank, each group in row-major order, and the groups' offsets."""
    starts = np.zeros(count + 1, np.int64)
    for run in range(len(runs)):
        rank = ranks[runs[run, RUN_PARENT]]
        if rank >= 0:
            starts[rank + 1] += 1
    starts = np.cumsum(starts)
    ends = starts[:-1].copy()
    order = np.empty(starts[-1], np.int64)
    for run in range(len(runs)):
        rank = ranks[runs[run, RUN_PARENT]]
        if rank >= 0:
            order[ends[rank]] = run
            ends[rank] += 1
    return order, starts


@njit(cache=True, nogil=True)
def _follow(
    kept: NDArray[np.int32],
    seen: NDArray[np.bool_],
    corners: NDArray[np.int32],
    n: int,
    start: tuple[int, int, int],
) -> int:
    """Walk one ring from its topmost, leftmost corner; mark the pixels whose lower edge it is."""
    x, y, heading = start
    own = kept[y, x] if heading == _RIGHT else kept[y - 1, x]
    while True:
        corners[n, 0], corners[n, 1] = x, y
        n += 1
        left, right = False, True
        while right and not left:
            if heading == _RIGHT:
                x += 1
                left, right = kept[y - 1, x] == own, kept[y, x] == own
            elif heading == _DOWN:
                y += 1
                left, right = kept[y, x] == own, kept[y, x - 1] == own
            elif heading == _LEFT:
                x -= 1
                seen[y - 1, x] = True
                left, right = kept[y, x - 1] == own, kept[y - 1, x - 1] == own
            else:
                y -= 1
                left, right = kept[y - 1, x - 1] == own, kept[y - 1, x] == own
        heading = (heading + 3) % 4 if left else (heading + 1) % 4
        if x == start[0] and y == start[1]:
            return n
