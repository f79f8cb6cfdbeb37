"""Labelled tiles and the scale they are brought to."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsiseg.errors import ConfigurationError
from wsiseg.training.config import Data, DataSet


@dataclass(frozen=True, slots=True)
class LabelledTile:
    """An image and its nuclei.

    Attributes
    ----------
    key
        ``SET/NAME``.
    pixels
        uint8 ``[y, x, 3]``.
    labels
        int32 ``[y, x]``, 0 background.
    mpp
        µm a pixel, measured or by the size of the nuclei.
    """

    key: str
    pixels: NDArray[np.uint8]
    labels: NDArray[np.int32]
    mpp: float


def load_tiles(data: Data, part: Literal["train", "val"]) -> list[LabelledTile]:
    """All tiles of the sets in one part of the split, in the order of the splits file.

    Raises
    ------
    ConfigurationError
        If the splits file, the split, a set's description or a tile is missing or does not fit.
    """
    if not data.sets:
        return []
    path = data.root / data.splits
    try:
        keys = json.loads(path.read_text())[data.split][part]
    except (OSError, ValueError, KeyError) as error:
        raise ConfigurationError(f"{path} has no list {data.split}/{part}: {error}") from error
    sets = {entry.name: entry for entry in data.sets}
    tiles = []
    for key in keys:
        folder, _, name = str(key).partition("/")
        if folder not in sets:
            continue
        tiles.append(_load(data.root / folder, name, sets[folder]))
    return tiles


def _load(folder: Path, name: str, described: DataSet) -> LabelledTile:
    key = f"{described.name}/{name}"
    try:
        with Image.open(folder / "images" / f"{name}.png") as image:
            pixels = np.asarray(image.convert("RGB"))
        with Image.open(folder / "instances" / f"{name}.png") as image:
            labels = np.asarray(image).astype(np.int32)
    except OSError as error:
        raise ConfigurationError(f"cannot read the tile {key} in {folder}: {error}") from error
    if labels.shape != pixels.shape[:2]:
        raise ConfigurationError(
            f"tile {key}: image and instances differ in size, {pixels.shape} and {labels.shape}"
        )
    return LabelledTile(key, pixels, labels, described.mpp or _mpp_by_size(labels, described))


def _mpp_by_size(labels: NDArray[np.int32], described: DataSet) -> float:
    areas = np.bincount(labels.ravel())[1:]
    areas = areas[areas > 0]
    if not len(areas):
        raise ConfigurationError(
            f"a tile of {described.name} has no nuclei to tell its scale by: give mpp, or leave "
            "the tile out of the split"
        )
    wanted = described.median_area_um2 or 0.0
    return float(np.sqrt(wanted / np.median(areas)))
