"""What the terminal shows of a slide's scores: a table of places, then one a biomarker."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from wsiseg.scoring.provenance import DISCLAIMER
from wsiseg.scoring.slide import ScopeScores, SlideScores
from wsiseg.statistics import ROUGH_BLOCKS, Measure

_FAINT = "bright_black"
_SHOWN_PLACES = 25
_SHOWN_CLASSES = 6
_SHOWN = {
    "ki67": ("labelling_index", "hot_spot_labelling_index"),
    "er": ("positive_share", "weak_share", "moderate_share", "strong_share"),
    "pr": ("positive_share", "weak_share", "moderate_share", "strong_share"),
    "h-score": ("h_score", "weak_share", "moderate_share", "strong_share"),
    "allred": ("allred", "allred_proportion", "allred_intensity"),
    "pdl1": ("tps", "cps"),
    "her2": ("strong_share", "moderate_share", "weak_share", "unstained_share"),
    "til": ("til_density", "til_share"),
    "grading": ("area_median_um2", "area_cv", "diameter_ratio", "haematoxylin_mean", "density"),
}
"""Which measures have a column; the files hold all."""


def scores_view(found: SlideScores, written: Sequence[Path]) -> list[RenderableType]:
    """Tables, warnings, where the files are; names as plain text, never as markup."""
    shown = found.scopes[:_SHOWN_PLACES]
    parts: list[RenderableType] = [Text(found.slide, "bold"), _places(shown)]
    parts += [_biomarker(shown, number) for number in range(len(shown[0].scores))]
    if len(found.scopes) > len(shown):
        parts.append(Text(f"and {len(found.scopes) - len(shown)} more places in the files"))
    if any(_rough(m) for s in shown for score in s.scores for m in score.measures):
        parts.append(
            Text(f"~ rests on fewer than {ROUGH_BLOCKS} blocks of tissue and is rough", _FAINT)
        )
    parts += [Text(f"Note: {warning}", "yellow") for warning in _warnings(found)]
    if shown[0].scores:
        parts.append(Text(DISCLAIMER, "yellow"))
    parts.append(Text("Written: " + ", ".join(str(path) for path in written), _FAINT))
    return parts


def _places(shown: Sequence[ScopeScores]) -> Table:
    table = _table("Place")
    table.add_column("Class", overflow="fold")
    for name in ("Area mm²", "Tissue mm²", "Cells", "Cells a mm²"):
        table.add_column(name, justify="right", no_wrap=True)
    several = any(len(one.by_class) > 1 for one in shown)
    if several:
        table.add_column("By class", overflow="fold")
    for one in shown:
        scope = one.scope
        density = one.overview[0]
        table.add_row(
            _place(one),
            Text(scope.class_name or ""),
            Text(f"{scope.area_mm2:.3f}"),
            Text(f"{scope.tissue_mm2:.3f}"),
            Text(f"{len(scope.cells):,}"),
            _cell(density),
            *([Text(_by_class(one))] if several else []),
        )
    return table


def _biomarker(shown: Sequence[ScopeScores], number: int) -> Group:
    first = shown[0].scores[number]
    names = _SHOWN[first.biomarker]
    held = {m.name: m for one in shown for m in one.scores[number].measures}
    columns = [name for name in names if name in held]
    table = _table("Place")
    table.add_column("Cells", justify="right", no_wrap=True)
    for name in columns:
        table.add_column(Text(_heading(held[name])), justify="right")
    banded = list(dict.fromkeys(band for one in shown for band in one.scores[number].bands))
    for band in banded:
        table.add_column(Text(band), overflow="fold")
    for one in shown:
        score = one.scores[number]
        own = {m.name: m for m in score.measures}
        cells = score.counts.get("cells", score.counts.get("tumour_cells", 0))
        table.add_row(
            _place(one),
            Text(f"{cells:,}"),
            *(_cell(own.get(name)) for name in columns),
            *(Text(score.bands.get(band, "")) for band in banded),
        )
    title = Text.assemble((first.biomarker, "bold cyan"), (f"  {first.source}", _FAINT))
    return Group(Text(), title, table)


def _warnings(found: SlideScores) -> list[str]:
    """The slide's, then those of its scores as a whole; those of regions are in the files."""
    own = [
        f"{score.biomarker}: {warning}"
        for score in found.scopes[0].scores
        for warning in score.warnings
    ]
    return [*found.warnings, *own]


def _place(one: ScopeScores) -> Text:
    kinds = {"slide": "whole slide", "region": one.scope.name, "class": f"all {one.scope.name}"}
    return Text(kinds[one.scope.kind], "bold" if one.scope.kind != "region" else "")


def _cell(measure: Measure | None) -> Text:
    """Value, and its interval below."""
    if measure is None or math.isnan(measure.estimate.value):
        return Text("-")
    estimate = measure.estimate
    if math.isnan(estimate.low):
        return Text(_short(estimate.value))
    rough = "~" if _rough(measure) else ""
    interval = f"{rough}{_short(estimate.low)} to {_short(estimate.high)}"
    return Text.assemble(_short(estimate.value), (f"\n{interval}", _FAINT))


def _heading(measure: Measure) -> str:
    """Name and unit, the unit once."""
    name = measure.name.removesuffix("_um2").removesuffix("_um").replace("_", " ")
    return f"{name} {measure.unit}".rstrip()


def _rough(measure: Measure) -> bool:
    estimate = measure.estimate
    return not math.isnan(estimate.low) and estimate.blocks < ROUGH_BLOCKS


def _by_class(one: ScopeScores) -> str:
    largest = sorted(one.by_class.items(), key=lambda item: (-item[1], item[0]))
    text = ", ".join(f"{name} {count:,}" for name, count in largest[:_SHOWN_CLASSES])
    more = len(largest) - _SHOWN_CLASSES
    return f"{text}, {more} more" if more > 0 else text


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _table(first: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column(first, overflow="fold")
    return table
