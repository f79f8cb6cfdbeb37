"""Where in an image labels are, and what lies in a part of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def label_boxes(labels: NDArray[np.int32], count: int) -> NDArray[np.int64]:
    """Half-open boxes ``x0, y0, x1, y1``, int64 ``[count, 4]``, of all pixels of every label.

    ``labels`` is ``[y, x]``; values but 1 to ``count`` are passed over. A label without pixels
    has the box ``0, 0, 0, 0``.
    """
    boxes = np.zeros((count, 4), np.int64)
    height, width = labels.shape
    for y in range(height):
        for x in range(width):
            label = labels[y, x]
            if label <= 0 or label > count:
                continue
            box = boxes[label - 1]
            if box[3] == 0:
                box[0], box[1], box[2], box[3] = x, y, x + 1, y + 1
            else:
                box[0] = min(box[0], x)
                box[2] = max(box[2], x + 1)
                box[3] = y + 1
    return boxes


@njit(cache=True, nogil=True)
def shown_in(
    labels: NDArray[np.int32], which: NDArray[np.int64], boxes: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Whether label ``which[i]`` has a pixel in the half-open box ``boxes[i]``, bool ``[n]``.

    ``labels`` is ``[y, x]``; ``boxes``, int64 ``[n, 4]``, lie in it or are empty or inside out.
    """
    shown = np.zeros(len(which), np.bool_)
    for i in range(len(which)):
        for y in range(boxes[i, 1], boxes[i, 3]):
            for x in range(boxes[i, 0], boxes[i, 2]):
                if labels[y, x] == which[i]:
                    shown[i] = True
                    break
            if shown[i]:
                break
    return shown


def boxes_meeting(
    boxes: NDArray[np.int64], box: Sequence[int] | NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Which of the half-open boxes ``[n, 4]`` share a pixel with ``box``, bool ``[n]``."""
    meets: NDArray[np.bool_] = (
        (boxes[:, 0] < box[2])
        & (boxes[:, 2] > box[0])
        & (boxes[:, 1] < box[3])
        & (boxes[:, 3] > box[1])
    )
    return meets
