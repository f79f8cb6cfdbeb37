"""How far a slide is from what a model learnt on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

Appearance = Mapping[str, tuple[float, ...]]
"""Measures of a slide or tile, as :func:`wsiseg.pipeline.appearance.measure_appearance` gives
them."""

Ranges = Mapping[str, tuple[float, float]]
"""The 1st and the 99th percentile of each measure over the tiles that a model learnt on."""

_NAMES = {
    "sharpness": "sharpness",
    "haematoxylin_od": "amount of haematoxylin (OD)",
    "counterstain_od": "amount of the counterstain (OD)",
    "signal": "intensity (share of full scale)",
}


def ranges_of(tiles: Sequence[Appearance]) -> dict[str, tuple[float, float]]:
    """What a model has seen, from the tiles that it learnt on as they are, unaugmented."""
    found = {}
    for name in _NAMES:
        values = [tile[name][0] for tile in tiles if name in tile]
        if values:
            low, high = np.percentile(values, [1, 99])
            found[name] = (float(low), float(high))
    return found


def shifts(slide: Appearance, seen: Ranges) -> tuple[str, ...]:
    """Sentences on every measure of a slide that lies outside of what the model has seen."""
    sentences = []
    for name, (low, high) in seen.items():
        if name in slide and not low <= slide[name][0] <= high:
            value = slide[name][0]
            sentences.append(
                f"{_NAMES[name]} of {value:.2f} is {'below' if value < low else 'above'} what the "
                f"model learnt on ({low:.2f} to {high:.2f}): look at its nuclei before trusting "
                "their numbers"
            )
    return tuple(sentences)
