"""From markers to instances: every pixel of the mask climbs to the marker it stands below.

Published post-processing floods a relief from its markers (a watershed). Flooding passes a clump on
from nucleus to nucleus, so a nucleus hangs on all of its clump; in dense tissue clumps have no end.
Here each pixel takes a step to the highest of its eight neighbours until it stands on a marker or
on a summit without one. The pixels of one marker or summit are a *basin*. A basin without a marker
joins the neighbour over its highest pass if that one has a marker, or joined one in an earlier of
``ROUNDS`` rounds; a basin that finds none is dropped, as a watershed drops what no marker reaches.

So an instance depends on its basins, on those that touch them, and where one of these has no
marker on those that it touches in turn, ``ROUNDS`` steps at most. The union of their boxes is its
*support*: whatever window shows it (and ``GROWING_REACH`` pixels around it) gives the same
instance.

Pixels are ordered by ``(height, -y, -x)``, as in :mod:`wsiseg.models.classical.basins`.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

GROWING_REACH = 2
"""Pixels around a support that mask, relief and markers must be right in."""

ROUNDS = 3

_OUTSIDE = np.int32(np.iinfo(np.int32).min)
"""Height beyond the mask: no step leads there."""

_STEP_Y = (-1, -1, -1, 0, 0, 1, 1, 1)
_STEP_X = (-1, 0, 1, -1, 1, -1, 0, 1)

Labels = NDArray[np.int32]
Boxes = NDArray[np.int32]
Pixels = NDArray[np.int32]
"""Places of the mask's pixels in a flattened image, in reading order."""

Climbed = tuple[Labels, int]


def grow(
    mask: NDArray[np.bool_], relief: NDArray[np.int32], markers: Labels, count: int
) -> tuple[Labels, Boxes]:
    """Instances of a window.

    Parameters
    ----------
    mask
        ``[y, x]``: pixels that may belong to an instance.
    relief
        int32 ``[y, x]``: heights; the middle of a nucleus is high, its border low.
    markers
        int32 ``[y, x]``: 0, or 1 to ``count``; only what lies in the mask counts.

    Returns
    -------
    labels
        int32 ``[y, x]``: 0, or the marker's number. A marker that has no pixel in the mask has no
        instance.
    supports
        int32 ``[count, 4]`` boxes ``x0, y0, x1, y1``; empty for a marker without an instance.
    """
    pixels = np.flatnonzero(mask).astype(np.int32)
    heights = np.where(mask, np.maximum(relief, _OUTSIDE + 1), _OUTSIDE)
    basins, total = _climb(pixels, heights, np.where(mask, markers, 0).astype(np.int32), count)
    boxes = _boxes(pixels, basins, total)
    edges, passes = _contacts(pixels, basins, heights)
    owners, supports = _join(edges, passes, boxes, count)
    _own(pixels, basins, owners)
    return basins, supports[1 : count + 1]


@njit(cache=True, nogil=True)
def _climb(pixels: Pixels, heights: NDArray[np.int32], basins: Labels, count: int) -> Climbed:
    """Basins: the numbers of the markers, which stand in ``basins`` already, then those of the
    summits that have none; and the last number."""
    height, width = heights.shape
    relief, found = heights.reshape(-1), basins.reshape(-1)
    target = np.empty(height * width, np.int32)
    total = count
    for here in pixels:
        if found[here]:
            continue
        y, x = here // width, here % width
        best, value = here, relief[here]
        for k in range(8):
            dy, dx = _STEP_Y[k], _STEP_X[k]
            if 0 <= y + dy < height and 0 <= x + dx < width:
                there = np.int32(here + dy * width + dx)
                # Upper left neighbours win ties, and come first.
                if relief[there] > value or (relief[there] == value and there < best):
                    best, value = there, relief[there]
        target[here] = best
        if best == here:
            total += 1
            found[here] = total
    for start in pixels:
        here = start
        while found[here] == 0:
            here = target[here]
        basin = found[here]
        here = start
        while found[here] == 0:
            found[here] = basin
            here = target[here]
    return basins, total


