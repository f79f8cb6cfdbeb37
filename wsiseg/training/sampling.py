"""Turned, scaled and mirrored crops of labelled tiles, and the targets of a network on them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wsiseg.slides.reader import Pixels

FINE = 2
"""Label pixels a crop pixel along each axis: rays are measured on the finer grid."""

MARGIN = 24
"""Crop pixels around the crop in which labels are known, so that rays do not end at its border."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a crop lies in its tile.

    ``center`` in tile pixels (x, y); ``step`` tile pixels a crop pixel; ``angle`` in radians;
    ``mirrored`` flips x.
    """

    center: tuple[float, float]
    step: float
    angle: float
    mirrored: bool

    def matrix(self) -> NDArray[np.float64]:
        """``[2, 3]``: crop coordinates about the crop's middle to tile coordinates (x, y)."""
        cosine, sine = self.step * math.cos(self.angle), self.step * math.sin(self.angle)
        sign = -1.0 if self.mirrored else 1.0
        return np.array(
            [[sign * cosine, -sine, self.center[0]], [sign * sine, cosine, self.center[1]]]
        )


@njit(cache=True, nogil=True)
def crop_pixels(
    pixels: Pixels, matrix: NDArray[np.float64], size: int, taps: int
) -> NDArray[np.float32]:
    """A crop float32 ``[size, size, c]``; every pixel the mean of ``taps``² samples.

    Beyond its border the tile is mirrored.
    """
    height, width, channels = pixels.shape
    out = np.zeros((size, size, channels), np.float32)
    share = np.float32(1.0 / (taps * taps))
    for y in range(size):
        for x in range(size):
            for tap in range(taps * taps):
                u = x + (tap % taps + 0.5) / taps - size / 2
                v = y + (tap // taps + 0.5) / taps - size / 2
                px = matrix[0, 0] * u + matrix[0, 1] * v + matrix[0, 2] - 0.5
                py = matrix[1, 0] * u + matrix[1, 1] * v + matrix[1, 2] - 0.5
                left, top = int(np.floor(px)), int(np.floor(py))
                fx, fy = np.float32(px - left), np.float32(py - top)
                x0, x1 = _mirror(left, width), _mirror(left + 1, width)
                y0, y1 = _mirror(top, height), _mirror(top + 1, height)
                for c in range(channels):
                    upper = pixels[y0, x0, c] * (1 - fx) + pixels[y0, x1, c] * fx
                    lower = pixels[y1, x0, c] * (1 - fx) + pixels[y1, x1, c] * fx
                    out[y, x, c] += share * (upper * (1 - fy) + lower * fy)
    return out


@njit(cache=True, nogil=True)
def crop_labels(
    labels: NDArray[np.int32], matrix: NDArray[np.float64], size: int
) -> NDArray[np.int32]:
    """Labels of a crop and its margin on the finer grid: ``[s, s]``, ``s`` being
    ``FINE * (size + 2 * MARGIN)``."""
    height, width = labels.shape
    side = FINE * (size + 2 * MARGIN)
    out = np.empty((side, side), np.int32)
    for y in range(side):
        for x in range(side):
            u = (x + 0.5) / FINE - side / (2 * FINE)
            v = (y + 0.5) / FINE - side / (2 * FINE)
            px = matrix[0, 0] * u + matrix[0, 1] * v + matrix[0, 2]
            py = matrix[1, 0] * u + matrix[1, 1] * v + matrix[1, 2]
            out[y, x] = labels[
                _mirror(int(np.floor(py)), height), _mirror(int(np.floor(px)), width)
            ]
    return out


@njit(cache=True, nogil=True)
def star_targets(
    fine: NDArray[np.int32], size: int, rays: int, grid: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Probability ``[1, g, g]`` and rays ``[rays, g, g]`` in crop pixels, ``g = size / grid``.

    A ray runs from the middle of an output pixel to the border of the nucleus under it. The
    probability is the shortest ray's share of the greatest shortest ray of the same nucleus, the
    distance to the border scaled to 0..1.
    """
    reach = MARGIN // grid
    outer = size // grid + 2 * reach
    step = FINE * grid
    side = fine.shape[0]
    lengths = np.zeros((rays, outer, outer), np.float32)
    nearest = np.zeros((outer, outer), np.float32)
    top = int(fine.max()) + 1
    deepest = np.zeros(top, np.float32)
    for gy in range(outer):
        for gx in range(outer):
            cx, cy = gx * step + step / 2, gy * step + step / 2
            label = fine[int(cy), int(cx)]
            if label == 0:
                continue
            least = np.float32(1e9)
            for k in range(rays):
                dx, dy = math.cos(2 * math.pi * k / rays), math.sin(2 * math.pi * k / rays)
                t = 0.5
                while True:
                    x, y = int(np.floor(cx + t * dx)), int(np.floor(cy + t * dy))
                    if x < 0 or y < 0 or x >= side or y >= side or fine[y, x] != label:
                        break
                    t += 0.5
                length = np.float32((t - 0.25) / FINE)
                lengths[k, gy, gx] = length
                least = min(least, length)
            nearest[gy, gx] = least
            deepest[label] = max(deepest[label], least)
    inner = outer - 2 * reach
    probability = np.zeros((1, inner, inner), np.float32)
    for gy in range(inner):
        for gx in range(inner):
            value = nearest[gy + reach, gx + reach]
            if value > 0:
                cy = (gy + reach) * step + step // 2
                cx = (gx + reach) * step + step // 2
                probability[0, gy, gx] = value / deepest[fine[cy, cx]]
    return probability, lengths[:, reach : reach + inner, reach : reach + inner].copy()


@njit(cache=True, nogil=True)
def foreground_target(fine: NDArray[np.int32], size: int, grid: int) -> NDArray[np.float32]:
    """Share of every crop pixel that is nucleus, ``[grid * grid, g, g]``: the pixels of an output
    pixel are channels, row by row."""
    inner = size // grid
    out = np.zeros((grid * grid, inner, inner), np.float32)
    share = np.float32(1.0 / (FINE * FINE))
    for y in range(size):
        for x in range(size):
            total = np.float32(0)
            for k in range(FINE * FINE):
                fy, fx = (y + MARGIN) * FINE + k // FINE, (x + MARGIN) * FINE + k % FINE
                total += share if fine[fy, fx] else np.float32(0)
            out[(y % grid) * grid + x % grid, y // grid, x // grid] = total
    return out


@njit(cache=True, nogil=True)
def _mirror(index: int, size: int) -> int:
    period = 2 * size
    index %= period
    return index if index < size else period - 1 - index
