"""Biomarkers with their intervals, as HTML."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

from wsiseg.reporting.markup import bullets, interval, known, plain_table
from wsiseg.reporting.plots import interval_svg
from wsiseg.reporting.scored import ScoredPlace
from wsiseg.statistics import ROUGH_BLOCKS, Measure, Score
from wsiseg.summary.numbers import short, whole

MOST_PLACES = 40
"""Regions shown; ``regions.csv`` and ``scores.csv`` have them all."""

ROUGH = f"~ rests on fewer than {ROUGH_BLOCKS} blocks of tissue and is rough"
"""What the sign before an interval says."""

NAMES = {
    "ki67": "Ki-67",
    "er": "Oestrogen receptor",
    "pr": "Progesterone receptor",
    "h-score": "H-score",
    "allred": "Allred",
    "pdl1": "PD-L1",
    "her2": "HER2",
    "til": "Tumour-infiltrating lymphocytes",
    "grading": "Grading features",
}
_TOPS = {"h_score": 300.0, "allred": 8.0, "cps": 100.0}
_MEASURES_BY_REGION = 3


def main_number(score: Score) -> Iterable[tuple[str, str, str]]:
    """The first measure of a score as a key number: value, name, interval."""
    if not score.measures or math.isnan(score.measures[0].estimate.value):
        return
    first = score.measures[0]
    between = interval(first.estimate)
    told = f"{first.estimate.confidence:.0%} interval {between}" if between else "no interval"
    yield f"{short(first.estimate.value)} {first.unit}".rstrip(), titled(score, first), told


def titled(score: Score, measure: Measure) -> str:
    """The biomarker and its measure in words."""
    biomarker, name = NAMES.get(score.biomarker, score.biomarker), words(measure.name)
    same = biomarker.casefold().replace("-", " ") == name.casefold()
    return biomarker if same else f"{biomarker}: {name}"


def place_parts(places: Sequence[ScoredPlace]) -> Iterable[str]:
    """The table of places with cells and densities; for the slide its means besides."""
    shown = places[:MOST_PLACES]
    headings = [("Place", ""), ("Class", ""), ("Tissue mm²", "n"), ("Cells", "n")]
    yield plain_table(
        [*headings, ("Cells per mm²", "n"), ("Interval", "n")],
        ([*_place(one), *_numbers(one.overview[0] if one.overview else None)] for one in shown),
    )
    if len(places) > len(shown):
        yield f"<p>and {len(places) - len(shown):,} more places in regions.csv</p>"


def biomarker_parts(places: Sequence[ScoredPlace]) -> Iterable[str]:
    """Every biomarker of the slide: its measures, what is published of them, its regions."""
    rough = False
    for number, score in enumerate(places[0].scores):
        yield f"<h3>{escape(NAMES.get(score.biomarker, score.biomarker))}</h3>"
        yield f'<p class="grey">{escape(score.source)}. {escape(_validated(score))}.</p>'
        counts = "; ".join(f"{_counted(name)}: {whole(n)}" for name, n in score.counts.items())
        yield f"<p>{escape(counts)}</p>"
        for band, text in score.bands.items():
            yield f"<p>Published bands, {escape(words(band))}: <b>{escape(text)}</b></p>"
        yield _measures(score)
        rough |= any(interval(m.estimate).startswith("~") for m in score.measures)
        yield bullets(score.warnings)
        yield from _by_region(places, number)
    if rough:
        yield f'<p class="grey">{ROUGH}</p>'


def _validated(score: Score) -> str:
    text = score.validation[:1].upper() + score.validation[1:]
    return f"{text}; research use only" if score.biomarker == "grading" else text


def _measures(score: Score) -> str:
    headings = [("Measure", ""), ("Value", "n"), ("", ""), ("Interval", "n"), ("Definition", "")]
    made = dict.fromkeys(
        f"{m.estimate.confidence:.0%}, {m.estimate.method}"
        for m in score.measures
        if interval(m.estimate)
    )
    note = f'<p class="grey">Intervals: {escape("; ".join(made))}</p>' if made else ""
    return plain_table(headings, (_measure(one) for one in score.measures)) + note


def _measure(one: Measure) -> list[str]:
    estimate = one.estimate
    # A coefficient of variation is in percent too, but of no whole.
    share = one.unit == "%" and not one.name.endswith("_cv")
    top = _TOPS.get(one.name, 100.0 if share else 0.0)
    value = short(known(estimate.value)) or "-"
    told = f"{value} {escape(_unit(one))}".rstrip()
    exact = f"{estimate.value:.9g}" if math.isfinite(estimate.value) else ""
    return [
        escape(words(one.name)),
        f'<data value="{exact}">{told}</data>',
        interval_svg(estimate.value, estimate.low, estimate.high, top),
        escape(interval(estimate)),
        escape(one.definition),
    ]


def _by_region(places: Sequence[ScoredPlace], number: int) -> Iterable[str]:
    regions = [one for one in places[1:MOST_PLACES] if number < len(one.scores)]
    if not regions:
        return
    names = [measure.name for measure in places[0].scores[number].measures[:_MEASURES_BY_REGION]]
    headings = [("Place", ""), ("Class", ""), ("Tissue mm²", "n"), ("Cells", "n")]
    for name in names:
        headings += [(words(name), "n"), ("interval", "n")]
    rows = []
    for one in regions:
        own = {measure.name: measure for measure in one.scores[number].measures}
        row = list(_place(one))
        for name in names:
            row += _numbers(own.get(name))
        rows.append(row)
    yield plain_table(headings, rows)


def _place(one: ScoredPlace) -> list[str]:
    kinds = {"slide": "whole slide", "class": f"all {one.name}"}
    return [
        escape(kinds.get(one.kind, one.name)),
        escape(one.region_class),
        short(one.tissue_mm2),
        whole(one.cells),
    ]


def _numbers(measure: Measure | None) -> list[str]:
    if measure is None or math.isnan(measure.estimate.value):
        return ["-", ""]
    value = f"{short(measure.estimate.value)} {escape(_unit(measure))}".rstrip()
    return [value, escape(interval(measure.estimate))]


def _counted(name: str) -> str:
    return name.replace("_um", " µm").replace("_", " ")


def _unit(measure: Measure) -> str:
    return "per mm²" if measure.unit == "1/mm²" else measure.unit


def words(name: str) -> str:
    """A name of the files in words, its unit left to the value."""
    return name.removesuffix("_um2").removesuffix("_um").replace("_", " ")
