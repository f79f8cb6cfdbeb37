"""The Allred score: a rank of the share of stained nuclei plus a rank of their intensity."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsiseg.biomarkers.intensity import CLASS_NAMES, Classes, measured
from wsiseg.statistics import Estimate, Measure, Points, Resampling, Score, bootstrap
from wsiseg.statistics.estimate import UNVALIDATED

LEAST_CELLS = 100

_SOURCE = (
    "Allred et al., Mod. Pathol. 11, 1998; Harvey et al., J. Clin. Oncol. 17, 1999; borders "
    "between ranks as in QuPath"
)

Floats = NDArray[np.float64]


def allred_score(counts: NDArray[np.floating]) -> NDArray[np.int64]:
    """Proportion and intensity rank ``[r, 2]`` of counts ``[r, 4]`` of classes 0, 1+, 2+, 3+.

    Proportion: 0 none, 1 below 1/100, 2 from 1/100, 3 from 1/10, 4 from 1/3, 5 from 2/3 of the
    nuclei positive (Allred et al. 1998, who leave the borders open; here as in QuPath a share on
    the border has the higher rank). Intensity: the mean of 1, 2, 3 over the positive nuclei, in
    three equal parts: 1 up to 5/3, 2 up to 7/3, 3 above, as in QuPath; the publication judges the
    average by eye. Both are 0 where no nucleus is positive or there are none at all.

    Counts are compared as products, so that no rounding moves a border.
    """
    held = np.asarray(counts, np.float64)
    total, positive = held.sum(axis=1), held[:, 1:].sum(axis=1)
    weighed = held @ np.arange(4.0)
    share = (positive > 0).astype(np.int64)
    for factor, part in ((100, 1), (10, 1), (3, 1), (3, 2)):
        share += (positive > 0) & (factor * positive >= part * total)
    strength = (positive > 0).astype(np.int64)
    strength += 3 * weighed > 5 * positive
    strength += 3 * weighed > 7 * positive
    return np.stack([share, strength], axis=1)


def allred(
    classes: Classes, points: Points | None = None, resampling: Resampling | None = None
) -> Score:
    """The Allred score, 0 or 2 to 8: proportion rank (0 to 5) plus intensity rank (0 to 3).

    Allred et al., "Prognostic and predictive factors in breast cancer by immunohistochemical
    analysis", Mod. Pathol. 11, 1998; Harvey et al. 1999, who call a total above 2 positive. See
    :func:`allred_score` for the ranks.

    Formula verified, clinically unvalidated.

    Parameters
    ----------
    classes
        Of the tumour's nuclei, as of :func:`~wsiseg.biomarkers.intensity_classes` ``[n]``.
    points
        Where they lie; without, there is no interval.
    resampling
        How intervals are made.
    """
    how = resampling if resampling is not None else Resampling()
    own = measured(classes, points)
    held = (own.classes[:, None] == np.arange(len(CLASS_NAMES))).astype(np.float64)

    def estimate(column: int | None) -> Estimate:
        def value(sums: Floats) -> Floats:
            ranks = allred_score(sums)
            return (ranks.sum(axis=1) if column is None else ranks[:, column]).astype(np.float64)

        return bootstrap(own.points, held, value, how)

    total = estimate(None)
    bands = {}
    if np.isfinite(total.value):
        bands["Harvey et al. 1999"] = "above 2" if total.value > 2 else "2 or below"
    return Score(
        "allred",
        _SOURCE,
        UNVALIDATED,
        own.counts(),
        (
            Measure("allred", "", total, "proportion rank plus intensity rank, 0 or 2 to 8"),
            Measure(
                "allred_proportion", "", estimate(0), "rank 0 to 5 of the share of positive nuclei"
            ),
            Measure(
                "allred_intensity", "", estimate(1), "rank 0 to 3 of the positive nuclei's mean"
            ),
        ),
        bands,
        own.warnings(LEAST_CELLS, "nuclei"),
    )
