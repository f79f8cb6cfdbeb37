"""Biomarkers, grading features and region tables of a run: ``wsiseg score``."""

from __future__ import annotations

from wsiseg.scoring.maps import slide_maps, write_map
from wsiseg.scoring.options import BIOMARKERS, Biomarker, ScoreOptions
from wsiseg.scoring.slide import SlideScores, score_slide
from wsiseg.scoring.write import read_scores, write_slide_scores, write_table

__all__ = [
    "BIOMARKERS",
    "Biomarker",
    "ScoreOptions",
    "SlideScores",
    "read_scores",
    "score_slide",
    "slide_maps",
    "write_map",
    "write_slide_scores",
    "write_table",
]
