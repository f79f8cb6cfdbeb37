"""Scores of classes on images not trained on: IoU and Dice from one table of counts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsiseg.training.sampling import Placement, crop_pixels
from wsiseg.training.semantic.config import UNLABELLED, SemanticConfig
from wsiseg.training.semantic.samples import crop_codes
from wsiseg.training.semantic.tiles import ClassTile

Network = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""From uint8 ``[y, x, 3]`` to logits ``[classes, y / grid, x / grid]``."""


@dataclass(frozen=True, slots=True)
class ClassScores:
    """What was found on labelled pixels.

    Attributes
    ----------
    names
        Of the classes.
    counts
        int64 ``[n, n]``: pixels of class ``i`` that were called ``j``.
    """

    names: tuple[str, ...]
    counts: NDArray[np.int64]

    @property
    def iou(self) -> Mapping[str, float]:
        """Intersection over union of each class; NaN where it is neither there nor found."""
        return dict(zip(self.names, map(float, self._shared() / self._union()), strict=True))

    @property
    def dice(self) -> Mapping[str, float]:
        """Dice coefficient of each class."""
        both = self.counts.sum(0) + self.counts.sum(1)
        with np.errstate(invalid="ignore"):
            values = 2 * self._shared() / both
        return dict(zip(self.names, map(float, values), strict=True))

    def _shared(self) -> NDArray[np.float64]:
        return np.diag(self.counts).astype(np.float64)

    def _union(self) -> NDArray[np.float64]:
        union = self.counts.sum(0) + self.counts.sum(1) - np.diag(self.counts)
        return np.where(union > 0, union, np.nan).astype(np.float64)


def score_tiles(
    tiles: Sequence[ClassTile], network: Network, stride: int, config: SemanticConfig
) -> ClassScores:
    """Run the network on images as they are, at the model's pixel size, and count."""
    names = tuple(entry.name for entry in config.classes)
    counts = np.zeros((len(names), len(names)), np.int64)
    for tile in tiles:
        counts += count_pixels(*answer(tile, network, stride, config), len(names))
    return ClassScores(names, counts)


def answer(
    tile: ClassTile, network: Network, stride: int, config: SemanticConfig
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Truth and answer on the grid of the class map, uint8 ``[y, x]`` each."""
    step = config.model.mpp / tile.mpp
    height, width = (math.ceil(side / step) for side in tile.codes.shape)
    side = -(-max(height, width) // stride) * stride
    placement = Placement((side * step / 2, side * step / 2), step, 0.0, False)
    picture = crop_pixels(tile.pixels, placement.matrix(), side, max(1, round(step)))
    pixels = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
    truth = crop_codes(tile.codes, placement.matrix(), side, config.model.grid)
    return truth, network(pixels).argmax(0).astype(np.uint8)


def count_pixels(
    truth: NDArray[np.uint8], found: NDArray[np.uint8], classes: int
) -> NDArray[np.int64]:
    """Pixels of class ``i`` that were called ``j``, those without a label left out."""
    known = truth != UNLABELLED
    pairs = truth[known].astype(np.int64) * classes + found[known]
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)
