"""``cohort.html``: the slides of a run side by side, by what was found on them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from html import escape
from urllib.parse import quote

from wsiseg.reporting.cohort import Cohort, CohortSlide, middle_half
from wsiseg.reporting.markup import (
    COHORT_STYLE,
    bullets,
    document,
    facts,
    interval,
    known,
    plain_table,
)
from wsiseg.reporting.plots import group_strips
from wsiseg.reporting.score_parts import NAMES, ROUGH, words
from wsiseg.scoring.provenance import DISCLAIMER
from wsiseg.statistics import Score
from wsiseg.summary.numbers import short, whole
from wsiseg.summary.outliers import LEAST_SLIDES, RULE
from wsiseg.summary.page import sentence
from wsiseg.summary.rows import SlideRow
from wsiseg.summary.style import SCRIPT

MOST_LISTED = 200
_MOST_MEASURES = 5
_Number = tuple[str, Callable[[SlideRow, CohortSlide], float | None]]

_NUMBERS: tuple[_Number, ...] = (
    ("Nuclei", lambda row, _: row.nuclei),
    ("Tissue mm²", lambda row, _: row.tissue_mm2),
    ("Nuclei/mm²", lambda row, _: row.nuclei_per_mm2),
    ("Median area µm²", lambda row, _: row.nuclear_area_um2),
    ("Haem. OD", lambda row, _: row.haematoxylin_od),
    ("Signal", lambda row, _: row.signal),
    ("Flagged %", lambda _, slide: slide.flagged_percent),
)


def cohort_page(of: Cohort) -> str:
    """The page as HTML."""
    parts = [*_head(of), *_first(of), *_table(of), *_strips(of), *_biomarkers(of), *_notes(of)]
    return document(f"{of.summary.title}: cohort", COHORT_STYLE, parts, SCRIPT)


def _head(of: Cohort) -> Iterable[str]:
    summary = of.summary
    rows, done = summary.rows, summary.of_state("whole")
    yield f"<h1>{escape(summary.title)}</h1>"
    yield f'<p class="grey">{escape(summary.date)}, wsiseg {escape(summary.version)}</p>'
    yield '<p><span class="tag">For research use only, not a diagnosis</span></p>'
    groups = [name for name in of.groups() if name]
    others = "the others have no numbers here" if len(done) < len(rows) else ""
    members = [
        (f"{len(done):,} of {len(rows):,}", "slides finished", others),
        (whole(sum(rows[i].nuclei or 0 for i in done)), "nuclei", ""),
        (f"{short(sum(rows[i].tissue_mm2 or 0 for i in done))} mm²", "of tissue", ""),
    ]
    members += [(f"{len(groups):,}", "groups", "as the list of slides says")] if groups else []
    scored = sum(bool(slide.scores) for slide in of.slides)
    members += [(f"{scored:,}", "slides scored", "for biomarkers")] if scored else []
    yield facts(members)


def _first(of: Cohort) -> Iterable[str]:
    summary = of.summary
    odd = [i for i in summary.of_state("whole") if summary.oddities(i)]
    troubled = [i for i, slide in enumerate(of.slides) if slide.problem]
    if not odd and not troubled:
        return
    yield "<h2>Slides that stand out</h2>"
    for i in odd[:MOST_LISTED]:
        told = [sentence(one, i) for one in summary.oddities(i)]
        yield f"<p><b>{_link(of, summary.rows[i])}</b></p>{bullets(told)}"
    hidden = len(odd) - MOST_LISTED
    yield f"<p>and {hidden:,} more</p>" if hidden > 0 else ""
    yield bullets([f"{summary.rows[i].name}: {of.slides[i].problem}" for i in troubled])


def _table(of: Cohort) -> Iterable[str]:
    rows = of.summary.rows
    pairs = list(zip(rows, of.slides, strict=True))
    numbers = [n for n in _NUMBERS if any(n[1](*pair) is not None for pair in pairs)]
    main = [(key, _first_name(of, key)) for key in of.biomarkers()]
    texts = _texts(rows)
    yield '<h2>Slides</h2><div class="wide"><table><thead><tr>'
    yield _heading("Slide") + "".join(_heading(name) for name in texts)
    yield "".join(_heading(name, "n") for name, _ in numbers)
    yield "".join(_heading(NAMES.get(key, key), "n") for key, _ in main)
    yield "</tr></thead><tbody>"
    for row, slide in pairs:
        cells = [f'<td class="name" data-v="{escape(row.name)}">{_link(of, row)}</td>']
        for get in texts.values():
            text = escape(get(row))
            cells.append(f'<td data-v="{text}">{text}</td>')
        cells += [_number(value(row, slide)) for _, value in numbers]
        cells += [_number(known(slide.value(key, name))) for key, name in main]
        yield f"<tr>{''.join(cells)}</tr>"
    yield "</tbody></table></div>"
    if main:
        told = ", ".join(f"{NAMES.get(key, key)}: {words(name)}" for key, name in main)
        yield f'<p class="grey">{escape(told)}; with intervals below.</p>'


def _texts(rows: Sequence[SlideRow]) -> dict[str, Callable[[SlideRow], str]]:
    """Columns of text that at least one slide has something in."""

    def of_metadata(name: str) -> Callable[[SlideRow], str]:
        return lambda row: row.metadata.get(name, "")

    columns: dict[str, Callable[[SlideRow], str]] = {
        "Group": lambda row: row.group,
        "Stain": lambda row: row.stain,
        "Model": lambda row: row.model,
        "State": lambda row: "" if row.state == "whole" else row.state,
    }
    for name in dict.fromkeys(name for row in rows for name in row.metadata):
        columns[f"{name} (list)" if name in columns else name] = of_metadata(name)
    return {name: get for name, get in columns.items() if any(get(row) for row in rows)}


def _strips(of: Cohort) -> Iterable[str]:
    groups, measures = of.groups(), of.measures()
    names = [row.name for row in of.summary.rows]
    if not measures or len(of.summary.of_state("whole")) < 2:
        return
    yield "<h2>Measures by group</h2>" if any(groups) else "<h2>Measures</h2>"
    few = "" if _judged(of) else f" With fewer than {LEAST_SLIDES} slides of a kind none does."
    yield (
        '<p class="grey">A dot is a slide, a red one stands out (see below), the line is the '
        f"median. No test is made: slides of one patient are not independent.{few}</p>"
    )
    yield '<div class="strips">'
    for one in measures:
        unit = f', <span class="grey">{escape(one.unit)}</span>' if one.unit else ""
        name = one.name[:1].upper() + one.name[1:]
        drawn = group_strips(groups, one.values, one.out, names, one.unit)
        yield f'<div class="strip"><b>{escape(name)}</b>{unit}{drawn}</div>'
    yield "</div>"
    if any(groups):
        headings = [("Median (middle half)", "")]
        headings += [(f"{name} ({len(members)})", "n") for name, members in groups.items()]
        rows = []
        for one in measures:
            told = [f"{one.name} {one.unit}".rstrip()]
            told += [_spread(*middle_half(one.values, members)) for members in groups.values()]
            rows.append([escape(text) for text in told])
        yield plain_table(headings, rows)


def _judged(of: Cohort) -> bool:
    return any(bool((one.z == one.z).any()) for one in of.summary.comparisons)


def _spread(count: int, middle: float, low: float, high: float) -> str:
    if not count:
        return "-"
    return f"{short(middle)} ({short(low)} to {short(high)})" if count > 1 else short(middle)


def _biomarkers(of: Cohort) -> Iterable[str]:
    found = of.biomarkers()
    if not found:
        return
    yield f'<h2>Biomarkers</h2><p><span class="tag">{escape(DISCLAIMER)}</span></p>'
    yield f'<p class="grey">{ROUGH}</p>'
    yield bullets(sorted({t for s in of.slides if s.scored for t in s.scored.warnings}))
    for biomarker, every in found.items():
        names = every[:_MOST_MEASURES]
        yield f"<h3>{escape(NAMES.get(biomarker, biomarker))}</h3>"
        source = next(s.source for one in of.slides for s in one.scores if s.biomarker == biomarker)
        yield f'<p class="grey">{escape(source)}</p>'
        headings = [("Slide", "name"), ("Group", "")]
        for name in names:
            headings += [(words(name), "n"), ("interval", "n")]
        pairs = zip(of.summary.rows, of.slides, strict=True)
        held = [(row, s) for row, slide in pairs for s in slide.scores if s.biomarker == biomarker]
        banded = any(score.bands for _, score in held)
        rows = [
            [
                _link(of, row),
                escape(row.group),
                *_measures(score, names),
                *([_bands(score)] if banded else []),
            ]
            for row, score in held
        ]
        yield plain_table([*headings, *([("Published bands", "")] if banded else [])], rows)
        hidden = len(every) - len(names)
        yield f"<p>and {hidden} more measures in the slides' reports</p>" if hidden > 0 else ""


def _measures(score: Score, names: Sequence[str]) -> list[str]:
    own = {measure.name: measure for measure in score.measures}
    cells = []
    for name in names:
        measure = own.get(name)
        if measure is None or math.isnan(measure.estimate.value):
            cells += ["-", ""]
        else:
            unit = escape(measure.unit)
            cells.append(f"{short(measure.estimate.value)} {unit}".rstrip())
            cells.append(interval(measure.estimate))
    return cells


def _bands(score: Score) -> str:
    return escape("; ".join(f"{words(name)}: {text}" for name, text in score.bands.items()))


def _notes(of: Cohort) -> Iterable[str]:
    yield f"<h2>How to read this</h2><p>{escape(RULE)}</p><dl>"
    for one in of.measures():
        term = f"{one.name}, {one.unit}" if one.unit else one.name
        yield f"<dt>{escape(term)}</dt><dd>{escape(one.meaning)}</dd>"
    yield (
        "</dl><p>The numbers come from outlines that a model drew; differences between groups can "
        "be differences of staining, scanner, section or tissue found. Each slide's report shows "
        "its outlines, its quality and where its numbers come from. Failures and the course of "
        "the run are in summary.html.</p>"
    )


def _first_name(of: Cohort, biomarker: str) -> str:
    return of.biomarkers()[biomarker][0] if of.biomarkers()[biomarker] else ""


def _number(value: float | None) -> str:
    exact = "" if value is None else f"{value:.9g}"
    shown = whole(value) if isinstance(value, int) else short(value)
    return f'<td class="n" data-v="{exact}">{shown}</td>'


def _heading(name: str, kind: str = "") -> str:
    mark = f' class="{kind}"' if kind else ""
    return f'<th{mark}><button type="button">{escape(name)}</button></th>'


def _link(of: Cohort, row: SlideRow) -> str:
    if row.name not in of.reports:
        return escape(row.name)
    place = escape(f"slides/{quote(row.name)}/report.html")
    return f'<a href="{place}">{escape(row.name)}</a>'
