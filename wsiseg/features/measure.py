"""The features of some cells, given what lies around them and the slide's pixels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wsiseg.cells.batch import CellBatch, CellsInfo
from wsiseg.cells.bitmaps import draw_bitmaps
from wsiseg.cells.extent import boxes_meeting
from wsiseg.cells.rasterize import paint_order, rasterize
from wsiseg.features.contour import measure_contours
from wsiseg.features.definitions import (
    NUCLEUS_STATISTICS,
    PIXEL_SETS,
    RING_STATISTICS,
    RING_UM,
    FeatureSet,
)
from wsiseg.features.graph import MARGIN_UM as GRAPH_MARGIN_UM
from wsiseg.features.graph import measure_graph
from wsiseg.features.intensity import (
    Window,
    chosen,
    intensity_statistics,
    ring_reach,
    stain_tables,
)
from wsiseg.features.neighbours import (
    REACH_UM,
    measure_neighbours,
    nearest_columns,
    settle_nearest,
)
from wsiseg.features.plugged import PluggedColumns, measure_plugged
from wsiseg.features.position import Outlines, signed_distances
from wsiseg.features.registry import columns_of
from wsiseg.features.texture import Raster, texture_statistics
from wsiseg.geometry import HUNDREDTHS, Box
from wsiseg.slides.reader import Pixels
from wsiseg.stain import AMOUNT_UNIT, Stains, amount, amount_tables

TILE_PX = 512
"""Pixels are read for the cells whose centroid lies in one square of this side: it bounds the
memory, and leaves out what holds no cells. No result hangs on it."""

TEXTURE_OD = (0.0, 1.6)
"""Haematoxylin densities that the grey levels of texture lie between."""

Columns = dict[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is measured on a slide, and with what.

    Attributes
    ----------
    sets
        The sets of features.
    classes
        Number of classes of cells.
    stains
        The stains of a brightfield slide, whose RGB is read; ``None``: the channels count.
    channels
        Plain names of the channels read, where there are no stains.
    nuclear
        Which of them shows nuclei: its texture is measured.
    texture_limits
        Intensities of that channel that the grey levels lie between.
    plugged
        Sets of plug-ins, measured besides.
    """

    sets: tuple[FeatureSet, ...]
    classes: int
    stains: Stains | None = None
    channels: tuple[str, ...] = ()
    nuclear: int = 0
    texture_limits: tuple[float, float] = (0.0, 1.0)
    plugged: tuple[PluggedColumns, ...] = ()

    @property
    def stain_names(self) -> tuple[str, ...]:
        """Names of the stains in columns."""
        return ("haematoxylin", self.stains.kind.lower()) if self.stains else ()

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all columns, in order."""
        own = columns_of(
            self.sets,
            stains=self.stain_names,
            channels=self.channels,
            classes=self.classes,
        )
        return (*own, *(name for one in self.plugged for name in one.columns))

    @property
    def reads_pixels(self) -> bool:
        """Whether the slide's pixels are needed."""
        return bool(PIXEL_SETS.intersection(self.sets)) or any(one.pixels for one in self.plugged)

    @property
    def margin_um(self) -> float:
        """How far around cells others must be known."""
        margins = {"stain": RING_UM, "texture": RING_UM, "neighbours": REACH_UM}
        margins["graph"] = GRAPH_MARGIN_UM
        own = [margins.get(name, 0.0) for name in self.sets]
        return max((*own, *(one.margin_um for one in self.plugged)), default=0.0)


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """Cells to measure, and those around them.

    Attributes
    ----------
    cells
        In the order of their ids. Around those to measure are all whose centroid or outline
        comes as near as :attr:`Recipe.margin_um` to any of theirs; there may be more.
    own
        The cells to measure.
    """

    cells: CellBatch
    own: slice


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What cells are measured in.

    Attributes
    ----------
    info
        What is common to all cells of the slide.
    read
        Pixels ``[y, x, c]`` of a box of the frame; ``None`` where none are needed.
    outlines
        Outlines of the tissue; ``None`` where they are not needed.
    """

    info: CellsInfo
    read: Callable[[Box], Pixels] | None = None
    outlines: Outlines | None = None


def measure_cells(
    around: Neighbourhood,
    recipe: Recipe,
    place: Surroundings,
    farther: Iterable[tuple[float, NDArray[np.float64]]] = (),
) -> Columns:
    """Measure cells.

    Parameters
    ----------
    around
        The cells.
    recipe
        What to measure.
    place
        Where they lie.
    farther
        All other cells of the slide by rising distance, see
        :func:`wsiseg.features.neighbours.settle_nearest`.

    Returns
    -------
    float32 ``[m]`` by name: the columns of :attr:`Recipe.columns`, in order.
    """
    mpp = place.info.level0.mpp
    points = around.cells.centroids * (mpp.x, mpp.y)
    own = points[around.own]
    columns: Columns = {}
    if PIXEL_SETS.intersection(recipe.sets):
        columns |= _measure_pixels(around, recipe, place)
    if "neighbours" in recipe.sets:
        counted, nearest = measure_neighbours(points, around.cells.class_index, around.own)
        settle_nearest(nearest, own, farther)
        columns |= counted | nearest_columns(nearest)
    if "position" in recipe.sets and place.outlines is not None:
        columns["distance_to_tissue_edge_um"] = signed_distances(own, place.outlines)
    if "graph" in recipe.sets:
        columns |= measure_graph(points, around.cells.ids, around.own)
    if "contour" in recipe.sets:
        chosen_cells = np.arange(around.own.start, around.own.stop)
        columns |= measure_contours(around.cells.polygons.take(chosen_cells), mpp)
    for one in recipe.plugged:
        columns |= measure_plugged(one, around, place)
    return {name: columns[name] for name in recipe.columns}


def frame_boxes(cells: CellBatch, info: CellsInfo) -> NDArray[np.int64]:
    """int64 ``[n, 4]``: ``x0, y0, x1, y1`` in the frame that cover every cell's polygon."""
    scale = info.level0.scale_to(info.frame)
    boxes: NDArray[np.int64] = _boxes_over(cells.polygons.bounds(), scale)
    return boxes


