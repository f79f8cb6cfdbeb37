"""``scores.json`` of a slide, and ``scores.csv`` and ``regions.csv`` of a run."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from wsiseg.errors import StoreError
from wsiseg.execution.results import Run
from wsiseg.files import read_json, write_json, writing
from wsiseg.scoring.slide import ScopeScores, SlideScores

FILE = "scores.json"
TABLE = "scores.csv"
REGIONS = "regions.csv"

_COLUMNS = (
    "slide",
    "scope",
    "name",
    "region_class",
    "biomarker",
    "measure",
    "value",
    "unit",
    "low",
    "high",
    "confidence",
    "interval",
    "blocks",
    "cells",
    "validation",
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def write_slide_scores(run: Run, scores: SlideScores) -> Path:
    """Write ``slides/NAME/scores.json`` of a run, whole or not at all; its path."""
    path = _file(run, scores.slide)
    write_json(
        path,
        {
            "slide": scores.slide,
            **scores.provenance,
            "warnings": list(scores.warnings),
            "scopes": [_scope(found) for found in scores.scopes],
        },
    )
    return path


def read_scores(run: Run, slide: str) -> dict[str, Any]:
    """What :func:`write_slide_scores` wrote of a slide.

    Raises
    ------
    StoreError
        If the slide was not scored, or the file is damaged.
    """
    path = _file(run, slide)
    value = read_json(path)
    if not isinstance(value, dict) or not isinstance(value.get("scopes"), list):
        raise StoreError(f"{path} holds no scores; score the slide again")
    return value


def write_table(run: Run) -> tuple[Path, Path]:
    """Gather the scores of all slides that have any into ``scores.csv``, a row a number, and
    ``regions.csv``, a row a place; their paths.

    Text that a spreadsheet would take for a formula is led by an apostrophe.
    """
    scored = [read_scores(run, name) for name in run.slides if _file(run, name).exists()]
    first, second = run.path / TABLE, run.path / REGIONS
    _write(first, _COLUMNS, (row for slide in scored for row in _rows(slide)))
    header, rows = _region_table(scored)
    _write(second, header, iter(rows))
    return first, second


def _file(run: Run, slide: str) -> Path:
    return run.path / "slides" / slide / FILE


def _scope(found: ScopeScores) -> dict[str, Any]:
    scope = found.scope
    return {
        "scope": scope.kind,
        "name": scope.name,
        "region_class": scope.class_name,
        "drawn_mm2": round(scope.drawn_mm2, 6),
        "area_mm2": round(scope.area_mm2, 6),
        "tissue_mm2": round(scope.tissue_mm2, 6),
        "cells": len(scope.cells),
        "cells_by_class": dict(found.by_class),
        "overview": [measure.to_dict() for measure in found.overview],
        "scores": [score.to_dict() for score in found.scores],
    }


def _rows(slide: dict[str, Any]) -> Iterator[list[object]]:
    for scope in slide["scopes"]:
        place = [slide["slide"], scope["scope"], scope["name"], scope["region_class"]]
        for measure in scope["overview"]:
            yield [*place, "", *_numbers(measure), scope["cells"], ""]
        for score in scope["scores"]:
            for measure in score["measures"]:
                cells = score["counts"].get("cells", score["counts"].get("tumour_cells"))
                yield [
                    *place,
                    score["biomarker"],
                    *_numbers(measure),
                    cells,
                    score["validation"],
                ]


def _numbers(measure: dict[str, Any]) -> list[object]:
    keys = ("name", "value", "unit", "low", "high", "confidence", "method", "blocks")
    return [measure[key] for key in keys]


def _region_table(scored: Sequence[dict[str, Any]]) -> tuple[list[str], list[list[object]]]:
    scopes = [(slide["slide"], scope) for slide in scored for scope in slide["scopes"]]
    classes = sorted({name for _, scope in scopes for name in scope["cells_by_class"]})
    measures = list(dict.fromkeys(m["name"] for _, scope in scopes for m in scope["overview"]))
    plain = ["scope", "name", "region_class", "drawn_mm2", "area_mm2", "tissue_mm2", "cells"]
    header = ["slide", *plain, *(f"cells: {name}" for name in classes)]
    for name in measures:
        header += [name, f"{name}_low", f"{name}_high"]
    rows = []
    for slide, scope in scopes:
        held = {m["name"]: m for m in scope["overview"]}
        row = [slide, *(scope[key] for key in plain)]
        row += [scope["cells_by_class"].get(name, 0) for name in classes]
        for name in measures:
            row += [held.get(name, {}).get(key) for key in ("value", "low", "high")]
        rows.append(row)
    return header, rows


def _write(path: Path, header: Sequence[str], rows: Iterator[list[object]]) -> None:
    with writing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([_plain(name) for name in header])
        writer.writerows([_plain(value) for value in row] for row in rows)


def _plain(value: object) -> object:
    if isinstance(value, str) and value.startswith(_FORMULA):
        return "'" + value
    return "" if value is None else value
