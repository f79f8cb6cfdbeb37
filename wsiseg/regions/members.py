"""Which cells lie in which region."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Members:
    """Cells of every region.

    Attributes
    ----------
    cells
        int64 ``[k]``: places of cells, rising within a region.
    starts
        int64 ``[m + 1]``: region ``i`` has ``cells[starts[i]:starts[i + 1]]``.
    """

    cells: NDArray[np.int64]
    starts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.starts) - 1

    def of(self, region: int) -> NDArray[np.int64]:
        """Places of the cells of one region."""
        return self.cells[self.starts[region] : self.starts[region + 1]]


def find_members(
    geometries: Sequence[Any], x_px: NDArray[np.float64], y_px: NDArray[np.float64]
) -> Members:
    """Assign points to regions. One in a hole is outside; on a border it is inside.

    Regions may overlap: a point then belongs to each of them.

    Parameters
    ----------
    geometries
        shapely Polygons or MultiPolygons ``[m]``, valid, empty ones allowed.
    x_px, y_px
        float64 ``[n]`` in the pixels of the geometries; NaN lies nowhere.
    """
    order = np.argsort(x_px, kind="stable")
    sorted_x = x_px[order]
    found: list[NDArray[np.int64]] = []
    for geometry in geometries:
        if shapely.is_empty(geometry):
            found.append(np.empty(0, np.int64))
            continue
        x0, y0, x1, y1 = shapely.bounds(geometry)
        first, last = np.searchsorted(sorted_x, x0), np.searchsorted(sorted_x, x1, side="right")
        near = order[first:last]
        near = near[(y_px[near] >= y0) & (y_px[near] <= y1)]
        shapely.prepare(geometry)
        found.append(np.sort(near[shapely.intersects_xy(geometry, x_px[near], y_px[near])]))
    starts = np.concatenate([[0], np.cumsum([len(own) for own in found])]).astype(np.int64)
    return Members(np.concatenate([np.empty(0, np.int64), *found]), starts)
