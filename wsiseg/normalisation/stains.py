"""Stain vectors and their strength, after Macenko and after Vahadane.

Optical densities here are natural logarithms, ``-ln((I + 1) / (I0 + 1))``, as in both papers'
programs; :mod:`wsiseg.stain` counts in powers of ten.

Macenko et al., "A method for normalizing histology slides for quantitative analysis", ISBI 2009.
Vahadane et al., "Structure-preserving color normalization and sparse stain separation for
histological images", IEEE Trans. Med. Imaging 35, 2016.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wsiseg.errors import SlideError

WHITE = 240.0
"""Intensity of glass, both papers' ``I0``."""

LEAST_DENSITY = 0.15
"""Macenko's beta: a pixel with a channel below it is taken for glass."""

ANGLE_PERCENTILE = 1.0
"""Macenko's alpha: the stains are this percentile of the angles, and 100 less it."""

STRENGTH_PERCENTILE = 99.0
"""The strength of a stain is this percentile of its amounts."""

SPARSITY = 0.1
"""Vahadane's lambda, the weight of the amounts' sum."""

LEAST_PIXELS = 500
_ROUNDS = 60

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class StainProfile:
    """The stains of a slide.

    Attributes
    ----------
    vectors
        float64 ``[2, 3]``: unit vectors of optical density (natural) of haematoxylin and of the
        counterstain, ``(red, green, blue)``.
    strengths
        float64 ``[2]``: the 99th percentile of each stain's amounts.
    """

    vectors: Floats
    strengths: Floats


REFERENCE = StainProfile(
    np.array([[0.5626, 0.7201, 0.4062], [0.2159, 0.8012, 0.5581]]), np.array([1.9705, 1.0308])
)
"""Macenko's reference, as in the program that the authors published."""


def densities(pixels: NDArray[np.uint8]) -> Floats:
    """Optical densities float64 ``[n, 3]`` (natural) of RGB ``[n, 3]``."""
    found: Floats = -np.log((pixels.astype(np.float64) + 1) / (WHITE + 1))
    return found


def macenko_profile(pixels: NDArray[np.uint8]) -> StainProfile:
    """Stains by the extreme angles in the plane of the two largest singular vectors.

    Parameters
    ----------
    pixels
        RGB uint8 ``[n, 3]``, glass included or not.

    Raises
    ------
    SlideError
        If fewer than ``LEAST_PIXELS`` are stained.
    """
    stained = _stained(pixels)
    _, axes = np.linalg.eigh(np.cov(stained.T))
    plane = axes[:, [2, 1]]
    plane *= np.where(plane.sum(axis=0) < 0, -1.0, 1.0)
    along = stained @ plane
    angles = np.arctan2(along[:, 1], along[:, 0])
    ends = np.percentile(angles, [ANGLE_PERCENTILE, 100 - ANGLE_PERCENTILE])
    vectors = (plane @ np.stack([np.cos(ends), np.sin(ends)])).T
    return _profile(np.maximum(vectors, 0.0), stained)


def vahadane_profile(pixels: NDArray[np.uint8]) -> StainProfile:
    """Stains by sparse non-negative matrix factorisation of the optical densities.

    Minimises ``|V - H W|² / 2 + lambda sum(H)`` over amounts ``H >= 0`` and unit vectors
    ``W >= 0`` by turns, starting from Macenko's vectors, so that the answer is the same every
    time.

    Raises
    ------
    SlideError
        If fewer than ``LEAST_PIXELS`` are stained.
    """
    stained = _stained(pixels)
    vectors = macenko_profile(pixels).vectors.copy()
    for _ in range(_ROUNDS):
        found = amounts(stained, vectors, SPARSITY)
        vectors = _better_vectors(stained, found, vectors)
    return _profile(vectors, stained)


def amounts(density: Floats, vectors: Floats, sparsity: float = 0.0) -> Floats:
    """Amounts ``[n, 2] >= 0`` of two stains that explain densities ``[n, 3]`` best.

    The minimum of ``|v - h W|² / 2 + sparsity * sum(h)``, in closed form for two stains.
    """
    found: Floats = _amounts(
        np.ascontiguousarray(density), np.ascontiguousarray(vectors), float(sparsity)
    )
    return found


