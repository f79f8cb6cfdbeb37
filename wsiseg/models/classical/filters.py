"""Image filters of known reach in integers.

Every output pixel depends on inputs no further away than stated, and is the same bits wherever
the window lies: sums run over integers, so neither their order nor their start shows. At the
window's border the outermost pixels are repeated; outputs that touch the border are only
meant to be thrown away.

Arrays are ``[y, x]``.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def binomial(image: NDArray[np.int32], passes: int) -> NDArray[np.int32]:
    """Smooth with ``passes`` times the binomial kernel 1 4 6 4 1 along both axes.

    Each pass has variance 1 px² and reach 2 px. Values must stay below 2**22 in size; they are
    rounded down once a pass.
    """
    height, width = image.shape
    out = image.copy()
    columns = np.empty((height, width), np.int32)
    padded = np.empty(width + 4, np.int32)
    for _ in range(passes):
        for y in range(height):
            a, b = max(y - 2, 0), max(y - 1, 0)
            d, e = min(y + 1, height - 1), min(y + 2, height - 1)
            for x in range(width):
                columns[y, x] = out[a, x] + out[e, x] + 4 * (out[b, x] + out[d, x]) + 6 * out[y, x]
        for y in range(height):
            padded[2 : width + 2] = columns[y]
            padded[:2] = columns[y, 0]
            padded[width + 2 :] = columns[y, width - 1]
            for x in range(width):
                total = padded[x] + padded[x + 4] + 4 * (padded[x + 1] + padded[x + 3])
                out[y, x] = (total + 6 * padded[x + 2] + 128) >> 8
    return out


@njit(cache=True, nogil=True)
def box_mean(image: NDArray[np.int32], radius: int) -> NDArray[np.int32]:
    """Mean over the square of ``2 radius + 1`` pixels, rounded down; reach ``radius``.

    Beyond the border the square is cut and the mean is that of what is left.
    """
    height, width = image.shape
    out = np.empty((height, width), np.int32)
    columns = np.zeros(width, np.int64)
    for y in range(min(radius, height)):
        for x in range(width):
            columns[x] += image[y, x]
    for y in range(height):
        if y + radius < height:
            for x in range(width):
                columns[x] += image[y + radius, x]
        if y - radius > 0:
            for x in range(width):
                columns[x] -= image[y - radius - 1, x]
        rows = min(y + radius, height - 1) - max(y - radius, 0) + 1
        total = np.int64(0)
        for x in range(min(radius, width)):
            total += columns[x]
        for x in range(width):
            if x + radius < width:
                total += columns[x + radius]
            if x - radius > 0:
                total -= columns[x - radius - 1]
            count = rows * (min(x + radius, width - 1) - max(x - radius, 0) + 1)
            # Whole squares hold less than 2**53 in sum: the quotient is exact to the floor.
            out[y, x] = np.int32(total // count)
    return out


@njit(cache=True, nogil=True)
def capped_distance(mask: NDArray[np.bool_], radius: int) -> NDArray[np.int32]:
    """Squared Euclidean distance to the nearest pixel outside the mask, ``radius ** 2`` at most.

    Exact integers; reach ``radius``. Beyond the window's border nothing counts as outside.
    After Felzenszwalb and Huttenlocher, "Distance transforms of sampled functions" (2012): one
    axis after the other, here by direct search since the distance is capped.
    """
    height, width = mask.shape
    cap = radius * radius
    vertical = np.empty((height, width), np.int32)
    for x in range(width):
        vertical[0, x] = radius if mask[0, x] else 0
    for y in range(1, height):
        for x in range(width):
            vertical[y, x] = min(vertical[y - 1, x] + 1, radius) if mask[y, x] else 0
    for y in range(height - 2, -1, -1):
        for x in range(width):
            vertical[y, x] = min(vertical[y, x], vertical[y + 1, x] + 1)
    squares = np.empty((height, width), np.int32)
    for y in range(height):
        for x in range(width):
            best = vertical[y, x] * vertical[y, x]
            step = 1
            while step < radius and step * step < best:
                if x >= step:
                    left = vertical[y, x - step]
                    best = min(best, left * left + step * step)
                if x + step < width:
                    right = vertical[y, x + step]
                    best = min(best, right * right + step * step)
                step += 1
            squares[y, x] = min(best, cap)
    return squares


@njit(cache=True, nogil=True)
def majority(mask: NDArray[np.bool_], radius: int, share: int) -> NDArray[np.bool_]:
    """Pixels around which more than ``share`` in 256 of the square belong to the mask.

    Closes pinholes, removes specks and smooths outlines; reach ``radius``.
    """
    height, width = mask.shape
    side = 2 * radius + 1
    needed = share * side * side
    out = np.zeros((height, width), np.bool_)
    columns = np.zeros(width, np.int32)
    for y in range(min(radius, height)):
        for x in range(width):
            columns[x] += mask[y, x]
    for y in range(height):
        if y + radius < height:
            for x in range(width):
                columns[x] += mask[y + radius, x]
        if y - radius > 0:
            for x in range(width):
                columns[x] -= mask[y - radius - 1, x]
        total = np.int32(0)
        for x in range(min(radius, width)):
            total += columns[x]
        for x in range(width):
            if x + radius < width:
                total += columns[x + radius]
            if x - radius > 0:
                total -= columns[x - radius - 1]
            out[y, x] = total * 256 > needed
    return out
