"""Quality of a stained section field by field, in numbers with stated rules.

A field is a square of ``FIELD_UM`` on the slide, looked at in the whole-number reduction of level 0
nearest to ``MPP``. Everything here is arithmetic on pixels; what is done with it is decided
elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Literal, get_args

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wsiseg.stain import Counterstain, Stains, density_table

Fault = Literal["blurred", "folded", "grey", "odd_stain"]
FAULTS: tuple[Fault, ...] = get_args(Fault)

FIELD_UM = 128.0
MPP = 1.0

LEAST_SHARPNESS = 0.2
"""Fields below it count as blurred. On three slides in focus (H&E skin and bowel, DAB stomach; 20x
and 40x) 5 % of the fields lay below 0.39; blurred by a Gaussian of 1.5 µm, 95 % lay below 0.11."""

GREY_SHARE = 0.75
"""Fields with at least this share of grey tissue count as grey."""

MOST_STAIN_DISTANCE = 8.0
"""Fields whose stains lie further from the slide's usual ones count as odd; robust deviations."""

_STAINED_OD = 0.1
_GREY_CHROMA = 0.12
_DENSE = 0.9
_DOUBLED = 1.8
_ROBUST = 1.4826
_LEAST_SPREAD = 0.02

Numbers = NDArray[np.float32]
Intensities = NDArray[np.uint8] | NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class FieldMeasures:
    """What was measured on fields, each float32 ``[n]``.

    Attributes
    ----------
    sharpness
        Variance of the 4-neighbour Laplacian over the variance of the intensity (green), after
        Pech-Pacheco et al., ICPR 2000; NaN where the field is even.
    density
        Mean optical density of the stained pixels (over red, green and blue); NaN without any.
    grey_share
        Of the stained pixels, those that take as much of every colour: air bubbles, dust, pencil,
        necrotic debris; the range of the three densities is below 0.12 of their sum.
    haematoxylin_od, counterstain_od, residual_od
        Mean amounts of the slide's two stains in the stained pixels, and of what neither explains.
    dense
        90th percentile of the stained pixels' mean density.
    """

    sharpness: Numbers
    density: Numbers
    grey_share: Numbers
    haematoxylin_od: Numbers
    counterstain_od: Numbers
    residual_od: Numbers
    dense: Numbers


@dataclass(frozen=True, slots=True)
class Flags:
    """Which fields are flagged, each bool ``[n]``, and why."""

    blurred: NDArray[np.bool_]
    folded: NDArray[np.bool_]
    grey: NDArray[np.bool_]
    odd_stain: NDArray[np.bool_]


def measure_field(pixels: NDArray[np.uint8], stains: Stains) -> tuple[float, ...]:
    """The measures of one field ``[y, x, 3]``, in the order of :class:`FieldMeasures`."""
    tables, unmixing = _lookups(stains)
    sharp = sharpness(pixels[..., 1])
    means, density, channels, grey = _stained(
        pixels, tables, np.float32(3 * _STAINED_OD), np.float32(_GREY_CHROMA)
    )
    if not len(means):
        return sharp, np.nan, 0.0, np.nan, np.nan, np.nan, np.nan
    first, second, rest = (channels @ unmixing).tolist()
    return sharp, density, grey / len(means), first, second, rest, _quantile(means, _DENSE)


