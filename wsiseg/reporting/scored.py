"""Scores of a slide as ``wsiseg score`` left them, read back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wsiseg.errors import StoreError
from wsiseg.execution.results import Run
from wsiseg.scoring import read_scores
from wsiseg.scoring.write import FILE
from wsiseg.statistics import Estimate, Measure, Score


@dataclass(frozen=True, slots=True)
class ScoredPlace:
    """What was found in one place.

    Attributes
    ----------
    kind, name, region_class
        ``"slide"``, ``"region"`` or ``"class"``; its name, and the region's class.
    area_mm2, tissue_mm2, cells
        Its area on the slide, that of its tissue, and its cells.
    overview
        Density, means of features.
    scores
        One a biomarker.
    """

    kind: str
    name: str
    region_class: str
    area_mm2: float
    tissue_mm2: float
    cells: int
    overview: tuple[Measure, ...]
    scores: tuple[Score, ...]


@dataclass(frozen=True, slots=True)
class Scored:
    """The scores of a slide: its places, the slide itself first, and what to bear in mind.

    ``segment_key`` is that of the segmentation that was scored.
    """

    places: tuple[ScoredPlace, ...]
    warnings: tuple[str, ...]
    segment_key: str
    options: Mapping[str, Any]


def read_scored(run: Run, slide: str) -> Scored | None:
    """The scores of a slide; ``None`` where it was not scored.

    Raises
    ------
    StoreError
        If they are damaged.
    """
    if not (run.path / "slides" / slide / FILE).exists():
        return None
    value = read_scores(run, slide)
    try:
        places = tuple(map(_place, value["scopes"]))
        if not places:
            raise ValueError("no place")
        return Scored(
            places,
            tuple(str(text) for text in value.get("warnings") or ()),
            str(value.get("segment_key") or ""),
            dict(value.get("options") or {}),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StoreError(
            f"{run.path / 'slides' / slide / FILE} is damaged; score the slide again"
        ) from error


def _place(scope: Mapping[str, Any]) -> ScoredPlace:
    return ScoredPlace(
        str(scope["scope"]),
        str(scope["name"]),
        str(scope["region_class"] or ""),
        float(scope["area_mm2"]),
        float(scope["tissue_mm2"]),
        int(scope["cells"]),
        tuple(map(_measure, scope["overview"])),
        tuple(map(_score, scope["scores"])),
    )


def _score(value: Mapping[str, Any]) -> Score:
    return Score(
        str(value["biomarker"]),
        str(value["source"]),
        str(value["validation"]),
        {str(name): int(count) for name, count in value["counts"].items()},
        tuple(map(_measure, value["measures"])),
        {str(name): str(text) for name, text in value["bands"].items()},
        tuple(str(text) for text in value["warnings"]),
    )


def _measure(value: Mapping[str, Any]) -> Measure:
    middle, low, high = (
        math.nan if value[key] is None else float(value[key]) for key in ("value", "low", "high")
    )
    estimate = Estimate(
        middle, low, high, float(value["confidence"]), value["method"], int(value["blocks"])
    )
    return Measure(str(value["name"]), str(value["unit"]), estimate, str(value["definition"]))
