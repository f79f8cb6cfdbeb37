"""The contour of a nucleus: curvature and elliptic Fourier descriptors of its shell.

Outlines that were traced along pixel corners have no curvature of their own: their steps are
the pixels'. So the line through the middles of an outline's sides is described by its first
harmonics (Kuhl, Giardina: Elliptic Fourier features of a closed contour, Computer Graphics and
Image Processing 18, 1982), whose coefficients are exact for a polygon, and the curvature is that
of the smooth line they make. Drawn discs of 5, 7 and 10 px radius so have a median bending energy
of 1.23, 1.09 and 1.05 in place of 1: compare nuclei at one pixel size.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wsiseg.cells.polygons import Polygons
from wsiseg.features.definitions import HARMONICS
from wsiseg.geometry import HUNDREDTHS, MPP

_SAMPLES = 128
"""Points of a smooth outline at which the curvature is taken."""

_NAMES = (
    "curvature_mean_per_um",
    "curvature_std_per_um",
    "curvature_min_per_um",
    "curvature_max_per_um",
    "bending_energy",
    "concave_share",
    *(f"fourier_{n}" for n in range(2, HARMONICS + 1)),
)


def measure_contours(polygons: Polygons, mpp: MPP) -> dict[str, NDArray[np.float32]]:
    """Columns of the set ``contour``, float32 ``[n]`` each.

    The energy of harmonic ``n`` is the sum of its four squared coefficients: it does not hang
    on where the outline starts, nor on how the nucleus is turned. Means along the outline count
    by arc length. The bending energy is that of Young, Walker, Bowie (Information and Control
    25, 1974), made free of size: 1 for a circle. All are NaN for an outline without area.

    Parameters
    ----------
    polygons
        ``[n]`` outlines in level-0 hundredths; holes do not count.
    mpp
        Pixel size of level 0.
    """
    raw = _describe_all(
        (polygons.vertices, polygons.ring_offsets, polygons.polygon_offsets),
        (mpp.x / HUNDREDTHS, mpp.y / HUNDREDTHS),
    )
    return {name: raw[:, i].astype(np.float32) for i, name in enumerate(_NAMES)}


def elliptic_harmonics(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """float64 ``[HARMONICS, 4]``: coefficients ``a, b, c, d`` of a closed line ``[v, 2]``.

    ``x(t) = sum of a_n cos(2 pi n t) + b_n sin(2 pi n t)`` but for a constant, and ``y`` with
    ``c`` and ``d``, where ``t`` in 0..1 is the share of the line's length.
    """
    out = np.zeros((HARMONICS, 4))
    _harmonics(np.ascontiguousarray(points, np.float64), out)
    return out


@njit(cache=True, nogil=True)
def _describe_all(
    polygons: tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]],
    scale: tuple[float, float],
) -> NDArray[np.float64]:
    vertices, ring_offsets, polygon_offsets = polygons
    out = np.full((len(polygon_offsets) - 1, 5 + HARMONICS), np.nan)
    coefficients = np.empty((HARMONICS, 4))
    angles = 2 * math.pi * np.arange(_SAMPLES) / _SAMPLES
    cosines, sines = np.cos(angles), np.sin(angles)
    for i in range(len(out)):
        if polygon_offsets[i] == polygon_offsets[i + 1]:
            continue
        begin = ring_offsets[polygon_offsets[i]]
        end = ring_offsets[polygon_offsets[i] + 1]
        points = np.empty((end - begin, 2))
        area = 0.0
        for v in range(end - begin):
            points[v, 0] = (vertices[begin + v, 0] - vertices[begin, 0]) * scale[0]
            points[v, 1] = (vertices[begin + v, 1] - vertices[begin, 1]) * scale[1]
        for v in range(len(points)):
            area += points[v - 1, 0] * points[v, 1] - points[v, 0] * points[v - 1, 1]
        if area == 0:
            continue
        _harmonics(_middles(points), coefficients)
        _energies(coefficients, out[i])
        _curvatures(coefficients, math.copysign(1.0, area), cosines, sines, out[i])
    return out


@njit(cache=True, nogil=True)
def _middles(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """The middles of a closed line's sides."""
    middles = np.empty_like(points)
    for v in range(len(points)):
        middles[v] = (points[v] + points[v - 1]) / 2
    return middles


