"""Biomarkers as published: arrays of cells in, a value with counts and intervals out.

Every number is for research. Its formula follows the source that its function names; whether the
number means for a patient what that source says was tested nowhere here. Nothing is a diagnosis.
"""

from __future__ import annotations

from wsiseg.biomarkers.allred import allred, allred_score
from wsiseg.biomarkers.h_score import h_score
from wsiseg.biomarkers.her2 import her2
from wsiseg.biomarkers.intensity import (
    UNMEASURED,
    Thresholds,
    intensity_classes,
    intensity_shares,
)
from wsiseg.biomarkers.ki67 import ki67
from wsiseg.biomarkers.pdl1 import pdl1
from wsiseg.biomarkers.receptors import receptor_share
from wsiseg.biomarkers.til import til

__all__ = [
    "UNMEASURED",
    "Thresholds",
    "allred",
    "allred_score",
    "h_score",
    "her2",
    "intensity_classes",
    "intensity_shares",
    "ki67",
    "pdl1",
    "receptor_share",
    "til",
]
