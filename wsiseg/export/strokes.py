"""Outlines as lines of some width, with the joints that Pillow gives curves.

Pillow finds out in Python where joints are needed, which takes longer than to draw them.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from wsiseg.cells.polygons import Polygons

FINER = 3
"""Lines are drawn in pixels so many times finer and then reduced: slanting ones are smooth."""

_GAP_PX = 3
_WIDE_PX = 8
"""Between wider lines and their joints are gaps, which thin lines cover."""


def outlines_cover(
    polygons: Polygons, points: NDArray[np.float64], size: tuple[int, int], width: int
) -> Image.Image:
    """How much of every pixel of a picture the outlines of polygons cover, 0 to 255.

    What Pillow makes of ``ImageDraw.line(ring, 255, width, joint="curve")`` for every ring, its
    first vertex repeated at its end.

    Parameters
    ----------
    polygons
        Tell which vertices make a ring.
    points
        float64 ``[v, 2]``, ``(x, y)``: where their vertices lie, in the finer pixels.
    size
        Width and height of the picture.
    width
        Width of the lines in the finer pixels, 5 at least.
    """
    layer = Image.new("L", (size[0] * FINER, size[1] * FINER))
    draw = ImageDraw.Draw(layer)
    offsets = polygons.ring_offsets
    for first, last in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
        ring = points[first:last].ravel().tolist()
        draw.line(ring + ring[:2], 255, width)
    joints, gaps = _joints(points, offsets, width)
    for x0, y0, x1, y1, start, end in zip(*joints.T.tolist(), strict=True):
        draw.pieslice((x0, y0, x1, y1), start, end, 255)
    if width > _WIDE_PX:
        for gap in zip(*gaps.T.tolist(), strict=True):
            draw.line(gap, 255, _GAP_PX)
    return layer.reduce(FINER)


@njit(cache=True, nogil=True)
def _joints(
    points: NDArray[np.float64], offsets: NDArray[np.int64], width: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The joints where rings bend, and the gaps that wide lines leave at them.

    Returns float64 ``[j, 6]``: box ``x0, y0, x1, y1`` and angles from and to, of slices of pies;
    and float64 ``[j, 6]``: ``x, y`` of a point on one line, the joint, and on the other line.
    """
    slices, gaps = np.empty((len(points), 6)), np.empty((len(points), 6))
    radius = width / 2 - 1
    found = 0
    for ring in range(len(offsets) - 1):
        first, last = offsets[ring], offsets[ring + 1]
        for v in range(first + 1, last):
            x, y = points[v]
            before = _heading(points[v - 1], points[v])
            after = _heading(points[v], points[v + 1 if v + 1 < last else first])
            if before == after:
                continue
            leftwards = after - 180 > before if after > before else after + 180 > before
            outside = 90 if leftwards else -90
            before, after = before + outside, after + outside
            slices[found, 0], slices[found, 1] = x - width / 2 + 1, y - width / 2 + 1
            slices[found, 2], slices[found, 3] = x + width / 2 - 1, y + width / 2 - 1
            slices[found, 4] = (after if leftwards else before) - 90
            slices[found, 5] = (before if leftwards else after) - 90
            gaps[found, 0], gaps[found, 1] = _step(x, y, before - 90, radius)
            gaps[found, 2], gaps[found, 3] = x, y
            gaps[found, 4], gaps[found, 5] = _step(x, y, after - 90, radius)
            found += 1
    return slices[:found], gaps[:found]


@njit(cache=True, nogil=True)
def _heading(start: NDArray[np.float64], end: NDArray[np.float64]) -> float:
    """Direction in degrees, clockwise from the top."""
    return math.degrees(math.atan2(end[0] - start[0], start[1] - end[1])) % 360


@njit(cache=True, nogil=True)
def _step(x: float, y: float, angle: float, far: float) -> tuple[float, float]:
    """A point so far from another one, by whole pixels along ``x`` and ``y``."""
    return (
        x + math.trunc(far * math.cos(math.radians(angle))),
        y + math.trunc(far * math.sin(math.radians(angle))),
    )
