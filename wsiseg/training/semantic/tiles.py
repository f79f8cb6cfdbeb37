"""Images with a class a pixel, from mask folders and from regions drawn on slides."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import shapely
from numpy.typing import NDArray
from PIL import Image

from wsiseg.cells.polygons import Polygons
from wsiseg.cells.rasterize import rasterize
from wsiseg.errors import ConfigurationError
from wsiseg.export.regions import Region, read_regions
from wsiseg.geometry import HUNDREDTHS, MPP, Box, Frame
from wsiseg.slides.slide import Slide, open_slide
from wsiseg.training.semantic.config import (
    UNLABELLED,
    AnnotatedRegions,
    MaskFolder,
    SemanticConfig,
)

AREA_PX = 2048
"""Slides are cut into squares of this side at the model's pixel size."""

_CONTEXT_PX = 96


@dataclass(frozen=True, slots=True)
class ClassTile:
    """An image and the class of its pixels.

    Attributes
    ----------
    key
        ``SET/NAME``.
    pixels
        uint8 ``[y, x, 3]``.
    codes
        uint8 ``[y, x]``: places of classes, or ``UNLABELLED``.
    mpp
        µm a pixel.
    """

    key: str
    pixels: NDArray[np.uint8]
    codes: NDArray[np.uint8]
    mpp: float


def load_class_tiles(config: SemanticConfig, part: Literal["train", "val"]) -> list[ClassTile]:
    """The images of one part that have a labelled pixel.

    Raises
    ------
    ConfigurationError
        If there are none, or some cannot be used.
    """
    found: list[ClassTile] = []
    for entry in config.data.sources:
        if entry.part == part:
            loaded = (
                _from_folder(entry, config)
                if isinstance(entry, MaskFolder)
                else _from_slide(entry, config)
            )
            if not loaded:
                raise ConfigurationError(f"{entry.name} has no pixel of any of the classes")
            found += loaded
    return found


def _from_folder(entry: MaskFolder, config: SemanticConfig) -> list[ClassTile]:
    paths = sorted((entry.folder / "images").glob("*.png"))
    if not paths:
        raise ConfigurationError(f"{entry.folder} holds no images/*.png")
    table = np.full(256, UNLABELLED, np.uint8)
    for number, kind in enumerate(config.classes):
        table[number if kind.value is None else kind.value] = number
    tiles = [_read(path, entry, table) for path in paths]
    return [tile for tile in tiles if (tile.codes != UNLABELLED).any()]


def _read(path: Path, entry: MaskFolder, table: NDArray[np.uint8]) -> ClassTile:
    mask = entry.folder / "classes" / path.name
    try:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
        with Image.open(mask) as image:
            values = np.asarray(image)
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"cannot read {path.name} of {entry.name} in {entry.folder}: {error}"
        ) from error
    if values.dtype != np.uint8 or values.shape != pixels.shape[:2]:
        raise ConfigurationError(
            f"{mask} must have one channel of 8 bits and the size of its image, "
            f"{pixels.shape[1]} x {pixels.shape[0]} px"
        )
    return ClassTile(f"{entry.name}/{path.stem}", pixels, table[values], entry.mpp)


def _from_slide(entry: AnnotatedRegions, config: SemanticConfig) -> list[ClassTile]:
    regions = read_regions(entry.annotations)
    drawn = [(_class_of(region, config), region) for region in regions]
    known = [(kind, region) for kind, region in drawn if kind >= 0]
    if not known:
        there = ", ".join(sorted({r.class_name or r.name or "(no class)" for r in regions}))
        raise ConfigurationError(
            f"{entry.annotations}: no region has one of the classes "
            f"{', '.join(c.name for c in config.classes)}; it has {there or 'none'}"
        )
    with open_slide(entry.slide, mpp=entry.mpp) as slide:
        if slide.facts.illumination != "brightfield" or slide.facts.dtype != "uint8":
            raise ConfigurationError(f"{entry.slide} is no brightfield slide of 8 bits")
        frame = slide.level0.at(MPP.square(config.model.mpp))
        return [
            ClassTile(
                f"{entry.name}/{box.x0}-{box.y0}",
                slide.read(box, frame, (0, 1, 2)).astype(np.uint8),
                c,
                frame.mpp.x,
            )
            for box, c in _areas(slide, frame, known)
        ]


def _class_of(region: Region, config: SemanticConfig) -> int:
    return config.class_of(region.class_name or region.name or "")


def _areas(
    slide: Slide, frame: Frame, known: list[tuple[int, Region]]
) -> list[tuple[Box, NDArray[np.uint8]]]:
    """The squares of the slide that hold labelled pixels, cut to them with some context."""
    corner = slide.facts.bounds
    origin = (corner.x0, corner.y0) if corner is not None else (0, 0)
    outlines, owners = _outlines(known, origin)
    values = np.array([known[k][0] for k in owners], np.uint32) + 1
    found = []
    for cell in frame.box.split(AREA_PX):
        drawn = rasterize(
            outlines, values, np.arange(len(values)), cell, frame.scale_to(slide.level0)
        )
        rows, columns = np.nonzero(drawn)
        if not len(rows):
            continue
        box = Box(
            cell.x0 + int(columns.min()),
            cell.y0 + int(rows.min()),
            cell.x0 + int(columns.max()) + 1,
            cell.y0 + int(rows.max()) + 1,
        )
        box = box.grown(_CONTEXT_PX).intersection(frame.box)
        codes = np.full(box.shape, UNLABELLED, np.uint8)
        inner = box.intersection(cell)
        own = drawn[inner.slices(cell)]
        codes[inner.slices(box)] = np.where(own > 0, own - 1, UNLABELLED)
        found.append((box, codes))
    return found


def _outlines(
    known: list[tuple[int, Region]], origin: tuple[int, int]
) -> tuple[Polygons, NDArray[np.int64]]:
    """The polygons of regions in level-0 pixels of the slide, and whose each is."""
    geometries = np.array([region.geometry for _, region in known], object)
    once, first = shapely.get_parts(geometries, return_index=True)
    parts, second = shapely.get_parts(once, return_index=True)
    areal = shapely.get_type_id(parts) == shapely.GeometryType.POLYGON
    _, points, (rings, polygons) = shapely.to_ragged_array(parts[areal], include_z=False)
    opened = np.ones(len(points), np.bool_)
    opened[rings[1:] - 1] = False
    return (
        Polygons(
            np.rint((points[opened] + origin) * HUNDREDTHS).astype(np.int32),
            rings.astype(np.int64) - np.arange(len(rings)),
            polygons.astype(np.int64),
        ),
        first[second[areal]].astype(np.int64),
    )