@njit(cache=True, nogil=True)
def _harmonics(points: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    length = 0.0
    for v in range(len(points)):
        length += math.hypot(points[v, 0] - points[v - 1, 0], points[v, 1] - points[v - 1, 1])
    out[:] = 0
    if length == 0:
        return
    travelled = 0.0
    # Cosine and sine of the angle of the vertex before, for the first harmonic.
    cos_before, sin_before = 1.0, 0.0
    for v in range(1, len(points) + 1):
        at = v % len(points)
        dx, dy = points[at, 0] - points[v - 1, 0], points[at, 1] - points[v - 1, 1]
        step = math.hypot(dx, dy)
        if step == 0:
            continue
        travelled += step
        angle = 2 * math.pi * travelled / length
        cos_now, sin_now = math.cos(angle), math.sin(angle)
        cos_old, sin_old, cos_new, sin_new = 1.0, 0.0, 1.0, 0.0
        for n in range(len(out)):
            cos_old, sin_old = (
                cos_old * cos_before - sin_old * sin_before,
                sin_old * cos_before + cos_old * sin_before,
            )
            cos_new, sin_new = (
                cos_new * cos_now - sin_new * sin_now,
                sin_new * cos_now + cos_new * sin_now,
            )
            out[n, 0] += dx / step * (cos_new - cos_old)
            out[n, 1] += dx / step * (sin_new - sin_old)
            out[n, 2] += dy / step * (cos_new - cos_old)
            out[n, 3] += dy / step * (sin_new - sin_old)
        cos_before, sin_before = cos_now, sin_now
    for n in range(len(out)):
        out[n] *= length / (2 * math.pi**2 * (n + 1) ** 2)


@njit(cache=True, nogil=True)
def _energies(coefficients: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    first = (coefficients[0] ** 2).sum()
    for n in range(1, len(coefficients)):
        out[5 + n] = (coefficients[n] ** 2).sum() / first


@njit(cache=True, nogil=True)
def _curvatures(
    coefficients: NDArray[np.float64],
    side: float,
    cosines: NDArray[np.float64],
    sines: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    """Curvature statistics; ``side`` turns convex parts positive."""
    total, first, second, concave = 0.0, 0.0, 0.0, 0.0
    least, most = math.inf, -math.inf
    for s in range(len(cosines)):
        dx, dy, ddx, ddy = 0.0, 0.0, 0.0, 0.0
        for h in range(len(coefficients)):
            n = h + 1
            c, d = cosines[n * s % len(cosines)], sines[n * s % len(cosines)]
            dx += n * (coefficients[h, 1] * c - coefficients[h, 0] * d)
            dy += n * (coefficients[h, 3] * c - coefficients[h, 2] * d)
            ddx -= n * n * (coefficients[h, 0] * c + coefficients[h, 1] * d)
            ddy -= n * n * (coefficients[h, 2] * c + coefficients[h, 3] * d)
        speed = math.hypot(dx, dy)
        if speed == 0:
            continue
        curvature = side * (dx * ddy - dy * ddx) / speed**3
        total += speed
        first += speed * curvature
        second += speed * curvature * curvature
        concave += speed * (curvature < 0)
        least, most = min(least, curvature), max(most, curvature)
    mean = first / total
    out[0] = mean
    out[1] = math.sqrt(max(second / total - mean * mean, 0.0))
    out[2], out[3] = least, most
    length = 2 * math.pi * total / len(cosines)
    out[4] = second / total * (length / (2 * math.pi)) ** 2
    out[5] = concave / total
