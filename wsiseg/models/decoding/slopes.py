"""Slopes of a map under a wide Sobel kernel."""

from __future__ import annotations

from math import comb

import numpy as np
from numba import njit
from numpy.typing import NDArray

Map = NDArray[np.float32]


def sobel(image: Map, side: int, *, along_x: bool) -> Map:
    """Slope a pixel, along x or along y; float32 ``[y, x]``.

    The Sobel kernel of ``side`` taps (5 or more): differences along one axis, smoothed by binomial
    weights along both, as OpenCV builds its kernels beyond 3, scaled so that a ramp rising by one a
    pixel gives one. Beyond the window the last row or column goes on. Every pixel is calculated in
    the same order wherever the window lies.
    """
    smooth, slope = _weights(side)
    even = np.ascontiguousarray(image, np.float32)
    if along_x:
        found: Map = _along(_down(even, smooth, False), slope, True)
    else:
        found = _along(_down(even, slope, True), smooth, False)
    return found


def _weights(side: int) -> tuple[Map, Map]:
    """The middle and the upper half of the two kernels, ``[side // 2 + 1]`` each."""
    order, half = side - 1, side // 2
    smooth = [comb(order, half + j) / 2**order for j in range(half + 1)]
    # The difference of two binomials of one order less; a unit ramp gives their sum.
    slope = [
        (comb(order - 1, half + j - 1) - comb(order - 1, half + j)) / 2 ** (order - 1)
        for j in range(half + 1)
    ]
    return np.array(smooth, np.float32), np.array(slope, np.float32)


@njit(cache=True, nogil=True)
def _down(image: Map, taps: Map, odd: bool) -> Map:
    """Along y, under a kernel of which the middle and the lower half are given; ``odd``: its upper
    half has the opposite sign, and its middle is 0."""
    height, width = image.shape
    out = np.empty((height, width), np.float32)
    sign = np.float32(-1) if odd else np.float32(1)
    for y in range(height):
        line = out[y]
        line[:] = image[y] * (np.float32(0) if odd else taps[0])
        for j in range(1, len(taps)):
            above, below = image[max(y - j, 0)], image[min(y + j, height - 1)]
            for x in range(width):
                line[x] += taps[j] * (below[x] + sign * above[x])
    return out


@njit(cache=True, nogil=True)
def _along(image: Map, taps: Map, odd: bool) -> Map:
    """Along x, as :func:`_down`; in place."""
    height, width = image.shape
    half = len(taps) - 1
    sign = np.float32(-1) if odd else np.float32(1)
    row = np.empty(width + 2 * half, np.float32)
    for y in range(height):
        line = image[y]
        row[:half] = line[0]
        row[half : half + width] = line
        row[half + width :] = line[width - 1]
        line[:] = line * (np.float32(0) if odd else taps[0])
        for j in range(1, half + 1):
            left, right = row[half - j : half - j + width], row[half + j : half + j + width]
            for x in range(width):
                line[x] += taps[j] * (right[x] + sign * left[x])
    return image
