"""Samples of a training: the same seed and number give the same sample, in any process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from wsiseg.training.augment import augment
from wsiseg.training.sampling import Placement, crop_pixels
from wsiseg.training.semantic.config import UNLABELLED, SemanticConfig
from wsiseg.training.semantic.tiles import ClassTile

Sample = tuple[Tensor, Tensor]
"""Pixels uint8 ``[3, s, s]``; classes int64 ``[s / grid, s / grid]``."""


@dataclass(frozen=True)
class ClassSamples(Dataset[Sample]):
    """Augmented crops, numbered from ``first``.

    A set is drawn by its weight, an image of it, one of the image's classes, a pixel of that class:
    it lies somewhere within the crop.
    """

    config: SemanticConfig
    tiles: Sequence[ClassTile]
    first: int
    count: int

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        schedule = self.config.schedule
        random = np.random.default_rng((schedule.seed, self.first + index))
        tile = self.tiles[_draw(self.tiles, self.config, random)]
        low, high = self.config.augmentation.scale
        zoom = float(np.exp(random.uniform(np.log(low), np.log(high))))
        step = self.config.model.mpp / tile.mpp / zoom
        row, column = _place(tile.codes, random)
        away = 0.4 * step * schedule.crop_px
        placement = Placement(
            center=(
                column + 0.5 + random.uniform(-away, away),
                row + 0.5 + random.uniform(-away, away),
            ),
            step=step,
            angle=float(random.uniform(0, 2 * np.pi)),
            mirrored=bool(random.random() < 0.5),
        )
        size, grid = schedule.crop_px, self.config.model.grid
        taps = max(1, min(4, round(step)))
        picture = crop_pixels(tile.pixels, placement.matrix(), size, taps)
        pixels = augment(picture, self.config.augmentation, random)
        codes = crop_codes(tile.codes, placement.matrix(), size, grid)
        return (
            torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))),
            torch.from_numpy(codes.astype(np.int64)),
        )


@njit(cache=True, nogil=True)
def crop_codes(
    codes: NDArray[np.uint8], matrix: NDArray[np.float64], size: int, grid: int
) -> NDArray[np.uint8]:
    """Classes of a crop under the middle of every output; unlabelled beyond the image.

    ``matrix`` as of :class:`~wsiseg.training.sampling.Placement`.
    """
    height, width = codes.shape
    side = size // grid
    out = np.full((side, side), UNLABELLED, np.uint8)
    for y in range(side):
        for x in range(side):
            u, v = (x + 0.5) * grid - size / 2, (y + 0.5) * grid - size / 2
            px = int(np.floor(matrix[0, 0] * u + matrix[0, 1] * v + matrix[0, 2]))
            py = int(np.floor(matrix[1, 0] * u + matrix[1, 1] * v + matrix[1, 2]))
            if 0 <= px < width and 0 <= py < height:
                out[y, x] = codes[py, px]
    return out


def _draw(tiles: Sequence[ClassTile], config: SemanticConfig, random: np.random.Generator) -> int:
    weights = {entry.name: entry.weight for entry in config.data.sources}
    names = [tile.key.partition("/")[0] for tile in tiles]
    counts = {name: names.count(name) for name in set(names)}
    shares = np.array([weights[name] / counts[name] for name in names])
    return int(random.choice(len(tiles), p=shares / shares.sum()))


def _place(codes: NDArray[np.uint8], random: np.random.Generator) -> tuple[int, int]:
    """A pixel of a class drawn evenly among those of an image."""
    there = np.flatnonzero(np.bincount(codes.ravel(), minlength=256)[:UNLABELLED])
    kind = int(random.choice(there))
    places = np.flatnonzero(codes.ravel() == kind)
    row, column = divmod(int(places[random.integers(len(places))]), codes.shape[1])
    return row, column
