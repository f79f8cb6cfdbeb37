"""What a model learns on looks like, so that slides unlike it can be told."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from wsiseg.pipeline.appearance import measure_appearance
from wsiseg.quality.shift import ranges_of
from wsiseg.training.sampling import Placement, crop_pixels
from wsiseg.training.tiles import LabelledTile


def training_appearance(
    tiles: Sequence[LabelledTile], mpp: float
) -> dict[str, tuple[float, float]]:
    """Ranges over tiles of colour, brought to ``mpp``; empty for fluorescence, whose intensities
    are brought to one scale slide by slide."""
    if not tiles or tiles[0].pixels.shape[2] != 3:
        return {}
    return ranges_of([measure_appearance([_at(tile, mpp)], "brightfield") for tile in tiles])


def _at(tile: LabelledTile, mpp: float) -> NDArray[np.uint8]:
    step = mpp / tile.mpp
    height, width = (max(1, math.floor(side / step)) for side in tile.labels.shape)
    side = max(height, width)
    place = Placement((side * step / 2, side * step / 2), step, 0.0, False)
    shown = crop_pixels(tile.pixels, place.matrix(), side, max(1, round(step)))
    return np.asarray(np.clip(np.rint(shown[:height, :width]), 0, 255), np.uint8)
