"""Intensities as StarDist's networks learnt them: two percentiles brought to 0 and 1.

StarDist takes them of every image, 1 and 99.8 in its examples, with values beyond left as they
come out. Here they are of the slide's tissue, once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from wsiseg.models.network.intensity import LEAST_RANGE
from wsiseg.slides.reader import Pixels

_VALUES = 1 << 16


def measure_percentiles(
    samples: Sequence[Pixels], channels: int, percentiles: tuple[float, float]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Two percentiles of every channel over all samples, as ``numpy.percentile`` has them.

    Parameters
    ----------
    samples
        uint8 or uint16 ``[..., channels]``; without any the range of 8 bits is given.
    channels
        How many there are.
    percentiles
        Two numbers in 0..100, rising.

    Returns
    -------
    The lower and the higher, one number a channel; the higher is greater by ``LEAST_RANGE`` at
    least, so that nothing is not stretched to something.
    """
    low, high = [], []
    for channel in range(channels):
        histogram = np.zeros(_VALUES, np.int64)
        for sample in samples:
            histogram += np.bincount(sample[..., channel].ravel(), minlength=_VALUES)
        first, second = (_percentile(histogram, q) for q in percentiles)
        if not histogram.any():
            first, second = 0.0, 255.0
        low.append(first)
        high.append(max(second, first + LEAST_RANGE))
    return tuple(low), tuple(high)


def normalise(pixels: Pixels, low: Sequence[float], high: Sequence[float]) -> NDArray[np.float32]:
    """float32 of the same shape ``[..., channels]``: ``low`` becomes 0 and ``high`` 1."""
    least = np.asarray(low, np.float32)
    found = pixels.astype(np.float32)
    found -= least
    found /= np.asarray(high, np.float32) - least
    return found


def _percentile(histogram: NDArray[np.int64], percent: float) -> float:
    """By linear interpolation between the two values nearest in rank."""
    filled = np.cumsum(histogram)
    rank = percent / 100 * max(int(filled[-1]) - 1, 0)
    below, above = (
        float(np.searchsorted(filled, int(place), side="right"))
        for place in (np.floor(rank), np.ceil(rank))
    )
    return below + (above - below) * float(rank - np.floor(rank))