@njit(cache=True, nogil=True)
def _boxes_over(bounds: NDArray[np.int32], scale: tuple[float, float]) -> NDArray[np.int64]:
    """Whole boxes over bounds in hundredths, scaled."""
    boxes = np.empty((len(bounds), 4), np.int64)
    for i in range(len(bounds)):
        for axis in range(2):
            boxes[i, axis] = math.floor(bounds[i, axis] / HUNDREDTHS * scale[axis])
            boxes[i, 2 + axis] = math.ceil(bounds[i, 2 + axis] / HUNDREDTHS * scale[axis])
    return boxes


def _measure_pixels(around: Neighbourhood, recipe: Recipe, place: Surroundings) -> Columns:
    """Stain and texture, square by square."""
    if place.read is None:
        raise ValueError("these features need the slide's pixels")
    cells, first, info = around.cells, around.own.start, place.info
    found = _Found.empty(around.own.stop - first, recipe)
    if not len(found.nuclei):
        return found.columns(recipe)
    boxes = frame_boxes(cells, info)
    box = _box_over(boxes[around.own]).grown(_margin_px(info))
    drawn = draw_bitmaps(cells, box, info.frame.scale_to(info.level0))
    tables = None if recipe.stains is None else stain_tables(recipe.stains)
    reach = ring_reach(info.frame.mpp, RING_UM)
    for members, square in _squares(around, boxes, info):
        pixels, own = place.read(square), members - first
        if recipe.stains is not None:
            pixels = pixels[..., :3].astype(np.uint8, copy=False)
        if "stain" in recipe.sets:
            window = Window(pixels, square, square.intersection(info.frame.box))
            measured = intensity_statistics(drawn, members, window, tables, reach)
            found.nuclei[own], found.rings[own] = measured
        if "texture" in recipe.sets:
            raster = _raster(cells, boxes, square, info)
            columns = _texture_columns(raster, pixels, members, boxes[members], recipe)
            for name, values in columns.items():
                found.texture[name][own] = values
    return found.columns(recipe)


