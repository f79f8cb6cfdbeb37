"""How far two readings of the same things agree."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class BlandAltman:
    """Differences between two methods.

    Attributes
    ----------
    bias
        Mean of second minus first.
    low, high
        Limits of agreement: bias less and plus 1.96 standard deviations of the differences.
    pairs
        Number of pairs.
    """

    bias: float
    low: float
    high: float
    pairs: int


def confusion(
    truth: NDArray[np.integer], found: NDArray[np.integer], classes: int
) -> NDArray[np.int64]:
    """Counts int64 ``[classes, classes]``: rows are the truth, columns what was found.

    Parameters
    ----------
    truth, found
        ``[n]``, from 0.

    Raises
    ------
    ValueError
        If they differ in length or hold a class that is not there.
    """
    if truth.shape != found.shape:
        raise ValueError(f"{truth.shape} true classes for {found.shape} found")
    both = np.concatenate([truth, found])
    if len(both) and (both.min() < 0 or both.max() >= classes):
        raise ValueError(f"classes must lie within 0 and {classes - 1}")
    counts = np.bincount(truth * classes + found, minlength=classes * classes)
    return counts.reshape(classes, classes).astype(np.int64)


def cohen_kappa(table: NDArray[np.integer], *, weighted: bool = False) -> float:
    """Agreement beyond chance; NaN where chance alone agrees wholly.

    Cohen, "A coefficient of agreement for nominal scales", Educ. Psychol. Meas. 20, 1960; the
    weighted form, for ranks as 0, 1+, 2+, 3+, counts squared distances (Cohen, Psychol. Bull.
    70, 1968).

    Parameters
    ----------
    table
        ``[k, k]`` counts as of :func:`confusion`.
    weighted
        Weigh disagreement by the square of its distance.
    """
    counts = np.asarray(table, np.float64)
    total = counts.sum()
    if total == 0:
        return math.nan
    ranks = np.arange(len(counts))
    apart = (ranks[:, None] - ranks[None, :]).astype(np.float64) ** 2
    cost = apart if weighted else (apart > 0).astype(np.float64)
    expected = counts.sum(axis=1)[:, None] * counts.sum(axis=0)[None, :] / total
    chance = float((cost * expected).sum())
    return 1 - float((cost * counts).sum()) / chance if chance > 0 else math.nan


def bland_altman(first: NDArray[np.float64], second: NDArray[np.float64]) -> BlandAltman:
    """Bias and limits of agreement of paired readings in one unit.

    Bland and Altman, "Statistical methods for assessing agreement between two methods of
    clinical measurement", Lancet 327, 1986. Pairs with a NaN are left out.
    """
    apart = np.asarray(second, np.float64) - np.asarray(first, np.float64)
    apart = apart[np.isfinite(apart)]
    if not len(apart):
        return BlandAltman(math.nan, math.nan, math.nan, 0)
    bias = float(apart.mean())
    spread = float(apart.std(ddof=1)) if len(apart) > 1 else math.nan
    reach = NormalDist().inv_cdf(0.975) * spread
    return BlandAltman(bias, bias - reach, bias + reach, len(apart))
