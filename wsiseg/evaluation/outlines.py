"""Outlines of a whole slide, from a run or from annotations, painted region by region."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
import shapely
from numpy.typing import NDArray

from wsiseg.cells.batch import CellBatch, CellsInfo, CellSource
from wsiseg.cells.polygons import Polygons
from wsiseg.cells.rasterize import paint_order, rasterize
from wsiseg.errors import ConfigurationError
from wsiseg.export.regions import Region
from wsiseg.export.validity import from_lattice, on_lattice, polygon_parts
from wsiseg.geometry import HUNDREDTHS, Box, Frame

_PARTS_HELD = 6


@dataclass(frozen=True, slots=True)
class Objects:
    """What is known of all outlines of a slide beside their shape.

    Attributes
    ----------
    ids
        uint32 ``[n]``, rising from 1: the values they are painted in.
    centroids
        float64 ``[n, 2]``, ``(x, y)`` in level-0 pixels.
    class_index
        int64 ``[n]``: index in ``class_names``; -1 without a class.
    class_names
        Names of classes.
    """

    ids: NDArray[np.uint32]
    centroids: NDArray[np.float64]
    class_index: NDArray[np.int64]
    class_names: tuple[str, ...]

    def rows(self, ids: NDArray[np.uint32]) -> NDArray[np.int64]:
        """Places ``[k]`` of ids that are there."""
        return np.searchsorted(self.ids, ids).astype(np.int64)


class Outlines(Protocol):
    """The outlines of one slide."""

    @property
    def objects(self) -> Objects:
        """All of them."""
        ...

    def paint(self, box: Box, scale: tuple[float, float]) -> NDArray[np.uint32]:
        """Their ids uint32 ``[y, x]`` in a box of a frame with ``scale`` level-0 pixels a pixel."""
        ...


class RunOutlines:
    """The cells of a run's slide; parts are read as they are needed."""

    def __init__(self, source: CellSource) -> None:
        self._source = source
        self._extents = [
            source.info.frame.box_in(extent, source.info.level0) for extent in source.extents
        ]
        self._read = lru_cache(maxsize=_PARTS_HELD)(source.read)
        self.objects = _objects(source)

    @property
    def info(self) -> CellsInfo:
        """What is common to all cells."""
        return self._source.info

    def paint(self, box: Box, scale: tuple[float, float]) -> NDArray[np.uint32]:
        """Overlaps go to the higher probability, as in the run's own label image."""
        place = _level0_box(box, scale)
        found = [
            _meeting(self._read(part), place)
            for part, extent in enumerate(self._extents)
            if extent.intersects(place)
        ]
        order = paint_order(
            np.concatenate([np.empty(0, np.float32), *(b.probabilities for b in found)]),
            np.concatenate([np.empty((0, 2)), *(b.centroids for b in found)]),
        )
        ids = np.concatenate([np.empty(0, np.uint32), *(b.ids for b in found)])
        polygons = Polygons.concatenate([b.polygons for b in found])
        return rasterize(polygons, ids, order, box, scale)


class RegionOutlines:
    """Annotated outlines; smaller ones are painted over larger ones.

    Parameters
    ----------
    regions
        Non-empty; in QuPath's frame.
    origin_px
        Level-0 position of QuPath's origin.
    """

    def __init__(self, regions: Sequence[Region], origin_px: tuple[int, int]) -> None:
        geometries = np.array([region.geometry for region in regions], object)
        away = (-origin_px[0], -origin_px[1])
        parts, owner = polygon_parts(on_lattice(geometries, away))
        self._polygons = from_lattice(parts)
        self._values = (owner + 1).astype(np.uint32)
        self._order = np.argsort(-shapely.area(geometries)[owner], kind="stable")
        self._bounds = self._polygons.bounds()
        names = tuple(sorted({r.class_name for r in regions if r.class_name is not None}))
        centroids = shapely.get_coordinates(shapely.centroid(geometries)) + origin_px
        self.objects = Objects(
            np.arange(1, len(regions) + 1, dtype=np.uint32),
            centroids,
            np.array([names.index(r.class_name) if r.class_name else -1 for r in regions]),
            names,
        )

    def paint(self, box: Box, scale: tuple[float, float]) -> NDArray[np.uint32]:
        """Values from 1 in the order of the regions."""
        near = _near(self._bounds, _level0_box(box, scale))
        return rasterize(self._polygons, self._values, self._order[near[self._order]], box, scale)


def cut_regions(
    regions: Sequence[Region], within: Sequence[str], path: Path
) -> tuple[list[Region], list[Region]]:
    """Nuclei, and the areas ``within`` which they were marked, by class or name.

    Raises
    ------
    ConfigurationError
        If no region has such a class or name, or no nucleus is left.
    """
    wanted = {name.casefold() for name in within}
    # QuPath's points and lines bound nothing and are no nuclei.
    regions = [r for r in regions if r.geometry.area > 0]
    areas = [r for r in regions if _labels(r) & wanted]
    nuclei = [r for r in regions if not _labels(r) & wanted]
    if wanted and not areas:
        there = ", ".join(sorted({n for r in regions for n in (r.class_name, r.name) if n}))
        raise ConfigurationError(
            f"{path} has no region of the class or name {', '.join(within)}; it has "
            f"{there or 'neither names nor classes'}"
        )
    if not nuclei:
        raise ConfigurationError(f"{path} has no outline of a nucleus")
    return nuclei, areas


def require_on_slide(objects: Objects, level0: Frame, path: Path) -> None:
    """See that outlines can belong to the slide.

    Raises
    ------
    ConfigurationError
        If none of them lies on it.
    """
    x, y = objects.centroids[:, 0], objects.centroids[:, 1]
    inside = (x >= 0) & (y >= 0) & (x < level0.size.width) & (y < level0.size.height)
    if not inside.any():
        raise ConfigurationError(
            f"{path}: none of its {len(inside)} outlines lies on the slide of "
            f"{level0.size.width} x {level0.size.height} px; is it of another slide?"
        )


def _labels(region: Region) -> set[str]:
    return {name.casefold() for name in (region.class_name, region.name) if name}


def _objects(source: CellSource) -> Objects:
    ids, centroids, classes = [np.empty(0, np.uint32)], [np.empty((0, 2))], [np.empty(0, np.int64)]
    for part in range(len(source.extents)):
        batch = source.read(part)
        ids.append(batch.ids)
        centroids.append(batch.centroids)
        classes.append(batch.class_index.astype(np.int64))
    names = tuple(kind.name for kind in source.info.classes)
    return Objects(np.concatenate(ids), np.concatenate(centroids), np.concatenate(classes), names)


def _meeting(batch: CellBatch, place: Box) -> CellBatch:
    return batch.take(np.flatnonzero(_near(batch.polygons.bounds(), place)))


def _near(bounds: NDArray[np.int32], place: Box) -> NDArray[np.bool_]:
    limits = np.array([place.x0, place.y0, place.x1, place.y1], np.int64) * HUNDREDTHS
    return np.asarray(
        (bounds[:, 2] >= limits[0])
        & (bounds[:, 3] >= limits[1])
        & (bounds[:, 0] <= limits[2])
        & (bounds[:, 1] <= limits[3])
    )


def _level0_box(box: Box, scale: tuple[float, float]) -> Box:
    return Box(
        int(np.floor(box.x0 * scale[0])),
        int(np.floor(box.y0 * scale[1])),
        int(np.ceil(box.x1 * scale[0])),
        int(np.ceil(box.y1 * scale[1])),
    )
