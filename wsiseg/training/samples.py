"""Samples of a training: the same seed and number give the same sample, in any process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from wsiseg.models.network.architecture import GRID
from wsiseg.training.config import TrainingConfig
from wsiseg.training.prepare import changed, plain
from wsiseg.training.sampling import (
    Placement,
    crop_labels,
    crop_pixels,
    foreground_target,
    star_targets,
)
from wsiseg.training.tiles import LabelledTile

Sample = tuple[Tensor, Tensor, Tensor, Tensor]
"""Pixels ``[c, s, s]`` uint8; probability ``[1, g, g]``, rays ``[r, g, g]`` in pixels and
foreground ``[GRID * GRID, g, g]``, float32."""

_INSIDE = 0.35
"""Share of a crop's side that its middle keeps from the tile's border, where there is room."""


@dataclass(frozen=True)
class Samples(Dataset[Sample]):
    """Augmented crops of the training tiles, numbered from ``first``."""

    config: TrainingConfig
    tiles: Sequence[LabelledTile]
    first: int
    count: int

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        random = np.random.default_rng((self.config.schedule.seed, self.first + index))
        tile = self.tiles[_draw(self.tiles, self.config, random)]
        low, high = self.config.augmentation.scale
        zoom = float(np.exp(random.uniform(np.log(low), np.log(high))))
        height, width = tile.labels.shape
        step = self.config.model.mpp / tile.mpp / zoom
        margin = _INSIDE * step * self.config.schedule.crop_px
        left, top = min(margin, width / 2), min(margin, height / 2)
        placement = Placement(
            center=(random.uniform(left, width - left), random.uniform(top, height - top)),
            step=step,
            angle=float(random.uniform(0, 2 * np.pi)),
            mirrored=bool(random.random() < 0.5),
        )
        return _sample(tile, placement, self.config, random)


@dataclass(frozen=True)
class CentralCrops(Dataset[Sample]):
    """The middle of every tile as it is, for the loss on tiles not trained on."""

    config: TrainingConfig
    tiles: Sequence[LabelledTile]

    def __len__(self) -> int:
        return len(self.tiles)

    def __getitem__(self, index: int) -> Sample:
        tile = self.tiles[index]
        height, width = tile.labels.shape
        placement = Placement((width / 2, height / 2), self.config.model.mpp / tile.mpp, 0.0, False)
        return _sample(tile, placement, self.config, None)


def _draw(
    tiles: Sequence[LabelledTile], config: TrainingConfig, random: np.random.Generator
) -> int:
    weights = {entry.name: entry.weight for entry in config.data.sources}
    names = [tile.key.partition("/")[0] for tile in tiles]
    counts = {name: names.count(name) for name in set(names)}
    shares = np.array([weights[name] / counts[name] for name in names])
    return int(random.choice(len(tiles), p=shares / shares.sum()))


def _sample(
    tile: LabelledTile,
    placement: Placement,
    config: TrainingConfig,
    random: np.random.Generator | None,
) -> Sample:
    size, matrix = config.schedule.crop_px, placement.matrix()
    taps = max(1, min(4, round(placement.step)))
    picture = crop_pixels(tile.pixels, matrix, size, taps)
    if random is None:
        pixels = plain(picture, tile.pixels, config)
    else:
        pixels = changed(picture, tile.pixels, config, random)
    fine = crop_labels(tile.labels, matrix, size)
    probability, rays = star_targets(fine, size, config.model.rays, GRID)
    foreground = foreground_target(fine, size, GRID)
    return (
        torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))),
        torch.from_numpy(probability),
        torch.from_numpy(rays),
        torch.from_numpy(foreground),
    )
