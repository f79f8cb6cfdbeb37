"""From polygons to label images.

A frame pixel belongs to a polygon if its centre, mapped to level 0 in float64, lies inside by
the even-odd rule over all rings. A centre on the boundary belongs to the side towards larger
``x`` and ``y``, so polygons that share an edge share no pixel and leave none out.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wsiseg.cells.polygons import Polygons
from wsiseg.geometry import HUNDREDTHS, Box


def paint_order(
    probabilities: NDArray[np.float32], centroids: NDArray[np.float64]
) -> NDArray[np.int64]:
    """The order to paint cells in, so that overlaps go to whom they belong.

    They go to the higher probability, then to the lower anchor (``y``, then ``x``), then to
    the later cell.

    Parameters
    ----------
    probabilities
        float32 ``[n]``.
    centroids
        float64 ``[n, 2]``, ``(x, y)``.

    Returns
    -------
    int64 ``[n]``: indices; the last one painted wins.
    """
    return np.lexsort((-centroids[:, 0], -centroids[:, 1], probabilities))


def rasterize(
    polygons: Polygons,
    values: NDArray[np.uint32],
    order: NDArray[np.int64],
    box: Box,
    scale: tuple[float, float],
) -> NDArray[np.uint32]:
    """Paint polygons into a box of a frame.

    Parameters
    ----------
    polygons
        ``[n]`` outlines in level-0 hundredths; what reaches beyond the box is cut.
    values
        uint32 ``[n]``: the value that each is painted in.
    order
        int64: indices of the polygons to paint, the last one wins (:func:`paint_order`).
    box
        Box in pixels of the frame; may reach beyond the frame.
    scale
        ``(fx, fy)``: level-0 pixels per frame pixel, from ``Frame.scale_to(level0)``.

    Returns
    -------
    uint32 ``[y, x]`` of the box's shape, 0 where no polygon lies.
    """
    out = np.zeros(box.shape, np.uint32)
    if not box.empty:
        _paint_all(
            out,
            (box.x0, box.y0),
            (polygons.vertices, polygons.ring_offsets, polygons.polygon_offsets),
            (order, values),
            scale,
        )
    return out


@njit(cache=True, nogil=True)
def _paint_all(
    out: NDArray[np.uint32],
    corner: tuple[int, int],
    polygons: tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]],
    painting: tuple[NDArray[np.int64], NDArray[np.uint32]],
    scale: tuple[float, float],
) -> None:
    vertices, ring_offsets, polygon_offsets = polygons
    order, values = painting
    frame_box = (corner[0], corner[1], corner[0] + out.shape[1], corner[1] + out.shape[0])
    for i in order:
        rings = ring_offsets[polygon_offsets[i] : polygon_offsets[i + 1] + 1]
        x0, y0, x1, y1 = pixel_box(vertices, rings, scale, frame_box)
        if x0 >= x1 or y0 >= y1:
            continue
        flips = edge_flips(vertices, rings, scale, (x0, y0, x1, y1))
        for y in range(y1 - y0):
            row = out[y0 - corner[1] + y, x0 - corner[0] : x1 - corner[0]]
            inside = False
            for x in range(x1 - x0):
                inside ^= flips[y, x]
                if inside:
                    row[x] = values[i]


@njit(cache=True, nogil=True)
def pixel_box(
    vertices: NDArray[np.int32],
    rings: NDArray[np.int64],
    scale: tuple[float, float],
    limits: tuple[int, int, int, int],
) -> tuple[int, int, int, int]:
    """The box ``x0, y0, x1, y1`` of the pixels that a polygon may hold, cut to ``limits``.

    Where the polygon holds no pixel the box has no or negative extent. ``rings`` are the
    offsets of the polygon's rings in ``vertices``.
    """
    if rings[0] == rings[-1]:
        return limits[0], limits[1], limits[0], limits[1]
    low_x = high_x = vertices[rings[0], 0]
    low_y = high_y = vertices[rings[0], 1]
    for v in range(rings[0] + 1, rings[-1]):
        low_x, high_x = min(low_x, vertices[v, 0]), max(high_x, vertices[v, 0])
        low_y, high_y = min(low_y, vertices[v, 1]), max(high_y, vertices[v, 1])
    return (
        max(_first_centre(low_x, scale[0]), limits[0]),
        max(_first_centre(low_y, scale[1]), limits[1]),
        min(_first_centre(high_x, scale[0]), limits[2]),
        min(_first_centre(high_y, scale[1]), limits[3]),
    )


@njit(cache=True, nogil=True)
def edge_flips(
    vertices: NDArray[np.int32],
    rings: NDArray[np.int64],
    scale: tuple[float, float],
    box: tuple[int, int, int, int],
) -> NDArray[np.bool_]:
    """The pixels of a box at which rows enter or leave a polygon.

    Returns bool ``[y, x]``, one column wider than the box (it takes what lies to the right):
    a pixel is inside where an odd number of marks lies at or to the left of it.
    """
    x0, y0, x1, y1 = box
    flips = np.zeros((y1 - y0, x1 - x0 + 1), np.bool_)
    mark_edges(flips, 0, x0, vertices, rings, scale, box)
    return flips


@njit(cache=True, nogil=True)
def mark_edges(
    marks: NDArray[np.integer] | NDArray[np.bool_],
    shift: int,
    origin: int,
    vertices: NDArray[np.int32],
    rings: NDArray[np.int64],
    scale: tuple[float, float],
    box: tuple[int, int, int, int],
) -> None:
    """Flip the marks of the pixels at which the rows of a box enter or leave a polygon.

    Parameters
    ----------
    marks
        ``[y, w]``: the rows of the box, each of elements of ``1 << shift`` columns, a bit for each
        column. Marks beyond the last element are left out.
    shift
        See there.
    origin
        The column that elements are counted from.
    vertices, rings, scale
        As for :func:`pixel_box`.
    box
        ``x0, y0, x1, y1``: what crosses a row to the left or to the right of it is marked at
        ``x0`` or ``x1``.
    """
    x0, y0, x1, y1 = box
    for ring in range(len(rings) - 1):
        previous = rings[ring + 1] - 1
        for v in range(rings[ring], rings[ring + 1]):
            upper, lower = previous, v
            previous = v
            if vertices[upper, 1] == vertices[lower, 1]:
                continue
            # Always from top to bottom, so that neighbours cut their common edge alike.
            if vertices[upper, 1] > vertices[lower, 1]:
                upper, lower = lower, upper
            ux, uy = float(vertices[upper, 0]), float(vertices[upper, 1])
            slope = (vertices[lower, 0] - ux) / (vertices[lower, 1] - uy)
            first = max(_first_centre(uy, scale[1]), y0)
            last = min(_first_centre(vertices[lower, 1], scale[1]), y1)
            column = _first_centre(ux, scale[0])
            for y in range(first, last):
                if slope != 0.0:
                    down = (y + 0.5) * scale[1] * HUNDREDTHS - uy
                    column = _first_centre(ux + down * slope, scale[0])
                place = min(max(column, x0), x1) - origin
                element = place >> shift
                if element < marks.shape[1]:
                    marks[y - y0, element] ^= 1 << (place - (element << shift))


@njit(cache=True, nogil=True)
def _first_centre(value: float, scale: float) -> int:
    """The first pixel whose centre lies at or beyond ``value``, in level-0 hundredths."""
    pixel = math.ceil(value / (scale * HUNDREDTHS) - 0.5)
    # The division may be a rounding error off; the centre itself decides.
    while (pixel + 0.5) * scale * HUNDREDTHS < value:
        pixel += 1
    while (pixel - 0.5) * scale * HUNDREDTHS >= value:
        pixel -= 1
    return pixel