@lru_cache(maxsize=4)
def _lookups(stains: Stains) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Densities float32 ``[3 channels, 256]`` of every intensity, and ``stains.unmixing``."""
    tables = np.stack([density_table(level).astype(np.float32) for level in stains.white])
    return tables, stains.unmixing


@njit(cache=True, nogil=True)
def sharpness(grey: Intensities) -> float:
    """Variance of the 4-neighbour Laplacian over that of the intensities; NaN where those are even.

    Beyond the border the nearest pixel stands in.

    Parameters
    ----------
    grey
        uint8 or uint16 ``[y, x]``.
    """
    height, width = grey.shape
    values = np.empty((height, width), np.float32)
    laplacian = np.empty((height, width), np.float32)
    for y in range(height):
        for x in range(width):
            values[y, x] = grey[y, x]
    for y in range(height):
        here, there = values[y], laplacian[y]
        above, below = values[max(y - 1, 0)], values[min(y + 1, height - 1)]
        for x in range(width):
            there[x] = above[x] + below[x] - np.float32(4) * here[x]
        for x in range(width):
            there[x] += here[max(x - 1, 0)] + here[min(x + 1, width - 1)]
    variance = np.float64(_variance(values.ravel()))
    return np.float64(_variance(laplacian.ravel())) / variance if variance > 0 else np.nan


@njit(cache=True, nogil=True)
def _stained(
    pixels: NDArray[np.uint8], tables: NDArray[np.float32], least: np.float32, chroma: np.float32
) -> tuple[Numbers, np.float32, NDArray[np.float64], int]:
    """The mean densities of the stained pixels float32 ``[n]``, the mean of those, the means of
    each channel's ``[3]``, and how many of them are grey, the range of their densities being
    below ``chroma`` of the sum.

    Stained are pixels whose densities add up to more than ``least``.
    """
    height, width = pixels.shape[:2]
    means = np.empty(height * width, np.float32)
    first = second = third = 0.0
    count = grey = 0
    for y in range(height):
        for x in range(width):
            red = tables[0, pixels[y, x, 0]]
            green = tables[1, pixels[y, x, 1]]
            blue = tables[2, pixels[y, x, 2]]
            total = red + green + blue
            if total > least:
                first += red
                second += green
                third += blue
                means[count] = total / np.float32(3)
                grey += (max(red, green, blue) - min(red, green, blue)) / total < chroma
                count += 1
    mean: np.float32 = _mean(means[:count]) if count else np.float32(0)
    channels = np.array([first, second, third]) / max(count, 1)
    return means[:count], mean, channels, grey


@njit(cache=True, nogil=True)
def _variance(values: NDArray[np.float32]) -> np.float32:
    """The variance of some values, which are changed."""
    middle = _mean(values)
    for i in range(len(values)):
        values[i] -= middle
        values[i] *= values[i]
    variance: np.float32 = _mean(values)
    return variance


@njit(cache=True, nogil=True)
def _mean(values: NDArray[np.float32]) -> np.float32:
    mean: np.float32 = np.float32(_pairwise_sum(values) / np.float64(len(values)))
    return mean


@njit(cache=True, nogil=True)
def _pairwise_sum(values: NDArray[np.float32]) -> np.float32:
    """The sum in single precision, of halves: in the order, and so to the last bit, of numpy's."""
    size = len(values)
    if size > 128:
        half = size // 2 // 8 * 8
        both: np.float32 = _pairwise_sum(values[:half]) + _pairwise_sum(values[half:])
        return both
    whole = size // 8 * 8
    a = b = c = d = e = f = g = h = np.float32(0)
    for i in range(0, whole, 8):
        a += values[i]
        b += values[i + 1]
        c += values[i + 2]
        d += values[i + 3]
        e += values[i + 4]
        f += values[i + 5]
        g += values[i + 6]
        h += values[i + 7]
    total = ((a + b) + (c + d)) + ((e + f) + (g + h))
    for i in range(whole, size):
        total += values[i]
    return total


def _quantile(values: NDArray[np.float32], share: float) -> float:
    """What ``np.quantile`` gives, whose checks take longer than this."""
    place = share * (len(values) - 1)
    below = int(place)
    parted = np.partition(values, below)
    low, weight = parted[below], np.float32(place - below)
    high = parted[below + 1 :].min() if below + 1 < len(values) else low
    if place - below < 0.5:
        return float(low + (high - low) * weight)
    return float(high - (high - low) * np.float32(1 - (place - below)))


def collect(rows: list[tuple[float, ...]]) -> FieldMeasures:
    """The measures of many fields."""
    table = np.array(rows, np.float32).reshape(-1, len(fields(FieldMeasures)))
    return FieldMeasures(*table.T)


def flag(measures: FieldMeasures, kind: Counterstain) -> Flags:
    """Which fields stand out.

    Blurred: sharpness below ``LEAST_SHARPNESS``. Folded: the 90th percentile of density is at
    least 1.8 times the median of all fields' (two layers take twice the light of one). Grey:
    ``grey_share`` of at least ``GREY_SHARE``. Odd stain: the amounts of the two stains and of
    the rest lie further from
    the medians of all fields than ``MOST_STAIN_DISTANCE`` times 1.4826 median absolute deviations
    (at least 0.02 OD each), Euclidean.

    Folds and odd stains are told by the slide's own fields: where most are odd, none is. With
    DAB only blur is told: dense, grey and odd is what strong DAB looks like.
    """
    none = np.zeros(len(measures.sharpness), np.bool_)
    known = measures.dense[np.isfinite(measures.dense)]
    usual = float(np.median(known)) if len(known) else np.nan
    with np.errstate(invalid="ignore"):
        amounts = (measures.haematoxylin_od, measures.counterstain_od, measures.residual_od)
        distance = np.linalg.norm([_robust(values) for values in amounts], axis=0)
        blurred = measures.sharpness < LEAST_SHARPNESS
        if kind == "DAB":
            return Flags(blurred, none, none, none)
        return Flags(
            blurred=blurred,
            folded=measures.dense >= _DOUBLED * usual,
            grey=measures.grey_share >= GREY_SHARE,
            odd_stain=distance > MOST_STAIN_DISTANCE,
        )


def _robust(values: Numbers) -> NDArray[np.float64]:
    if not np.isfinite(values).any():
        return np.zeros(len(values))
    middle = np.nanmedian(values)
    spread = max(_ROBUST * float(np.nanmedian(np.abs(values - middle))), _LEAST_SPREAD)
    return np.asarray(np.nan_to_num(values - middle) / spread, np.float64)
