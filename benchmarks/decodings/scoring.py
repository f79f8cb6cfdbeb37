"""Scores on held-out tiles with thresholds chosen on other held-out tiles."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.decodings.decode import Labels, Outputs, Rule
from benchmarks.decodings.fit import LABEL_MPP
from benchmarks.decodings.variants import Variant
from wsiseg.evaluation.matching import match
from wsiseg.evaluation.metrics import image_counts, image_scores
from wsiseg.training.augment import augment
from wsiseg.training.config import Augmentation
from wsiseg.training.sampling import Placement, crop_pixels
from wsiseg.training.tiles import LabelledTile

METRICS = ("f1@0.50", "aji", "pq")
_MARGIN = 160
_LOOKS = 2
"""Every tile as it is, and once with colours and sharpness changed."""


@dataclass(frozen=True, slots=True)
class Look:
    """The outputs on a tile, and the truth on the tile's own pixels."""

    key: str
    outputs: Outputs
    truth: NDArray[np.int32]
    step: float


def look(
    variant: Variant,
    network: Callable[[NDArray[np.uint8]], Outputs],
    tiles: Sequence[LabelledTile],
    strength: Augmentation,
) -> list[list[Look]]:
    """The looks at every tile, in a white surround."""
    return [
        [_look(variant, network, tile, strength, number, seed) for seed in range(_LOOKS)]
        for number, tile in enumerate(tiles)
    ]


def cross_scores(
    variant: Variant, looks: Sequence[Sequence[Look]]
) -> tuple[NDArray[np.float64], list[Rule]]:
    """Scores ``[tiles, looks, metrics]``: the even tiles with the thresholds best (in the sum of
    the metrics) on the odd ones, and the other way round; and these two thresholds."""
    every = np.array([_score(variant, looks, rule) for rule in variant.way.rules])
    rules = []
    result = np.empty(every.shape[1:])
    for half in (0, 1):
        others = np.nanmean(every[:, 1 - half :: 2], axis=(1, 2)).sum(axis=1)
        best = int(np.argmax(others))
        rules.append(variant.way.rules[best])
        result[half::2] = every[best, half::2]
    return result, rules


def ceiling(tiles: Sequence[LabelledTile]) -> NDArray[np.float64]:
    """Mean scores of the truth itself drawn on label pixels of 0.5 µm."""
    rows = []
    for tile in tiles:
        step = LABEL_MPP / tile.mpp
        height, width = (math.ceil(side / step) for side in tile.labels.shape)
        drawn = _onto((height, width), tile.labels, 1 / step)
        rows.append(_one(tile.labels, _onto(tile.labels.shape, drawn, step)))
    return np.asarray(np.nanmean(np.array(rows), axis=0))


def _score(
    variant: Variant, looks: Sequence[Sequence[Look]], rule: Rule
) -> list[list[list[float]]]:
    return [
        [
            _one(one.truth, _onto(one.truth.shape, variant.way.decode(one.outputs, rule), one.step))
            for one in tile
        ]
        for tile in looks
    ]


def _one(truth: Labels, found: Labels) -> list[float]:
    scores = image_scores(image_counts(match(truth, found), (0.5,)), (0.5,))
    return [float(scores[name]) for name in METRICS]


def _look(
    variant: Variant,
    network: Callable[[NDArray[np.uint8]], Outputs],
    tile: LabelledTile,
    strength: Augmentation,
    number: int,
    seed: int,
) -> Look:
    step = variant.mpp / tile.mpp
    height, width = (math.ceil(side / step) for side in tile.labels.shape)
    side = -(-max(height, width) // 16) * 16
    placement = Placement((side * step / 2, side * step / 2), step, 0.0, False)
    picture = crop_pixels(tile.pixels, placement.matrix(), side, max(1, round(step)))
    picture = picture[:height, :width]
    if seed == 0:
        pixels = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
    else:
        pixels = augment(picture, strength, np.random.default_rng((seed, number)))
    window = np.full((side + 2 * _MARGIN, side + 2 * _MARGIN, 3), 255, np.uint8)
    window[_MARGIN : _MARGIN + height, _MARGIN : _MARGIN + width] = pixels
    low, high = _MARGIN // variant.grid, (_MARGIN + side) // variant.grid
    outputs = np.ascontiguousarray(network(window)[:, low:high, low:high])
    return Look(tile.key, outputs, tile.labels, LABEL_MPP / tile.mpp)


def _onto(shape: tuple[int, ...], labels: Labels, step: float) -> Labels:
    """Labels on pixels of which ``step`` make one of theirs, by nearest middles."""
    rows = np.minimum(((np.arange(shape[0]) + 0.5) / step).astype(int), labels.shape[0] - 1)
    columns = np.minimum(((np.arange(shape[1]) + 0.5) / step).astype(int), labels.shape[1] - 1)
    return labels[np.ix_(rows, columns)]
