"""Scores on held-out tiles, and the thresholds of the decoding chosen by them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from wsiseg.evaluation.matching import match
from wsiseg.evaluation.metrics import image_counts, image_scores
from wsiseg.models.network.architecture import GRID
from wsiseg.models.network.stars import StarRule, find_stars
from wsiseg.training.config import TrainingConfig
from wsiseg.training.prepare import SURROUND, changed, plain
from wsiseg.training.sampling import Placement, crop_pixels
from wsiseg.training.tiles import LabelledTile

Network = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""From uint8 ``[y, x, c]`` to ``[outputs, y / GRID, x / GRID]``."""

PROBABILITIES = (0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6)
OVERLAPS = (0.3, 0.4, 0.5)
FOREGROUNDS = (0.0, 0.3, 0.4, 0.5)
LEAST_AREA_PX = 16
"""4 µm² at 0.5 µm/px: smaller than any nucleus cut across its middle."""

_MARGIN = 160


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The network's answer on a held-out tile, and the truth.

    ``outputs`` ``[outputs, g, g]``; ``truth`` int32 ``[y, x]`` on the tile's own pixels;
    ``step`` tile pixels a window pixel.
    """

    key: str
    outputs: NDArray[np.float32]
    truth: NDArray[np.int32]
    step: float


@dataclass(frozen=True, slots=True)
class Score:
    """Means over tiles."""

    f1: float
    aji: float
    pq: float

    @property
    def total(self) -> float:
        """What thresholds are chosen by."""
        return self.f1 + self.aji + self.pq


def answer(
    tiles: Sequence[LabelledTile],
    network: Network,
    stride: int,
    config: TrainingConfig,
    seed: int | None = None,
) -> list[HeldOut]:
    """Run the network on tiles, brought to the model's pixel size, in an empty surround.

    With a ``seed`` colours and sharpness are changed beforehand, so that thresholds are chosen
    for more stains and scanners than the tiles come from.
    """
    return [
        _answer(
            tile,
            network,
            stride,
            config,
            None if seed is None else np.random.default_rng((seed, number)),
        )
        for number, tile in enumerate(tiles)
    ]


def score(held: Sequence[HeldOut], rays: int, rule: StarRule) -> Score:
    """Mean scores of one rule over tiles, on the tiles' own pixels."""
    rows = []
    for entry in held:
        found = find_stars(entry.outputs, rays, GRID, rule).labels
        predicted = _onto_tile(found, entry.truth.shape, entry.step)
        counts = image_counts(match(entry.truth, predicted), (0.5,))
        scores = image_scores(counts, (0.5,))
        rows.append([float(scores[name]) for name in ("f1@0.50", "aji", "pq")])
    f1, aji, pq = np.nanmean(np.array(rows), axis=0)
    return Score(float(f1), float(aji), float(pq))


def choose_rule(groups: Sequence[Sequence[HeldOut]], rays: int) -> StarRule:
    """The rule with the greatest sum of F1, AJI and PQ, added up over groups of tiles."""
    rules = [
        StarRule(probability, overlap, foreground, LEAST_AREA_PX)
        for probability, overlap, foreground in product(PROBABILITIES, OVERLAPS, FOREGROUNDS)
    ]
    return max(rules, key=lambda rule: sum(score(held, rays, rule).total for held in groups))


def _answer(
    tile: LabelledTile,
    network: Network,
    stride: int,
    config: TrainingConfig,
    random: np.random.Generator | None,
) -> HeldOut:
    step = config.model.mpp / tile.mpp
    height, width = (math.ceil(side / step) for side in tile.labels.shape)
    side = -(-max(height, width) // stride) * stride
    placement = Placement((side * step / 2, side * step / 2), step, 0.0, False)
    picture = crop_pixels(tile.pixels, placement.matrix(), side, max(1, round(step)))
    picture = picture[:height, :width]
    if random is None:
        pixels = plain(picture, tile.pixels, config)
    else:
        pixels = changed(picture, tile.pixels, config, random)
    margin = -(-_MARGIN // stride) * stride
    shape = (side + 2 * margin, side + 2 * margin, pixels.shape[2])
    window = np.full(shape, SURROUND, np.uint8)
    window[margin : margin + height, margin : margin + width] = pixels
    edge = margin // GRID
    outputs = network(window)[:, edge : edge + side // GRID, edge : edge + side // GRID]
    return HeldOut(tile.key, np.ascontiguousarray(outputs), tile.labels, step)


def _onto_tile(labels: NDArray[np.int32], shape: tuple[int, ...], step: float) -> NDArray[np.int32]:
    rows = np.minimum(((np.arange(shape[0]) + 0.5) / step).astype(int), labels.shape[0] - 1)
    columns = np.minimum(((np.arange(shape[1]) + 0.5) / step).astype(int), labels.shape[1] - 1)
    return labels[np.ix_(rows, columns)]
