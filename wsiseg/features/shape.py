"""Size and shape of nuclei, measured on each polygon's own raster.

The definitions are those of scikit-image's ``regionprops``: the perimeter after Benkrid and
Crookes (its 4-neighbourhood estimator), axes and orientation of the ellipse with the same
second central moments, the convex area and the greatest Feret diameter of the hull of the
pixels' edge midpoints.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wsiseg.cells.polygons import Polygons
from wsiseg.cells.rasterize import edge_flips, pixel_box
from wsiseg.features.hull import hull_measures, hull_room
from wsiseg.geometry import Frame

_ANYWHERE = (-(1 << 40), -(1 << 40), 1 << 40, 1 << 40)

_MIXED = (1 + math.sqrt(2)) / 2
_PERIMETER_WEIGHTS = np.array(
    [
        [0, 0, 1, 1, 0],
        [0, _MIXED, 1, 1, 0],
        [math.sqrt(2), _MIXED, 1, 1, 0],
        [0, math.sqrt(2), 0, 0, 0],
        [0, 0, 0, 0, 0],
    ]
)
"""Length of a border pixel with ``[i, j]`` others across its corners and beside its edges."""

_AREA, _PERIMETER, _MAJOR, _MINOR, _ORIENTATION, _CONVEX = range(6)
_FERET_MAX, _FERET_MIN, _HULL_PERIMETER = range(6, 9)

_ROWS = 64
"""Nearly all nuclei are lower than that."""


def measure_shapes(
    polygons: Polygons, frame: Frame, level0: Frame
) -> dict[str, NDArray[np.float32]]:
    """Measure every polygon as if it were alone in the frame.

    Parameters
    ----------
    polygons
        ``[n]`` outlines in level-0 hundredths.
    frame
        The frame whose pixels are counted; its pixel size gives the units.
    level0
        Level 0.

    Returns
    -------
    Columns ``[n]``, float32:

    ``area_um2``
        Pixels whose centre lies inside, times the area of a pixel.
    ``perimeter_um``
        0 for a single pixel.
    ``major_axis_um``, ``minor_axis_um``
        Full axes of the ellipse with the same second moments.
    ``eccentricity``
        Of that ellipse: 0 for a circle, towards 1 for a line.
    ``orientation_rad``
        Angle from the downward axis of the image to the major axis, towards the right, in
        ``-pi / 2 .. pi / 2``.
    ``circularity``
        ``4 * pi * area / perimeter ** 2``. Exceeds 1 for specks of a few pixels, whose
        perimeter is underestimated; NaN where the perimeter is 0.
    ``solidity``
        Area over convex area; NaN for a polygon that holds no pixel centre.
    ``elongation``
        ``1 - minor / major axis``: 0 for a circle; NaN where the major axis is 0.
    ``convexity``
        Perimeter of the hull of the pixels' centres over the perimeter. Exceeds 1 for specks
        and lines, whose perimeter is underestimated; NaN where the perimeter is 0.
    ``equivalent_diameter_um``
        Diameter of the circle of the same area.
    ``feret_max_um``, ``feret_min_um``
        Greatest and least distance of two parallel lines that touch the hull on both sides.

    A polygon that holds no pixel centre has area, perimeter, axes and diameters 0.
    """
    mpp = frame.mpp
    raw = _measure_all(
        (polygons.vertices, polygons.ring_offsets, polygons.polygon_offsets),
        frame.scale_to(level0),
        (mpp.x, mpp.y),
    )
    area = raw[:, _AREA] * mpp.pixel_area_um2
    perimeter = raw[:, _PERIMETER] * mpp.mean
    major, minor = raw[:, _MAJOR], raw[:, _MINOR]
    with np.errstate(divide="ignore", invalid="ignore"):
        columns = {
            "area_um2": area,
            "perimeter_um": perimeter,
            "major_axis_um": major,
            "minor_axis_um": minor,
            "eccentricity": np.where(major > 0, np.sqrt(1 - (minor / major) ** 2), 0.0),
            "orientation_rad": raw[:, _ORIENTATION],
            "circularity": np.where(perimeter > 0, 4 * np.pi * area / perimeter**2, np.nan),
            "solidity": raw[:, _AREA] / raw[:, _CONVEX],
            "elongation": 1 - minor / major,
            "convexity": np.where(
                perimeter > 0, raw[:, _HULL_PERIMETER] * mpp.mean / perimeter, np.nan
            ),
            "equivalent_diameter_um": np.sqrt(4 / np.pi * area),
            "feret_max_um": raw[:, _FERET_MAX],
            "feret_min_um": raw[:, _FERET_MIN],
        }
    return {name: values.astype(np.float32) for name, values in columns.items()}


@njit(cache=True, nogil=True)
def _measure_all(
    polygons: tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]],
    scale: tuple[float, float],
    spacing: tuple[float, float],
) -> NDArray[np.float64]:
    vertices, ring_offsets, polygon_offsets = polygons
    out = np.zeros((len(polygon_offsets) - 1, 9), np.float64)
    room, rows = hull_room(_ROWS), _ROWS
    for i in range(len(out)):
        rings = ring_offsets[polygon_offsets[i] : polygon_offsets[i + 1] + 1]
        x0, y0, x1, y1 = pixel_box(vertices, rings, scale, _ANYWHERE)
        if x0 >= x1 or y0 >= y1:
            continue
        mask = _filled(edge_flips(vertices, rings, scale, (x0, y0, x1, y1)))
        _measure_moments(mask, spacing, out[i])
        if out[i, _AREA]:
            out[i, _PERIMETER] = _perimeter(mask)
            if len(mask) > rows:
                room, rows = hull_room(len(mask)), len(mask)
            area, longest, shortest, perimeter = hull_measures(mask, spacing, room)
            out[i, _CONVEX], out[i, _HULL_PERIMETER] = area, perimeter
            out[i, _FERET_MAX], out[i, _FERET_MIN] = longest, shortest
    return out


@njit(cache=True, nogil=True)
def _filled(flips: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The raster with an empty margin of one pixel."""
    height, width = flips.shape[0], flips.shape[1] - 1
    mask = np.zeros((height + 2, width + 2), np.uint8)
    for y in range(height):
        inside = False
        for x in range(width):
            inside ^= flips[y, x]
            mask[y + 1, x + 1] = inside
    return mask


