"""Learning curves as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from wsiseg.files import writing

_SIZE = (960, 540)
_FRAME = (70, 20, 940, 490)
_COLORS = ("#1f77b4", "#d62728", "#2ca02c", "#ff7f0e", "#9467bd", "#8c564b")

Curve = tuple[Sequence[float], Sequence[float]]


def draw_curves(path: Path, curves: Mapping[str, Curve]) -> None:
    """Draw curves ``name -> (steps, values)`` over one logarithmic axis of values, as PNG.

    Values that are not above 0 are left out; without any point only the frame is drawn.
    """
    points = {name: _points(curve) for name, curve in curves.items()}
    shown = {name: p for name, p in points.items() if len(p)}
    image = Image.new("RGB", _SIZE, "white")
    draw = ImageDraw.Draw(image)
    x0, y0, x1, y1 = _FRAME
    draw.rectangle(_FRAME, outline="black")
    if shown:
        every = np.concatenate(list(shown.values()))
        last = max(float(every[:, 0].max()), 1.0)
        low, high = np.log10(every[:, 1].min()), np.log10(every[:, 1].max())
        low, high = low - 0.02, high + 0.02
        for tick in np.linspace(low, high, 6):
            y = y1 - (tick - low) / (high - low) * (y1 - y0)
            draw.line((x0 - 4, y, x0, y), fill="black")
            draw.text((8, y - 6), f"{10**tick:.3g}", fill="black")
        for tick in np.linspace(0, last, 6):
            x = x0 + tick / last * (x1 - x0)
            draw.line((x, y1, x, y1 + 4), fill="black")
            draw.text((x - 14, y1 + 8), f"{tick:.0f}", fill="black")
        for number, (name, found) in enumerate(shown.items()):
            color = _COLORS[number % len(_COLORS)]
            x = x0 + found[:, 0] / last * (x1 - x0)
            y = y1 - (np.log10(found[:, 1]) - low) / (high - low) * (y1 - y0)
            draw.line([(float(a), float(b)) for a, b in zip(x, y, strict=True)], fill=color)
            draw.text((x1 - 180, y0 + 10 + 16 * number), name, fill=color)
    draw.text((x0 + 380, y1 + 26), "step", fill="black")
    with writing(path) as temporary:
        image.save(temporary, "PNG")


def _points(curve: Curve) -> NDArray[np.float64]:
    found = np.array(curve, np.float64).T.reshape(-1, 2)
    return found[(found > 0).all(axis=1)]
