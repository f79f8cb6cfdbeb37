"""Estimates with intervals for cells that lie on a slide: blocks, proportions, agreement."""

from __future__ import annotations

from wsiseg.statistics.agreement import BlandAltman, bland_altman, cohen_kappa, confusion
from wsiseg.statistics.blocks import (
    ROUGH_BLOCKS,
    Points,
    bootstrap,
    bootstrap_quantiles,
    proportion,
)
from wsiseg.statistics.estimate import Estimate, Measure, Resampling, Score, undefined
from wsiseg.statistics.wilson import wilson

__all__ = [
    "ROUGH_BLOCKS",
    "BlandAltman",
    "Estimate",
    "Measure",
    "Points",
    "Resampling",
    "Score",
    "bland_altman",
    "bootstrap",
    "bootstrap_quantiles",
    "cohen_kappa",
    "confusion",
    "proportion",
    "undefined",
    "wilson",
]
