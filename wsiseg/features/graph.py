"""The graph of nuclei: the alpha complex of their centroids.

Two nuclei are joined where some circle of at most 50 µm radius passes through both centroids
and holds no other inside; three make a triangle where the circle through all of them is such a
one (Edelsbrunner, Kirkpatrick, Seidel: On the shape of a set of points in the plane, IEEE
Transactions on Information Theory 29, 1983). Every such edge is one of the Delaunay
triangulation: of an edge, the least empty circle is the one that has it as its diameter where
that is empty, else the smaller circle of its two triangles.

Why parts of a slide give exactly the graph of the whole: a circle of at most 50 µm radius
through a nucleus lies within 100 µm of it. So which edges and triangles a nucleus has is decided
by the nuclei within 100 µm of it, whatever lies farther; what a triangulation of some nuclei says
of a nucleus holds for the slide if all within 100 µm of it are there. The neighbours of a nucleus
are themselves at most 100 µm away, so whether two of them are joined is decided by what lies
within 200 µm of it: that is the margin needed (:data:`MARGIN_UM`).

Where four nuclei lie on one empty circle, the triangulation could go either way. Every centroid
is therefore moved by up to a nanometre that hangs on its place and its id alone; lengths and
areas are those of the places as they are.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wsiseg.features.definitions import ALPHA_UM

MARGIN_UM = 4 * ALPHA_UM
"""Nuclei this far from the ones that are measured must be given."""

_SHIFT_UM = 1e-3
_GUARD_UM = 20 * ALPHA_UM


def measure_graph(
    points: NDArray[np.float64], ids: NDArray[np.uint32], own: slice
) -> dict[str, NDArray[np.float32]]:
    """Columns of the set ``graph``, float32 ``[m]`` each.

    Parameters
    ----------
    points
        float64 ``[n, 2]``: centroids in µm from the corner of the slide, all within
        :data:`MARGIN_UM` of those to measure included.
    ids
        uint32 ``[n]``, all different: with the place they decide how ties are broken.
    own
        The nuclei to measure.
    """
    edges, triangles = alpha_complex(points, ids)
    lengths = np.hypot(*(points[edges[:, 0]] - points[edges[:, 1]]).T)
    count = len(points)
    ends = edges.T.ravel()
    degree = np.bincount(ends, minlength=count)
    twice = np.concatenate([lengths, lengths])
    with np.errstate(invalid="ignore"):
        mean = np.bincount(ends, twice, count) / degree
        spread = np.bincount(ends, (twice - mean[ends]) ** 2, count) / degree
        corners = triangles.T.ravel()
        areas = np.tile(_areas(points, triangles), 3)
        area = np.bincount(corners, areas, count) / np.bincount(corners, minlength=count)
    joined = _joined_pairs(edges, count)
    pairs = degree * (degree - 1) / 2
    columns = {
        "graph_degree": degree,
        "graph_edge_mean_um": mean,
        "graph_edge_std_um": np.sqrt(spread),
        "graph_triangle_area_mean_um2": area,
        "graph_clustering": joined / np.maximum(pairs, 1),
    }
    return {name: values[own].astype(np.float32) for name, values in columns.items()}


def alpha_complex(
    points: NDArray[np.float64], ids: NDArray[np.uint32], alpha_um: float = ALPHA_UM
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Edges and triangles of the alpha complex of some points.

    Parameters
    ----------
    points
        float64 ``[n, 2]`` in µm.
    ids
        uint32 ``[n]``, all different.
    alpha_um
        Greatest radius of the empty circles.

    Returns
    -------
    edges
        int64 ``[e, 2]``, the lower index first, in order.
    triangles
        int64 ``[t, 3]``, lower indices first, in order.
    """
    if len(points) < 2:
        return np.empty((0, 2), np.int64), np.empty((0, 3), np.int64)
    moved = points + _shifts(points, ids)
    count = len(points)
    # Slow to import, and needed for this alone.
    from scipy.spatial import Delaunay

    simplices = Delaunay(np.concatenate([moved, _guards(moved)]) - moved[0]).simplices
    corners = np.sort(simplices.astype(np.int64), axis=1)
    # The guards are far enough to be in no circle that counts.
    real = corners[:, 2] < count
    radius: NDArray[np.float64] = np.full(len(corners), np.inf)
    radius[real] = _circumradii(moved, corners[real])
    sides = np.concatenate([corners[:, [0, 1]], corners[:, [0, 2]], corners[:, [1, 2]]])
    opposite = np.concatenate([corners[:, 2], corners[:, 1], corners[:, 0]])
    usable = sides[:, 1] < count
    sides, opposite = sides[usable], opposite[usable]
    radii = np.tile(radius, 3)[usable]
    inside = np.zeros(len(sides), np.bool_)
    near = opposite < count
    inside[near] = _within_diameter(moved, sides[near], opposite[near])
    edges, which = np.unique(sides, axis=0, return_inverse=True)
    least = np.full(len(edges), np.inf)
    np.minimum.at(least, which, radii)
    filled = np.zeros(len(edges), np.bool_)
    np.logical_or.at(filled, which, inside)
    half = np.hypot(*(moved[edges[:, 0]] - moved[edges[:, 1]]).T) / 2
    value = np.where(filled, least, half)
    triangles = corners[radius <= alpha_um]
    order = np.lexsort(triangles.T[::-1])
    return edges[value <= alpha_um], triangles[order]


