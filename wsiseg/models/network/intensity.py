"""Intensities of a fluorescence channel, brought to the levels that a network reads.

With ``dark`` and ``bright`` measured once on a slide, an intensity ``v`` becomes the share
``(v - dark) / (bright - dark)``, and the share ``s`` in 0..``HEADROOM`` the level ``255 (1 - r(s) /
r(HEADROOM))`` with ``r(s) = sqrt(s + FLOOR) - sqrt(FLOOR)``. The square root evens out the noise
of counting photons, the floor leaves that of the camera small. Nuclei come out dark on white, so
that a network may start from one for brightfield.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from wsiseg.slides.reader import Pixels

HEADROOM = 2.0
"""Greatest share that is told from greater ones."""

FLOOR = 0.05
"""Share about which the root turns into a straight line."""

LEAST_RANGE = 8.0
"""Of intensities: a channel in which nothing glows is not stretched to its noise."""

_DARK, _BRIGHT = 0.02, 0.995
_VALUES = 1 << 16


def measure_range(samples: Sequence[Pixels]) -> tuple[float, float]:
    """``dark`` and ``bright``: the 2nd and the 99.5th percentile of all samples together.

    Parameters
    ----------
    samples
        uint8 or uint16, of any shape; without any the range of 8 bits is given.
    """
    histogram = np.zeros(_VALUES, np.int64)
    for sample in samples:
        histogram += np.bincount(sample.ravel(), minlength=_VALUES)
    total = int(histogram.sum())
    if not total:
        return 0.0, 255.0
    filled = np.cumsum(histogram)
    dark = float(np.searchsorted(filled, _DARK * total))
    bright = float(np.searchsorted(filled, _BRIGHT * total))
    return dark, max(bright, dark + LEAST_RANGE)


def to_levels(shares: NDArray[np.floating]) -> NDArray[np.uint8]:
    """uint8 levels of shares, of the same shape."""
    root = np.sqrt(np.clip(shares, 0.0, HEADROOM) + FLOOR) - FLOOR**0.5
    top = (HEADROOM + FLOOR) ** 0.5 - FLOOR**0.5
    levels: NDArray[np.uint8] = np.rint(255 * (1 - root / top)).astype(np.uint8)
    return levels


def level_table(dark: float, bright: float) -> NDArray[np.uint8]:
    """uint8 ``[65536]``: level by intensity."""
    return to_levels((np.arange(_VALUES) - dark) / (bright - dark))
