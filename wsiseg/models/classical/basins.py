"""Instances from a relief, by a rule that needs no look beyond an instance's neighbours.

Every pixel of the mask climbs to the highest of its eight neighbours until it stands on a summit;
the pixels of one summit are a *basin*. A basin whose highest pass to another one lies little
below its summit is joined with that one. Nothing floods, so nothing far away matters:

* a pixel's step depends on its eight neighbours, so a basin depends on its bounding box and one
  pixel around it (two for the neighbours' own steps, see ``BASIN_REACH``);
* whether a basin joins, and which other one, depends on that basin and the pixels next to it.

Hence an instance (joined basins) depends on its own basins' boxes and those of all basins that
touch them. That union is its *support*.

Pixels are ordered by ``(height, -y, -x)``: of two equal ones the upper, then the left one counts
as higher. The order is relative, so it does not change when the window moves.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

BASIN_REACH = 2
"""Pixels around a support that a relief must be right in for its instance to be right."""

_STEP_Y = (-1, -1, -1, 0, 0, 1, 1, 1)
_STEP_X = (-1, 0, 1, -1, 1, -1, 0, 1)


@njit(cache=True, nogil=True)
def climb(mask: NDArray[np.bool_], relief: NDArray[np.int32]) -> NDArray[np.int32]:
    """Basins: int32 ``[y, x]``, 0 outside the mask, else 1.. in the order of the summits."""
    height, width = mask.shape
    target = np.full(height * width, -1, np.int32)
    flat = relief.reshape(-1)
    for y in range(height):
        for x in range(width):
            if not mask[y, x]:
                continue
            here = y * width + x
            best, value = here, flat[here]
            for k in range(8):
                ny, nx = y + _STEP_Y[k], x + _STEP_X[k]
                if 0 <= ny < height and 0 <= nx < width and mask[ny, nx]:
                    there = ny * width + nx
                    # Upper left neighbours win ties, and come first.
                    if flat[there] > value or (flat[there] == value and there < best):
                        best, value = there, flat[there]
            target[here] = best
    labels = np.zeros(height * width, np.int32)
    count = 0
    for start in range(height * width):
        if target[start] == start:
            count += 1
            labels[start] = count
    for start in range(height * width):
        if target[start] < 0 or labels[start]:
            continue
        here = np.int64(start)
        while labels[here] == 0:
            here = target[here]
        label = labels[here]
        here = np.int64(start)
        while labels[here] == 0:
            labels[here] = label
            here = target[here]
    return labels.reshape(height, width)


@njit(cache=True, nogil=True)
def basin_boxes(labels: NDArray[np.int32], count: int) -> NDArray[np.int32]:
    """Bounding boxes int32 ``[count + 1, 4]`` (x0, y0, x1, y1); row 0 is not used."""
    height, width = labels.shape
    boxes = np.zeros((count + 1, 4), np.int32)
    boxes[:, 0] = width
    boxes[:, 1] = height
    for y in range(height):
        for x in range(width):
            label = labels[y, x]
            if label:
                boxes[label, 0] = min(boxes[label, 0], x)
                boxes[label, 1] = min(boxes[label, 1], y)
                boxes[label, 2] = max(boxes[label, 2], x + 1)
                boxes[label, 3] = max(boxes[label, 3], y + 1)
    return boxes


@njit(cache=True, nogil=True)
def join(
    labels: NDArray[np.int32], relief: NDArray[np.int32], count: int, share: int
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Join basins over high passes.

    A basin asks for the neighbour with the highest pass (of equal ones the upper left pass), if
    that pass is higher than ``share`` in 256 of the summit.

    Returns
    -------
    groups
        int32 ``[count + 1]``: the least basin of the group every basin belongs to.
    supports
        int32 ``[count + 1, 4]``: for every group, at its least basin, the union of the boxes of
        its basins and of those that touch them.
    """
    summits, passes, chosen = _highest_passes(labels, relief, count)
    groups = np.arange(count + 1).astype(np.int32)
    for basin in range(1, count + 1):
        if passes[basin] * 256 > share * summits[basin]:
            a, b = _root(groups, basin), _root(groups, chosen[basin])
            groups[max(a, b)] = min(a, b)
    for basin in range(1, count + 1):
        groups[basin] = _root(groups, basin)
    return groups, _supports(labels, groups, basin_boxes(labels, count))


@njit(cache=True, nogil=True)
def _highest_passes(
    labels: NDArray[np.int32], relief: NDArray[np.int32], count: int
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """For every basin its summit, its highest pass (-1: none) and the basin beyond that pass."""
    height, width = labels.shape
    summits = np.zeros(count + 1, np.int32)
    passes = np.full(count + 1, -1, np.int32)
    chosen = np.zeros(count + 1, np.int32)
    for y in range(height):
        for x in range(width):
            here = labels[y, x]
            if not here:
                continue
            summits[here] = max(summits[here], relief[y, x])
            for k in range(4, 8):
                ny, nx = y + _STEP_Y[k], x + _STEP_X[k]
                there = labels[ny, nx] if 0 <= ny < height and 0 <= nx < width else 0
                if there == 0 or there == here:
                    continue
                level = min(relief[y, x], relief[ny, nx])
                if level > passes[here]:
                    passes[here], chosen[here] = level, there
                if level > passes[there]:
                    passes[there], chosen[there] = level, here
    return summits, passes, chosen


@njit(cache=True, nogil=True)
def _root(groups: NDArray[np.int32], basin: int) -> int:
    while groups[basin] != basin:
        basin = groups[basin]
    return basin


@njit(cache=True, nogil=True)
def _supports(
    labels: NDArray[np.int32], groups: NDArray[np.int32], boxes: NDArray[np.int32]
) -> NDArray[np.int32]:
    height, width = labels.shape
    supports = boxes.copy()
    for basin in range(1, len(groups)):
        _widen(supports, groups[basin], boxes, basin)
    for y in range(height):
        for x in range(width):
            here = labels[y, x]
            if not here:
                continue
            for k in range(4, 8):
                ny, nx = y + _STEP_Y[k], x + _STEP_X[k]
                if 0 <= ny < height and 0 <= nx < width:
                    there = labels[ny, nx]
                    if there and there != here:
                        _widen(supports, groups[here], boxes, there)
                        _widen(supports, groups[there], boxes, here)
    return supports


@njit(cache=True, nogil=True)
def _widen(supports: NDArray[np.int32], group: int, boxes: NDArray[np.int32], basin: int) -> None:
    supports[group, 0] = min(supports[group, 0], boxes[basin, 0])
    supports[group, 1] = min(supports[group, 1], boxes[basin, 1])
    supports[group, 2] = max(supports[group, 2], boxes[basin, 2])
    supports[group, 3] = max(supports[group, 3], boxes[basin, 3])
