"""Bounding boxes of labels."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def label_boxes(labels: NDArray[np.int32], count: int) -> NDArray[np.int64]:
    """Half-open boxes ``x0, y0, x1, y1``, int64 ``[count, 4]``, of all pixels of every label.

    ``labels`` is ``[y, x]`` with values 0 (background) to ``count``. A label without pixels
    has the box ``0, 0, 0, 0``.
    """
    boxes = np.zeros((count, 4), np.int64)
    height, width = labels.shape
    for y in range(height):
        for x in range(width):
            label = labels[y, x]
            if label == 0:
                continue
            box = boxes[label - 1]
            if box[3] == 0:
                box[0], box[1], box[2], box[3] = x, y, x + 1, y + 1
            else:
                box[0] = min(box[0], x)
                box[2] = max(box[2], x + 1)
                box[3] = y + 1
    return boxes
