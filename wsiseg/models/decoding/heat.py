"""The flows that masks have: towards the middle of each, as heat that spreads there rises.

As cellpose makes them on processors (Stringer et al., Nature Methods 18, 100-106, 2021): to train
networks by, and to tell masks that contradict the flows they were made from.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wsiseg.models.classical.basins import basin_boxes


def flow_errors(
    labels: NDArray[np.int32], count: int, flows: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Mean squared difference between flows and those that the masks would have.

    Parameters
    ----------
    labels
        int32 ``[y, x]``, 0 is background.
    flows
        float32 ``[y, x, 2]``, pixels a step along y and x.

    Returns
    -------
    float64 ``[count + 1]``, 0 for labels without pixels.
    """
    expected = np.zeros((*labels.shape, 2), np.float32)
    _ascents(labels, basin_boxes(labels, count), expected)
    errors: NDArray[np.float64] = _mean_squares(labels, flows, expected, count)
    return errors


def mask_flows(labels: NDArray[np.int32]) -> NDArray[np.float32]:
    """The flows float32 ``[2, y, x]`` that a network should find for masks int32 ``[y, x]``.

    Directions in which a heat rises that spreads from each mask's middle within the mask; 0 in
    the background.
    """
    flows = np.zeros((*labels.shape, 2), np.float32)
    _ascents(labels, basin_boxes(labels, int(labels.max(initial=0))), flows)
    return np.moveaxis(flows, 2, 0)


@njit(cache=True, nogil=True)
def _ascents(
    labels: NDArray[np.int32], boxes: NDArray[np.int32], flows: NDArray[np.float32]
) -> None:
    """Write the directions ``[y, x, 2]`` in which the heat of every mask rises."""
    for label in range(1, len(boxes)):
        x0, y0, x1, y1 = boxes[label]
        if x1 <= x0:
            continue
        heat = _diffuse(labels, label, boxes[label])
        for j in range(1, y1 - y0 + 1):
            for i in range(1, x1 - x0 + 1):
                y, x = y0 + j - 1, x0 + i - 1
                if labels[y, x] == label:
                    dy = heat[j + 1, i] - heat[j - 1, i]
                    dx = heat[j, i + 1] - heat[j, i - 1]
                    length = 1e-60 + np.sqrt(dy * dy + dx * dx)
                    flows[y, x, 0], flows[y, x, 1] = dy / length, dx / length


@njit(cache=True, nogil=True)
def _diffuse(labels: NDArray[np.int32], label: int, box: NDArray[np.int32]) -> NDArray[np.float64]:
    """Heat that spread within a mask from its middle; its box with a margin of one pixel."""
    x0, y0, x1, y1 = box
    middle_y, middle_x = _middle(labels, label, box)
    rows, columns = y1 - y0, x1 - x0
    old = np.zeros((rows + 2, columns + 2), np.float64)
    new = np.zeros((rows + 2, columns + 2), np.float64)
    for _ in range(2 * (rows + columns + 4)):
        old[middle_y - y0 + 1, middle_x - x0 + 1] += 1
        for j in range(1, rows + 1):
            for i in range(1, columns + 1):
                if labels[y0 + j - 1, x0 + i - 1] == label:
                    total = old[j - 1, i - 1] + old[j - 1, i] + old[j - 1, i + 1]
                    total += old[j, i - 1] + old[j, i] + old[j, i + 1]
                    total += old[j + 1, i - 1] + old[j + 1, i] + old[j + 1, i + 1]
                    new[j, i] = total / 9
        old, new = new, old
    return old


@njit(cache=True, nogil=True)
def _middle(labels: NDArray[np.int32], label: int, box: NDArray[np.int32]) -> tuple[int, int]:
    """The pixel of a mask that is nearest to its centre of mass."""
    x0, y0, x1, y1 = box
    total_y, total_x, area = 0, 0, 0
    for y in range(y0, y1):
        for x in range(x0, x1):
            if labels[y, x] == label:
                total_y += y - y0
                total_x += x - x0
                area += 1
    best, best_y, best_x = np.int64(-1), y0, x0
    for y in range(y0, y1):
        for x in range(x0, x1):
            if labels[y, x] == label:
                dy, dx = (y - y0) * area - total_y, (x - x0) * area - total_x
                far = np.int64(dy) * dy + np.int64(dx) * dx
                if best < 0 or far < best:
                    best, best_y, best_x = far, y, x
    return best_y, best_x


@njit(cache=True, nogil=True)
def _mean_squares(
    labels: NDArray[np.int32],
    flows: NDArray[np.float32],
    others: NDArray[np.float32],
    count: int,
) -> NDArray[np.float64]:
    height, width = labels.shape
    total = np.zeros(count + 1, np.float64)
    area = np.zeros(count + 1, np.int64)
    for y in range(height):
        for x in range(width):
            label = labels[y, x]
            if label:
                dy = np.float64(flows[y, x, 0]) - others[y, x, 0]
                dx = np.float64(flows[y, x, 1]) - others[y, x, 1]
                total[label] += dy * dy + dx * dx
                area[label] += 1
    return total / np.maximum(area, 1)
