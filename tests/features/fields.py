"""Fields of made-up nuclei for tests of features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from wsiseg.cells.batch import CellBatch, CellClass, CellsInfo
from wsiseg.cells.polygons import Polygons
from wsiseg.cells.vectorize import vectorize
from wsiseg.features.measure import frame_boxes
from wsiseg.geometry import MPP, Box, Frame, Size

LEVEL0 = Frame(Size(4000, 4000), MPP.square(0.25))
FRAME = LEVEL0.at(MPP.square(0.5))
CLASSES = (CellClass("a", (255, 0, 0)), CellClass("b", (0, 255, 0)), CellClass("c", (0, 0, 255)))


def blobs(seed: int, side: int, level: float = 0.04) -> NDArray[np.int32]:
    """Labels ``[side, side]`` with smooth, concave and tiny shapes, 4-connected."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(side, side)), 2)
    labels: NDArray[np.int32] = ndimage.label(noise > level)[0].astype(np.int32)
    return labels


def info(frame: Frame = FRAME, classes: int = 1) -> CellsInfo:
    """What is common to the cells of a field."""
    return CellsInfo("field.tiff", LEVEL0, frame, CLASSES[:classes])


def cells_of(
    labels: NDArray[np.int32], about: CellsInfo, origin: tuple[int, int] = (0, 0)
) -> CellBatch:
    """The cells of a label image whose corner lies at ``origin`` of the frame; ids from 1 in
    the order of the labels."""
    scale = about.frame.scale_to(about.level0)
    traced = vectorize(labels, int(labels.max()), origin, scale)
    count = len(traced.index)
    middles = ndimage.center_of_mass(labels > 0, labels, traced.index + 1)
    points = (np.array(middles).reshape(-1, 2)[:, ::-1] + 0.5 + origin) * scale
    rng = np.random.default_rng(count)
    return CellBatch(
        np.arange(1, count + 1, dtype=np.uint32),
        rng.integers(0, 256, (count, 16), np.uint8),
        traced.polygons,
        points,
        rng.integers(0, len(about.classes), count).astype(np.uint8),
        rng.uniform(0.2, 1, count).astype(np.float32),
        np.zeros(count, bool),
        {},
    )


def scattered(count: int, side_px: float, about: CellsInfo, seed: int = 0) -> CellBatch:
    """Small square cells at random places of a square of level 0."""
    rng = np.random.default_rng(seed)
    middles = rng.uniform(0, side_px, (count, 2))
    return squares(middles, about)


def squares(middles: NDArray[np.float64], about: CellsInfo) -> CellBatch:
    """Square cells of 16 level-0 pixels around some points."""
    count = len(middles)
    corners = np.array([[-8, -8], [8, -8], [8, 8], [-8, 8]])
    vertices = np.rint((middles[:, None] + corners) * 100).astype(np.int32).reshape(-1, 2)
    rng = np.random.default_rng(count)
    return CellBatch(
        np.arange(1, count + 1, dtype=np.uint32),
        rng.integers(0, 256, (count, 16), np.uint8),
        Polygons(vertices, np.arange(count + 1) * 4, np.arange(count + 1)),
        middles,
        rng.integers(0, len(about.classes), count).astype(np.uint8),
        rng.uniform(0.2, 1, count).astype(np.float32),
        np.zeros(count, bool),
        {},
    )


@dataclass(frozen=True)
class Parts:
    """Cells in parts, a source of cells."""

    info: CellsInfo
    batches: Sequence[CellBatch]

    @property
    def count(self) -> int:
        return sum(map(len, self.batches))

    @property
    def extents(self) -> tuple[Box, ...]:
        found = []
        for batch in self.batches:
            boxes = frame_boxes(batch, self.info)
            low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
            found.append(Box(int(low[0]), int(low[1]), int(high[0]), int(high[1])))
        return tuple(found)

    def read(self, part: int) -> CellBatch:
        return self.batches[part]


def in_parts(cells: CellBatch, about: CellsInfo, side_px: float) -> Parts:
    """The cells in parts by the square of level 0 that holds their centroid."""
    place = np.floor(cells.centroids / side_px).astype(int)
    keys, which = np.unique(place[:, ::-1], axis=0, return_inverse=True)
    batches = []
    for key in range(len(keys)):
        batches.append(cells.take(np.flatnonzero(which.ravel() == key)))
    return Parts(about, batches)
