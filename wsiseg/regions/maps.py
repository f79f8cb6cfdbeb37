"""Maps: a grid of square tiles in µm, and numbers of the cells in each."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsiseg.errors import ConfigurationError
from wsiseg.geometry import Frame
from wsiseg.statistics.blocks import Points
from wsiseg.tissue import TissueCode, TissueMask

_MOST_TILES = 16_000_000


@dataclass(frozen=True, slots=True)
class Grid:
    """Square tiles from the slide's corner; the last row and column reach beyond the slide.

    Attributes
    ----------
    side_um
        Side of a tile in µm.
    rows, columns
        Number of tiles.
    """

    side_um: float
    rows: int
    columns: int

    def tile_of(self, points: Points) -> NDArray[np.int64]:
        """The tile ``row * columns + column`` of every point ``[n]``; -1 outside."""
        row = np.floor(points.y_um / self.side_um).astype(np.int64)
        column = np.floor(points.x_um / self.side_um).astype(np.int64)
        inside = (row >= 0) & (row < self.rows) & (column >= 0) & (column < self.columns)
        return np.where(inside, row * self.columns + column, -1)


@dataclass(frozen=True, slots=True)
class GridMap:
    """One number a tile.

    Attributes
    ----------
    grid
        Where the tiles lie.
    values
        float64 ``[rows, columns]``; NaN where not defined.
    quantity, unit
        What it is.
    """

    grid: Grid
    values: NDArray[np.float64]
    quantity: str
    unit: str

    def table(self) -> dict[str, NDArray[np.float64]]:
        """The tiles that have a value, as columns: ``x_um``, ``y_um`` of their upper left
        corners, ``side_um`` and ``value``."""
        row, column = np.nonzero(np.isfinite(self.values))
        side = self.grid.side_um
        return {
            "x_um": column * side,
            "y_um": row * side,
            "side_um": np.full(len(row), side),
            "value": self.values[row, column],
        }


def grid_of(level0: Frame, side_um: float) -> Grid:
    """The grid that covers a slide.

    Raises
    ------
    ConfigurationError
        If the side is not positive, or so small that there would be more than 16 million tiles.
    """
    if not (math.isfinite(side_um) and side_um > 0):
        raise ConfigurationError(f"the side of a tile must be positive, not {side_um} µm")
    columns = math.ceil(level0.size.width * level0.mpp.x / side_um)
    rows = math.ceil(level0.size.height * level0.mpp.y / side_um)
    if rows * columns > _MOST_TILES:
        raise ConfigurationError(
            f"tiles of {side_um:g} µm would be {rows * columns:,} on this slide, more than "
            f"{_MOST_TILES:,}; choose a larger side"
        )
    return Grid(side_um, rows, columns)


def count_map(grid: Grid, points: Points) -> GridMap:
    """Cells in every tile."""
    return GridMap(grid, _sums(grid, points, np.ones(len(points))), "cells", "")


def density_map(grid: Grid, points: Points, tissue: TissueMask, least_mm2: float = 0.0) -> GridMap:
    """Cells a mm² of tissue; NaN in tiles without tissue.

    Parameters
    ----------
    least_mm2
        Tiles with less tissue than this have no value: the density of a sliver says little.
    """
    area = tissue_map(grid, tissue).values
    counts = _sums(grid, points, np.ones(len(points)))
    kept = (area > 0) & (area >= least_mm2)
    return GridMap(grid, _divided(counts, np.where(kept, area, 0)), "density", "1/mm²")


def share_map(
    grid: Grid, points: Points, positive: NDArray[np.bool_], least_cells: int = 1
) -> GridMap:
    """Percentage of positive cells; NaN in tiles with fewer than ``least_cells``."""
    total = _sums(grid, points, np.ones(len(points)))
    found = _sums(grid, points, positive.astype(np.float64))
    kept = np.where(total >= max(1, least_cells), total, 0)
    return GridMap(grid, 100 * _divided(found, kept), "positive share", "%")


def mean_map(
    grid: Grid, points: Points, values: NDArray[np.float64], quantity: str, unit: str
) -> GridMap:
    """Mean of a feature over the cells of a tile that have one (are finite)."""
    known = np.isfinite(values)
    own = points.take(known)
    total = _sums(grid, own, np.ones(len(own)))
    return GridMap(grid, _divided(_sums(grid, own, values[known]), total), quantity, unit)


def tissue_map(grid: Grid, tissue: TissueMask) -> GridMap:
    """Area of tissue in every tile, in mm²: exact, pixels of the mask are divided by the tiles."""
    mask = (tissue.codes == TissueCode.TISSUE).astype(np.float64)
    frame = tissue.frame
    down = _between(np.arange(grid.rows + 1.0) * (grid.side_um / frame.mpp.y), mask)
    both = _between(np.arange(grid.columns + 1.0) * (grid.side_um / frame.mpp.x), down.T).T
    return GridMap(grid, both * (frame.mpp.pixel_area_um2 * 1e-6), "tissue", "mm²")


def _between(edges: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Integrals ``[k - 1, w]`` of columns of unit pixels ``[h, w]`` between edges ``[k]``."""
    risen = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])
    held = np.clip(edges, 0, len(values))
    low = np.minimum(held.astype(np.int64), len(values) - 1)
    part = (held - low)[:, None]
    at_edges: NDArray[np.float64] = risen[low] * (1 - part) + risen[low + 1] * part
    return np.diff(at_edges, axis=0)


def _sums(grid: Grid, points: Points, values: NDArray[np.float64]) -> NDArray[np.float64]:
    tile = grid.tile_of(points)
    inside = tile >= 0
    total = np.bincount(tile[inside], values[inside], grid.rows * grid.columns)
    return total.reshape(grid.rows, grid.columns).astype(np.float64)


def _divided(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    out = np.full(above.shape, np.nan)
    np.divide(above, below, out=out, where=below > 0)
    return out
