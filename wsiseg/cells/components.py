"""The 4-connected parts of every label of an image, found on runs of equal pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wsiseg.cells.anchored import Anchored
from wsiseg.errors import ModelError

RUN_ROW, RUN_START, RUN_STOP = range(3)
"""Columns of a table of runs: the row and the half-open columns."""

_LABEL, _PARENT = 3, 4
_AREA, _SUM_X, _SUM_Y, _X0, _Y0, _X1, _Y1 = range(7)


@dataclass(frozen=True, slots=True)
class Parts(Anchored):
    """The largest 4-connected part of every label of a window.

    Attributes
    ----------
    index
        int32 ``[m]``, rising: which labels have pixels; label ``i + 1`` has index ``i``.
    boxes
        int64 ``[m, 4]``: half-open boxes ``x0, y0, x1, y1`` in pixels of the frame.
    area_px
        int64 ``[m]``: number of frame pixels.
    sum_x, sum_y
        int64 ``[m]``: sums of the columns and rows of these pixels in the frame.
    dropped_fragments, dropped_px
        Number of further parts of labels that were left out, and of their pixels.
    origin
        Frame pixel ``(x, y)`` of the window's first pixel.
    runs
        int32 ``[r, 3]``: the parts' runs, part by part and row by row, in pixels of the window;
        columns ``RUN_*``.
    run_offsets
        int64 ``[m + 1]``: part ``i`` has the runs ``run_offsets[i]:run_offsets[i + 1]``.
    """

    index: NDArray[np.int32]
    boxes: NDArray[np.int64]
    area_px: NDArray[np.int64]
    sum_x: NDArray[np.int64]
    sum_y: NDArray[np.int64]
    dropped_fragments: int
    dropped_px: int
    origin: tuple[int, int]
    runs: NDArray[np.int32]
    run_offsets: NDArray[np.int64]


def largest_parts(labels: NDArray[np.int32], count: int, origin: tuple[int, int]) -> Parts:
    """The largest 4-connected part of every label.

    Of parts of equal size the one with the first pixel in row-major order is kept.

    Parameters
    ----------
    labels
        int32 ``[y, x]``: 0 is background, instances have labels 1 to ``count``.
    count
        Largest label allowed.
    origin
        Frame pixel ``(x, y)`` of ``labels[0, 0]``; may be negative.

    Raises
    ------
    ModelError
        If a label is negative or larger than ``count``.
    """
    runs = _connected_runs(np.ascontiguousarray(labels, np.int32))
    found = runs[:, _LABEL]
    if found.min(initial=0) < 0 or found.max(initial=0) > count:
        raise ModelError(
            f"the segmenter returned labels outside 0..{count} "
            f"(from {labels.min()} to {labels.max()}); its instances cannot be used"
        )
    index, best, parts, dropped, dropped_px = _measure(runs, count)
    kept, offsets = _grouped(runs, best[index], len(parts))
    moments = parts[best[index]]
    shift, area = np.array(origin, np.int64), moments[:, _AREA]
    return Parts(
        index=index,
        boxes=moments[:, [_X0, _Y0, _X1, _Y1]] + np.tile(shift, 2),
        area_px=area,
        sum_x=moments[:, _SUM_X] + area * shift[0],
        sum_y=moments[:, _SUM_Y] + area * shift[1],
        dropped_fragments=dropped,
        dropped_px=dropped_px,
        origin=origin,
        runs=kept,
        run_offsets=offsets,
    )


@njit(cache=True, nogil=True)
def _connected_runs(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """Runs ``[n, 5]`` of equal labels but 0 in row-major order: row, columns, label and parent,
    the first run of those joined along edges, which holds their first pixel."""
    height, width = labels.shape
    runs = np.empty((8 * (height + width), 5), np.int32)
    above, n = 0, 0
    for y in range(height):
        if len(runs) < n + width:
            runs = np.concatenate((runs, np.empty((len(runs) + width, 5), np.int32)))
        begin = n
        n = _append_runs(labels[y], y, runs, n)
        _join_rows(runs, above, begin, n)
        above = begin
    for run in range(n):
        # A parent comes before its children, so one step is enough here.
        runs[run, _PARENT] = runs[runs[run, _PARENT], _PARENT]
    return runs[:n]


@njit(cache=True, nogil=True)
def _append_runs(row: NDArray[np.int32], y: int, runs: NDArray[np.int32], n: int) -> int:
    before = np.int32(0)
    for x in range(len(row)):
        label = row[x]
        if label != before:
            if before:
                runs[n, RUN_STOP] = x
                n += 1
            if label:
                runs[n, RUN_ROW], runs[n, RUN_START] = y, x
                runs[n, _LABEL], runs[n, _PARENT] = label, n
            before = label
    if before:
        runs[n, RUN_STOP] = len(row)
        n += 1
    return n


@njit(cache=True, nogil=True)
def _join_rows(runs: NDArray[np.int32], above: int, below: int, stop: int) -> None:
    """Join the runs ``above..below`` of one row with ``below..stop`` of the next."""
    first, second = above, below
    while first < below and second < stop:
        if (
            runs[first, RUN_START] < runs[second, RUN_STOP]
            and runs[second, RUN_START] < runs[first, RUN_STOP]
            and runs[first, _LABEL] == runs[second, _LABEL]
        ):
            i, j = _root(runs, first), _root(runs, second)
            runs[max(i, j), _PARENT] = min(i, j)
        if runs[first, RUN_STOP] <= runs[second, RUN_STOP]:
            first += 1
        else:
            second += 1


@njit(cache=True, nogil=True)
def _root(runs: NDArray[np.int32], run: int) -> int:
    while runs[run, _PARENT] != run:
        runs[run, _PARENT] = runs[runs[run, _PARENT], _PARENT]
        run = runs[run, _PARENT]
    return run


@njit(cache=True, nogil=True)
def _measure(
    runs: NDArray[np.int32], count: int
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int64], int, int]:
    """Indices of labels with pixels; the kept part of every label; the moments of all parts;
    the others' number and pixels. Parents become parts."""
    parts = np.zeros((_count_roots(runs), 7), np.int64)
    owners = np.empty(len(parts), np.int32)
    n = 0
    for run in range(len(runs)):
        y, x0, x1 = runs[run, RUN_ROW], runs[run, RUN_START], runs[run, RUN_STOP]
        if runs[run, _PARENT] == run:
            part = n
            n += 1
            owners[part] = runs[run, _LABEL] - 1
            parts[part, _X0], parts[part, _Y0], parts[part, _X1] = x0, y, x1
        else:
            # The parent came before, and names its part by now.
            part = runs[runs[run, _PARENT], _PARENT]
        runs[run, _PARENT] = part
        row = parts[part]
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
def _count_roots(runs: NDArray[np.int32]) -> int:
    total = 0
    for run in range(len(runs)):
        total += runs[run, _PARENT] == run
    return total


@njit(cache=True, nogil=True)
def _grouped(
    runs: NDArray[np.int32], kept: NDArray[np.int32], parts: int
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The runs of the kept parts, part by part in row-major order, and the parts' offsets."""
    ranks = np.full(parts, -1, np.int32)
    for rank in range(len(kept)):
        ranks[kept[rank]] = rank
    offsets = np.zeros(len(kept) + 1, np.int64)
    for run in range(len(runs)):
        rank = ranks[runs[run, _PARENT]]
        if rank >= 0:
            offsets[rank + 1] += 1
    offsets = np.cumsum(offsets)
    ends = offsets[:-1].copy()
    grouped = np.empty((offsets[-1], 3), np.int32)
    for run in range(len(runs)):
        rank = ranks[runs[run, _PARENT]]
        if rank >= 0:
            for column in range(3):
                grouped[ends[rank], column] = runs[run, column]
            ends[rank] += 1
    return grouped, offsets
