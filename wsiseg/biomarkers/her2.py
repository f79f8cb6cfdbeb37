"""HER2: how many tumour cells are stained around the nucleus, and how strongly."""

from __future__ import annotations

import numpy as np

from wsiseg.biomarkers.intensity import Classes, class_measures, measured
from wsiseg.statistics import Measure, Points, Resampling, Score, proportion
from wsiseg.statistics.estimate import UNVALIDATED

LEAST_CELLS = 100

_SOURCE = (
    "Wolff et al., J. Clin. Oncol. 36, 2018 (ASCO/CAP focused update), affirmed by Wolff et al., "
    "J. Clin. Oncol. 41, 2023"
)


def her2(
    classes: Classes, points: Points | None = None, resampling: Resampling | None = None
) -> Score:
    """Shares of tumour cells by the intensity of the ring around the nucleus.

    The guideline (Wolff et al. 2018, affirmed 2023) scores 3+ where complete and intense membrane
    staining is seen in more than 10 % of the tumour cells; 2+ where it is complete and weak to
    moderate in more than 10 %, or complete and intense in 10 % or less; 1+ where it is incomplete
    and faint in more than 10 %; else 0. *Completeness* of the circumference decides between them,
    and cannot be measured from a mean over a ring: nor can membrane be told from cytoplasm. So
    no score is given. The band says which of the guideline's limits the intensities alone would
    pass, were every membrane complete.

    Formula verified, clinically unvalidated.

    Parameters
    ----------
    classes
        Of the tumour's cells, from the density of the ring, as of
        :func:`~wsiseg.biomarkers.intensity_classes` ``[n]``.
    points
        Where they lie; without, intervals take cells as independent.
    resampling
        How intervals are made.
    """
    how = resampling if resampling is not None else Resampling()
    own = measured(classes, points)
    reached = (
        ("stained_share", 1, "cells of class 1+, 2+ or 3+"),
        ("moderate_or_strong_share", 2, "cells of class 2+ or 3+"),
    )
    return Score(
        "her2",
        _SOURCE,
        UNVALIDATED,
        own.counts(),
        (
            *class_measures(own, how)[::-1],
            *(
                Measure(
                    name,
                    "%",
                    proportion(own.classes >= rank, own.points, how),
                    f"{text} among all measured cells",
                )
                for name, rank, text in reached
            ),
        ),
        _bands(own.classes),
        (
            *own.warnings(LEAST_CELLS, "tumour cells"),
            "completeness of the membrane staining, on which the guideline rests, was not measured",
        ),
    )


def _bands(classes: Classes) -> dict[str, str]:
    """Which limit of 10 % the intensities pass; compared as whole numbers."""
    if not len(classes):
        return {}
    counts = np.bincount(classes, minlength=4)
    strong, total = int(counts[3]), int(counts.sum())
    if 10 * strong > total:
        text = "strong in more than 10 % of the cells (3+ if complete)"
    elif 10 * int(counts[2:].sum()) > total:
        text = "moderate or strong in more than 10 % of the cells (2+ if complete)"
    elif strong:
        text = "strong in 10 % of the cells or fewer (2+ if complete)"
    elif 10 * int(counts[1:].sum()) > total:
        text = "weak in more than 10 % of the cells (2+ if complete, 1+ if not)"
    else:
        text = "weak in 10 % of the cells or fewer, or none (0)"
    return {"by intensity alone": text}
