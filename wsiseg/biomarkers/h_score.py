"""The H-score: how many cells are stained, weighed by how strongly."""

from __future__ import annotations

import numpy as np

from wsiseg.biomarkers.intensity import Classes, class_measures, measured
from wsiseg.statistics import Measure, Points, Resampling, Score, bootstrap
from wsiseg.statistics.blocks import percentage
from wsiseg.statistics.estimate import UNVALIDATED

LEAST_CELLS = 100

_SOURCE = "McCarty et al., Cancer Res. 46 (8 Suppl.), 1986"


def h_score(
    classes: Classes, points: Points | None = None, resampling: Resampling | None = None
) -> Score:
    """The H-score, 0 to 300: percent weak + 2 x percent moderate + 3 x percent strong.

    McCarty et al., "Use of a monoclonal anti-estrogen receptor antibody in the
    immunohistochemical evaluation of human tumors", Cancer Res. 46, 1986. QuPath computes the
    same of its classes.

    Formula verified, clinically unvalidated.

    Parameters
    ----------
    classes
        Of the tumour's cells, as of :func:`~wsiseg.biomarkers.intensity_classes` ``[n]``.
    points
        Where they lie; without, there is no interval.
    resampling
        How intervals are made.
    """
    how = resampling if resampling is not None else Resampling()
    own = measured(classes, points)
    sums = np.stack([own.classes, np.ones(len(own.classes))], axis=1).astype(np.float64)
    estimate = bootstrap(own.points, sums, percentage, how)
    return Score(
        "h-score",
        _SOURCE,
        UNVALIDATED,
        own.counts(),
        (
            Measure("h_score", "", estimate, "% 1+ plus 2 x % 2+ plus 3 x % 3+, 0 to 300"),
            *class_measures(own, how),
        ),
        warnings=own.warnings(LEAST_CELLS),
    )
