"""Which slides stand out among the others: a rule simple enough to be stated on the page.

A measure of one slide is held against those of the slides with the same model and stain. Its
robust z is ``0.6745 (x - median) / MAD``, MAD being the median absolute deviation from the
median (Iglewicz and Hoaglin, "How to Detect and Handle Outliers", ASQC 1993, whose limit of 3.5
is used). Where more than half of the slides agree, so that MAD is 0, ``(x - median) / (1.2533 x
mean absolute deviation)`` takes its place. Positive measures are compared by their logarithm:
twice as much stands out as far as half as much.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsiseg.summary.rows import SlideRow

LEAST_SLIDES = 8
"""Among fewer slides, none stands out."""

LIMIT = 3.5
"""A slide stands out where its robust z is farther from 0."""

RULE = (
    f"A slide stands out where its robust z, 0.6745 (x - median) / MAD among at least "
    f"{LEAST_SLIDES} slides with the same model and stain, lies beyond ±{LIMIT:g} (Iglewicz and "
    "Hoaglin 1993; MAD: median absolute deviation; where that is 0, 1.2533 times the mean "
    "absolute deviation), and it differs from the median by the factor, or the angle, named "
    "below at least. x is the logarithm of the measure, or the angle."
)
"""The rule in words."""

_LEAST_DIRECTIONS = 3

_Judged = tuple[NDArray[np.float64], NDArray[np.bool_]]
"""Robust z, and whether that stands out."""


@dataclass(frozen=True, slots=True)
class Measure:
    """Something slides are compared by.

    Attributes
    ----------
    key, name, unit
        Its column, its name in words, and its unit.
    least
        The factor by which a slide must differ from the median to stand out, or the angle.
    low, high
        What a slide is called that has too little or too much of it.
    meaning
        How it is measured.
    """

    key: str
    name: str
    unit: str
    least: float
    low: str
    high: str
    meaning: str


COLOUR = Measure(
    "stain_colour_deg",
    "colour of the stain",
    "°",
    4.0,
    "",
    "stained in another colour",
    "angle between the slide's mean optical density (red, green, blue) over stained pixels and "
    "the median direction of the slides it is compared with",
)

MEASURES = (
    Measure(
        "nuclear_area_um2",
        "nuclear size",
        "µm²",
        1.15,
        "small nuclei",
        "large nuclei",
        "median area of the slide's nuclei",
    ),
    Measure(
        "nuclei_per_mm2",
        "nuclear density",
        "per mm²",
        1.5,
        "few nuclei",
        "many nuclei",
        "nuclei by the area of the tissue",
    ),
    Measure(
        "sharpness",
        "focus",
        "",
        1.5,
        "blurred",
        "sharp or noisy",
        "variance of the Laplacian over the variance of the intensity, median over up to 24 "
        "windows of tissue at the model's pixel size",
    ),
    Measure(
        "haematoxylin_od",
        "haematoxylin",
        "OD",
        1.25,
        "pale haematoxylin",
        "dark haematoxylin",
        "mean amount over stained pixels, by the literature's vectors",
    ),
    Measure(
        "signal",
        "signal",
        "of full scale",
        1.5,
        "dim",
        "bright",
        "fluorescence: mean intensity of the tissue",
    ),
    COLOUR,
    Measure(
        "tissue_mm2",
        "tissue",
        "mm²",
        2.0,
        "little tissue",
        "much tissue",
        "area of the tissue found",
    ),
)
"""What slides are compared by, in the order it is shown."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One measure of all slides.

    Attributes
    ----------
    measure
        Which.
    values
        float64 ``[n]`` in the slides' order, NaN where not known.
    typical
        float64 ``[n]``: the median of the slides each is compared with, NaN without.
    z
        float64 ``[n]``: robust z, NaN where too few slides are there to compare with.
    out
        bool ``[n]``: whether the slide stands out.
    """

    measure: Measure
    values: NDArray[np.float64]
    typical: NDArray[np.float64]
    z: NDArray[np.float64]
    out: NDArray[np.bool_]

    def verdict(self, slide: int) -> str:
        """What is odd about a slide that stands out."""
        return self.measure.high if self.z[slide] > 0 else self.measure.low


def robust_z(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Robust z of every value among all, float64 ``[n]``; zeros where all are equal."""
    away = values - np.median(values)
    spread = float(np.median(np.abs(away))) / 0.6745
    if spread == 0:
        spread = float(np.mean(np.abs(away))) * math.sqrt(math.pi / 2)
    return away / spread if spread > 0 else np.zeros_like(away)


