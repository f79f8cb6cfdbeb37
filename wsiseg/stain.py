"""Optical density, stain vectors and the amount of one stain in a pixel.

Light that passes through a stained section is weakened exponentially (Beer and Lambert), so the
*optical density* ``-log10(I / I0)`` of a pixel is the sum of its stains' vectors, each times the
amount of that stain (Ruifrok and Johnston, "Quantification of histochemical staining by color
deconvolution", Anal. Quant. Cytol. Histol. 23, 2001).

Amounts are summed in integers from one table a channel: the same pixel gives the same bits in
every window, on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray

Vector = tuple[float, float, float]
Counterstain = Literal["eosin", "DAB"]

AMOUNT_UNIT = 1024
"""Integer amounts of a stain count optical density in steps of ``1 / AMOUNT_UNIT``."""

HAEMATOXYLIN_EOSIN: tuple[Vector, Vector] = ((0.65, 0.70, 0.29), (0.2159, 0.8012, 0.5581))
"""Default vectors ``(red, green, blue)``: haematoxylin of Ruifrok and Johnston 2001, eosin as in
the reference matrix of Macenko's method (theirs of 2001 is far from scanned slides' eosin)."""
HAEMATOXYLIN_DAB: tuple[Vector, Vector] = ((0.65, 0.70, 0.29), (0.27, 0.57, 0.78))
"""Default vectors ``(red, green, blue)``, Ruifrok and Johnston 2001."""

_FRACTION = 16
_WHITE_SHARE = 0.995
_SATURATED = 12
_MINIMUM_DENSITY = 0.15
_MINIMUM_PIXELS = 2000
_ANGLE_PERCENTILE = 1.0
_MINIMUM_ANGLE_DEG = 14.0
_MAXIMUM_OFF_DEG = 22.0
_MAXIMUM_OFF_DAB_DEG = 12.0
"""Near-black DAB has no colour left and pulls the estimate towards grey, by 16° on a slide whose
plain nuclei then counted as weakly stained."""


@dataclass(frozen=True, slots=True)
class Stains:
    """The two stains of a slide.

    Attributes
    ----------
    haematoxylin, counterstain
        Unit vectors of optical density ``(red, green, blue)``.
    kind
        What the second one is.
    white
        Intensity of unstained glass in 0..255 for red, green, blue.
    problem
        Empty if the vectors were measured on the slide; otherwise why the defaults of the
        literature stand in. To be shown to the user.
    kind_sure
        Whether the kind was given, or seen in colours that are those of two stains.
    """

    haematoxylin: Vector
    counterstain: Vector
    kind: Counterstain
    white: Vector = (255.0, 255.0, 255.0)
    problem: str = ""
    kind_sure: bool = True

    @property
    def unmixing(self) -> NDArray[np.float64]:
        """float64 ``[3 channels, 3 amounts]``: densities times this give the amounts of
        haematoxylin, counterstain and residual (the direction normal to both)."""
        first, second = np.array(self.haematoxylin), np.array(self.counterstain)
        residual = np.cross(first, second)
        residual /= math.sqrt(float((residual**2).sum()))
        inverse: NDArray[np.float64] = np.linalg.inv(np.stack([first, second, residual]))
        return inverse


def default_stains(
    kind: Counterstain = "eosin", white: Vector = (255.0, 255.0, 255.0), problem: str = ""
) -> Stains:
    """The literature's vectors (Ruifrok and Johnston 2001), brought to unit length."""
    first, second = HAEMATOXYLIN_EOSIN if kind == "eosin" else HAEMATOXYLIN_DAB
    return Stains(_unit(np.array(first)), _unit(np.array(second)), kind, white, problem)


def density_table(white: float = 255.0) -> NDArray[np.float64]:
    """float64 ``[256]``: optical density of every intensity, 0 at ``white`` and above.

    Intensity 0 counts as 1.
    """
    values = np.maximum(np.arange(256, dtype=np.float64), 1.0)
    table: NDArray[np.float64] = np.maximum(-np.log10(values / white), 0.0)
    return table


def optical_density(
    pixels: NDArray[np.uint8], white: Vector = (255.0, 255.0, 255.0)
) -> NDArray[np.float32]:
    """Optical density of every channel: float32 ``[y, x, 3]`` of RGB ``[y, x, 3]``."""
    tables = [density_table(level).astype(np.float32) for level in white]
    return np.stack([tables[c][pixels[..., c]] for c in range(3)], axis=-1)


