"""Where nuclei lie: distances to the outline of the tissue or of annotated regions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from wsiseg.geometry import MPP


@dataclass(frozen=True)
class Outlines:
    """Regions prepared for distances: :func:`region_outlines`.

    Attributes
    ----------
    region
        All regions as one shape in µm, prepared.
    segments
        Tree of the straight pieces of their outlines.
    """

    region: shapely.Geometry
    segments: shapely.STRtree


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
    pieces = np.stack([points[:-1][same], points[1:][same]], axis=1)
    return Outlines(region, shapely.STRtree(shapely.linestrings(pieces)))


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
    made = shapely.points(points)
    (asked, _), distance = outlines.segments.query_nearest(
        made, return_distance=True, all_matches=False
    )
    found = np.full(len(points), np.nan)
    found[asked] = distance
    inside = shapely.contains_xy(outlines.region, points)
    return np.where(inside, found, -found).astype(np.float32)
