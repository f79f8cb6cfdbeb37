"""How densely nuclei lie on a slide, and which places of it are worth a closer look.

Arithmetic only: counts on a grid of squares, a single pass over the cells, memory of the grid.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsiseg.cells.batch import CellSource, places_of
from wsiseg.geometry import Box, Frame

SMALLEST_SQUARE_UM = 50.0
"""Side of a square of the grid in µm, doubled while the grid would be too large."""

MOST_SQUARES = 192
"""Largest number of squares along a side of the grid."""

LEAST_TISSUE = 0.25
"""Squares with a smaller share of tissue have no density."""

_SAMPLES = 8


@dataclass(frozen=True, slots=True)
class DensityGrid:
    """Squares over a region of a slide.

    Attributes
    ----------
    region
        The region in level-0 pixels; the first square begins at its upper left corner.
    square_um
        Side of a square in µm.
    step_px
        ``(x, y)``: side of a square in level-0 pixels.
    shape
        ``(rows, columns)``; the last ones may reach beyond the region.
    """

    region: Box
    square_um: float
    step_px: tuple[float, float]
    shape: tuple[int, int]

    @classmethod
    def over(cls, region: Box, level0: Frame) -> DensityGrid:
        """The grid for a region that holds at least one pixel."""
        extent_um = max(region.width * level0.mpp.x, region.height * level0.mpp.y)
        square_um = SMALLEST_SQUARE_UM
        while extent_um > square_um * MOST_SQUARES:
            square_um *= 2
        step = (square_um / level0.mpp.x, square_um / level0.mpp.y)
        shape = (math.ceil(region.height / step[1]), math.ceil(region.width / step[0]))
        return cls(region, square_um, step, shape)


@dataclass(frozen=True, slots=True)
class Tally:
    """``squares``: int64 ``[row, column]`` nuclei by centroid; ``classes``: int64 ``[k]``."""

    squares: NDArray[np.int64]
    classes: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Place:
    """A square region in level-0 pixels, and why it was chosen."""

    reason: str
    box: Box


def count_nuclei(cells: CellSource, grid: DensityGrid) -> Tally:
    """Count nuclei by square and by class; those outside the region count by class only."""
    rows, columns = grid.shape
    squares = np.zeros(rows * columns, np.int64)
    classes = np.zeros(len(cells.info.classes), np.int64)
    for part in range(len(cells.extents)):
        found = places_of(cells, part)
        classes += np.bincount(found.class_index, minlength=len(classes))
        corner = (grid.region.x0, grid.region.y0)
        place = np.floor((found.centroids - corner) / grid.step_px).astype(np.int64)
        inside = ((place >= 0) & (place < (columns, rows))).all(axis=1)
        index = place[inside, 1] * columns + place[inside, 0]
        squares += np.bincount(index, minlength=len(squares))
    return Tally(squares.reshape(grid.shape), classes)


def tissue_share(
    tissue: NDArray[np.bool_], frame: Frame, level0: Frame, grid: DensityGrid
) -> NDArray[np.float64]:
    """Share 0..1 ``[row, column]`` of every square that is tissue.

    ``tissue`` is ``[y, x]`` in ``frame``; it is looked up at 8 x 8 places of every square.
    """
    scale = level0.scale_to(frame)
    corner = (grid.region.x0, grid.region.y0)
    hits = []
    for axis in (0, 1):
        size, limit = grid.shape[1 - axis] * _SAMPLES, tissue.shape[1 - axis]
        level0_px = (np.arange(size) + 0.5) / _SAMPLES * grid.step_px[axis] + corner[axis]
        hits.append(np.minimum(np.floor(level0_px * scale[axis]).astype(np.int64), limit))
    padded = np.pad(tissue, ((0, 1), (0, 1)))
    sampled = padded[np.ix_(hits[1], hits[0])]
    rows, columns = grid.shape
    return np.asarray(sampled.reshape(rows, _SAMPLES, columns, _SAMPLES).mean(axis=(1, 3)))


def nuclei_per_mm2(
    squares: NDArray[np.int64], share: NDArray[np.float64], square_um: float
) -> NDArray[np.float64]:
    """Nuclei per mm² of tissue ``[row, column]``; NaN where there is hardly any tissue."""
    tissue_mm2 = share * square_um**2 * 1e-6
    enough = share >= LEAST_TISSUE
    return np.where(enough, squares / np.where(enough, tissue_mm2, 1.0), np.nan)


def choose_places(
    squares: NDArray[np.int64],
    share: NDArray[np.float64],
    grid: DensityGrid,
    side_px: int,
    seams: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> tuple[Place, ...]:
    """Places to show at full resolution: a rule, so that nobody picks the pretty ones.

    Of all square places of about ``side_px`` level-0 pixels that lie at least half on tissue
    and hold a nucleus: the one with most nuclei, the median, the one that a tenth of them fall
    below; then the one with most nuclei on the crossing of two tile seams, ``seams`` being
    their positions ``(x, y)`` in level-0 pixels. No two overlap; what cannot be had is left
    out. Without any nucleus: the place with most tissue.
    """
    sums = _Sums(squares, share, grid, side_px)
    if not squares.any():
        most = int(np.argmax(sums.share))
        return (Place("No nucleus found", sums.box(most)),)
    places: list[Place] = []
    rank = np.empty(len(sums.count), np.int64)
    usable = np.flatnonzero((sums.share >= 0.5) & (sums.count > 0))
    if not len(usable):
        usable = np.flatnonzero(sums.count > 0)
    rank[usable[np.argsort(sums.count[usable], kind="stable")]] = np.arange(len(usable))
    for reason, quantile in (("Densest", 1.0), ("Median", 0.5), ("Sparse (10th percentile)", 0.1)):
        far = np.abs(rank[usable] - quantile * (len(usable) - 1))
        for index in usable[np.argsort(far, kind="stable")]:
            box = sums.box(int(index))
            if not any(box.intersects(place.box) for place in places):
                places.append(Place(reason, box))
                break
    crossing = _best_crossing(sums, seams, places)
    return (*places, crossing) if crossing is not None else tuple(places)


class _Sums:
    """Nuclei and share of tissue of all places that begin at a square of the grid."""

    def __init__(
        self,
        squares: NDArray[np.int64],
        share: NDArray[np.float64],
        grid: DensityGrid,
        side_px: int,
    ) -> None:
        self._grid, self._side = grid, side_px
        across = [
            min(max(int(side_px / step), 1), limit)
            for step, limit in zip(grid.step_px, reversed(grid.shape), strict=True)
        ]
        self._across = (across[0], across[1])
        window = (across[1], across[0])
        self.count = _window_sums(squares, window).ravel()
        self.share = _window_sums(share, window).ravel() / (across[0] * across[1])
        self._columns = grid.shape[1] - across[0] + 1

    def box(self, index: int) -> Box:
        """The place as a box of level 0, moved into the region where it reaches beyond."""
        row, column = divmod(index, self._columns)
        return self.around(
            self._grid.region.x0 + (column + self._across[0] / 2) * self._grid.step_px[0],
            self._grid.region.y0 + (row + self._across[1] / 2) * self._grid.step_px[1],
        )

    def around(self, x: float, y: float) -> Box:
        """The box of a place with its middle at a point of level 0, moved into the region."""
        region = self._grid.region
        width, height = min(self._side, region.width), min(self._side, region.height)
        x0 = min(max(round(x - width / 2), region.x0), region.x1 - width)
        y0 = min(max(round(y - height / 2), region.y0), region.y1 - height)
        return Box(x0, y0, x0 + width, y0 + height)

    def nearest(self, x: float, y: float) -> int:
        """Index of the place whose middle is nearest to a point of level 0."""
        rows = len(self.count) // self._columns
        column = (x - self._grid.region.x0) / self._grid.step_px[0] - self._across[0] / 2
        row = (y - self._grid.region.y0) / self._grid.step_px[1] - self._across[1] / 2
        column, row = min(max(column, 0), self._columns - 1), min(max(row, 0), rows - 1)
        return round(row) * self._columns + round(column)


def _window_sums(values: NDArray[np.generic], window: tuple[int, int]) -> NDArray[np.float64]:
    """Sums over all windows ``(rows, columns)`` that lie wholly inside."""
    table = np.pad(np.asarray(values, np.float64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    height, width = window
    return np.asarray(
        table[height:, width:]
        - table[:-height, width:]
        - table[height:, :-width]
        + table[:-height, :-width]
    )


def _best_crossing(
    sums: _Sums, seams: tuple[NDArray[np.float64], NDArray[np.float64]], taken: Sequence[Place]
) -> Place | None:
    crossings = [(x, y) for y in seams[1].tolist() for x in seams[0].tolist()]
    counts = [sums.count[sums.nearest(x, y)] for x, y in crossings]
    for index in sorted(range(len(crossings)), key=lambda index: (-counts[index], index)):
        box = sums.around(*crossings[index])
        if counts[index] > 0 and not any(box.intersects(place.box) for place in taken):
            return Place("Across tile seams (ticks)", box)
    return None