@dataclass(frozen=True, slots=True)
class _Found:
    """What was measured in the pixels of cells: :func:`intensity_statistics` and texture."""

    nuclei: NDArray[np.float64]
    rings: NDArray[np.float64]
    texture: Columns

    @classmethod
    def empty(cls, count: int, recipe: Recipe) -> _Found:
        planes = len(recipe.channels) if recipe.stains is None else len(recipe.stain_names) + 1
        sets = tuple(name for name in recipe.sets if name == "texture")
        only = replace(recipe, sets=sets, plugged=())
        return cls(
            np.full((count, planes, len(NUCLEUS_STATISTICS)), np.nan),
            np.full((count, planes, len(RING_STATISTICS)), np.nan),
            {name: np.full(count, np.nan, np.float32) for name in only.columns},
        )

    def columns(self, recipe: Recipe) -> Columns:
        if "stain" not in recipe.sets:
            return self.texture
        return _intensity_columns(self.nuclei, self.rings, recipe) | self.texture


def _box_over(boxes: NDArray[np.int64]) -> Box:
    low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    return Box(int(low[0]), int(low[1]), int(high[0]), int(high[1]))


def _margin_px(info: CellsInfo) -> int:
    """How far around cells pixels are looked at."""
    return int(RING_UM / min(info.frame.mpp.x, info.frame.mpp.y)) + 2


def _squares(
    around: Neighbourhood, boxes: NDArray[np.int64], info: CellsInfo
) -> Iterator[tuple[NDArray[np.int64], Box]]:
    """Cells to measure by the square that holds their centroid, with the box to look at."""
    fx, fy = info.level0.scale_to(info.frame)
    places = np.floor(around.cells.centroids[around.own] * (fx / TILE_PX, fy / TILE_PX))
    order = np.lexsort(places.T)
    begins = np.flatnonzero(np.diff(places[order], axis=0).any(axis=1)) + 1
    for group in np.split(order, begins) if len(order) else ():
        members = group + around.own.start
        yield members, _box_over(boxes[members]).grown(_margin_px(info))


def _raster(cells: CellBatch, boxes: NDArray[np.int64], box: Box, info: CellsInfo) -> Raster:
    near = np.flatnonzero(boxes_meeting(boxes, (box.x0, box.y0, box.x1, box.y1)))
    order = near[paint_order(cells.probabilities[near], cells.centroids[near])]
    values = np.arange(1, len(cells) + 1, dtype=np.uint32)
    labels = rasterize(cells.polygons, values, order, box, info.frame.scale_to(info.level0))
    return Raster(labels.view(np.int32), box, info.frame.mpp)


def _intensity_columns(
    nuclei: NDArray[np.float64], rings: NDArray[np.float64], recipe: Recipe
) -> Columns:
    found: Columns = {}
    scale = 1.0 if recipe.stains is None else 1 / AMOUNT_UNIT
    names = recipe.channels or tuple(f"{name}_od" for name in recipe.stain_names)
    for plane, name in enumerate(names):
        found |= _named(f"nucleus_{name}", chosen(nuclei, plane, NUCLEUS_STATISTICS, scale))
        found |= _named(f"ring_{name}", chosen(rings, plane, RING_STATISTICS, scale))
    if recipe.stains is not None:
        found |= _named("nucleus_od_sum", chosen(nuclei, len(names), ("mean",), scale))
    return found


def _texture_columns(
    raster: Raster,
    pixels: Pixels,
    members: NDArray[np.int64],
    boxes: NDArray[np.int64],
    recipe: Recipe,
) -> Columns:
    if recipe.stains is None:
        plane: NDArray[np.integer] = np.ascontiguousarray(pixels[..., recipe.nuclear])
        limits, scale = recipe.texture_limits, 1.0
    else:
        low, high = TEXTURE_OD
        plane = amount(pixels, amount_tables(recipe.stains)[0])
        limits, scale = (low * AMOUNT_UNIT, high * AMOUNT_UNIT), 1 / AMOUNT_UNIT
    return texture_statistics(raster, plane, members, boxes, limits, scale)


def _named(stem: str, columns: Mapping[str, NDArray[np.float32]]) -> Columns:
    return {f"{stem}_{name}": values for name, values in columns.items()}
