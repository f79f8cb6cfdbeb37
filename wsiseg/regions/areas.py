"""How much tissue a region holds, and where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from wsiseg.geometry import Frame
from wsiseg.statistics.blocks import Points, bootstrap, ratio
from wsiseg.statistics.estimate import Estimate, Resampling, undefined
from wsiseg.tissue import TissueCode, TissueMask


@dataclass(frozen=True, slots=True)
class Area:
    """Area in pieces that lie in one block each.

    Attributes
    ----------
    points
        ``[k]``: the middle of the block of each piece.
    mm2
        float64 ``[k]``.
    """

    points: Points
    mm2: NDArray[np.float64]

    @property
    def total_mm2(self) -> float:
        """The whole area."""
        return float(self.mm2.sum())


def tissue_areas(
    geometries: Sequence[Any], tissue: TissueMask, level0: Frame
) -> NDArray[np.float64]:
    """Area of tissue within each region, in mm²: float64 ``[m]``.

    The exact area that a polygon shares with the outline of the tissue mask.

    Parameters
    ----------
    geometries
        shapely Polygons or MultiPolygons in level-0 pixels, valid; empty ones hold nothing.
    """
    outlines = tissue.polygons(level0)
    given = np.asarray(geometries, object)
    found = np.zeros(len(given))
    if len(outlines) and len(given):
        region, part = shapely.STRtree(outlines).query(given, predicate="intersects")
        shared = shapely.area(shapely.intersection(given[region], outlines[part]))
        np.add.at(found, region, shared)
    return found * level0.mpp.pixel_area_um2 * 1e-6


def whole_tissue(tissue: TissueMask, block_um: float) -> Area:
    """All tissue of a slide, by blocks; each pixel of the mask counts where its centre lies."""
    return _by_block(tissue.codes == TissueCode.TISSUE, (0, 0), tissue.frame, block_um)


def block_areas(
    geometry: Any, tissue: TissueMask, level0: Frame, block_um: float, mm2: float
) -> Area:
    """The tissue of one region, by blocks.

    Parameters
    ----------
    geometry
        shapely Polygon or MultiPolygon in level-0 pixels.
    block_um
        Side of the blocks.
    mm2
        The region's exact area of tissue, to which the pieces are scaled: they are sums of
        pixels of the mask, whose centres decide.
    """
    nothing = Area(Points(np.empty(0), np.empty(0)), np.empty(0))
    if mm2 <= 0:
        return nothing
    fx, fy = tissue.frame.scale_to(level0)
    x0, y0, x1, y1 = shapely.bounds(geometry)
    height, width = tissue.codes.shape
    first_x, last_x = max(0, int(x0 / fx)), min(width, int(x1 / fx) + 1)
    first_y, last_y = max(0, int(y0 / fy)), min(height, int(y1 / fy) + 1)
    codes = tissue.codes[first_y:last_y, first_x:last_x]
    inside = codes == TissueCode.TISSUE
    rows, columns = np.nonzero(inside)
    shapely.prepare(geometry)
    inside[rows, columns] = shapely.intersects_xy(
        geometry, (columns + first_x + 0.5) * fx, (rows + first_y + 0.5) * fy
    )
    found = _by_block(inside, (first_x, first_y), tissue.frame, block_um)
    if found.total_mm2 > 0:
        return Area(found.points, found.mm2 * (mm2 / found.total_mm2))
    middle = shapely.point_on_surface(geometry)
    x, y = shapely.get_x(middle) * level0.mpp.x, shapely.get_y(middle) * level0.mpp.y
    return Area(Points(np.array([x]), np.array([y])), np.array([mm2]))


def density(points: Points, area: Area, resampling: Resampling) -> Estimate:
    """Points a mm², with an interval by blocks of tissue, those without a point included.

    Not defined without an area.
    """
    if area.total_mm2 <= 0:
        return undefined(resampling)
    pieces = np.stack([np.zeros(len(area.mm2)), area.mm2], axis=1)
    counted = np.stack([np.ones(len(points)), np.zeros(len(points))], axis=1)
    return bootstrap(
        points.joined(area.points), np.concatenate([counted, pieces]), ratio, resampling
    )


def _by_block(
    mask: NDArray[np.bool_], corner: tuple[int, int], frame: Frame, block_um: float
) -> Area:
    """Pixels of a window of a frame, summed in the blocks that hold their centres."""
    if not mask.any():
        return Area(Points(np.empty(0), np.empty(0)), np.empty(0))
    height, width = mask.shape
    rows, row_blocks = _runs(height, corner[1], frame.mpp.y / block_um)
    columns, column_blocks = _runs(width, corner[0], frame.mpp.x / block_um)
    counts = np.add.reduceat(np.add.reduceat(mask.astype(np.int64), rows, 0), columns, 1)
    row, column = np.nonzero(counts)
    return Area(
        Points((column_blocks[column] + 0.5) * block_um, (row_blocks[row] + 0.5) * block_um),
        counts[row, column] * (frame.mpp.pixel_area_um2 * 1e-6),
    )


def _runs(
    pixels: int, first: int, blocks_per_pixel: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Where each block begins among pixels in a row, and the number of that block."""
    blocks = np.floor((np.arange(pixels) + first + 0.5) * blocks_per_pixel).astype(np.int64)
    starts = np.flatnonzero(np.diff(blocks, prepend=-1)).astype(np.int64)
    return starts, blocks[starts].astype(np.float64)
