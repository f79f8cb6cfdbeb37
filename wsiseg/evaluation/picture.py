"""``evaluation.png``: the score of every image, by stratum, with means and intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from wsiseg.evaluation.bootstrap import CONFIDENCE, FEW_GROUPS, Estimate
from wsiseg.evaluation.evaluate import DATASET, Evaluation
from wsiseg.evaluation.metrics import image_scores
from wsiseg.evaluation.summary import RANKED, Summary
from wsiseg.export.drawing import INK, PAPER
from wsiseg.export.lettering import Color, draw_text, fitted

TITLES: Mapping[str, str] = {"f1@0.50": "F1 at IoU > 0.5", "aji": "AJI", "pq": "PQ"}

_WIDTH = 2400
_MARGIN = 72
_LABELS = 440
_GAP = 48
_PANEL = (_WIDTH - 2 * _MARGIN - _LABELS - 3 * _GAP) // 3
_VALUE = 186
_ROW = 64
_HEADING = 58
_HEAD = 232
_FOOT = 104
_FINER = 3
_DOT = 9
_MAX_LEVELS = 24

_GREY: Color = (110, 114, 120)
_RULE: Color = (226, 228, 232)
_BAND: Color = (247, 248, 250)
_DOTS: Color = (150, 178, 214)
_MEAN: Color = (16, 66, 130)
_SECOND: Color = (176, 84, 16)
_SECOND_DOTS: Color = (232, 190, 150)


@dataclass(frozen=True, slots=True)
class _Row:
    label: str
    detail: str
    values: Mapping[str, NDArray[np.float64]]
    means: Mapping[str, Estimate]
    rough: bool
    color: Color = _MEAN


@dataclass(frozen=True, slots=True)
class _Block:
    heading: str
    rows: tuple[_Row, ...]

    @property
    def height(self) -> int:
        return _HEADING + _ROW * len(self.rows)


def draw_evaluation(evaluation: Evaluation) -> Image.Image:
    """An RGB picture 2400 px wide: a panel a score, a row a level of every stratum.

    A dot is an image; the upright line is the mean over images, the bar its interval. Levels
    come in the order of their first score, the worst last.
    """
    blocks = _blocks(evaluation)
    height = _HEAD + sum(block.height for block in blocks) + _FOOT
    page = Image.new("RGB", (_WIDTH, height), PAPER)
    _grid(page, blocks)
    y = _HEAD
    for block in blocks:
        y += _HEADING
        for row in block.rows:
            _marks(page, row, y)
            y += _ROW
    _words(page, evaluation, blocks)
    return page


def _blocks(evaluation: Evaluation) -> list[_Block]:
    cases = evaluation.cases
    thresholds = evaluation.settings.thresholds
    scores = image_scores(np.stack([case.counts for case in cases]), thresholds)
    first = [_row("all images", evaluation.all, scores)]
    seconds = [case.annotators for case in cases if case.annotators is not None]
    if seconds:
        theirs = image_scores(np.stack(seconds), thresholds)
        first.append(_second(evaluation, theirs, len(seconds)))
    blocks = [_Block("All", tuple(first))]
    for column, stratum in evaluation.strata.items():
        levels = np.array(
            [case.dataset if column == DATASET else case.strata.get(column) for case in cases]
        )
        rows = [
            _row(name, summary, {m: values[levels == name] for m, values in scores.items()})
            for name, summary in stratum.levels.items()
        ]
        rows.sort(key=lambda row: -np.nan_to_num(row.means[RANKED[0]].value, nan=-1.0))
        hidden = len(rows) - _MAX_LEVELS
        note = f" (the {_MAX_LEVELS} worst of {len(rows)})" if hidden > 0 else ""
        blocks.append(_Block(f"By {column}{note}", tuple(rows[max(hidden, 0) :])))
    return blocks


def _row(label: str, summary: Summary, values: Mapping[str, NDArray[np.float64]]) -> _Row:
    detail = f"{counted(summary.images, 'image')}, {counted(summary.groups, 'group')}"
    return _Row(label, detail, values, summary.mean, summary.rough)


def _second(evaluation: Evaluation, values: Mapping[str, NDArray[np.float64]], count: int) -> _Row:
    summary = evaluation.annotators["second_against_truth"]
    means, rough = summary["mean"], bool(summary["interval_from"]["rough"])
    told = {
        name: Estimate(*(np.nan if v is None else v for v in (e["value"], e["low"], e["high"])))
        for name, e in means.items()
    }
    return _Row("second annotator", counted(count, "image"), values, told, rough, _SECOND)


def counted(number: int, word: str) -> str:
    """``1 image``, ``2 images``."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def _left(panel: int) -> int:
    return _MARGIN + _LABELS + _GAP + panel * (_PANEL + _GAP)


def _at(panel: int, value: float) -> float:
    return _left(panel) + value * (_PANEL - _VALUE)


def _grid(page: Image.Image, blocks: Sequence[_Block]) -> None:
    draw = ImageDraw.Draw(page)
    y = _HEAD
    for block in blocks:
        y += _HEADING
        for i in range(len(block.rows)):
            if i % 2 == 0:
                draw.rectangle((_MARGIN - 16, y, _WIDTH - _MARGIN + 16, y + _ROW - 1), _BAND)
            y += _ROW
    for panel in range(len(RANKED)):
        for tick in range(6):
            x = round(_at(panel, tick / 5))
            draw.line((x, _HEAD, x, y), _RULE, 2)
            draw_text(draw, (x, y + 32), f"{tick / 5:g}", 22, _GREY, "middle")