@njit(cache=True, nogil=True)
def _boxes(pixels: Pixels, basins: Labels, total: int) -> Boxes:
    """Bounding boxes ``[total + 1, 4]``; of a number without pixels an empty one."""
    height, width = basins.shape
    boxes = np.zeros((total + 1, 4), np.int32)
    boxes[:, 0], boxes[:, 1] = width, height
    for here in pixels:
        y, x = here // width, here % width
        n = basins[y, x]
        boxes[n, 0], boxes[n, 1] = min(boxes[n, 0], x), min(boxes[n, 1], y)
        boxes[n, 2], boxes[n, 3] = max(boxes[n, 2], x + 1), max(boxes[n, 3], y + 1)
    for n in range(total + 1):
        if boxes[n, 2] == 0:
            boxes[n] = 0
    return boxes


@njit(cache=True, nogil=True)
def _contacts(
    pixels: Pixels, basins: Labels, heights: NDArray[np.int32]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Every pair of neighbouring pixels of two basins: basins ``[n, 2]`` and the pass ``[n]``."""
    height, width = basins.shape
    edges = np.empty((1024, 2), np.int32)
    passes = np.empty(1024, np.int32)
    found = 0
    for place in pixels:
        y, x = place // width, place % width
        here = basins[y, x]
        for k in range(4, 8):
            ny, nx = y + _STEP_Y[k], x + _STEP_X[k]
            there = basins[ny, nx] if ny < height and 0 <= nx < width else 0
            if there == 0 or there == here:
                continue
            if found == len(edges):
                edges = np.concatenate((edges, np.empty_like(edges)))
                passes = np.concatenate((passes, np.empty_like(passes)))
            edges[found, 0], edges[found, 1] = here, there
            passes[found] = min(heights[y, x], heights[ny, nx])
            found += 1
    return edges[:found], passes[:found]


@njit(cache=True, nogil=True)
def _join(
    edges: NDArray[np.int32], passes: NDArray[np.int32], boxes: Boxes, count: int
) -> tuple[Labels, Boxes]:
    """The marker of every basin (0: none) and, for every marker, the support of its instance."""
    total = len(boxes) - 1
    owners = np.zeros(total + 1, np.int32)
    owners[: count + 1] = np.arange(count + 1)
    # What the owner of a basin hangs on: for one with a marker, its own pixels alone.
    hangs = boxes.copy()
    for _ in range(ROUNDS):
        before, known = owners.copy(), hangs.copy()
        highest = np.full(total + 1, np.iinfo(np.int32).min, np.int32)
        for n in range(len(edges)):
            for side in range(2):
                basin, other = edges[n, side], edges[n, 1 - side]
                if before[basin]:
                    continue
                _widen(hangs, basin, known, other)
                if before[other] and passes[n] > highest[basin]:
                    highest[basin], owners[basin] = passes[n], before[other]
    supports = hangs.copy()
    supports[: count + 1] = boxes[: count + 1]
    for basin in range(count + 1, total + 1):
        if owners[basin]:
            _widen(supports, owners[basin], hangs, basin)
    for n in range(len(edges)):
        for side in range(2):
            basin, other = edges[n, side], edges[n, 1 - side]
            if owners[basin]:
                _widen(supports, owners[basin], hangs, other)
    return owners, supports


@njit(cache=True, nogil=True)
def _widen(boxes: Boxes, which: int, others: Boxes, other: int) -> None:
    boxes[which, 0] = min(boxes[which, 0], others[other, 0])
    boxes[which, 1] = min(boxes[which, 1], others[other, 1])
    boxes[which, 2] = max(boxes[which, 2], others[other, 2])
    boxes[which, 3] = max(boxes[which, 3], others[other, 3])


@njit(cache=True, nogil=True)
def _own(pixels: Pixels, basins: Labels, owners: Labels) -> None:
    """Give every basin its owner's number, in place."""
    flat = basins.reshape(-1)
    for here in pixels:
        flat[here] = owners[flat[here]]