def amount_tables(stains: Stains) -> NDArray[np.int32]:
    """int32 ``[3 stains, 3 channels, 256]``: the share of each channel's intensity in the
    amount of haematoxylin, counterstain and residual, for :func:`amount`."""
    densities = np.stack([density_table(level) for level in stains.white])
    shares = stains.unmixing.T[:, :, None] * densities[None, :, :]
    tables: NDArray[np.int32] = np.rint(shares * (AMOUNT_UNIT * _FRACTION)).astype(np.int32)
    return tables


@njit(cache=True, nogil=True)
def amount(pixels: NDArray[np.uint8], table: NDArray[np.int32]) -> NDArray[np.int16]:
    """Amount of one stain: int16 ``[y, x]`` in 1/1024 of optical density, may be negative.

    Parameters
    ----------
    pixels
        RGB uint8 ``[y, x, 3]``.
    table
        One stain's part ``[3, 256]`` of :func:`amount_tables`.
    """
    height, width = pixels.shape[:2]
    out = np.empty((height, width), np.int16)
    for y in range(height):
        for x in range(width):
            out[y, x] = amount_of(pixels[y, x, 0], pixels[y, x, 1], pixels[y, x, 2], table)
    return out


@njit(cache=True, nogil=True)
def amount_of(red: int, green: int, blue: int, table: NDArray[np.int32]) -> int:
    """Amount of one stain in a pixel, as :func:`amount` gives it."""
    total = table[0, red] + table[1, green] + table[2, blue]
    # The shift rounds down for negative sums too, hence the same everywhere.
    return int(max(-32768, min(32767, (total + 8) >> 4)))


