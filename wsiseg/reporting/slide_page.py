"""``report.html`` of one slide: what it shows, how sure that is, and what made it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

from wsiseg.quality.fields import FAULTS
from wsiseg.reporting.cells import ClassShare, Distribution
from wsiseg.reporting.fields import FAULT_COLORS, FAULT_MEANING, SOUND, SlideFields
from wsiseg.reporting.markup import (
    SLIDE_STYLE,
    bullets,
    document,
    facts,
    figure,
    plain_table,
    rows_table,
)
from wsiseg.reporting.origin import limits, provenance_rows
from wsiseg.reporting.pictures import Picture, Pictures
from wsiseg.reporting.plots import histogram_svg
from wsiseg.reporting.score_parts import biomarker_parts, main_number, place_parts
from wsiseg.reporting.scored import Scored
from wsiseg.scoring.provenance import DISCLAIMER
from wsiseg.summary.numbers import short, whole
from wsiseg.summary.rows import SlideRow

_LEFT_OUT: Mapping[str, str] = {
    "too_small": "pieces too small to be tissue",
    "pen": "ink on the slide",
    "edge": "border of the slide or cover slip",
    "excluded": "excluded by the user",
    "blurred": "out of focus, by --gate",
    "folded": "folds, by --gate",
    "grey": "tissue without colour, by --gate",
    "odd_stain": "odd stain, by --gate",
}
_MOST_CLASSES = 24
_MOST_KEY_SCORES = 3


@dataclass(frozen=True, slots=True)
class SlideReport:
    """All that the page of a slide is made of.

    Attributes
    ----------
    date, version
        When the page was made (UTC), and by which wsiseg.
    row, report
        What the run says of the slide: in short, and ``report.json``.
    finished
        When the slide was finished (UTC).
    classes, distributions
        Of its cells.
    pictures, fields, fault_map
        Pictures; quality of its fields and their map, ``None`` where that was not looked at.
    scored, stale
        Biomarkers, ``None`` without; whether they are of another segmentation.
    """

    date: str
    version: str
    row: SlideRow
    report: Mapping[str, Any]
    finished: str
    classes: tuple[ClassShare, ...]
    distributions: tuple[Distribution, ...]
    pictures: Pictures
    fields: SlideFields | None
    fault_map: Picture | None
    scored: Scored | None
    stale: bool


def slide_page(of: SlideReport) -> str:
    """The page as HTML."""
    parts = [*_head(of), *_said(of), *_pictures(of), *_distributions(of), *_classes(of)]
    parts += [*_biomarkers(of), *_quality(of), *_origin(of)]
    return document(f"{of.row.name}: report", SLIDE_STYLE, parts)


def _head(of: SlideReport) -> Iterable[str]:
    row = of.row
    about = [("group", row.group), ("stain", row.stain), *row.metadata.items()]
    told = " · ".join(f"{escape(name)}: {escape(text)}" for name, text in about if text)
    yield f"<h1>{escape(row.name)}</h1>"
    yield f"<p>{told}</p>" if told else ""
    pixel = f"{row.mpp:.4g} µm/px" if row.mpp else "pixel size not known"
    pixel += f", from {row.mpp_source}" if row.mpp_source else ""
    state = "complete" if row.state == "whole" else row.state
    yield (
        f'<p class="grey">{escape(state)} · model {escape(row.model)} · {escape(pixel)} · '
        f"segmented {escape(of.finished)} · report {escape(of.date)}, wsiseg "
        f"{escape(of.version)}</p>"
    )
    yield '<p><span class="tag">For research use only, not a diagnosis</span></p>'
    yield facts(_key_numbers(of))


def _key_numbers(of: SlideReport) -> Iterable[tuple[str, str, str]]:
    row = of.row
    yield whole(row.nuclei) or "not known", "nuclei", "as the model outlined them"
    yield f"{short(row.tissue_mm2)} mm²", "tissue", "area of the section found to be tissue"
    density = short(row.nuclei_per_mm2) or "none"
    yield density, "nuclei per mm²", "of that tissue, in the plane of the section"
    for one in of.distributions:
        if one.column in ("area_um2", "nucleus_haematoxylin_od_mean") and one.count:
            name = "nuclear area" if one.column == "area_um2" else "haematoxylin"
            middle = f"half of the nuclei: {short(one.quantiles[1])} to {short(one.quantiles[3])}"
            yield f"{short(one.median)} {one.unit}", f"median {name}", middle
    if of.scored is not None and not of.stale:
        scores = [s for s in of.scored.places[0].scores if s.biomarker != "grading"]
        for score in scores[:_MOST_KEY_SCORES]:
            yield from main_number(score)
    if of.fields is not None and len(of.fields):
        share = of.fields.flagged / len(of.fields)
        yield f"{share:.0%}", "of fields flagged", f"{of.fields.flagged:,} of {len(of.fields):,}"


def _said(of: SlideReport) -> Iterable[str]:
    """What to know before the numbers are trusted."""
    texts = list(of.row.warnings)
    texts += ["no nuclei were found"] if of.row.nuclei == 0 else []
    if of.stale:
        texts.append("its biomarkers are of another segmentation and are not shown: score it again")
    if of.pictures.problem:
        texts.append(of.pictures.problem)
    if texts:
        yield '<div class="said"><b>Before the numbers are trusted</b>'
        yield f"{bullets(texts)}</div>"


def _pictures(of: SlideReport) -> Iterable[str]:
    shown = of.pictures
    yield '<h2>Where the nuclei are</h2><div class="pics">'
    if shown.slide is not None:
        yield figure(shown.slide, "slim")
    yield f"<div>{figure(shown.density, 'slim')}"
    yield (
        f'<div class="ramp">0 <img alt="" src="{escape(shown.ramp.uri)}"> '
        f'{short(shown.density_top)} per mm² <span class="grey">in squares of '
        f"{shown.square_um:g} µm</span></div></div></div>"
    )
    if shown.crops:
        yield "<h2>Places at full resolution</h2>"
        yield (
            '<p class="grey lead">Chosen by rule, not by eye: the numbered places are the '
            "densest, the median and the one that a tenth are sparser than; a fourth number on "
            "the slide marks where tiles meet. Lines are the outlines of nuclei in the colours of "
            "their classes.</p>"
        )
        yield f'<div class="crops">{"".join(figure(crop) for crop in shown.crops)}</div>'


def _distributions(of: SlideReport) -> Iterable[str]:
    if not any(one.count for one in of.distributions):
        return
    yield '<h2>What the nuclei are like</h2><div class="plots">'
    for one in of.distributions:
        if not one.count:
            continue
        low, first, _, third, high = one.quantiles
        beyond = one.bins.below + one.bins.above
        notes = [f"{one.count:,} nuclei"]
        notes += [f"{one.unknown:,} without a value"] if one.unknown else []
        notes += [f"{beyond:,} beyond the axis"] if beyond else []
        unit = f", {one.unit}" if one.unit else ""
        yield (
            f'<div class="plot"><b>{escape(one.title)}</b>{escape(unit)}'
            f"{histogram_svg(one.bins, one.median, one.unit)}"
            f"<div>middle half {short(first)} to {short(third)}; 5 to 95 %: {short(low)} to "
            f'{short(high)}</div><div class="grey">{"; ".join(notes)}</div></div>'
        )
    yield "</div>"


def _classes(of: SlideReport) -> Iterable[str]:
    total = sum(one.count for one in of.classes)
    if not total:
        return
    yield "<h2>Classes</h2>"
    shown = of.classes[:_MOST_CLASSES]
    yield plain_table(
        [("Class", ""), ("Nuclei", "n"), ("Share", "n"), ("", "bars")],
        (
            [
                f"{_chip(one.color)}{escape(one.name)}",
                whole(one.count),
                f"{one.count / total:.1%}",
                f'<span class="bar" style="width:{one.count / total:.1%}"></span>',
            ]
            for one in shown
        ),
    )
    if len(of.classes) > len(shown):
        yield f"<p>and {len(of.classes) - len(shown):,} more classes in the table of cells</p>"
    if len(of.classes) == 1:
        yield '<p class="grey">The model, or what ran after it, tells no classes apart.</p>'


def _biomarkers(of: SlideReport) -> Iterable[str]:
    yield "<h2>Biomarkers and nuclear features</h2>"
    if of.scored is None:
        yield '<p class="grey">None were scored; wsiseg score does.</p>'
        return
    if of.stale:
        yield "<p>Those there are belong to another segmentation of the slide.</p>"
        return
    yield f'<p><span class="tag">{escape(DISCLAIMER)}</span></p>'
    yield bullets(of.scored.warnings)
    yield from place_parts(of.scored.places)
    yield from biomarker_parts(of.scored.places)


def _quality(of: SlideReport) -> Iterable[str]:
    yield "<h2>Quality</h2>"
    areas = of.report.get("area_mm2") or {}
    if of.fields is None:
        yield '<p class="grey">The fields were not looked at for blur, folds and stain.</p>'
    elif not len(of.fields):
        yield "<p>No field holds enough tissue to be looked at.</p>"
    else:
        yield '<div class="pics"><div>'
        yield plain_table(
            [("Field of tissue", ""), ("Count", "n"), ("Share", "n"), ("What that is", "")],
            (
                [
                    f"{_chip(FAULT_COLORS[fault])}{fault.replace('_', ' ')}",
                    whole(of.fields.count(fault)),
                    f"{of.fields.count(fault) / len(of.fields):.1%}",
                    escape(FAULT_MEANING[fault]),
                ]
                for fault in FAULTS
            ),
        )
        yield (
            f'<p class="grey">{_chip(SOUND)}not flagged: '
            f"{len(of.fields) - of.fields.flagged:,} of {len(of.fields):,} fields of 128 µm. A "
            "flag alone leaves nothing out.</p></div>"
        )
        yield f"{figure(of.fault_map, 'map')}</div>" if of.fault_map is not None else "</div>"
    left_out = [
        (what, f"{short(float(areas[code]))} mm²")
        for code, what in _LEFT_OUT.items()
        if isinstance(areas.get(code), int | float) and areas[code] > 0
    ]
    yield "<h3>Left out of the tissue</h3>"
    yield rows_table(left_out) if left_out else "<p>Nothing but bare glass.</p>"


def _origin(of: SlideReport) -> Iterable[str]:
    yield f"<h2>What the numbers do not say</h2>{bullets(limits(of.report))}"
    yield f"<h2>Where they come from</h2>{rows_table(provenance_rows(of.report))}"
    yield "<h3>How the nuclei were measured</h3><dl>"
    for one in of.distributions:
        yield f"<dt>{escape(one.title)}</dt><dd>{escape(one.definition)}</dd>"
    yield "</dl>"


def _chip(color: tuple[int, int, int]) -> str:
    return f'<span class="chip" style="background:rgb({color[0]},{color[1]},{color[2]})"></span>'
