"""``worst.png``: the images of lowest score, with what was found, missed and invented."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import maximum_filter, minimum_filter

from wsiseg.evaluation.cases import Case, View
from wsiseg.evaluation.matching import Overlaps
from wsiseg.evaluation.metrics import image_scores, object_counts
from wsiseg.export.drawing import INK, PAPER, as_rgb
from wsiseg.export.lettering import Color, draw_text, fitted, text_width
from wsiseg.slides.reader import Pixels

COUNT = 6
"""How many images are shown."""

_SIDE = 760
_COLUMNS = 3
_MARGIN = 40
_CAPTION = 92
_FOOT = 64
_GREY: Color = (110, 114, 120)
_FOUND: Color = (30, 200, 90)
_ANSWER: Color = (50, 110, 255)
_MISSED: Color = (235, 30, 60)
_FALSE: Color = (255, 165, 0)
_LEGEND = (
    (_FOUND, "true, found"),
    (_ANSWER, "its prediction"),
    (_MISSED, "true, missed"),
    (_FALSE, "predicted, false"),
)


def view(
    pixels: Pixels,
    truth: NDArray[np.uint32],
    predicted: NDArray[np.uint32],
    overlaps: Overlaps,
) -> View:
    """The middle of an image, at most 760 px a side, with outlines; small images enlarged."""
    height, width = truth.shape
    high, wide = min(height, _SIDE), min(width, _SIDE)
    top, left = (height - high) // 2, (width - wide) // 2
    times = _SIDE / max(high, wide)
    rows = top + (np.arange(round(high * times)) / times).astype(np.int64)
    columns = left + (np.arange(round(wide * times)) / times).astype(np.int64)
    place = np.ix_(rows, columns)
    matched = overlaps.iou > 0.5
    return View(
        pixels[place],
        _outlines(truth[place], overlaps.truth_labels, overlaps.truth[matched]),
        _outlines(predicted[place], overlaps.predicted_labels, overlaps.predicted[matched]),
    )


def draw_gallery(shown: Sequence[tuple[Case, View]], thresholds: Sequence[float]) -> Image.Image:
    """The views side by side, RGB, each with its name and scores, and a legend."""
    rows = [shown[i : i + _COLUMNS] for i in range(0, len(shown), _COLUMNS)]
    heights = [max(one.truth.shape[0] for _, one in row) + _CAPTION for row in rows]
    width = max(min(len(shown), _COLUMNS) * (_SIDE + _MARGIN) + _MARGIN, 2 * _SIDE)
    page = Image.new("RGB", (width, _MARGIN + sum(heights) + _FOOT), PAPER)
    draw = ImageDraw.Draw(page)
    y = _MARGIN
    for row, height in zip(rows, heights, strict=True):
        for column, (case, one) in enumerate(row):
            x = _MARGIN + column * (_SIDE + _MARGIN)
            page.paste(_picture(one), (x, y))
            name = fitted(f"{case.dataset}/{case.name}", 24, _SIDE)
            draw_text(draw, (x, y + height - _CAPTION + 30), name, 24, INK)
            told = _told(case, thresholds)
            draw_text(draw, (x, y + height - _CAPTION + 60), told, 21, _GREY)
        y += height
    x = _MARGIN
    for color, word in _LEGEND:
        draw.rectangle((x, y + 14, x + 30, y + 30), color)
        draw_text(draw, (x + 40, y + 30), word, 24, INK)
        x += round(text_width(word, 24)) + 90
    return page


def _told(case: Case, thresholds: Sequence[float]) -> str:
    scores = image_scores(case.counts, thresholds)
    truth, predicted = object_counts(case.counts)
    return (
        f"F1 {float(scores['f1@0.50']):.3f}, AJI {float(scores['aji']):.3f}, "
        f"PQ {float(scores['pq']):.3f}; {truth} true nuclei, {predicted} predicted"
    )


def _outlines(
    labels: NDArray[np.uint32], present: NDArray[np.uint32], matched: NDArray[np.int64]
) -> NDArray[np.uint8]:
    """The inner rims, 2 px wide, of matched (1) and other (2) objects."""
    kinds = np.full(len(present) + 1, 2, np.uint8)
    kinds[matched] = 1
    rim = minimum_filter(labels, 5) != maximum_filter(labels, 5)
    out = np.zeros(labels.shape, np.uint8)
    drawn = rim & (labels > 0)
    out[drawn] = kinds[np.searchsorted(present, labels[drawn])]
    return out


def _picture(one: View) -> Image.Image:
    (rgb,) = as_rgb([one.pixels])
    rgb = rgb.copy()
    for outlines, colors in ((one.truth, (_FOUND, _MISSED)), (one.predicted, (_ANSWER, _FALSE))):
        for kind, color in enumerate(colors, start=1):
            rgb[outlines == kind] = color
    return Image.fromarray(rgb)
