"""Intervals that respect that neighbouring cells are not independent.

The plane is cut into squares on a lattice through the slide's corner. As many of the squares
that hold anything are drawn, with replacement, as there are; every quantity is summed over the
squares drawn, and the statistic taken of the sums. The interval is the central part of the
statistics of many such draws (percentile method). Sources: Hall, "Resampling a coverage
pattern", Stoch. Process. Appl. 20, 1985; Lahiri, "Resampling methods for dependent data", 2003,
chapter 12; of ratios of sums over blocks: Davison and Hinkley, "Bootstrap methods and their
application", 1997, section 8.3.

The interval tells how the number would vary over other places of tissue like this one. It knows
nothing of errors of segmentation, staining or thresholds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsiseg.statistics.estimate import Estimate, Resampling, undefined
from wsiseg.statistics.wilson import wilson

LEAST_BLOCKS = 5
"""From fewer blocks no interval is told: their draws repeat too few values."""

ROUGH_BLOCKS = 20
"""Intervals from fewer blocks than this are too narrow as a rule, and said to be rough."""

_DRAWN_AT_ONCE = 4_000_000
_RANK_BINS = 512

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Points:
    """Where observations lie.

    Attributes
    ----------
    x_um, y_um
        float64 ``[n]``, in µm from the slide's corner, finite.

    Raises
    ------
    ValueError
        If the two differ in shape or hold what is not finite.
    """

    x_um: Floats
    y_um: Floats

    def __post_init__(self) -> None:
        if self.x_um.shape != self.y_um.shape or self.x_um.ndim != 1:
            raise ValueError(f"x {self.x_um.shape} and y {self.y_um.shape} must be [n] both")
        if not (np.isfinite(self.x_um).all() and np.isfinite(self.y_um).all()):
            raise ValueError("points must be finite")

    def __len__(self) -> int:
        return len(self.x_um)

    def take(self, chosen: NDArray[np.bool_] | NDArray[np.integer]) -> Points:
        """The points at ``chosen``, in that order."""
        return Points(self.x_um[chosen], self.y_um[chosen])

    def joined(self, other: Points) -> Points:
        """These points, then the others."""
        return Points(
            np.concatenate([self.x_um, other.x_um]), np.concatenate([self.y_um, other.y_um])
        )


def block_index(points: Points, side_um: float) -> tuple[NDArray[np.int64], int]:
    """The block of every point ``[n]``, from 0 in the order of rows and columns; their number."""
    columns = np.floor(points.x_um / side_um).astype(np.int64)
    rows = np.floor(points.y_um / side_um).astype(np.int64)
    # One number a block: lattice places reach a few million at most, far below 2**31.
    keys, index = np.unique(rows * (1 << 32) + columns, return_inverse=True)
    return index.astype(np.int64), len(keys)


def bootstrap(
    points: Points | None,
    values: Floats,
    statistic: Callable[[Floats], Floats],
    resampling: Resampling,
) -> Estimate:
    """A statistic of sums, and its interval by blocks.

    Parameters
    ----------
    points
        ``[n]``, of cells, or of anything else that is summed, such as pieces of area; ``None``
        gives no interval.
    values
        float64 ``[n, k]``: what is summed.
    statistic
        Takes sums ``[r, k]`` to values ``[r]``, NaN where not defined.
    resampling
        Blocks, resamples, seed, confidence.

    Returns
    -------
    Without an interval where fewer than five blocks hold a point, or where all draws agree: then
    the blocks say nothing of the spread.
    """
    if not len(values):
        return undefined(resampling)
    value = float(statistic(values.sum(axis=0, keepdims=True))[0])
    if points is None:
        return Estimate(value, math.nan, math.nan, resampling.confidence, "none", 0)
    index, count = block_index(points, resampling.block_um)
    sums = np.stack([np.bincount(index, column, count) for column in values.T], axis=1)
    drawn = np.concatenate([statistic(draw @ sums) for draw in _draws(count, resampling)])
    return _interval(value, drawn, count, resampling)


def proportion(
    positive: NDArray[np.bool_], points: Points | None, resampling: Resampling
) -> Estimate:
    """The share of positive cells in percent, and its interval.

    The interval is by blocks and never narrower than Wilson's, which holds for independent
    cells: a share of none or all, whose draws all agree, keeps an honest limit so. Without
    places, or with fewer than five blocks, it is Wilson's.

    Parameters
    ----------
    positive
        bool ``[n]``.
    points
        Where the cells lie.
    resampling
        Blocks, resamples, seed, confidence.
    """
    total, found = len(positive), int(np.count_nonzero(positive))
    if not total:
        return undefined(resampling)
    low, high = (100 * limit for limit in wilson(found, total, resampling.confidence))
    naive = Estimate(100 * found / total, low, high, resampling.confidence, "Wilson", 0)
    if points is None:
        return naive
    sums = np.stack([positive, np.ones(total)], axis=1).astype(np.float64)
    blocked = bootstrap(points, sums, percentage, resampling)
    if blocked.blocks < LEAST_BLOCKS:
        return naive
    return Estimate(
        naive.value,
        float(np.fmin(low, blocked.low)),
        float(np.fmax(high, blocked.high)),
        resampling.confidence,
        "spatial block bootstrap",
        blocked.blocks,
    )


def percentage(sums: Floats) -> Floats:
    """100 times the first of the sums ``[r, 2]`` by the second, NaN where that is 0."""
    return 100 * ratio(sums)


def ratio(sums: Floats) -> Floats:
    """The first of the sums ``[r, 2]`` by the second, NaN where that is 0."""
    out = np.full(len(sums), np.nan)
    np.divide(sums[:, 0], sums[:, 1], out=out, where=sums[:, 1] > 0)
    return out


def bootstrap_quantiles(
    points: Points | None,
    values: Floats,
    shares: Sequence[float],
    combine: Callable[[Floats], Floats],
    resampling: Resampling,
) -> Estimate:
    """A function of quantiles, and its interval by blocks.

    The value is that of ``numpy.quantile``. In the draws values are held in 512 classes of equal
    counts, and quantiles interpolated within a class.

    Parameters
    ----------
    points
        ``[n]``; ``None`` gives no interval.
    values
        float64 ``[n]``, finite.
    shares
        Which quantiles, ``[q]`` within 0 and 1.
    combine
        Takes quantiles ``[r, q]`` to values ``[r]``.
    resampling
        Blocks, resamples, seed, confidence.
    """
    if not len(values):
        return undefined(resampling)
    value = float(combine(np.quantile(values, shares)[None])[0])
    if points is None:
        return Estimate(value, math.nan, math.nan, resampling.confidence, "none", 0)
    index, count = block_index(points, resampling.block_um)
    order = np.argsort(values, kind="stable")
    bins = min(_RANK_BINS, len(values))
    rank = np.arange(len(values)) * bins // len(values)
    starts = np.searchsorted(rank, np.arange(bins + 1))
    lows, highs = values[order[starts[:-1]]], values[order[starts[1:] - 1]]
    held = np.bincount(index[order] * bins + rank, minlength=count * bins)
    # Single precision is exact for counts below 2**24, and twice as fast.
    table = held.reshape(count, bins).astype(np.float32)
    drawn = []
    for draw in _draws(count, resampling, width=bins):
        drawn_table = (draw.astype(np.float32) @ table).astype(np.float64)
        drawn.append(combine(_quantiles(drawn_table, lows, highs, shares)))
    return _interval(value, np.concatenate(drawn), count, resampling)


def _quantiles(held: Floats, lows: Floats, highs: Floats, shares: Sequence[float]) -> Floats:
    """Quantiles ``[r, q]`` of values held in rising classes: counts ``[r, bins]``."""
    risen = np.cumsum(held, axis=1)
    out = np.empty((len(held), len(shares)))
    rows = np.arange(len(held))
    for number, share in enumerate(shares):
        goal = share * risen[:, -1]
        place = np.argmax(risen >= goal[:, None], axis=1)
        inside = held[rows, place]
        within = np.where(inside > 0, 1 - (risen[rows, place] - goal) / np.maximum(inside, 1), 0)
        out[:, number] = lows[place] + within * (highs - lows)[place]
    return out


def _draws(count: int, resampling: Resampling, width: int = 1) -> Iterator[Floats]:
    """How often every block is drawn, ``[r, count]`` in parts that bound the memory.

    None where there are too few blocks to draw from.
    """
    if count < LEAST_BLOCKS:
        yield np.empty((0, count))
        return
    random = np.random.default_rng(resampling.seed)
    at_once = max(1, _DRAWN_AT_ONCE // max(count, width))
    for start in range(0, resampling.resamples, at_once):
        size = min(at_once, resampling.resamples - start)
        chosen = random.integers(0, count, (size, count)) + np.arange(size)[:, None] * count
        drawn = np.bincount(chosen.ravel(), minlength=size * count)
        yield drawn.reshape(size, count).astype(np.float64)


def _interval(value: float, drawn: Floats, count: int, resampling: Resampling) -> Estimate:
    known = drawn[np.isfinite(drawn)]
    none = Estimate(value, math.nan, math.nan, resampling.confidence, "none", count)
    if not len(known) or math.isnan(value) or known.min() == known.max():
        return none
    tail = 50 * (1 - resampling.confidence)
    low, high = np.percentile(known, (tail, 100 - tail))
    return Estimate(
        value, float(low), float(high), resampling.confidence, "spatial block bootstrap", count
    )
