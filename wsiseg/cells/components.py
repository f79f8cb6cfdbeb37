"""The 4-connected parts of every label of an image, found on runs of equal pixels."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

RUN_ROW, RUN_START, RUN_STOP, RUN_PARENT = range(4)
"""Columns of a table of runs: its row, half-open columns, and the first run of its part."""


@njit(cache=True, nogil=True)
def count_runs(labels: NDArray[np.int32], count: int) -> int:
    """Number of horizontal runs of equal labels above 0, or -1 if a label is not in 0..count."""
    total = 0
    for y in range(labels.shape[0]):
        before = 0
        for x in range(labels.shape[1]):
            label = labels[y, x]
            if label != before:
                if label < 0 or label > count:
                    return -1
                total += label != 0
                before = label
    return total


@njit(cache=True, nogil=True)
def connected_runs(labels: NDArray[np.int32], total: int) -> NDArray[np.int32]:
    """Runs of equal labels in row-major order, joined where they touch along an edge.

    Parameters
    ----------
    labels
        int32 ``[y, x]``, 0 is background.
    total
        Number of runs, from :func:`count_runs`.

    Returns
    -------
    int32 ``[total, 4]`` with the columns ``RUN_*``. A part is named after its first run, which
    holds its first pixel in row-major order.
    """
    runs = np.empty((total, 4), np.int32)
    above, above_stop, n = 0, 0, 0
    for y in range(labels.shape[0]):
        row_start = n
        n = _append_runs(labels[y], y, runs, n)
        _join_rows(labels, runs, above, above_stop, n)
        above, above_stop = row_start, n
    for run in range(total):
        # A parent comes before its children, so one step is enough here.
        runs[run, RUN_PARENT] = runs[runs[run, RUN_PARENT], RUN_PARENT]
    return runs


@njit(cache=True, nogil=True)
def _append_runs(row: NDArray[np.int32], y: int, runs: NDArray[np.int32], n: int) -> int:
    before = 0
    for x in range(len(row)):
        label = row[x]
        if label != before:
            if before:
                runs[n, RUN_STOP] = x
                n += 1
            if label:
                runs[n, RUN_ROW], runs[n, RUN_START], runs[n, RUN_PARENT] = y, x, n
            before = label
    if before:
        runs[n, RUN_STOP] = len(row)
        n += 1
    return n


@njit(cache=True, nogil=True)
def _join_rows(
    labels: NDArray[np.int32], runs: NDArray[np.int32], above: int, below: int, stop: int
) -> None:
    """Join the runs ``above..below`` of one row with ``below..stop`` of the next."""
    first, second = above, below
    while first < below and second < stop:
        a, b = runs[first], runs[second]
        if (
            a[RUN_START] < b[RUN_STOP]
            and b[RUN_START] < a[RUN_STOP]
            and labels[a[RUN_ROW], a[RUN_START]] == labels[b[RUN_ROW], b[RUN_START]]
        ):
            i, j = _root(runs, first), _root(runs, second)
            runs[max(i, j), RUN_PARENT] = min(i, j)
        if a[RUN_STOP] <= b[RUN_STOP]:
            first += 1
        else:
            second += 1


@njit(cache=True, nogil=True)
def _root(runs: NDArray[np.int32], run: int) -> int:
    while runs[run, RUN_PARENT] != run:
        runs[run, RUN_PARENT] = runs[runs[run, RUN_PARENT], RUN_PARENT]
        run = runs[run, RUN_PARENT]
    return run
