"""Oestrogen and progesterone receptor: the share of stained nuclei."""

from __future__ import annotations

import math
from typing import Literal

from wsiseg.biomarkers.intensity import Classes, class_measures, measured
from wsiseg.statistics import Measure, Points, Resampling, Score, proportion
from wsiseg.statistics.estimate import UNVALIDATED

Receptor = Literal["er", "pr"]

LEAST_CELLS = 100

_SOURCE = "Allison et al., J. Clin. Oncol. 38, 2020 (ASCO/CAP guideline update)"
_NAMES = {"er": "ER", "pr": "PR"}


def receptor_share(
    classes: Classes,
    receptor: Receptor,
    points: Points | None = None,
    resampling: Resampling | None = None,
) -> Score:
    """The share of tumour nuclei with any staining for ER or PR, in percent.

    Cut-offs of Allison et al. 2020: below 1 % negative, from 1 % positive; ER from 1 to 10 % is
    called low positive. The band describes the number; the guideline's reading also asks for
    internal controls, which are not looked at here.

    Formula verified, clinically unvalidated.

    Parameters
    ----------
    classes
        Of the tumour's nuclei, as of :func:`~wsiseg.biomarkers.intensity_classes` ``[n]``.
    receptor
        ``"er"`` or ``"pr"``.
    points
        Where they lie; without, intervals take cells as independent.
    resampling
        How intervals are made.
    """
    how = resampling if resampling is not None else Resampling()
    own = measured(classes, points)
    share = proportion(own.classes > 0, own.points, how)
    return Score(
        receptor,
        _SOURCE,
        UNVALIDATED,
        own.counts() | {"positive": int((own.classes > 0).sum())},
        (
            Measure(
                "positive_share",
                "%",
                share,
                "positive nuclei (1+ to 3+) among all measured nuclei",
            ),
            *class_measures(own, how),
        ),
        _bands(share.value, receptor),
        own.warnings(LEAST_CELLS, "nuclei"),
    )


def _bands(percent: float, receptor: Receptor) -> dict[str, str]:
    name = _NAMES[receptor]
    if math.isnan(percent):
        return {}
    if percent < 1:
        return {"ASCO/CAP 2020": f"{name} below 1 % (negative)"}
    if receptor == "er" and percent <= 10:
        return {"ASCO/CAP 2020": f"{name} 1 to 10 % (low positive)"}
    limit = "above 10 %" if receptor == "er" else "1 % or more"
    return {"ASCO/CAP 2020": f"{name} {limit} (positive)"}
