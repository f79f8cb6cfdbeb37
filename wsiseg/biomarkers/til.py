"""Tumour-infiltrating lymphocytes: their density and share in a compartment."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsiseg.regions.areas import Area, density
from wsiseg.statistics import Measure, Points, Resampling, Score, proportion
from wsiseg.statistics.estimate import UNVALIDATED

_SOURCE = (
    "counts by compartment after Salgado et al., Ann. Oncol. 26, 2015 (International TILs Working "
    "Group), who estimate an area by eye"
)


def til(
    lymphocyte: NDArray[np.bool_],
    points: Points,
    area: Area,
    resampling: Resampling | None = None,
) -> Score:
    """Lymphocytes a mm² of tissue, and their share among all nuclei, in one compartment.

    Salgado et al., "The evaluation of tumor-infiltrating lymphocytes (TILs) in breast cancer",
    Ann. Oncol. 26, 2015, estimate by eye which share of the *area* of the stroma within the
    tumour mononuclear inflammatory cells cover. Counts a mm² and shares of nuclei are other
    numbers: their published cut-offs do not hold for them. Give the cells of one compartment
    (stroma within the tumour, or the tumour's nests) to have stromal or intratumoural TILs.

    Formula verified, clinically unvalidated.

    Parameters
    ----------
    lymphocyte
        bool ``[n]``: which of the compartment's nuclei are lymphocytes (and plasma cells).
    points
        Where the nuclei lie.
    area
        The compartment's tissue.
    resampling
        How intervals are made.
    """
    how = resampling if resampling is not None else Resampling()
    found = int(np.count_nonzero(lymphocyte))
    warnings = []
    if not len(lymphocyte):
        warnings.append("there are no nuclei")
    if area.total_mm2 <= 0:
        warnings.append("there is no tissue, hence no density")
    return Score(
        "til",
        _SOURCE,
        UNVALIDATED,
        {"cells": len(lymphocyte), "lymphocytes": found},
        (
            Measure(
                "til_density",
                "1/mm²",
                density(points.take(lymphocyte), area, how),
                "lymphocytes by the area of tissue of the compartment",
            ),
            Measure(
                "til_share",
                "%",
                proportion(lymphocyte, points, how),
                "lymphocytes among all nuclei of the compartment",
            ),
        ),
        warnings=tuple(warnings),
    )
