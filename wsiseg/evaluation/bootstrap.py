"""Percentile bootstrap over whole groups, so that images of one patient are drawn together.

Efron and Tibshirani, "An introduction to the bootstrap", 1993, chapter 13; resampling of whole
clusters: Davison and Hinkley, "Bootstrap methods and their application", 1997, section 3.8.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
LEAST_UNITS = 3
"""From two the interval would merely be the two values: none is told."""

FEW_GROUPS = 10
"""Intervals from fewer groups than this are too narrow as a rule, and said to be rough."""

Unit = Literal["group", "image", "none"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value and its interval; NaN where not defined."""

    value: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float | None]:
        """As JSON, ``null`` where not defined."""
        named = {"value": self.value, "low": self.low, "high": self.high}
        return {name: None if np.isnan(v) else float(v) for name, v in named.items()}


@dataclass(frozen=True, slots=True)
class Resamples:
    """How often every image is drawn in every resample.

    Attributes
    ----------
    weights
        float64 ``[r, n]``: whole numbers; no row where nothing can be resampled.
    unit
        What was drawn: whole groups; images, where there is one group only; nothing, where
        there are fewer than three to draw from.
    units
        Number of groups, or images, to draw from.
    """

    weights: NDArray[np.float64]
    unit: Unit
    units: int


def draw(groups: Sequence[str], resamples: int, seed: int) -> Resamples:
    """Draw as many groups as there are, with replacement, ``resamples`` times.

    Parameters
    ----------
    groups
        The group of every image ``[n]``.
    resamples
        Number of resamples.
    seed
        Equal seeds give equal draws.
    """
    names, members = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    unit: Unit = "group"
    if len(names) < 2:
        members, unit = np.arange(len(groups)), "image"
    units = int(members.max()) + 1 if len(members) else 0
    if units < LEAST_UNITS:
        return Resamples(np.empty((0, len(groups))), "none", units)
    chosen = np.random.default_rng(seed).integers(0, units, (resamples, units))
    offsets = np.arange(resamples)[:, None] * units
    counts = np.bincount((chosen + offsets).ravel(), minlength=resamples * units)
    return Resamples(counts.reshape(resamples, units)[:, members].astype(np.float64), unit, units)


def interval(value: float, resampled: NDArray[np.float64]) -> Estimate:
    """The central 95 % of the resampled values that are defined, around ``value``."""
    known = resampled[np.isfinite(resampled)]
    if not len(known) or np.isnan(value):
        return Estimate(float(value), np.nan, np.nan)
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(known, (tail, 100 - tail))
    return Estimate(float(value), float(low), float(high))


def mean_defined(values: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weighted means of the values ``[n]`` that are not NaN, one for each row of ``[r, n]``."""
    known = np.isfinite(values)
    total = weights @ known.astype(np.float64)
    out = np.full(len(weights), np.nan)
    np.divide(weights @ np.where(known, values, 0.0), total, out=out, where=total > 0)
    return out
