"""A measure of all slides as a strip of dots, in SVG."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from wsiseg.summary.numbers import short
from wsiseg.summary.outliers import COLOUR, Comparison

_WIDTH, _HEIGHT, _MARGIN, _MIDDLE = 560, 52, 12, 18
_LANES = (0, -5, 5, -9, 9)
_LETTERS = 'font-size="11" fill="#6b7078" font-family="sans-serif"'


def strip(found: Comparison, names: Sequence[str]) -> str:
    """An ``<svg>``: a dot a slide, those that stand out in red, and the typical value.

    The axis is logarithmic but for angles; dots of neighbours are spread up and down.
    """
    known = np.flatnonzero(np.isfinite(found.values) & (found.values > 0))
    if not len(known):
        return ""
    values = found.values[known]
    x = _positions(values, logarithmic=found.measure is not COLOUR)
    typical = found.typical[known]
    parts = [f'<line x1="0" x2="{_WIDTH}" y1="34" y2="34" stroke="#dfe2e6"/>']
    for middle in np.unique(typical[np.isfinite(typical)]).tolist():
        place = float(np.interp(middle, np.sort(values), np.sort(x)))
        parts.append(
            f'<line x1="{place:.1f}" x2="{place:.1f}" y1="2" y2="34" stroke="#9aa0a8">'
            f"<title>typical: {short(middle)}</title></line>"
        )
    # Drawn last, what stands out lies on top.
    for index in sorted(range(len(known)), key=lambda i: bool(found.out[known[i]])):
        slide = int(known[index])
        out = bool(found.out[slide])
        y = _MIDDLE + _LANES[index % len(_LANES)]
        look = 'r="4.5" fill="#b3261e"' if out else 'r="3" fill="#3d6fb4" fill-opacity=".55"'
        told = escape(f"{names[slide]}: {short(float(values[index]))} {found.measure.unit}".strip())
        parts.append(f'<circle cx="{x[index]:.1f}" cy="{y}" {look}><title>{told}</title></circle>')
    low, high = float(values.min()), float(values.max())
    parts.append(f'<text x="0" y="48" {_LETTERS}>{short(low)}</text>')
    if high > low:
        parts.append(f'<text x="{_WIDTH}" y="48" text-anchor="end" {_LETTERS}>{short(high)}</text>')
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">{"".join(parts)}</svg>'


def _positions(values: NDArray[np.float64], *, logarithmic: bool) -> NDArray[np.float64]:
    scaled = np.log(values) if logarithmic else values
    low, span = float(scaled.min()), float(np.ptp(scaled))
    if span == 0:
        return np.full(len(values), _WIDTH / 2)
    place: NDArray[np.float64] = _MARGIN + (scaled - low) / span * (_WIDTH - 2 * _MARGIN)
    return place
