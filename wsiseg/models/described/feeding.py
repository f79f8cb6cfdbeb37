"""From pixels to what a network takes, and windows of any size to a network of one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsiseg.models.described.description import Input
from wsiseg.models.segmenter import Statistics
from wsiseg.slides.reader import Pixels

LARGEST_PIECE = 1536
"""Side in pixels of what a network that takes any size is given at once."""

_VALUES = 1 << 16
_LEAST_RANGE = 1.0

Run = Callable[[NDArray[Any]], NDArray[np.float32]]
"""From values in the network's layout to ``[n, channels, y, x]``."""


def measure_percentiles(samples: Sequence[Pixels], fed: Input) -> Statistics:
    """The percentiles that the description asks for, a channel, over all samples together.

    Returns
    -------
    ``low`` and ``high`` with one number a channel, or nothing where none are asked for. Without
    samples they are 0 and 255.
    """
    if fed.percentiles is None:
        return {}
    histograms = np.zeros((fed.channels, _VALUES), np.int64)
    for sample in samples:
        for k in range(fed.channels):
            histograms[k] += np.bincount(sample[..., k].ravel(), minlength=_VALUES)
    bounds = []
    for share in fed.percentiles:
        each = []
        for histogram in histograms:
            filled = np.cumsum(histogram)
            place = int(np.searchsorted(filled, share / 100 * filled[-1]))
            each.append(float(place) if filled[-1] else 255.0 * (share > 50))
        bounds.append(tuple(each))
    return {"low": bounds[0], "high": bounds[1]}


def prepare(pixels: Pixels, fed: Input, statistics: Statistics) -> NDArray[Any]:
    """Values ``[n, y, x, c]`` of windows ``[n, y, x, c]``, float32 or uint8."""
    if fed.dtype == "uint8":
        return np.ascontiguousarray(pixels)
    low = np.zeros(1)
    scale: NDArray[np.float64] = np.full(1, fed.divide)
    if fed.percentiles is not None:
        low = np.array(statistics["low"])
        scale = np.maximum(np.array(statistics["high"]) - low, _LEAST_RANGE)
    mean, std = np.array(fed.mean), np.array(fed.std)
    # One multiplication and one addition a pixel: (v - low) / scale, less the mean, over std.
    times = (1 / (scale * std)).astype(np.float32)
    plus = (-(low / scale + mean) / std).astype(np.float32)
    values: NDArray[np.float32] = pixels.astype(np.float32) * times + plus
    return values if fed.clip is None else np.clip(values, *fed.clip)


def run_windows(run: Run, values: NDArray[Any], fed: Input) -> NDArray[np.float32]:
    """All channels for windows ``[n, y, x, c]`` of any size: ``[n, channels, y / step, x / step]``.

    A network of any size that loses nothing takes a window as it is, if it is not too large. Else
    the window, mirrored at its edges, is cut into pieces that overlap by twice what an output lacks
    (``lost``) and what of it is not used (``Input.cut``).
    """
    height, width = values.shape[1:3]
    if fed.side is None and fed.lost == 0 and max(height, width) <= LARGEST_PIECE:
        return run(_laid_out(values, fed))
    edge = fed.lost + fed.cut
    side = fed.side or max(LARGEST_PIECE // fed.stride * fed.stride, 2 * edge + fed.stride)
    step = max((side - 2 * edge) // fed.stride * fed.stride, 1)
    room = [(edge, side - edge - step + -length % step) for length in (height, width)]
    padded = np.pad(values, ((0, 0), room[0], room[1], (0, 0)), mode="reflect")
    cut, grid = fed.cut // fed.step, fed.step
    whole: NDArray[np.float32] = np.empty(0, np.float32)
    for y in range(0, height, step):
        for x in range(0, width, step):
            piece = padded[:, y : y + side, x : x + side]
            found = run(_laid_out(piece, fed))[:, :, cut:, cut:]
            if not len(whole):
                shape = (len(values), found.shape[1], height // grid, width // grid)
                whole = np.empty(shape, np.float32)
            part = whole[:, :, y // grid : (y + step) // grid, x // grid : (x + step) // grid]
            part[:] = found[:, :, : part.shape[2], : part.shape[3]]
    return whole


def _laid_out(values: NDArray[Any], fed: Input) -> NDArray[Any]:
    laid = values.transpose(0, 3, 1, 2) if fed.layout == "nchw" else values
    return np.ascontiguousarray(laid)