def _shifts(points: NDArray[np.float64], ids: NDArray[np.uint32]) -> NDArray[np.float64]:
    """A nanometre at most in either direction, by a hash of place and id (splitmix64)."""
    bits = np.ascontiguousarray(points, np.float64).view(np.uint64)
    with np.errstate(over="ignore"):
        mixed = bits + ids.astype(np.uint64)[:, None] * np.uint64(0x9E3779B97F4A7C15)
        mixed[:, 1] += mixed[:, 0] * np.uint64(3)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
        mixed ^= mixed >> np.uint64(31)
    share = (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-52
    shifts: NDArray[np.float64] = (share - 1.0) * _SHIFT_UM
    return shifts


def _guards(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Four points far around all: they give every real point triangles."""
    low, high = points.min(axis=0) - _GUARD_UM, points.max(axis=0) + _GUARD_UM
    return np.array(
        [[low[0], low[1]], [high[0], low[1] - 1], [high[0] + 2, high[1]], [low[0], high[1] + 3]]
    )


def _circumradii(points: NDArray[np.float64], triangles: NDArray[np.int64]) -> NDArray[np.float64]:
    a, b, c = (points[triangles[:, i]] for i in range(3))
    product = np.hypot(*(a - b).T) * np.hypot(*(b - c).T) * np.hypot(*(c - a).T)
    with np.errstate(divide="ignore"):
        radii: NDArray[np.float64] = product / (4 * _areas(points, triangles))
    return radii


def _areas(points: NDArray[np.float64], triangles: NDArray[np.int64]) -> NDArray[np.float64]:
    a, b, c = (points[triangles[:, i]] for i in range(3))
    (ux, uy), (vx, vy) = (b - a).T, (c - a).T
    areas: NDArray[np.float64] = np.abs(ux * vy - uy * vx) / 2
    return areas


def _within_diameter(
    points: NDArray[np.float64], sides: NDArray[np.int64], opposite: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Whether the third corner lies inside the circle that has the side as its diameter."""
    to_first = points[sides[:, 0]] - points[opposite]
    to_second = points[sides[:, 1]] - points[opposite]
    inside: NDArray[np.bool_] = (to_first * to_second).sum(axis=1) < 0
    return inside


def _joined_pairs(edges: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """For every node the number of pairs of its neighbours that are joined."""
    both = np.concatenate([edges, edges[:, ::-1]])
    order = np.lexsort((both[:, 1], both[:, 0]))
    starts = np.concatenate([[0], np.cumsum(np.bincount(both[:, 0], minlength=count))])
    counts: NDArray[np.int64] = _count_pairs(starts, np.ascontiguousarray(both[order, 1]), edges)
    return counts


@njit(cache=True, nogil=True)
def _count_pairs(
    starts: NDArray[np.int64], neighbours: NDArray[np.int64], edges: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Every edge belongs to the pairs of all nodes that both its ends are joined to."""
    joined = np.zeros(len(starts) - 1, np.int64)
    for e in range(len(edges)):
        a, b = edges[e]
        i, j = starts[a], starts[b]
        while i < starts[a + 1] and j < starts[b + 1]:
            if neighbours[i] == neighbours[j]:
                joined[neighbours[i]] += 1
                i += 1
                j += 1
            elif neighbours[i] < neighbours[j]:
                i += 1
            else:
                j += 1
    return joined
