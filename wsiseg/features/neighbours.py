"""How nuclei lie to their neighbours: distances, counts, densities, classes."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wsiseg.features.definitions import COUNT_RADII_UM

REACH_UM = float(COUNT_RADII_UM[-1])
"""Neighbours farther than this are not counted, only the nearest are sought."""

NEAREST = 3

# A hair more than the least radius, so that what lies within it is at most one square away.
_CELL_UM = COUNT_RADII_UM[0] * (1 + 1e-6)
_NEAR, _MIDDLE, _FAR = (-(-radius // COUNT_RADII_UM[0]) for radius in COUNT_RADII_UM)
"""How many squares away whatever lies within each of the radii can be."""


def measure_neighbours(
    points: NDArray[np.float64], classes: NDArray[np.uint8], own: slice
) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.float64]]:
    """Neighbours of some nuclei among all that lie within 100 µm of any of them.

    Parameters
    ----------
    points
        float64 ``[n, 2]``: centroids in µm from the corner of the slide.
    classes
        uint8 ``[n]``.
    own
        The nuclei to measure; the others only serve as neighbours.

    Returns
    -------
    columns
        Float32 ``[m]`` each: the columns of the set ``neighbours`` but for the nearest
        distances.
    nearest
        float64 ``[m, 3]``: distances in µm of the three nearest other nuclei, in order. Sure
        where all three are at most 100 µm; :func:`settle_nearest` seeks the others.
    """
    counts, others, nearest = _search(points, classes, (own.start, own.stop), _grid(points))
    with np.errstate(invalid="ignore"):
        share = others / counts[:, 1]
    area_mm2 = math.pi * (REACH_UM * 1e-3) ** 2
    columns = {
        f"neighbours_{radius}_um": counts[:, i].astype(np.float32)
        for i, radius in enumerate(COUNT_RADII_UM)
    }
    columns["density_100_per_mm2"] = (counts[:, -1] / area_mm2).astype(np.float32)
    columns["other_class_share_50_um"] = share.astype(np.float32)
    return columns, nearest


def settle_nearest(
    nearest: NDArray[np.float64],
    points: NDArray[np.float64],
    farther: Iterable[tuple[float, NDArray[np.float64]]],
) -> None:
    """Seek the nearest neighbours anew of nuclei that have fewer than three within 100 µm.

    Parameters
    ----------
    nearest
        float64 ``[m, 3]``: distances so far, in order; mended in place.
    points
        float64 ``[m, 2]``: centroids of these nuclei in µm.
    farther
        All other nuclei ``[k, 2]`` of the slide in groups, each with a distance in µm that no
        nucleus of this or a later group comes nearer to any of ``points``. Taken one at a time,
        and only while needed.
    """
    sought = np.flatnonzero(nearest[:, -1] > REACH_UM)
    if not len(sought):
        return
    # Slow to import, and most slides do without.
    from scipy.spatial import KDTree

    # The nearest of all is the nucleus itself.
    found = KDTree(points).query(points[sought], k=NEAREST + 1)[0][:, 1:]
    for distance, more in farther:
        if (found[:, -1] <= distance).all():
            break
        others = KDTree(more).query(points[sought], k=NEAREST)[0]
        found = np.sort(np.concatenate([found, others], axis=1), axis=1)[:, :NEAREST]
    nearest[sought] = found


def nearest_columns(nearest: NDArray[np.float64]) -> dict[str, NDArray[np.float32]]:
    """The columns of the nearest distances; NaN where there are too few nuclei."""
    first, three = nearest[:, 0], nearest.mean(axis=1)
    return {
        "nearest_1_um": np.where(np.isfinite(first), first, np.nan).astype(np.float32),
        "nearest_3_um": np.where(np.isfinite(three), three, np.nan).astype(np.float32),
    }


Grid = tuple[NDArray[np.int64], NDArray[np.int64], float, float]


def _grid(points: NDArray[np.float64]) -> Grid:
    """Points by squares of a lattice: starts ``[rows, columns + 1]``, order, and its corner."""
    corner = points.min(axis=0) if len(points) else np.zeros(2)
    place = np.floor((points - corner) / _CELL_UM).astype(np.int64)
    columns, rows = place.max(axis=0) + 1 if len(points) else (1, 1)
    number = place[:, 1] * columns + place[:, 0]
    starts = np.concatenate([[0], np.cumsum(np.bincount(number, minlength=rows * columns))])
    order = np.argsort(number, kind="stable")
    table = np.lib.stride_tricks.sliding_window_view(starts, columns + 1)[::columns]
    return np.ascontiguousarray(table), order, float(corner[0]), float(corner[1])


@njit(cache=True, nogil=True)
def _search(
    points: NDArray[np.float64],
    classes: NDArray[np.uint8],
    own: tuple[int, int],
    grid: Grid,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Counts by radius, those of another class within the middle one, nearest distances."""
    starts, order, left, top = grid
    xs, ys, kinds = points[order, 0], points[order, 1], classes[order]
    count = own[1] - own[0]
    counts = np.zeros((count, len(COUNT_RADII_UM)), np.int64)
    others = np.zeros(count, np.int64)
    nearest = np.full((count, NEAREST), np.inf)
    for i in range(count):
        me = own[0] + i
        x, y = points[me]
        row, column = math.floor((y - top) / _CELL_UM), math.floor((x - left) / _CELL_UM)
        for line in range(max(row - _FAR, 0), min(row + _FAR + 1, len(starts))):
            begin, end = _run(starts[line], column, _FAR)
            _count(xs[begin:end], ys[begin:end], (x, y), counts[i])
        counts[i] -= 1
        for line in range(max(row - _MIDDLE, 0), min(row + _MIDDLE + 1, len(starts))):
            begin, end = _run(starts[line], column, _MIDDLE)
            others[i] += _count_others(
                xs[begin:end], ys[begin:end], kinds[begin:end], (x, y), classes[me]
            )
        reach = _NEAR if counts[i, 0] >= NEAREST else _MIDDLE if counts[i, 1] >= NEAREST else _FAR
        for line in range(max(row - reach, 0), min(row + reach + 1, len(starts))):
            begin, end = _run(starts[line], column, reach)
            for k in range(begin, end):
                square = _square(xs[k], ys[k], (x, y))
                if square < nearest[i, -1] and order[k] != me:
                    _insert(nearest[i], square)
    return counts, others, np.sqrt(nearest)


