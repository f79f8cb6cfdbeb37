"""Tissue on fluorescence slides, at about 8 µm/px: what glows above the dark."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from wsiseg.slides.reader import Pixels
from wsiseg.tissue.areas import Mask

_NOISE_FACTOR = 6.0
_LEAST_SHARE = 0.04
_MOST_SHARE = 0.15


def find_fluorescence(pixels: Pixels) -> Mask:
    """Pixels that glow in any channel of ``[y, x, c]``.

    In each channel the dark level is the 1st percentile and the noise is measured below the
    10th; the threshold is Otsu's, held between the noise and a small share of the range up to
    the brightest, so that a slide full of tissue is not split.
    """
    found = np.zeros(pixels.shape[:2], np.bool_)
    for channel in range(pixels.shape[2]):
        found |= _glowing(pixels[..., channel].astype(np.float32))
    return found


def _glowing(values: NDArray[np.float32]) -> Mask:
    smooth = ndimage.gaussian_filter(values, 1.0)
    dark, low, bright = (float(v) for v in np.percentile(smooth, [1.0, 10.0, 99.8]))
    span = bright - dark
    if span <= 2.0:
        return np.zeros(values.shape, np.bool_)
    noise = max(low - dark, 0.5)
    limit = max(_LEAST_SHARE * span, min(_NOISE_FACTOR * noise, _MOST_SHARE * span))
    glowing: Mask = smooth > dark + limit
    return glowing
