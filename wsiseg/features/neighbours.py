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


_LANES = 16
"""Points come in groups of a multiple of this, which is one of any number taken at once."""

_NOWHERE = int(np.array(np.inf).view(np.int64))
"""The bits of a distance that is not finite."""

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
    """Counts by radius, those of another class within the middle one, nearest distances.

    Square by square: the points around are the same for all in one.
    """
    starts, order, _, _ = grid
    count = own[1] - own[0]
    counts = np.zeros((count, len(COUNT_RADII_UM)), np.int64)
    others = np.zeros(count, np.int64)
    nearest = np.full((count, NEAREST), np.inf)
    near, middle, far = COUNT_RADII_UM
    several = len(classes) > 0 and classes.min() < classes.max()
    most = _most_around(starts)
    xs, ys, squares = np.empty(most), np.empty(most), np.empty(most)
    kinds = np.empty(most, np.uint8)
    # In the order of the squares, so that those of a run lie side by side.
    sorted_points = points[order, 0], points[order, 1], classes[order]
    for row in range(starts.shape[0]):
        for column in range(starts.shape[1] - 1):
            members = order[starts[row, column] : starts[row, column + 1]]
            gathered = False
            for me in members:
                i = me - own[0]
                if not 0 <= i < count:
                    continue
                if not gathered:
                    ends = _gather(sorted_points, starts, (row, column), (xs, ys, kinds))
                    gathered = True
                place = points[me, 0], points[me, 1]
                counts[i, 0] = _within(xs[: ends[0]], ys[: ends[0]], place, near) - 1
                counts[i, 1] = _within(xs[: ends[1]], ys[: ends[1]], place, middle) - 1
                counts[i, 2] = _within(xs[: ends[2]], ys[: ends[2]], place, far) - 1
                if several:
                    others[i] = _others(
                        xs[: ends[1]], ys[: ends[1]], kinds[: ends[1]], place, classes[me]
                    )
                enough = 0 if counts[i, 0] >= NEAREST else 1 if counts[i, 1] >= NEAREST else 2
                _seek(xs[: ends[enough]], ys[: ends[enough]], place, squares, nearest[i])
    return counts, others, np.sqrt(nearest)


@njit(cache=True, nogil=True)
def _most_around(starts: NDArray[np.int64]) -> int:
    """Room for the points in and around any square, in groups that are filled up."""
    most = 0
    for row in range(starts.shape[0]):
        for column in range(starts.shape[1] - 1):
            found = 0
            for line in range(max(row - _FAR, 0), min(row + _FAR + 1, len(starts))):
                begin, end = _run(starts[line], column - _FAR, column + _FAR + 1)
                found += end - begin
            most = max(most, found)
    return most + len(COUNT_RADII_UM) * _LANES


@njit(cache=True, nogil=True)
def _run(starts: NDArray[np.int64], begin: int, end: int) -> tuple[int, int]:
    """Begin and end of the points of some squares of a row."""
    last = len(starts) - 1
    return starts[min(max(begin, 0), last)], starts[min(max(end, 0), last)]


@njit(cache=True, nogil=True)
def _gather(
    points: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.uint8]],
    starts: NDArray[np.int64],
    square: tuple[int, int],
    found: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.uint8]],
) -> tuple[int, int, int]:
    """Write down the points of the squares around one, by the radius that may reach them.

    Returns where the points end that are within reach of each radius. Each group is filled up
    with points that lie nowhere, so that the compiler takes all of them several at once.
    """
    xs, ys, kinds = found
    row, column = square
    ends = (0, 0, 0)
    n, inner = 0, -1
    for reach in (_NEAR, _MIDDLE, _FAR):
        for line in range(max(row - reach, 0), min(row + reach + 1, len(starts))):
            # What the smaller radius may reach is there already.
            left = column - inner if abs(line - row) <= inner else column + reach + 1
            for begin, end in (
                _run(starts[line], column - reach, left),
                _run(starts[line], max(left, column + inner + 1), column + reach + 1),
            ):
                for k in range(end - begin):
                    xs[n + k] = points[0][begin + k]
                    ys[n + k] = points[1][begin + k]
                    kinds[n + k] = points[2][begin + k]
                n += end - begin
        while n % _LANES:
            xs[n], ys[n], kinds[n] = np.inf, np.inf, 0
            n += 1
        ends = (ends[1], ends[2], n)
        inner = reach
    return ends


@njit(cache=True, nogil=True)
def _square(x: float, y: float, place: tuple[float, float]) -> float:
    """The squared distance of a point to a place."""
    return (x - place[0]) * (x - place[0]) + (y - place[1]) * (y - place[1])


@njit(cache=True, nogil=True)
def _within(
    xs: NDArray[np.float64], ys: NDArray[np.float64], place: tuple[float, float], radius: int
) -> int:
    """The number of points within a radius around a place."""
    found = 0
    for k in range(len(xs)):
        found += _square(xs[k], ys[k], place) <= radius * radius
    return found


@njit(cache=True, nogil=True)
def _others(
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
def _seek(
    xs: NDArray[np.float64],
    ys: NDArray[np.float64],
    place: tuple[float, float],
    squares: NDArray[np.float64],
    best: NDArray[np.float64],
) -> None:
    """The least squared distances of points to one of them, but for that one itself.

    ``squares`` is room for as many as there are points.
    """
    for k in range(len(xs)):
        squares[k] = _square(xs[k], ys[k], place)
    # Doubles from 0 on are in the order of their bits, and of integers the compiler compares
    # several at once.
    bits = squares[: len(xs)].view(np.int64)
    nowhere = np.int64(_NOWHERE)
    least, found = np.int64(-1), -1
    while found < len(best):
        last, least, same = least, nowhere, 0
        for k in range(len(bits)):
            least = min(least, bits[k] if bits[k] > last else nowhere)
        if least == nowhere:
            break
        for k in range(len(bits)):
            same += bits[k] == least
        for _ in range(same):
            if 0 <= found < len(best):
                best.view(np.int64)[found] = least
            found += 1
