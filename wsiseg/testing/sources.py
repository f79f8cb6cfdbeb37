"""Cells without a slide: sources for tests of exporters and for benchmarks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsiseg.cells.batch import CellBatch, CellClass, CellsInfo, CellSource
from wsiseg.cells.polygons import Polygons
from wsiseg.geometry import HUNDREDTHS, MPP, Box, Frame, Size

CLASSES = (
    CellClass("Neoplastic", (200, 0, 0)),
    CellClass("Inflammatory", (0, 120, 200)),
    CellClass("Connective", (0, 150, 60)),
)

_FRAME_MPP = 0.5
_SPACING_PX = 28
"""Frame pixels between nuclei: 1 / 28² is about 1,275 a megapixel."""

_PART_SIDE = 64
_JITTER_PX = 2.0
_RADIUS_PX = (6.0, 10.5)
_WAVES = ((2, 0.12), (3, 0.05), (5, 0.02))
_REACH_PX = _RADIUS_PX[1] * (1 + sum(height for _, height in _WAVES)) + _JITTER_PX
_HOLE_SCALE = 0.3


class MemorySource:
    """A :class:`CellSource` of batches that are in memory."""

    def __init__(self, info: CellsInfo, batches: Sequence[CellBatch]) -> None:
        self._info = info
        self._batches = tuple(batches)
        self._extents = tuple(_extent(batch.polygons, info) for batch in self._batches)

    @property
    def info(self) -> CellsInfo:
        """What is common to all cells."""
        return self._info

    @property
    def count(self) -> int:
        """Number of cells."""
        return sum(len(batch) for batch in self._batches)

    @property
    def extents(self) -> tuple[Box, ...]:
        """For every part the box in ``info.frame`` that covers its cells' polygons."""
        return self._extents

    def read(self, part: int) -> CellBatch:
        """The cells of one part."""
        return self._batches[part]


