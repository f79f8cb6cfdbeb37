"""PD-L1: tumour proportion score and combined positive score."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from wsiseg.biomarkers.intensity import Classes, measured
from wsiseg.statistics import (
    Measure,
    Points,
    Resampling,
    Score,
    bootstrap,
    proportion,
    undefined,
)
from wsiseg.statistics.blocks import percentage
from wsiseg.statistics.estimate import UNVALIDATED

LEAST_TUMOUR_CELLS = 100

_SOURCE = (
    "PD-L1 IHC 22C3 pharmDx interpretation manuals (Agilent/Dako); Garon et al., N. Engl. J. Med. "
    "372, 2015 (TPS); Kulangara et al., Arch. Pathol. Lab. Med. 143, 2019 (CPS)"
)

Floats = NDArray[np.float64]


def pdl1(
    tumour: Classes,
    immune: Classes,
    tumour_points: Points | None = None,
    immune_points: Points | None = None,
    resampling: Resampling | None = None,
) -> Score:
    """TPS and CPS.

    TPS: positive tumour cells in percent of all tumour cells. CPS: positive tumour cells and
    positive lymphocytes and macrophages, by all tumour cells, times 100, 100 at most. Any
    intensity counts. 100 viable tumour cells are asked for.

    What the manuals ask for and is not seen here: that staining of tumour cells lies on the
    membrane (given is what was measured, in a ring around the nucleus as a rule), that cells are
    viable, and that immune cells are lymphocytes or macrophages that belong to the tumour; give
    those only.

    Formula verified, clinically unvalidated.

    Parameters
    ----------
    tumour, immune
        Intensity classes of tumour cells ``[n]`` and of lymphocytes and macrophages ``[m]``.
    tumour_points, immune_points
        Where they lie; without either, there is no interval of the CPS.
    resampling
        How intervals are made.
    """
    how = resampling if resampling is not None else Resampling()
    own, others = measured(tumour, tumour_points), measured(immune, immune_points)
    tps = proportion(own.classes > 0, own.points, how)
    positive = int((own.classes > 0).sum()), int((others.classes > 0).sum())
    values = _tables(own.classes > 0, others.classes > 0)
    points = None
    if own.points is not None and others.points is not None:
        points = own.points.joined(others.points)
    cps = bootstrap(points, values, _cps, how) if len(own.classes) else undefined(how)
    return Score(
        "pdl1",
        _SOURCE,
        UNVALIDATED,
        {
            "tumour_cells": len(own.classes),
            "tumour_positive": positive[0],
            "immune_cells": len(others.classes),
            "immune_positive": positive[1],
            "unmeasured": own.unmeasured + others.unmeasured,
        },
        (
            Measure("tps", "%", tps, "positive tumour cells among all tumour cells"),
            Measure(
                "cps",
                "",
                cps,
                "100 x (positive tumour cells + positive lymphocytes and macrophages) / tumour "
                "cells, 100 at most",
            ),
        ),
        _bands(tps.value),
        (
            *own.warnings(LEAST_TUMOUR_CELLS, "tumour cells"),
            "membrane staining was not told from cytoplasmic staining",
        ),
    )


def _tables(tumour: NDArray[np.bool_], immune: NDArray[np.bool_]) -> Floats:
    """Positive cells, and tumour cells, ``[n + m, 2]``."""
    positive = np.concatenate([tumour, immune])
    counted = np.arange(len(positive)) < len(tumour)
    return np.stack([positive, counted], axis=1).astype(np.float64)


def _cps(sums: Floats) -> Floats:
    return np.minimum(percentage(sums), 100.0)


def _bands(tps: float) -> dict[str, str]:
    if math.isnan(tps):
        return {}
    band = "below 1 %" if tps < 1 else "1 to 49 %" if tps < 50 else "50 % or more"
    return {"TPS, 22C3 in lung": band}
