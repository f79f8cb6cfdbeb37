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
from wsiseg.slides.reader import Illumination, Pixels
from wsiseg.training.config import Data, DataSet


@dataclass(frozen=True, slots=True)
class LabelledTile:
    """An image and its nuclei.

    Attributes
    ----------
    key
        ``SET/NAME``.
    pixels
        uint8 ``[y, x, 3]``, or in fluorescence uint8 or uint16 ``[y, x, 1]``.
    labels
        int32 ``[y, x]``, 0 background.
    mpp
        µm a pixel, measured or by the size of the nuclei.
    """

    key: str
    pixels: Pixels
    labels: NDArray[np.int32]
    mpp: float


def load_tiles(
    data: Data, part: Literal["train", "val"], illumination: Illumination
) -> list[LabelledTile]:
    """All tiles of the sets in one part, in the order of the splits file; then those of sets
    that belong to the part as a whole, by name.

    Raises
    ------
    ConfigurationError
        If the splits file, the split, a set's description or a tile is missing or does not fit.
    """
    tiles = []
    sets = {entry.name: entry for entry in data.sets if entry.part is None}
    for key in _split_keys(data, part) if sets else ():
        name, _, tile = key.partition("/")
        if name in sets:
            tiles.append(_load(data, tile, sets[name], illumination))
    for entry in data.sets:
        if entry.part == part:
            names = sorted(path.stem for path in (_folder(data, entry) / "images").glob("*.png"))
            if not names:
                raise ConfigurationError(f"{_folder(data, entry)} holds no images/*.png")
            tiles += [_load(data, name, entry, illumination) for name in names]
    return tiles


def _split_keys(data: Data, part: str) -> list[str]:
    path = data.splits or data.root / "splits.json"
    try:
        return [str(key) for key in json.loads(path.read_text())[data.split][part]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(f"{path} has no list {data.split}/{part}: {error}") from error


def _folder(data: Data, described: DataSet) -> Path:
    return described.folder or data.root / described.name


def _load(data: Data, name: str, described: DataSet, illumination: Illumination) -> LabelledTile:
    key, folder = f"{described.name}/{name}", _folder(data, described)
    try:
        with Image.open(folder / "images" / f"{name}.png") as image:
            pixels = _pixels(image, illumination)
        with Image.open(folder / "instances" / f"{name}.png") as image:
            labels = np.asarray(image).astype(np.int32)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"cannot read the tile {key} in {folder}: {error}") from error
    if labels.shape != pixels.shape[:2]:
        raise ConfigurationError(
            f"tile {key}: image and instances differ in size, {pixels.shape} and {labels.shape}"
        )
    return LabelledTile(key, pixels, labels, described.mpp or _mpp_by_size(labels, described))


def _pixels(image: Image.Image, illumination: Illumination) -> Pixels:
    if illumination == "brightfield":
        return np.asarray(image.convert("RGB"))
    found = np.asarray(image)
    if found.ndim != 2 or found.dtype not in (np.uint8, np.uint16):
        raise ValueError("for fluorescence images have one channel of 8 or 16 bits")
    return found[..., np.newaxis]


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
