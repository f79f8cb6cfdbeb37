"""Separable area resampling whose weights depend on nothing but the global pixel index.

For an output pixel ``i`` of an axis with ``s`` source pixels per output pixel:

1. its footprint has the width ``w = max(s, 1)`` and the centre ``c = (i + 0.5) s``;
2. the weight of source pixel ``k`` is the overlap of ``[c - w/2, c + w/2]`` with
   ``[k, k + 1]``, divided by ``w``.

For ``s > 1`` this is the exact mean over the pixel's area (a low-pass filter that cannot
alias more than a box does), for ``s < 1`` linear interpolation, for ``s = 1`` the identity.
As ``i`` counts from the corner of the frame, never from the corner of a read, two reads that
overlap compute every shared pixel from the same numbers in the same order: byte for byte equal.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wsiseg.geometry import Box
from wsiseg.slides.reader import Pixels

_SLIVER = 1e-6
"""Overlaps narrower than this (in source pixels) come from rounding, not from geometry."""


def source_box(box: Box, scale_x: float, scale_y: float) -> Box:
    """The source pixels that the output pixels of ``box`` are computed from.

    Parameters
    ----------
    box
        Output pixels, in the output frame.
    scale_x, scale_y
        Source pixels per output pixel along x and y.
    """
    x0, x1 = _span(box.x0, box.x1, scale_x)
    y0, y1 = _span(box.y0, box.y1, scale_y)
    return Box(x0, y0, x1, y1)


def resample(source: Pixels, origin: Box, box: Box, scale_x: float, scale_y: float) -> Pixels:
    """The output pixels ``[y, x, c]`` of ``box``, of the source's dtype, rounded half up.

    Parameters
    ----------
    source
        Source pixels ``[y, x, c]``, uint8 or uint16.
    origin
        The box of the source frame that ``source`` holds; it contains
        :func:`source_box` of ``box``.
    box
        Output pixels wanted, in the output frame.
    scale_x, scale_y
        Source pixels per output pixel along x and y.
    """
    if not origin.contains(source_box(box, scale_x, scale_y)) or source.shape[:2] != origin.shape:
        raise ValueError(f"the source {origin} does not hold what {box} is computed from")
    channels = source.shape[2]
    out = np.empty((*box.shape, channels), source.dtype)
    if box.empty:
        return out
    # A mantissa of 24 bits leaves 16 below an 8-bit value, but only 8 below a 16-bit one.
    real = np.float32 if source.dtype == np.uint8 else np.float64
    starts_y, counts_y, weights_y = _weights(box.y0, box.height, scale_y)
    starts_x, counts_x, weights_x = _weights(box.x0, box.width, scale_x)
    rows = np.ascontiguousarray(source).reshape(source.shape[0], -1)
    _apply(
        rows,
        (starts_y - origin.y0, counts_y, weights_y.astype(real)),
        (starts_x - origin.x0, counts_x, weights_x.astype(real)),
        np.empty(rows.shape[1], real),
        out,
    )
    return out


def _span(first: int, stop: int, scale: float) -> tuple[int, int]:
    if stop <= first:
        return first, first
    half = max(scale, 1.0) / 2
    low, high = (first + 0.5) * scale - half, (stop - 0.5) * scale + half
    return math.floor(low + _SLIVER), math.ceil(high - _SLIVER)


@njit(cache=True, nogil=True)
def _weights(
    first: int, count: int, scale: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    width = max(scale, 1.0)
    starts = np.empty(count, np.int64)
    counts = np.empty(count, np.int64)
    weights = np.zeros((count, math.ceil(width) + 2), np.float64)
    for i in range(count):
        centre = (first + i + 0.5) * scale
        low, high = centre - width / 2, centre + width / 2
        start = math.floor(low + _SLIVER)
        stop = math.ceil(high - _SLIVER)
        starts[i] = start
        counts[i] = stop - start
        for k in range(stop - start):
            left = max(low, float(start + k))
            right = min(high, float(start + k + 1))
            weights[i, k] = max(right - left, 0.0) / width
    return starts, counts, weights


@njit(cache=True, nogil=True)
def _apply(rows, along_y, along_x, line, out):  # type: ignore[no-untyped-def]
    """Blend source rows into ``line``, then pixels of ``line`` into one output row."""
    starts_y, counts_y, weights_y = along_y
    starts_x, counts_x, weights_x = along_x
    height, width, channels = out.shape
    half = line.dtype.type(0.5)
    top = line.dtype.type(255 if out.itemsize == 1 else 65535)
    flat = line.size
    for y in range(height):
        row = rows[starts_y[y]]
        weight = weights_y[y, 0]
        for j in range(flat):
            line[j] = weight * row[j]
        for k in range(1, counts_y[y]):
            row = rows[starts_y[y] + k]
            weight = weights_y[y, k]
            for j in range(flat):
                line[j] += weight * row[j]
        if channels == 3:
            for x in range(width):
                j = starts_x[x] * 3
                weight = weights_x[x, 0]
                red = weight * line[j]
                green = weight * line[j + 1]
                blue = weight * line[j + 2]
                for k in range(1, counts_x[x]):
                    j += 3
                    weight = weights_x[x, k]
                    red += weight * line[j]
                    green += weight * line[j + 1]
                    blue += weight * line[j + 2]
                out[y, x, 0] = min(red + half, top)
                out[y, x, 1] = min(green + half, top)
                out[y, x, 2] = min(blue + half, top)
        else:
            for x in range(width):
                for c in range(channels):
                    j = starts_x[x] * channels + c
                    value = weights_x[x, 0] * line[j]
                    for k in range(1, counts_x[x]):
                        value += weights_x[x, k] * line[j + k * channels]
                    out[y, x, c] = min(value + half, top)
