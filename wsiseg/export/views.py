"""What pages on a slide are made of: the map of nuclear density, and places at full resolution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsiseg.cells.batch import CellBatch, CellSource
from wsiseg.export.density import DensityGrid, Place
from wsiseg.export.drawing import (
    INK,
    PAPER,
    as_rgb,
    colored,
    mark_boxes,
    outline_cells,
    scale_bar,
)
from wsiseg.geometry import HUNDREDTHS, Box, Frame
from wsiseg.slides.slide import Slide

CROP_PX = 546
"""Longer side of a crop as it is shown."""

PLACE_UM = 140.0
"""About the width of tissue that a crop shows."""

_PANEL_PX = (1020, 1300)


@dataclass(frozen=True, slots=True)
class Crop:
    """A place at full resolution with the outlines of its nuclei.

    Attributes
    ----------
    picture
        RGB, ``CROP_PX`` along its longer side.
    scale
        Its pixels a level-0 pixel.
    nuclei
        Number of nuclei whose centroid lies in the place.
    """

    picture: Image.Image
    scale: float
    nuclei: int

    @property
    def caption(self) -> str:
        """The number of nuclei in words."""
        return f"{self.nuclei:,} {'nucleus' if self.nuclei == 1 else 'nuclei'}"


def place_side(level0: Frame) -> int:
    """Level-0 pixels a side of a place, a whole number of which a crop's pixels enlarge."""
    return CROP_PX // max(1, round(CROP_PX * level0.mpp.mean / PLACE_UM))


def panel_size(region: Box) -> tuple[float, tuple[int, int]]:
    """Scale and size in pixels at which a region of level 0 fills a panel of a page."""
    scale = min(_PANEL_PX[0] / region.width, _PANEL_PX[1] / region.height)
    return scale, (max(round(region.width * scale), 8), max(round(region.height * scale), 8))


def density_map(
    density: NDArray[np.float64], grid: DensityGrid, size: tuple[int, int], top: float
) -> Image.Image:
    """Nuclei per mm² of the grid's region at ``size``, in colours that end at ``top``."""
    inside = (
        0,
        0,
        grid.region.width / grid.step_px[0],
        grid.region.height / grid.step_px[1],
    )
    return colored(density, top).resize(size, Image.Resampling.NEAREST, box=inside)


def mark_places(picture: Image.Image, places: Sequence[Place], region: Box, scale: float) -> None:
    """Number places from 1 on a picture of a region of level 0."""
    mark_boxes(
        picture, [_scaled(place.box.shifted(-region.x0, -region.y0), scale) for place in places]
    )


def draw_crops(
    slide: Slide, channels: tuple[int, ...], cells: CellSource, places: Sequence[Place]
) -> list[Crop]:
    """Places at full resolution, all in one brightness, with outlines and a scale bar."""
    shown = as_rgb([slide.read(place.box, slide.level0, channels) for place in places])
    casing = PAPER if slide.facts.illumination == "brightfield" else INK
    crops = []
    for place, pixels in zip(places, shown, strict=True):
        box = place.box
        scale = CROP_PX / max(box.width, box.height)
        size = (max(round(box.width * scale), 1), max(round(box.height * scale), 1))
        picture = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)
        batches = _meeting(cells, box)
        outline_cells(picture, batches, cells.info.classes, box, casing)
        scale_bar(picture, slide.level0.mpp.mean / scale)
        crops.append(Crop(picture, scale, sum(_inside(batch, box) for batch in batches)))
    return crops


def _scaled(box: Box, scale: float) -> Box:
    return Box(*(round(edge * scale) for edge in (box.x0, box.y0, box.x1, box.y1)))


def _meeting(cells: CellSource, box: Box) -> list[CellBatch]:
    """The cells whose outlines meet ``box`` of level 0; only parts that may hold some are read."""
    info = cells.info
    wanted = info.level0.box_in(box, info.frame)
    found = []
    for part, extent in enumerate(cells.extents):
        if extent.intersects(wanted):
            batch = cells.read(part)
            x0, y0, x1, y1 = batch.polygons.bounds().T / HUNDREDTHS
            meets = (x0 < box.x1) & (x1 > box.x0) & (y0 < box.y1) & (y1 > box.y0)
            found.append(batch.take(np.flatnonzero(meets)))
    return found


def _inside(batch: CellBatch, box: Box) -> int:
    """Number of cells with their centroid in ``box``."""
    corners = (box.x0, box.y0), (box.x1, box.y1)
    centroids = batch.centroids
    return int(((centroids >= corners[0]) & (centroids < corners[1])).all(axis=1).sum())
