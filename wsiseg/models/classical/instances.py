"""From joined basins to instances: trim, fill, keep the largest part, measure.

Every step looks at one instance's own bounding box only, so it adds nothing to its support.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wsiseg.models.classical.basins import basin_boxes


@njit(cache=True, nogil=True)
def trim(
    labels: NDArray[np.int32], stain: NDArray[np.int32], count: int, share: int
) -> NDArray[np.int32]:
    """Labels without the pixels whose value is at most ``share`` in 256 of their instance's mean.

    The mask is drawn low enough for the palest nuclei; a dark one must not carry its blurred
    margin along.
    """
    height, width = labels.shape
    area = np.zeros(count + 1, np.int64)
    total = np.zeros(count + 1, np.int64)
    for y in range(height):
        for x in range(width):
            label = labels[y, x]
            if label:
                area[label] += 1
                total[label] += stain[y, x]
    out = np.zeros((height, width), np.int32)
    for y in range(height):
        for x in range(width):
            label = labels[y, x]
            if label and stain[y, x] * area[label] * 256 > share * total[label]:
                out[y, x] = label
    return out


@njit(cache=True, nogil=True)
def tidy(labels: NDArray[np.int32], count: int, largest_hole: int) -> None:
    """Keep the largest 4-connected part of every instance and fill its holes, in place.

    Of equal parts the upper left one stays. A hole (4-connected pixels that do not reach the
    instance's box) is filled if it has at most ``largest_hole`` pixels and holds no pixel of
    another instance.
    """
    height, width = labels.shape
    boxes = basin_boxes(labels, count)
    seen = np.zeros((height, width), np.int32)
    stack = np.empty((height * width, 2), np.int32)
    for label in range(1, count + 1):
        if boxes[label, 2] <= boxes[label, 0]:
            continue
        _keep_largest(labels, seen, stack, label, boxes[label])
        _fill_holes(labels, seen, stack, label, boxes[label], largest_hole)


@njit(cache=True, nogil=True)
def _spread(
    labels: NDArray[np.int32],
    seen: NDArray[np.int32],
    stack: NDArray[np.int32],
    start: tuple[int, int],
    label: int,
    box: NDArray[np.int32],
    inside: bool,
    mark: int,
) -> tuple[int, bool, bool]:
    """Mark the 4-connected pixels of (or, not ``inside``, not of) an instance within a box.

    Returns their number, whether they touch the box's border, and whether they hold a pixel of
    another instance. The stack keeps them.
    """
    x0, y0, x1, y1 = box
    seen[start[0], start[1]] = mark
    stack[0, 0], stack[0, 1] = start
    size, at = 1, 0
    border, foreign = False, False
    while at < size:
        y, x = stack[at, 0], stack[at, 1]
        at += 1
        if x == x0 or y == y0 or x == x1 - 1 or y == y1 - 1:
            border = True
        if labels[y, x] != 0 and labels[y, x] != label:
            foreign = True
        for dy, dx in ((-1, 0), (0, -1), (0, 1), (1, 0)):
            ny, nx = y + dy, x + dx
            if not (x0 <= nx < x1 and y0 <= ny < y1) or seen[ny, nx] == mark:
                continue
            if (labels[ny, nx] == label) == inside:
                seen[ny, nx] = mark
                stack[size, 0], stack[size, 1] = ny, nx
                size += 1
    return size, border, foreign


@njit(cache=True, nogil=True)
def _keep_largest(
    labels: NDArray[np.int32],
    seen: NDArray[np.int32],
    stack: NDArray[np.int32],
    label: int,
    box: NDArray[np.int32],
) -> None:
    best, best_y, best_x, parts = 0, 0, 0, 0
    for y in range(box[1], box[3]):
        for x in range(box[0], box[2]):
            if labels[y, x] == label and seen[y, x] != label:
                size, _, _ = _spread(labels, seen, stack, (y, x), label, box, True, label)
                parts += 1
                if size > best:
                    best, best_y, best_x = size, y, x
    if parts < 2:
        return
    _spread(labels, seen, stack, (best_y, best_x), label, box, True, -label)
    for y in range(box[1], box[3]):
        for x in range(box[0], box[2]):
            if labels[y, x] == label and seen[y, x] != -label:
                labels[y, x] = 0


@njit(cache=True, nogil=True)
def _fill_holes(
    labels: NDArray[np.int32],
    seen: NDArray[np.int32],
    stack: NDArray[np.int32],
    label: int,
    box: NDArray[np.int32],
    largest_hole: int,
) -> None:
    for y in range(box[1], box[3]):
        for x in range(box[0], box[2]):
            if labels[y, x] == label or seen[y, x] == -label:
                continue
            size, border, foreign = _spread(labels, seen, stack, (y, x), label, box, False, -label)
            if not border and not foreign and size <= largest_hole:
                for k in range(size):
                    labels[stack[k, 0], stack[k, 1]] = label


@njit(cache=True, nogil=True)
def measure(
    labels: NDArray[np.int32],
    stain: NDArray[np.int32],
    background: NDArray[np.int32],
    count: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Area, summed contrast (``stain - background``) and area of the ellipse with the same second
    moments, of every label: ``[count + 1]`` each.

    Moments are integer sums from the corner of the instance's box, hence the same wherever the
    window lies.
    """
    height, width = labels.shape
    boxes = basin_boxes(labels, count)
    area = np.zeros(count + 1, np.int64)
    contrast = np.zeros(count + 1, np.int64)
    moments = np.zeros((count + 1, 5), np.int64)
    for y in range(height):
        for x in range(width):
            label = labels[y, x]
            if label:
                area[label] += 1
                contrast[label] += stain[y, x] - background[y, x]
                u, v = np.int64(x - boxes[label, 0]), np.int64(y - boxes[label, 1])
                moments[label, 0] += u
                moments[label, 1] += v
                moments[label, 2] += u * u
                moments[label, 3] += v * v
                moments[label, 4] += u * v
    ellipse = np.zeros(count + 1, np.float64)
    for label in range(1, count + 1):
        n = float(area[label])
        if n > 0:
            mean_u, mean_v = moments[label, 0] / n, moments[label, 1] / n
            # A pixel is a square, whose own variance is 1/12.
            var_u = moments[label, 2] / n - mean_u * mean_u + 1 / 12
            var_v = moments[label, 3] / n - mean_v * mean_v + 1 / 12
            cov = moments[label, 4] / n - mean_u * mean_v
            ellipse[label] = 4 * np.pi * np.sqrt(max(var_u * var_v - cov * cov, 0.0))
    return area, contrast, ellipse
