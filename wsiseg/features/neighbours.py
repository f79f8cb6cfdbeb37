"""How nuclei lie to their neighbours: distances, counts, densities, classes."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.spatial import KDTree

from wsiseg.features.definitions import COUNT_RADII_UM

REACH_UM = float(COUNT_RADII_UM[-1])
"""Neighbours farther than this are not counted, only the nearest are sought."""

NEAREST = 3

# A hair more than half the reach, so that what lies within is at most two squares away.
_CELL_UM = REACH_UM / 2 * (1 + 1e-6)
_MIDDLE = 1


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
        float64 ``[m, 3]``: distances in µm of the three nearest other nuclei among those
        given, in order; infinite where there are fewer. Those up to 100 µm are the slide's;
        :func:`settle_nearest` seeks the others.
    """
    chosen = points[own]
    counts, others, nearest = _search(points, classes, chosen, own.start, _grid(points))
    with np.errstate(invalid="ignore"):
        share = others / counts[:, _MIDDLE]
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
    chosen: NDArray[np.float64],
    first: int,
    grid: tuple[NDArray[np.int64], NDArray[np.int64], float, float],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Counts by radius, those of another class within the middle one, nearest distances."""
    starts, order, left, top = grid
    rows, columns = starts.shape[0], starts.shape[1] - 1
    radii = np.array([r * r for r in COUNT_RADII_UM], np.float64)
    counts = np.zeros((len(chosen), len(radii)), np.int64)
    others = np.zeros(len(chosen), np.int64)
    nearest = np.full((len(chosen), NEAREST), np.inf)
    for i in range(len(chosen)):
        column = math.floor((chosen[i, 0] - left) / _CELL_UM)
        row = math.floor((chosen[i, 1] - top) / _CELL_UM)
        for y in range(max(row - 2, 0), min(row + 3, rows)):
            begin = starts[y, max(column - 2, 0)]
            for k in range(begin, starts[y, min(column + 3, columns)]):
                j = order[k]
                if j == first + i:
                    continue
                dx, dy = points[j, 0] - chosen[i, 0], points[j, 1] - chosen[i, 1]
                square = dx * dx + dy * dy
                for r in range(len(radii)):
                    counts[i, r] += square <= radii[r]
                if square <= radii[_MIDDLE] and classes[j] != classes[first + i]:
                    others[i] += 1
                if square < nearest[i, -1]:
                    _insert(nearest[i], square)
    return counts, others, np.sqrt(nearest)


@njit(cache=True, nogil=True)
def _insert(best: NDArray[np.float64], value: float) -> None:
    """Put a value into a short list in rising order, dropping the last."""
    k = len(best) - 1
    while k > 0 and best[k - 1] > value:
        best[k] = best[k - 1]
        k -= 1
    best[k] = value