def restain(
    pixels: NDArray[np.uint8], source: StainProfile, target: StainProfile
) -> NDArray[np.uint8]:
    """Pixels ``[y, x, 3]`` with the amounts of their stains scaled to the target's strengths and
    shown in the target's colours."""
    mixing = (target.strengths / source.strengths)[:, np.newaxis] * target.vectors
    table = -np.log((np.arange(256) + 1.0) / (WHITE + 1))
    shown: NDArray[np.uint8] = _restain(np.ascontiguousarray(pixels), table, source.vectors, mixing)
    return shown


def is_stained(density: Floats) -> NDArray[np.bool_]:
    """Which densities ``[n, 3]`` are not of glass: bool ``[n]``."""
    return np.asarray((density >= LEAST_DENSITY).all(axis=1), np.bool_)


def _stained(pixels: NDArray[np.uint8]) -> Floats:
    found = densities(pixels)
    stained = found[is_stained(found)]
    if len(stained) < LEAST_PIXELS:
        raise SlideError(
            f"only {len(stained)} stained pixels were found to fit a stain normalisation to, and "
            f"{LEAST_PIXELS} are needed: choose the model without normalisation for this slide"
        )
    return stained


def _profile(vectors: Floats, stained: Floats) -> StainProfile:
    # Haematoxylin absorbs more red than eosin and DAB do.
    vectors = vectors[np.argsort(-vectors[:, 0] / np.linalg.norm(vectors, axis=1))]
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    strengths = np.percentile(amounts(stained, vectors), STRENGTH_PERCENTILE, axis=0)
    return StainProfile(vectors, np.maximum(strengths, 1e-3))


def _better_vectors(stained: Floats, found: Floats, vectors: Floats) -> Floats:
    """One round of block coordinate descent on the unit vectors (Mairal et al., JMLR 11, 2010)."""
    gram, cross = found.T @ found, found.T @ stained
    better = vectors.copy()
    for stain in range(2):
        if gram[stain, stain] > 0:
            step = (cross[stain] - gram[stain] @ better) / gram[stain, stain]
            better[stain] = np.maximum(better[stain] + step, 0.0)
            better[stain] /= max(float(np.linalg.norm(better[stain])), 1e-9)
    return better


@njit(cache=True, nogil=True)
def _amounts(density: Floats, vectors: Floats, sparsity: float) -> Floats:
    out = np.empty((len(density), 2))
    for n in range(len(density)):
        out[n, 0], out[n, 1] = _pair(density[n, 0], density[n, 1], density[n, 2], vectors, sparsity)
    return out


@njit(cache=True, nogil=True)
def _pair(
    red: float, green: float, blue: float, vectors: Floats, sparsity: float
) -> tuple[float, float]:
    """The amounts that explain one density."""
    a, b = vectors[0], vectors[1]
    aa = a[0] * a[0] + a[1] * a[1] + a[2] * a[2]
    bb = b[0] * b[0] + b[1] * b[1] + b[2] * b[2]
    ab = a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
    va = red * a[0] + green * a[1] + blue * a[2] - sparsity
    vb = red * b[0] + green * b[1] + blue * b[2] - sparsity
    determinant = aa * bb - ab * ab
    if determinant > 1e-12:
        first = (va * bb - vb * ab) / determinant
        second = (vb * aa - va * ab) / determinant
        if first >= 0 and second >= 0:
            return first, second
    # One of them is nought: the better of the two that are left.
    first, second = max(va / aa, 0.0), max(vb / bb, 0.0)
    if first * va >= second * vb:
        return first, 0.0
    return 0.0, second


@njit(cache=True, nogil=True)
def _restain(
    pixels: NDArray[np.uint8], table: Floats, vectors: Floats, mixing: Floats
) -> NDArray[np.uint8]:
    height, width = pixels.shape[:2]
    out = np.empty((height, width, 3), np.uint8)
    for y in range(height):
        for x in range(width):
            first, second = _pair(
                table[pixels[y, x, 0]], table[pixels[y, x, 1]], table[pixels[y, x, 2]], vectors, 0.0
            )
            for c in range(3):
                density = first * mixing[0, c] + second * mixing[1, c]
                value = (WHITE + 1) * np.exp(-density) - 1
                out[y, x, c] = np.uint8(min(max(np.rint(value), 0.0), 255.0))
    return out