def compare(rows: Sequence[SlideRow]) -> tuple[Comparison, ...]:
    """Every measure that at least one whole slide has."""
    peers = _peers(rows)
    found = [
        _compared(measure, _colour_angles(rows, peers), peers, _by_angle)
        if measure is COLOUR
        else _compared(measure, _values(rows, measure), peers, _by_factor)
        for measure in MEASURES
    ]
    return tuple(one for one in found if np.isfinite(one.values).any())


def _peers(rows: Sequence[SlideRow]) -> list[NDArray[np.int64]]:
    """Indices of the whole slides that are compared with each other."""
    groups: dict[tuple[str, str], list[int]] = {}
    for index, row in enumerate(rows):
        if row.state == "whole":
            groups.setdefault((row.model, row.stain), []).append(index)
    return [np.array(members, np.int64) for members in groups.values()]


def _values(rows: Sequence[SlideRow], measure: Measure) -> NDArray[np.float64]:
    found = [getattr(row, measure.key) if row.state == "whole" else None for row in rows]
    return np.array([np.nan if value is None else value for value in found], np.float64)


def _colour_angles(
    rows: Sequence[SlideRow], peers: Sequence[NDArray[np.int64]]
) -> NDArray[np.float64]:
    """Angle in degrees between each slide's density and the median direction of its peers."""
    angles = np.full(len(rows), np.nan)
    for members in peers:
        known = [i for i in members.tolist() if len(rows[i].density) == 3 and any(rows[i].density)]
        if len(known) < _LEAST_DIRECTIONS:
            continue
        densities = np.array([rows[i].density for i in known], np.float64)
        units = densities / np.linalg.norm(densities, axis=1, keepdims=True)
        middle = np.median(units, axis=0)
        cosines = units @ (middle / np.linalg.norm(middle))
        angles[known] = np.degrees(np.arccos(np.clip(cosines, -1, 1)))
    return angles


def _by_factor(values: NDArray[np.float64], middle: float, least: float) -> _Judged:
    z = robust_z(np.log(values))
    ratio = np.maximum(values / middle, middle / values)
    return z, (np.abs(z) > LIMIT) & (ratio >= least)


def _by_angle(values: NDArray[np.float64], middle: float, least: float) -> _Judged:
    z = robust_z(values)
    return z, (z > LIMIT) & (values - middle >= least)


def _compared(
    measure: Measure,
    values: NDArray[np.float64],
    peers: Sequence[NDArray[np.int64]],
    judge: Callable[
        [NDArray[np.float64], float, float], tuple[NDArray[np.float64], NDArray[np.bool_]]
    ],
) -> Comparison:
    typical, z = np.full(len(values), np.nan), np.full(len(values), np.nan)
    out = np.zeros(len(values), np.bool_)
    # A slide without a single nucleus has no logarithm; the page names it in another place.
    usable = np.isfinite(values) & ((values > 0) | (measure is COLOUR))
    for members in peers:
        known = members[usable[members]]
        if len(known) >= LEAST_SLIDES:
            middle = float(np.median(values[known]))
            typical[known] = middle
            z[known], out[known] = judge(values[known], middle, measure.least)
    return Comparison(measure, values, typical, z, out)