def _marks(page: Image.Image, row: _Row, top: int) -> None:
    """Dots, interval and mean of one row."""
    size = (page.width, _ROW)
    layers = [Image.new("L", (size[0] * _FINER, size[1] * _FINER)) for _ in range(3)]
    on_dots, on_bars, on_means = map(ImageDraw.Draw, layers)
    middle = _ROW / 2
    for panel, metric in enumerate(RANKED):
        for x, y in _swarm(row.values[metric]):
            _disc(on_dots, _at(panel, x), middle + y)
        mean = row.means[metric]
        if np.isfinite(mean.low):
            low, high = _at(panel, mean.low), _at(panel, mean.high)
            _box(on_bars, low, middle - 3, max(high, low + 1), middle + 3)
            for end in (low, high):
                _box(on_bars, end - 1.5, middle - 9, end + 1.5, middle + 9)
        if np.isfinite(mean.value):
            x = _at(panel, mean.value)
            _box(on_means, x - 3, middle - 19, x + 3, middle + 19)
    pale = _DOTS if row.color == _MEAN else _SECOND_DOTS
    bar = _between(pale, row.color) if row.rough else row.color
    for color, layer in zip((pale, bar, row.color), layers, strict=True):
        page.paste(color, (0, top), layer.reduce(_FINER))


def _between(first: Color, second: Color) -> Color:
    red, green, blue = ((a + b) // 2 for a, b in zip(first, second, strict=True))
    return red, green, blue


def _swarm(values: NDArray[np.float64]) -> list[tuple[float, float]]:
    """Places of dots: the value, and an offset in px that keeps dots of like value apart."""
    known = np.sort(values[np.isfinite(values)])
    step = (_DOT + 1) / (_PANEL - _VALUE)
    bins = np.floor(known / step).astype(int)
    places = []
    for value in np.unique(bins):
        members = known[bins == value]
        spread = min(_DOT + 1.0, (_ROW - _DOT - 4) / max(len(members) - 1, 1))
        offsets = (np.arange(len(members)) - (len(members) - 1) / 2) * spread
        # From the middle outwards, so that a column is densest where the eye looks.
        order = np.argsort(np.abs(offsets), kind="stable")
        places += list(zip(members.tolist(), offsets[order].tolist(), strict=True))
    return places


def _disc(draw: ImageDraw.ImageDraw, x: float, y: float) -> None:
    radius = _DOT / 2
    corners = (x - radius, y - radius, x + radius, y + radius)
    draw.ellipse([_FINER * corner for corner in corners], 255)


def _box(draw: ImageDraw.ImageDraw, x0: float, y0: float, x1: float, y1: float) -> None:
    draw.rectangle([x0 * _FINER, y0 * _FINER, x1 * _FINER - 1, y1 * _FINER - 1], 255)


def _words(page: Image.Image, evaluation: Evaluation, blocks: Sequence[_Block]) -> None:
    draw = ImageDraw.Draw(page)
    room = _WIDTH - 2 * _MARGIN
    title = f"{_name(evaluation.predicted)} against {_name(evaluation.truth)}"
    draw_text(draw, (_MARGIN, 86), fitted(title, 48, room), 48, INK)
    whole = evaluation.all
    told = (
        f"{counted(whole.images, 'image')} of {counted(whole.groups, 'group')}; {whole.truth:,} "
        f"true nuclei, {whole.predicted:,} predicted. A dot is an image, the upright line the mean "
        f"over images, the bar its {CONFIDENCE:.0%} interval."
    )
    draw_text(draw, (_MARGIN, 134), fitted(told, 26, room), 26, _GREY)
    for panel, metric in enumerate(RANKED):
        draw_text(draw, (_left(panel), _HEAD - 24), TITLES[metric], 32, INK)
        draw_text(draw, (_left(panel) + _PANEL, _HEAD - 24), "mean [interval]", 20, _GREY, "right")
    y = _HEAD
    for block in blocks:
        draw_text(draw, (_MARGIN, y + _HEADING - 16), fitted(block.heading, 26, _LABELS), 26, INK)
        y += _HEADING
        for row in block.rows:
            draw_text(draw, (_MARGIN, y + 28), fitted(row.label, 25, _LABELS), 25, row.color)
            draw_text(draw, (_MARGIN, y + 53), fitted(row.detail, 20, _LABELS), 20, _GREY)
            for panel, metric in enumerate(RANKED):
                _value(draw, row.means[metric], _left(panel) + _PANEL, y)
            y += _ROW
    below = (
        f"Intervals: bootstrap over {_units(whole)}, {evaluation.settings.resamples:,} times. "
        f"Paler bars rest on fewer than {FEW_GROUPS} groups and are too narrow as a rule."
    )
    draw_text(draw, (_MARGIN, y + 72), below, 22, _GREY)


def _value(draw: ImageDraw.ImageDraw, estimate: Estimate, right: int, top: int) -> None:
    if not np.isfinite(estimate.value):
        draw_text(draw, (right, top + 40), "not defined", 20, _GREY, "right")
        return
    draw_text(draw, (right, top + 30), f"{estimate.value:.3f}", 25, INK, "right")
    if np.isfinite(estimate.low):
        between = f"[{estimate.low:.3f}, {estimate.high:.3f}]"
        draw_text(draw, (right, top + 54), between, 19, _GREY, "right")


def _units(summary: Summary) -> str:
    return {"group": "groups", "image": "images", "none": "too few to draw from"}[summary.unit]


def _name(side: Mapping[str, object]) -> str:
    sets = side.get("sets")
    if isinstance(sets, list):
        return " + ".join(str(one["name"]) for one in sets)
    return str(side["name"])
