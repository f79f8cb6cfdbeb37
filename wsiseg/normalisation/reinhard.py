"""Colour transfer by mean and spread, after Reinhard.

Reinhard et al., "Color transfer between images", IEEE Computer Graphics and Applications 21, 2001;
the colour space is their l-alpha-beta (Ruderman, Cronin and Chiao, J. Opt. Soc. Am. A 15, 1998).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wsiseg.errors import SlideError

LEAST_PIXELS = 500

Floats = NDArray[np.float64]

_RGB_TO_LMS = np.array(
    [[0.3811, 0.5783, 0.0402], [0.1967, 0.7244, 0.0782], [0.0241, 0.1288, 0.8444]]
)
_LMS_TO_LAB = np.diag([1 / np.sqrt(3), 1 / np.sqrt(6), 1 / np.sqrt(2)]) @ np.array(
    [[1.0, 1.0, 1.0], [1.0, 1.0, -2.0], [1.0, -1.0, 0.0]]
)
_LMS_TO_RGB = np.linalg.inv(_RGB_TO_LMS)
_LAB_TO_LMS = np.linalg.inv(_LMS_TO_LAB)


@dataclass(frozen=True, slots=True)
class ColourProfile:
    """Mean and standard deviation of l, alpha and beta, float64 ``[3]`` each."""

    mean: Floats
    spread: Floats


REFERENCE = ColourProfile(np.array([-0.3245, -0.0387, 0.0066]), np.array([0.1049, 0.0307, 0.0043]))
"""Of the stained pixels of the 37 breast cancer tiles that the bundled network learnt from (TNBC,
Naylor et al. 2018, patients 01 to 08), a natural logarithm density of 0.15 or more a channel."""


def lab(pixels: NDArray[np.uint8]) -> Floats:
    """l, alpha, beta: float64 ``[n, 3]`` of RGB ``[n, 3]``; intensities count as ``(I + 1) / 256``,
    which keeps the logarithm finite."""
    cones = (pixels.astype(np.float64) + 1) / 256 @ _RGB_TO_LMS.T
    found: Floats = np.log10(cones) @ _LMS_TO_LAB.T
    return found


def reinhard_profile(pixels: NDArray[np.uint8]) -> ColourProfile:
    """Of RGB uint8 ``[n, 3]``, tissue only: glass would count with the tissue's colours.

    Raises
    ------
    SlideError
        If there are fewer than ``LEAST_PIXELS``.
    """
    if len(pixels) < LEAST_PIXELS:
        raise SlideError(
            f"only {len(pixels)} pixels of tissue were found to fit a colour normalisation to, "
            f"and {LEAST_PIXELS} are needed: choose the model without normalisation for this slide"
        )
    found = lab(pixels)
    return ColourProfile(found.mean(axis=0), np.maximum(found.std(axis=0), 1e-4))


def recolour(
    pixels: NDArray[np.uint8], source: ColourProfile, target: ColourProfile
) -> NDArray[np.uint8]:
    """Pixels ``[y, x, 3]`` with each of l, alpha, beta shifted and scaled to the target's."""
    gain = target.spread / source.spread
    matrix = _LAB_TO_LMS @ np.diag(gain) @ _LMS_TO_LAB
    offset = _LAB_TO_LMS @ (target.mean - gain * source.mean)
    shown: NDArray[np.uint8] = _recolour(
        np.ascontiguousarray(pixels), _RGB_TO_LMS, matrix, offset, _LMS_TO_RGB
    )
    return shown


@njit(cache=True, nogil=True)
def _recolour(
    pixels: NDArray[np.uint8], forth: Floats, matrix: Floats, offset: Floats, back: Floats
) -> NDArray[np.uint8]:
    height, width = pixels.shape[:2]
    out = np.empty((height, width, 3), np.uint8)
    cones, changed = np.empty(3), np.empty(3)
    for y in range(height):
        for x in range(width):
            for k in range(3):
                total = 0.0
                for c in range(3):
                    total += forth[k, c] * (pixels[y, x, c] + 1.0) / 256
                cones[k] = np.log10(total)
            for k in range(3):
                total = offset[k]
                for c in range(3):
                    total += matrix[k, c] * cones[c]
                changed[k] = 10.0**total
            for k in range(3):
                total = 0.0
                for c in range(3):
                    total += back[k, c] * changed[c]
                out[y, x, k] = np.uint8(min(max(np.rint(256 * total - 1), 0.0), 255.0))
    return out
