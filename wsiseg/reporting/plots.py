"""Plots as inline SVG: histograms, values with intervals, slides by group. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

from wsiseg.summary.numbers import short

BLUE, RED, GREY, RULE = "#3d6fb4", "#b3261e", "#6b7078", "#dfe2e6"

_MOST_BINS = 40
_MOST_STEPS = 2000
_LETTERS = f'font-size="11" fill="{GREY}" font-family="sans-serif"'
_WIDTH, _HEIGHT, _FLOOR = 320, 120, 98
_BAR_WIDTH, _BAR_HEIGHT = 180, 16
_STRIP_WIDTH, _LABEL, _LANE = 560, 150, 26
_LANES = (0, -4, 4, -7, 7)
_LONGEST_LABEL = 22


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of values in bins of equal width.

    Attributes
    ----------
    edges
        float64 ``[bins + 1]``, rising; of no values, empty.
    counts
        int64 ``[bins]``.
    below, above
        Values beyond the first and the last edge, which no bin counts.
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    below: int
    above: int


def histogram(values: NDArray[np.floating]) -> Histogram:
    """Bin finite values ``[n]`` between their 0.5th and 99.5th percentiles.

    ``2 n^(1/3)`` bins (the Rice rule), 40 at most; equal values make a single one. Values that
    come in steps, as areas do in whole pixels, get bins of whole steps, all of as many.
    """
    if not len(values):
        return Histogram(np.empty(0), np.empty(0, np.int64), 0, 0)
    exact = np.asarray(values, np.float64)
    low, high = np.percentile(exact, [0.5, 99.5]) if len(exact) >= 200 else _ends(exact)
    bins = int(min(max(round(2 * len(exact) ** (1 / 3)), 1), _MOST_BINS)) if high > low else 1
    if high > low:
        low, high, bins = _in_steps(np.unique(exact), low, high, bins)
    counts, edges = np.histogram(exact, bins, (low, high))
    below, above = int((exact < edges[0]).sum()), int((exact > edges[-1]).sum())
    return Histogram(edges, np.asarray(counts, np.int64), below, above)


def histogram_svg(of: Histogram, median: float, unit: str) -> str:
    """An ``<svg>`` of bars with the ends of the axis and the median; ``""`` of no values."""
    if not len(of.counts):
        return ""
    low, high = float(of.edges[0]), float(of.edges[-1])
    top, step = max(int(of.counts.max()), 1), _WIDTH / len(of.counts)
    parts = []
    for index, count in enumerate(of.counts.tolist()):
        height = count / top * (_FLOOR - 18)
        told = escape(f"{short(float(of.edges[index]))} to {short(float(of.edges[index + 1]))}")
        parts.append(
            f'<rect x="{index * step:.1f}" y="{_FLOOR - height:.1f}" '
            f'width="{max(step - 1, 0.5):.1f}" height="{height:.1f}" fill="{BLUE}">'
            f"<title>{told} {escape(unit)}: {count:,}</title></rect>"
        )
    place = min(max((median - low) / (high - low) if high > low else 0.5, 0.0), 1.0) * _WIDTH
    parts.append(
        f'<line x1="{place:.1f}" x2="{place:.1f}" y1="14" y2="{_FLOOR}" stroke="#1c1f24"/>'
    )
    anchor = "end" if place > _WIDTH / 2 else "start"
    beside = place - 4 if anchor == "end" else place + 4
    parts.append(
        f'<text x="{beside:.1f}" y="11" text-anchor="{anchor}" {_LETTERS}>median '
        f"{short(median)}</text>"
    )
    parts.append(f'<line x1="0" x2="{_WIDTH}" y1="{_FLOOR}" y2="{_FLOOR}" stroke="{RULE}"/>')
    parts.append(f'<text x="0" y="{_HEIGHT - 6}" {_LETTERS}>{short(low)}</text>')
    parts.append(
        f'<text x="{_WIDTH}" y="{_HEIGHT - 6}" text-anchor="end" {_LETTERS}>{short(high)}</text>'
    )
    return _svg(_WIDTH, _HEIGHT, parts)


def interval_svg(value: float, low: float, high: float, top: float) -> str:
    """An ``<svg>`` of a value on a scale from 0 to ``top``, with its interval.

    ``""`` where the value is NaN; without the interval where that is.
    """
    if not np.isfinite(value) or top <= 0:
        return ""
    x, x0, x1 = (float(np.clip(v / top, 0, 1)) * (_BAR_WIDTH - 8) + 4 for v in (value, low, high))
    middle = _BAR_HEIGHT / 2
    parts = [
        f'<line x1="4" x2="{_BAR_WIDTH - 4}" y1="{middle}" y2="{middle}" stroke="{RULE}" '
        'stroke-width="6"/>'
    ]
    if np.isfinite(low) and np.isfinite(high):
        parts.append(
            f'<line x1="{x0:.1f}" x2="{x1:.1f}" y1="{middle}" y2="{middle}" stroke="{BLUE}" '
            'stroke-width="6" stroke-opacity=".45"/>'
        )
    parts.append(f'<circle cx="{x:.1f}" cy="{middle}" r="4" fill="{BLUE}"/>')
    return _svg(_BAR_WIDTH, _BAR_HEIGHT, parts)


def group_strips(
    groups: Mapping[str, Sequence[int]],
    values: NDArray[np.float64],
    out: NDArray[np.bool_],
    names: Sequence[str],
    unit: str,
) -> str:
    """An ``<svg>`` with a lane a group: a dot a slide, red where it stands out, a line at the
    median; ``""`` where nothing is known.

    Parameters
    ----------
    groups
        Places in ``values`` by the name of the group; an empty name stands for none.
    values
        float64 ``[n]``, NaN where not known.
    out
        bool ``[n]``.
    names
        Of the slides ``[n]``.
    """
    known = {name: [i for i in of if np.isfinite(values[i])] for name, of in groups.items()}
    known = {name: of for name, of in known.items() if of}
    if not known:
        return ""
    every = values[[i for of in known.values() for i in of]]
    low, high = float(every.min()), float(every.max())
    left = _LABEL if any(known) else 8
    width = _STRIP_WIDTH - left - 8

    def across(value: float) -> float:
        return left + (width / 2 if high == low else (value - low) / (high - low) * width)

    parts = []
    for lane, (name, of) in enumerate(known.items()):
        parts += _lane(lane, _labelled(name, len(of)), left)
        middle = across(float(np.median(values[of])))
        y = lane * _LANE + _LANE / 2
        parts.append(
            f'<line x1="{middle:.1f}" x2="{middle:.1f}" y1="{y - 11}" y2="{y + 11}" '
            f'stroke="#1c1f24"><title>median {short(float(np.median(values[of])))}</title></line>'
        )
        for turn, i in enumerate(of):
            look = f'r="4.5" fill="{RED}"' if out[i] else f'r="3" fill="{BLUE}" fill-opacity=".55"'
            told = escape(f"{names[i]}: {short(float(values[i]))} {unit}".strip())
            cy = y + _LANES[turn % len(_LANES)]
            parts.append(
                f'<circle cx="{across(float(values[i])):.1f}" cy="{cy}" {look}>'
                f"<title>{told}</title></circle>"
            )
    bottom = len(known) * _LANE
    parts.append(f'<text x="{left}" y="{bottom + 13}" {_LETTERS}>{short(low)}</text>')
    if high > low:
        parts.append(
            f'<text x="{_STRIP_WIDTH - 8}" y="{bottom + 13}" text-anchor="end" {_LETTERS}>'
            f"{short(high)}</text>"
        )
    return _svg(_STRIP_WIDTH, bottom + 18, parts)


def _lane(lane: int, label: str, left: int) -> list[str]:
    y = lane * _LANE + _LANE / 2
    line = f'<line x1="{left}" x2="{_STRIP_WIDTH - 8}" y1="{y}" y2="{y}" stroke="{RULE}"/>'
    if not label:
        return [line]
    return [line, f'<text x="0" y="{y + 4}" {_LETTERS}>{escape(label)}</text>']


def _labelled(name: str, count: int) -> str:
    if not name:
        return ""
    cut = name if len(name) <= _LONGEST_LABEL else name[: _LONGEST_LABEL - 1] + "…"
    return f"{cut} ({count})"


def _in_steps(
    levels: NDArray[np.float64], low: float, high: float, bins: int
) -> tuple[float, float, int]:
    """Ends and number of bins that each hold as many of the ``levels`` that values come in."""
    step = float(np.diff(levels).min())
    if high - low > _MOST_STEPS * step:
        return low, high, bins
    first = float(levels[levels <= low].max(initial=levels[0])) - step / 2
    width = math.ceil((high - low) / step / bins) * step
    bins = math.floor((high - first) / width) + 1
    return first, first + bins * width, bins


def _ends(values: NDArray[np.float64]) -> tuple[float, float]:
    return float(values.min()), float(values.max())


def _svg(width: int, height: int, parts: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {width} {height}" role="img">{"".join(parts)}</svg>'
