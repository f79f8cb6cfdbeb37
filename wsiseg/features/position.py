"""Where nuclei lie: distances to the outline of the tissue or of annotated regions."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import shapely
from numba import njit
from numpy.typing import NDArray

from wsiseg.geometry import MPP

_FEW = 16
"""So few points are no longer parted: each looks at all segments that are left for them."""

_SLACK_UM = 1e-6
"""Far more than coordinates are wrong by rounding, and less than any pixel."""


@dataclass(frozen=True)
class Outlines:
    """Regions prepared for distances: :func:`region_outlines`.

    Attributes
    ----------
    region
        All regions as one shape in µm, prepared.
    segments
        float64 ``[s, 4]``, ``x0, y0, x1, y1`` in µm: the straight pieces of their outlines.
    """

    region: shapely.Geometry
    segments: NDArray[np.float64]


def region_outlines(polygons: NDArray[np.object_], mpp: MPP) -> Outlines:
    """Regions in level-0 pixels, made ready for :func:`signed_distances`.

    Parameters
    ----------
    polygons
        shapely polygons or multipolygons in level-0 pixels, such as
        :meth:`wsiseg.tissue.TissueMask.polygons` or annotated regions give them; where they
        overlap, inner borders do not count.
    mpp
        Pixel size of level 0.
    """
    placed = shapely.transform(polygons, lambda points: points * (mpp.x, mpp.y))
    region = shapely.union_all(placed)
    shapely.prepare(region)
    rings = shapely.get_rings(shapely.get_parts(region))
    points, ring = shapely.get_coordinates(rings, return_index=True)
    same = ring[1:] == ring[:-1]
    return Outlines(region, np.concatenate([points[:-1][same], points[1:][same]], axis=1))


def signed_distances(points: NDArray[np.float64], outlines: Outlines) -> NDArray[np.float32]:
    """Distance in µm of points to the nearest outline: positive inside, negative outside.

    Parameters
    ----------
    points
        float64 ``[n, 2]``, (x, y) in µm from the corner of level 0.
    outlines
        The regions.

    Returns
    -------
    float32 ``[n]``; NaN for all where there is no region.
    """
    if not len(outlines.segments) or not len(points):
        return np.full(len(points), np.nan, np.float32)
    found = np.empty(len(points))
    _descend(
        np.ascontiguousarray(points, np.float64),
        np.arange(len(points)),
        outlines.segments,
        np.arange(len(outlines.segments)),
        found,
    )
    inside = shapely.contains_xy(outlines.region, points)
    return np.where(inside, found, -found).astype(np.float32)


@njit(cache=True, nogil=True)
def _descend(
    points: NDArray[np.float64],
    asked: NDArray[np.int64],
    segments: NDArray[np.float64],
    near: NDArray[np.int64],
    found: NDArray[np.float64],
) -> None:
    """Find the distances of the points ``asked`` to the nearest of the segments ``near``.

    What is farther from the middle of the points' box than the nearest segment by more than
    the box's diagonal is the nearest of none of them. So ever fewer segments are left for the
    halves, and quarters, of the points; ``asked`` is put in another order.
    """
    x0 = x1 = points[asked[0], 0]
    y0 = y1 = points[asked[0], 1]
    for i in asked:
        x0, x1 = min(x0, points[i, 0]), max(x1, points[i, 0])
        y0, y1 = min(y0, points[i, 1]), max(y1, points[i, 1])
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    gaps = np.empty(len(near))
    for k in range(len(near)):
        gaps[k] = _distance(x, y, segments[near[k]])
    left = near[gaps <= gaps.min() + math.hypot(x1 - x0, y1 - y0) + _SLACK_UM]
    if len(asked) <= _FEW or max(x1 - x0, y1 - y0) < _SLACK_UM:
        for i in asked:
            found[i] = math.inf
            for segment in left:
                found[i] = min(found[i], _distance(points[i, 0], points[i, 1], segments[segment]))
        return
    axis, middle = (0, x) if x1 - x0 > y1 - y0 else (1, y)
    low, high = 0, len(asked)
    while low < high:
        if points[asked[low], axis] <= middle:
            low += 1
        else:
            high -= 1
            asked[low], asked[high] = asked[high], asked[low]
    _descend(points, asked[:low], segments, left, found)
    _descend(points, asked[low:], segments, left, found)


@njit(cache=True, nogil=True)
def _distance(x: float, y: float, segment: NDArray[np.float64]) -> float:
    """Distance of a point to a segment ``x0, y0, x1, y1``."""
    dx, dy = segment[2] - segment[0], segment[3] - segment[1]
    from_x, from_y = x - segment[0], y - segment[1]
    square = dx * dx + dy * dy
    along = from_x * dx + from_y * dy
    if square == 0 or along <= 0:
        return math.sqrt(from_x * from_x + from_y * from_y)
    if along >= square:
        to_x, to_y = x - segment[2], y - segment[3]
        return math.sqrt(to_x * to_x + to_y * to_y)
    return float(abs(from_y * dx - from_x * dy) / square * math.sqrt(square))
