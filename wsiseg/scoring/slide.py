"""The scores of one slide of a run."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsiseg.biomarkers import allred, h_score, her2, intensity_classes, ki67, pdl1, receptor_share
from wsiseg.biomarkers import til as til_score
from wsiseg.errors import ConfigurationError
from wsiseg.execution.results import Run
from wsiseg.grading import Nuclei, Reference, find_reference, grading, lymphocyte_like
from wsiseg.regions import place_regions
from wsiseg.regions.places import Region
from wsiseg.scoring.cells import SlideCells, read_cells
from wsiseg.scoring.options import NUCLEUS_DAB, Biomarker, ScoreOptions
from wsiseg.scoring.provenance import on_thresholds, provenance, stain_warnings
from wsiseg.scoring.scopes import Scope, overview, region_scopes, slide_scope
from wsiseg.statistics import Measure, Score

_HAEMATOXYLIN = "nucleus_haematoxylin_od_mean"
_SHAPE = ("area_um2", "solidity", "elongation")


@dataclass(frozen=True, slots=True)
class ScopeScores:
    """What was found in one place.

    Attributes
    ----------
    scope
        The place.
    by_class
        Cells of each class.
    overview
        Density, means of features.
    scores
        One a biomarker.
    """

    scope: Scope
    by_class: Mapping[str, int]
    overview: tuple[Measure, ...]
    scores: tuple[Score, ...]


@dataclass(frozen=True, slots=True)
class SlideScores:
    """What was found on one slide.

    Attributes
    ----------
    slide
        Its name in the run.
    scopes
        The slide first, then regions, then classes of regions.
    provenance
        What the numbers depend on. JSON values only.
    warnings
        Sentences for the user.
    """

    slide: str
    scopes: tuple[ScopeScores, ...]
    provenance: Mapping[str, Any]
    warnings: tuple[str, ...]


def score_slide(
    run: Run,
    slide: str,
    options: ScoreOptions,
    regions: Sequence[Region] | None = None,
) -> SlideScores:
    """Score a slide of a run, and the regions on it.

    Parameters
    ----------
    regions
        As of ``wsiseg.export.regions.read_regions``.

    Raises
    ------
    ConfigurationError
        If there is no such slide, a class is not there, a column that a biomarker needs was not
        measured, or no region lies on the slide.
    StoreError
        If the slide is not whole or its table was not written.
    """
    report = run.report(slide)
    info = run.source(slide).info
    columns = [options.column] if options.column else []
    cells = read_cells(run, slide, info.level0, columns)
    _require_columns(slide, cells, options)
    tissue = run.tissue(slide)
    block_um = options.resampling.block_um
    scopes = [slide_scope(slide, cells, tissue, info.level0, block_um)]
    warnings = [*stain_warnings(report, cells, options)]
    if cells.unplaced:
        warnings.append(f"{cells.unplaced} cells without a place were left out")
    if regions is not None:
        placed = place_regions(regions, info.level0, info.origin_px)
        warnings += placed.warnings
        scopes += region_scopes(placed, cells, tissue, info.level0, block_um)
    context = _context(cells, options)
    found = tuple(
        ScopeScores(
            scope,
            cells.counts(scope.cells),
            overview(scope, cells, options.resampling),
            tuple(_MAKERS[name](scope, context) for name in options.biomarkers),
        )
        for scope in scopes
    )
    warnings += [*context.warnings, *on_thresholds(cells, context.tumour, options)]
    return SlideScores(slide, found, provenance(report, options), tuple(warnings))


@dataclass(frozen=True, slots=True)
class _Context:
    cells: SlideCells
    options: ScoreOptions
    tumour: NDArray[np.bool_]
    immune: NDArray[np.bool_]
    reference: Reference
    warnings: tuple[str, ...]


def _context(cells: SlideCells, options: ScoreOptions) -> _Context:
    warnings = []
    tumour = np.ones(len(cells), np.bool_)
    if options.tumour:
        tumour = cells.of_class(options.tumour, "tumour cells")
    elif set(options.biomarkers) - {"til"}:
        warnings.append("no class was named as tumour cells: every nucleus counts as one")
    immune = np.zeros(len(cells), np.bool_)
    if options.immune:
        immune = cells.of_class(options.immune, "lymphocytes")
    elif "pdl1" in options.biomarkers:
        warnings.append("no class was named as lymphocytes: the CPS counts tumour cells only")
    reference = Reference(math.nan, math.nan, 0, "not asked for")
    if "grading" in options.biomarkers:
        reference = _reference(cells, immune if options.immune else None)
    return _Context(cells, options, tumour, immune, reference, tuple(warnings))


def _reference(cells: SlideCells, immune: NDArray[np.bool_] | None) -> Reference:
    columns = cells.columns
    area, dark = columns["area_um2"], columns.get(_HAEMATOXYLIN)
    if immune is not None:
        return find_reference(immune, area, dark, "cells of the classes named as lymphocytes")
    chosen, rule = lymphocyte_like(area, columns["solidity"], columns["elongation"], dark)
    return find_reference(chosen, area, dark, rule)


def _require_columns(slide: str, cells: SlideCells, options: ScoreOptions) -> None:
    missing = [name for name in _SHAPE if name not in cells.columns]
    if "grading" in options.biomarkers and missing:
        raise ConfigurationError(
            f"{slide} has no column {', '.join(missing)}, which grading is computed from; write "
            "its table again with: wsiseg measure"
        )
    for biomarker in options.biomarkers:
        column = options.column_of(biomarker)
        if column is None or column in cells.columns:
            continue
        if "nucleus_eosin_od_mean" in cells.columns:
            why = "its counterstain was taken for eosin, not DAB; if that is wrong, state"
            how = "its vectors with: wsiseg measure OUT --stain-vectors"
        else:
            why, how = "its stains were not measured; do so", "with: wsiseg measure OUT"
        raise ConfigurationError(
            f"{slide} has no column {column}, which {biomarker} is computed from: {why} {how}, or "
            "name another column with --column"
        )


def _chosen(scope: Scope, kind: NDArray[np.bool_]) -> NDArray[np.int64]:
    return scope.cells[kind[scope.cells]]


def _graded(
    biomarker: Biomarker, score: Callable[..., Score]
) -> Callable[[Scope, _Context], Score]:
    """Scores that take intensity classes of tumour cells, and their places."""

    def make(scope: Scope, context: _Context) -> Score:
        column = context.options.column_of(biomarker) or NUCLEUS_DAB
        own = _chosen(scope, context.tumour)
        classes = intensity_classes(context.cells.columns[column][own], context.options.thresholds)
        return score(classes, context.cells.points.take(own), context.options)

    return make


def _pdl1(scope: Scope, context: _Context) -> Score:
    options, points = context.options, context.cells.points
    column = context.cells.columns[options.column_of("pdl1") or NUCLEUS_DAB]
    tumour, immune = _chosen(scope, context.tumour), _chosen(scope, context.immune)
    return pdl1(
        intensity_classes(column[tumour], options.thresholds),
        intensity_classes(column[immune], options.thresholds),
        points.take(tumour),
        points.take(immune),
        options.resampling,
    )


def _til(scope: Scope, context: _Context) -> Score:
    return til_score(
        context.immune[scope.cells],
        context.cells.points.take(scope.cells),
        scope.area,
        context.options.resampling,
    )


def _grading(scope: Scope, context: _Context) -> Score:
    columns = context.cells.columns
    nuclei = Nuclei(
        context.cells.points,
        columns["area_um2"],
        columns.get("solidity"),
        columns.get("elongation"),
        columns.get(_HAEMATOXYLIN),
        columns.get("nearest_1_um"),
    ).take(_chosen(scope, context.tumour))
    return grading(nuclei, context.reference, scope.area, context.options.resampling)


_MAKERS: dict[Biomarker, Callable[[Scope, _Context], Score]] = {
    "ki67": _graded("ki67", lambda c, p, o: ki67(c, p, o.resampling, o.hot_spot)),
    "er": _graded("er", lambda c, p, o: receptor_share(c, "er", p, o.resampling)),
    "pr": _graded("pr", lambda c, p, o: receptor_share(c, "pr", p, o.resampling)),
    "h-score": _graded("h-score", lambda c, p, o: h_score(c, p, o.resampling)),
    "allred": _graded("allred", lambda c, p, o: allred(c, p, o.resampling)),
    "her2": _graded("her2", lambda c, p, o: her2(c, p, o.resampling)),
    "pdl1": _pdl1,
    "til": _til,
    "grading": _grading,
}