def measure_stains(
    samples: Sequence[NDArray[np.uint8]],
    *,
    kind: Counterstain | None = None,
    most: int = 2_000_000,
) -> Stains:
    """The stain vectors of a slide, from samples of its tissue.

    After Macenko et al., "A method for normalizing histology slides for quantitative analysis",
    ISBI 2009: the optical densities of the stained pixels lie in a plane through the origin; the
    1st and 99th percentile of their angle in that plane are the two stains. Here the sums are
    integers, so the answer does not hang on the order of summation; pixels that are too dark to
    carry colour are left out; the stain with more red absorption is haematoxylin.

    Where the pixels are too few, or the directions found are not those of two stains, the
    vectors of the literature stand in and ``Stains.problem`` says why.

    Parameters
    ----------
    samples
        RGB uint8 ``[y, x, 3]``.
    kind
        What the counterstain is, where that is known; ``None``: by its colour.
    most
        Pixels to use at most, taken with an even step.
    """
    if not samples:
        problem = "there was no tissue to measure the stains on"
        return replace(default_stains(kind or "eosin", problem=problem), kind_sure=kind is not None)
    pixels = np.concatenate([np.ascontiguousarray(s).reshape(-1, 3) for s in samples])
    pixels = pixels[:: max(1, len(pixels) // most)]
    white = _white(pixels)
    densities = _stained(pixels, white)
    given = kind is not None
    if len(densities) < _MINIMUM_PIXELS:
        problem = f"only {len(densities)} stained pixels were found to measure the stains on"
        return replace(default_stains(kind or "eosin", white, problem), kind_sure=given)
    first, second = _extremes(densities)
    kind = kind or _kind(second)
    fallback = replace(default_stains(kind, white), kind_sure=given)
    apart = _angle_deg(first, second)
    if apart < _MINIMUM_ANGLE_DEG:
        return replace(fallback, problem=f"the stains measured are only {apart:.0f}° apart")
    for name, found, expected in (
        ("haematoxylin", first, fallback.haematoxylin),
        (kind, second, fallback.counterstain),
    ):
        off = _angle_deg(found, expected)
        if off > (_MAXIMUM_OFF_DAB_DEG if name == "DAB" else _MAXIMUM_OFF_DEG):
            return replace(
                fallback,
                problem=f"the {name} measured is {off:.0f}° off the usual colour",
                kind_sure=given or off <= _MAXIMUM_OFF_DEG,
            )
    return Stains(first, second, kind, white)


def _white(pixels: NDArray[np.uint8]) -> Vector:
    """Intensity of glass: the brightest of the samples, where those are plausible."""
    high = [counted_quantile(counts, _WHITE_SHARE) for counts in _counts(pixels)]
    red, green, blue = (min(255.0, max(225.0, float(round(value)))) for value in high)
    return red, green, blue


def counted_quantile(counts: NDArray[np.int64], share: float) -> float:
    """A quantile, linearly interpolated, of values ``0..k-1`` given by how often each occurs."""
    total = int(counts.sum())
    place = share * (total - 1)
    below = int(place)
    ranks = (below, min(below + 1, total - 1))
    low, high = np.searchsorted(np.cumsum(counts), ranks, side="right")
    return float(low + (high - low) * (place - below))


@njit(cache=True, nogil=True)
def _counts(pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """How often every intensity occurs: int64 ``[3 channels, 256]``."""
    counts = np.zeros((3, 256), np.int64)
    for i in range(len(pixels)):
        for c in range(3):
            counts[c, pixels[i, c]] += 1
    return counts


def _stained(pixels: NDArray[np.uint8], white: Vector) -> NDArray[np.int32]:
    """Integer densities ``[n, 3]`` of the pixels that are stained and not saturated."""
    densities = np.stack([density_table(level) for level in white])
    tables = np.rint(densities * AMOUNT_UNIT).astype(np.int32)
    kept: NDArray[np.int32] = _stained_by(pixels, tables)
    return kept


@njit(cache=True, nogil=True)
def _stained_by(pixels: NDArray[np.uint8], tables: NDArray[np.int32]) -> NDArray[np.int32]:
    kept = np.empty((len(pixels), 3), np.int32)
    n = 0
    for i in range(len(pixels)):
        red, green, blue = pixels[i, 0], pixels[i, 1], pixels[i, 2]
        first, second, third = tables[0, red], tables[1, green], tables[2, blue]
        if (
            min(red, green, blue) >= _SATURATED
            and max(first, second, third) > _MINIMUM_DENSITY * 1.5 * AMOUNT_UNIT
            and first + second + third > 3 * _MINIMUM_DENSITY * AMOUNT_UNIT
        ):
            kept[n] = first, second, third
            n += 1
    return kept[:n]


def _kind(counterstain: Vector) -> Counterstain:
    """Eosin absorbs green most, DAB blue: the one whose usual colour is nearer."""
    eosin, brown = HAEMATOXYLIN_EOSIN[1], HAEMATOXYLIN_DAB[1]
    nearer_brown = _angle_deg(counterstain, _unit(np.array(brown))) < _angle_deg(
        counterstain, _unit(np.array(eosin))
    )
    return "DAB" if nearer_brown else "eosin"


def _extremes(densities: NDArray[np.int32]) -> tuple[Vector, Vector]:
    """The two ends of the fan of densities: (haematoxylin, the other)."""
    _, axes = np.linalg.eigh(_moments(densities).astype(np.float64))
    main, side = axes[:, 2], axes[:, 1]
    main = main if main.sum() > 0 else -main
    # Channel by channel: numpy is slow along axes as short as three.
    red, green, blue = densities.T
    along = red * main[0] + green * main[1] + blue * main[2]
    across = red * side[0] + green * side[1] + blue * side[2]
    angles = np.arctan2(across, along)
    low, high = np.percentile(angles, [_ANGLE_PERCENTILE, 100 - _ANGLE_PERCENTILE])
    ends = [_unit(np.maximum(main * math.cos(a) + side * math.sin(a), 0.0)) for a in (low, high)]
    ends.sort(key=lambda v: v[0], reverse=True)
    return ends[0], ends[1]


@njit(cache=True, nogil=True)
def _moments(densities: NDArray[np.int32]) -> NDArray[np.int64]:
    """Sums of the products of every two channels: int64 ``[3, 3]``."""
    sums = np.zeros((3, 3), np.int64)
    for n in range(len(densities)):
        for i in range(3):
            for j in range(3):
                sums[i, j] += np.int64(densities[n, i]) * densities[n, j]
    return sums


def _unit(vector: NDArray[np.float64]) -> Vector:
    red, green, blue = (float(v) for v in vector / math.sqrt(float((vector**2).sum())))
    return red, green, blue


def _angle_deg(first: Vector, second: Vector) -> float:
    cosine = sum(a * b for a, b in zip(first, second, strict=True))
    return math.degrees(math.acos(max(-1.0, min(1.0, cosine))))
