"""Quality of a stained section field by field, in numbers with stated rules.

A field is a square of ``FIELD_UM`` on the slide, looked at in the whole-number reduction of level 0
nearest to ``MPP``. Everything here is arithmetic on pixels; what is done with it is decided
elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import reduce
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import laplace

from wsiseg.stain import Counterstain, Stains, optical_density

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
_DOUBLED = 1.8
_ROBUST = 1.4826
_LEAST_SPREAD = 0.02

Numbers = NDArray[np.float32]


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
    green = pixels[..., 1].astype(np.float32)
    variance = float(green.var())
    sharpness = float(laplace(green).var()) / variance if variance > 0 else np.nan
    density = optical_density(pixels, stains.white)
    # Channel by channel: numpy is slow along axes as short as three.
    total = density[..., 0] + density[..., 1] + density[..., 2]
    stained = total > 3 * _STAINED_OD
    if not stained.any():
        return sharpness, np.nan, 0.0, np.nan, np.nan, np.nan, np.nan
    channels = [density[..., c][stained] for c in range(3)]
    of_stained = total[stained]
    mean = of_stained / 3
    spread = reduce(np.maximum, channels) - reduce(np.minimum, channels)
    chroma = spread / of_stained
    amounts = np.array([c.mean(dtype=np.float64) for c in channels]) @ stains.unmixing
    return (
        sharpness,
        float(mean.mean()),
        float((chroma < _GREY_CHROMA).mean()),
        float(amounts[0]),
        float(amounts[1]),
        float(amounts[2]),
        float(np.percentile(mean, 90)),
    )


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