@dataclass(frozen=True, slots=True)
class SyntheticCells:
    """Nuclei made when read, a square of 64 x 64 a part; see :func:`synthetic_cells`."""

    info: CellsInfo
    count: int
    seed: int
    vertices: int
    holed: float

    @property
    def extents(self) -> tuple[Box, ...]:
        """For every part the box in ``info.frame`` that covers its cells' polygons."""
        reach = math.ceil(_REACH_PX)
        return tuple(
            self._square(part).grown(reach).intersection(self.info.frame.box)
            for part in range(self._parts)
        )

    def read(self, part: int) -> CellBatch:
        """The cells of one part, the same at every call."""
        if not 0 <= part < self._parts:
            raise IndexError(f"part {part} of {self._parts}")
        first = part * _PART_SIDE**2
        number = min(_PART_SIDE**2, self.count - first)
        rng = np.random.default_rng((self.seed, part))
        square, place = self._square(part), np.arange(number)
        lattice = np.stack([place % _PART_SIDE, place // _PART_SIDE], axis=1) + 0.5
        centres = (square.x0, square.y0) + lattice * _SPACING_PX
        centres += rng.uniform(-_JITTER_PX, _JITTER_PX, (number, 2))
        shells = _stars(rng, number, self.vertices)
        fx, fy = self.info.frame.scale_to(self.info.level0)
        level0 = (centres[:, None] + shells) * (fx, fy)
        holes = (centres[:, None] + _HOLE_SCALE * shells) * (fx, fy)
        polygons = _polygons(level0, holes[:, ::-1], rng.random(number) < self.holed)
        return CellBatch(
            ids=np.arange(first + 1, first + number + 1, dtype=np.uint32),
            uuids=_uuids(rng, number),
            polygons=polygons,
            centroids=centres * np.array([fx, fy]),
            class_index=rng.integers(0, len(self.info.classes), number, np.uint8),
            probabilities=rng.uniform(0.5, 1.0, number).astype(np.float32),
            truncated=np.zeros(number, bool),
            features=_features(rng, shells),
        )

    @property
    def _parts(self) -> int:
        return -(-self.count // _PART_SIDE**2)

    def _square(self, part: int) -> Box:
        side = _PART_SIDE * _SPACING_PX
        columns = math.isqrt(max(self._parts - 1, 0)) + 1
        x, y = part % columns * side, part // columns * side
        return Box(x, y, x + side, y + side)


def synthetic_cells(
    count: int,
    *,
    seed: int = 0,
    vertices: int = 32,
    holed: float = 0.0,
    origin_px: tuple[int, int] = (0, 0),
) -> CellSource:
    """Nuclei at about 1,275 a megapixel of a frame of 0.5 µm/px, on a level 0 of 0.25 µm/px.

    The same for the same arguments; made part by part as they are read, so that a million of
    them need not be in memory.

    Parameters
    ----------
    count
        Number of nuclei.
    seed
        Of all that is random.
    vertices
        Vertices of every shell.
    holed
        Share of the nuclei that have a hole.
    origin_px
        Where QuPath's frame begins in level 0.
    """
    parts = -(-count // _PART_SIDE**2)
    side = _PART_SIDE * _SPACING_PX * (math.isqrt(max(parts - 1, 0)) + 1)
    frame = Frame(Size(side, side), MPP.square(_FRAME_MPP))
    level0 = Frame(Size(2 * side, 2 * side), MPP.square(_FRAME_MPP / 2))
    info = CellsInfo(
        slide=f"synthetic-{count}",
        level0=level0,
        frame=frame,
        classes=CLASSES,
        origin_px=origin_px,
        provenance={"model": "synthetic", "seed": seed},
    )
    return SyntheticCells(info, count, seed, vertices, holed)


def _extent(polygons: Polygons, info: CellsInfo) -> Box:
    if not len(polygons.vertices):
        return Box(0, 0, 0, 0)
    x0, y0 = polygons.vertices.min(axis=0) // HUNDREDTHS
    x1, y1 = -(-polygons.vertices.max(axis=0) // HUNDREDTHS)
    return info.level0.box_in(Box(int(x0), int(y0), int(x1), int(y1)), info.frame)


def _stars(rng: np.random.Generator, number: int, vertices: int) -> NDArray[np.float64]:
    """Star-shaped outlines around the origin, ``[n, vertices, 2]`` in frame pixels."""
    angles = 2 * np.pi * np.arange(vertices) / vertices
    radii = np.ones((number, vertices))
    for wave, height in _WAVES:
        phases = rng.uniform(0, 2 * np.pi, (number, 1))
        radii += rng.uniform(0, height, (number, 1)) * np.cos(wave * angles + phases)
    radii *= rng.uniform(*_RADIUS_PX, (number, 1))
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=-1)


def _polygons(
    shells: NDArray[np.float64], holes: NDArray[np.float64], holed: NDArray[np.bool_]
) -> Polygons:
    number, vertices, _ = shells.shape
    rings = np.stack([shells, holes], axis=1)
    drawn = np.stack([np.ones(number, bool), holed], axis=1)
    points = np.rint(rings[drawn] * HUNDREDTHS).astype(np.int32).reshape(-1, 2)
    polygon_offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(drawn.sum(axis=1))])
    return Polygons(points, np.arange(polygon_offsets[-1] + 1) * vertices, polygon_offsets)


def _uuids(rng: np.random.Generator, number: int) -> NDArray[np.uint8]:
    """Random ids that say they are random ones (version 4)."""
    uuids = rng.integers(0, 256, (number, 16), np.uint8)
    uuids[:, 6] = uuids[:, 6] & 0x0F | 0x40
    uuids[:, 8] = uuids[:, 8] & 0x3F | 0x80
    return uuids


def _features(
    rng: np.random.Generator, shells: NDArray[np.float64]
) -> dict[str, NDArray[np.float32]]:
    following = np.roll(shells, -1, axis=1)
    cross = shells[..., 0] * following[..., 1] - shells[..., 1] * following[..., 0]
    area = cross.sum(axis=1) / 2 * _FRAME_MPP**2
    perimeter = np.hypot(*np.moveaxis(following - shells, -1, 0)).sum(axis=1) * _FRAME_MPP
    diameter = np.sqrt(4 * area / np.pi)
    stretch = rng.uniform(1.0, 1.5, len(shells))
    columns = {
        "area_um2": area,
        "perimeter_um": perimeter,
        "major_axis_um": diameter * stretch,
        "minor_axis_um": diameter / stretch,
        "eccentricity": np.sqrt(1 - stretch**-4),
        "solidity": rng.uniform(0.9, 1.0, len(shells)),
        "circularity": 4 * np.pi * area / perimeter**2,
        "hematoxylin_od_mean": rng.uniform(0.2, 1.2, len(shells)),
    }
    return {name: values.astype(np.float32) for name, values in columns.items()}