@njit(cache=True, nogil=True)
def _measure_moments(
    mask: NDArray[np.uint8], spacing: tuple[float, float], out: NDArray[np.float64]
) -> None:
    """Area in pixels, axes in units of ``spacing`` ``(x, y)`` and orientation."""
    n, sx, sy, sxx, sxy, syy = 0, 0, 0, 0, 0, 0
    for y in range(mask.shape[0]):
        row_n, row_x = 0, 0
        for x in range(mask.shape[1]):
            if mask[y, x]:
                row_n += 1
                row_x += x
                sxx += x * x
        n, sx, sy = n + row_n, sx + row_x, sy + row_n * y
        sxy, syy = sxy + row_x * y, syy + row_n * y * y
    if not n:
        return
    # Integers up to here, so that a symmetrical object has no direction by rounding errors.
    square = float(n) * n
    xx = (n * sxx - sx * sx) / square * spacing[0] ** 2
    yy = (n * syy - sy * sy) / square * spacing[1] ** 2
    xy = (n * sxy - sx * sy) / square * spacing[0] * spacing[1]
    middle, half = (xx + yy) / 2, math.hypot((xx - yy) / 2, xy)
    out[_AREA] = n
    out[_MAJOR] = 4 * math.sqrt(middle + half)
    out[_MINOR] = 4 * math.sqrt(max(middle - half, 0.0))
    if xx == yy:
        out[_ORIENTATION] = math.copysign(math.pi / 4, 1.0 if xy > 0 else -1.0)
    else:
        out[_ORIENTATION] = 0.5 * math.atan2(2 * xy, yy - xx)


@njit(cache=True, nogil=True)
def _perimeter(mask: NDArray[np.uint8]) -> float:
    """Perimeter in pixels: border pixels weighted by the directions in which they go on.

    Benkrid, Crookes, Benkrid: Design and FPGA implementation of a perimeter estimator, 2000.
    """
    border = np.zeros(mask.shape, np.uint8)
    for y in range(1, mask.shape[0] - 1):
        for x in range(1, mask.shape[1] - 1):
            inner = mask[y - 1, x] & mask[y + 1, x] & mask[y, x - 1] & mask[y, x + 1]
            border[y, x] = mask[y, x] & (1 - inner)
    total = 0.0
    for y in range(1, mask.shape[0] - 1):
        for x in range(1, mask.shape[1] - 1):
            if not border[y, x]:
                continue
            beside = border[y - 1, x] + border[y + 1, x] + border[y, x - 1] + border[y, x + 1]
            across = (
                border[y - 1, x - 1]
                + border[y - 1, x + 1]
                + border[y + 1, x - 1]
                + border[y + 1, x + 1]
            )
            total += _PERIMETER_WEIGHTS[across, beside]
    return total