@njit(cache=True, nogil=True)
def _run(starts: NDArray[np.int64], column: int, reach: int) -> tuple[int, int]:
    """Begin and end of the points of a row of squares up to ``reach`` squares from a column."""
    return starts[max(column - reach, 0)], starts[min(column + reach + 1, len(starts) - 1)]


@njit(cache=True, nogil=True)
def _square(x: float, y: float, place: tuple[float, float]) -> float:
    """The squared distance of a point to a place."""
    return (x - place[0]) * (x - place[0]) + (y - place[1]) * (y - place[1])


@njit(cache=True, nogil=True)
def _count(
    xs: NDArray[np.float64],
    ys: NDArray[np.float64],
    place: tuple[float, float],
    counts: NDArray[np.int64],
) -> None:
    """Add the numbers of points that lie within each of the radii around a place."""
    near, middle, far = COUNT_RADII_UM
    # Sums of their own and no branches: so the compiler takes several points at once.
    in_near, in_middle, in_far = 0, 0, 0
    for k in range(len(xs)):
        square = _square(xs[k], ys[k], place)
        in_near += square <= near * near
        in_middle += square <= middle * middle
        in_far += square <= far * far
    counts[0] += in_near
    counts[1] += in_middle
    counts[2] += in_far


@njit(cache=True, nogil=True)
def _count_others(
    xs: NDArray[np.float64],
    ys: NDArray[np.float64],
    kinds: NDArray[np.uint8],
    place: tuple[float, float],
    kind: int,
) -> int:
    """The number of points of another class within the middle radius around a place."""
    reach = COUNT_RADII_UM[1]
    found = 0
    for k in range(len(xs)):
        found += (_square(xs[k], ys[k], place) <= reach * reach) & (kinds[k] != kind)
    return found


@njit(cache=True, nogil=True)
def _insert(best: NDArray[np.float64], value: float) -> None:
    """Put a value into a short list in rising order, dropping the last."""
    k = len(best) - 1
    while k > 0 and best[k - 1] > value:
        best[k] = best[k - 1]
        k -= 1
    best[k] = value
