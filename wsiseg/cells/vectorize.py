"""From label images to polygons on pixel corners.

Every label keeps its largest 4-connected part. Its boundary is followed along pixel edges with
the part on the right hand. Where two pixels of the part meet in a corner only, the walk turns
left and so stays with one 4-connected piece of background; such a corner joins two different
pieces, because the part's 4-connected path from the one pixel to the other closes around one of
them. Hence no ring meets itself, two rings meet in corners at most, and no chain of holes cuts
the inside in two: the polygons are valid simple features.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wsiseg.cells.components import RUN_ROW, RUN_START, RUN_STOP, Parts, largest_parts
from wsiseg.cells.polygons import Polygons
from wsiseg.geometry import HUNDREDTHS

_RIGHT, _DOWN, _LEFT, _UP = range(4)
_STEP_X, _STEP_Y = (1, 0, -1, 0), (0, 1, 0, -1)
_KEPT, _SEEN = 1, 2


@dataclass(frozen=True, slots=True)
class Traced(Parts):
    """The parts of one window, and their outlines.

    Attributes
    ----------
    polygons
        ``[m]`` outlines as :func:`trace` makes them.
    """

    polygons: Polygons


def vectorize(
    labels: NDArray[np.int32], count: int, origin: tuple[int, int], scale: tuple[float, float]
) -> Traced:
    """Trace the largest 4-connected part of every label.

    Parameters
    ----------
    labels, count, origin
        See :func:`wsiseg.cells.components.largest_parts`.
    scale
        See :func:`trace`.

    Raises
    ------
    ModelError
        If a label is negative or larger than ``count``.
    """
    parts = largest_parts(labels, count, origin)
    measured = {field.name: getattr(parts, field.name) for field in fields(parts)}
    return Traced(**measured, polygons=trace(parts, np.arange(len(parts.index)), scale))


def trace(parts: Parts, chosen: NDArray[np.int64], scale: tuple[float, float]) -> Polygons:
    """Outlines of some parts in level-0 hundredths of the slide.

    Every ring begins at its topmost, then leftmost vertex; shells run right, down, left, up,
    holes the other way; collinear vertices are left out. A part gives the same vertices wherever
    the window lies.

    Parameters
    ----------
    parts
        The parts of a window.
    chosen
        Which of them, int64 ``[n]``.
    scale
        ``(fx, fy)``: level-0 pixels per frame pixel, from ``Frame.scale_to(level0)``. Corner
        ``(x, y)`` of the frame becomes vertex ``rint(x * fx * 100), rint(y * fy * 100)``.

    Returns
    -------
    Polygons ``[n]``, in the order of ``chosen``.
    """
    boxes = parts.boxes[chosen] - np.tile(np.array(parts.origin, np.int64), 2)
    corners, ring_offsets, polygon_offsets = _trace(
        parts.runs, parts.run_offsets, parts.area_px, boxes, chosen
    )
    vertices = _scaled(corners, parts.origin, scale)
    return Polygons(vertices, ring_offsets, polygon_offsets)


@njit(cache=True, nogil=True)
def _trace(
    runs: NDArray[np.int32],
    run_offsets: NDArray[np.int64],
    areas: NDArray[np.int64],
    boxes: NDArray[np.int64],
    chosen: NDArray[np.int64],
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
    """Corners, ring offsets and polygon offsets of the chosen parts, in window pixels."""
    room, total = 0, 0
    for i in range(len(chosen)):
        total += run_offsets[chosen[i] + 1] - run_offsets[chosen[i]]
        room = max(room, (boxes[i, 2] - boxes[i, 0] + 2) * (boxes[i, 3] - boxes[i, 1] + 2))
    pixels = np.empty(room, np.uint8)
    # Between two corners a ring turns; each run ends two upright stretches of four corners.
    corners = np.empty((4 * total, 2), np.int32)
    rings = np.zeros(total + 1, np.int64)
    polygons = np.zeros(len(chosen) + 1, np.int64)
    n, ring = 0, 0
    for i in range(len(chosen)):
        own = runs[run_offsets[chosen[i]] : run_offsets[chosen[i] + 1]]
        # A margin of one pixel spares the walk all tests for the edge.
        x0, y0 = boxes[i, 0] - 1, boxes[i, 1] - 1
        side = boxes[i, 2] - x0 + 1
        _draw(own, x0, y0, side, pixels[: side * (boxes[i, 3] - y0 + 1)])
        start = (own[0, RUN_START] - x0, np.int64(1))
        first = n
        n, enclosed = _follow(pixels, side, corners, n, start, _RIGHT)
        ring += 1
        rings[ring] = n
        # What the shell encloses beyond the part's pixels are holes.
        run = 0
        while enclosed > areas[chosen[i]]:
            y = own[run, RUN_ROW] - y0
            for x in range(own[run, RUN_START] - x0, own[run, RUN_STOP] - x0):
                if not pixels[(y + 1) * side + x] and pixels[y * side + x] != _SEEN:
                    n, hole = _follow(pixels, side, corners, n, (x, y + 1), _DOWN)
                    enclosed += hole
                    ring += 1
                    rings[ring] = n
            run += 1
        for corner in range(first, n):
            corners[corner, 0] += x0
            corners[corner, 1] += y0
        polygons[i + 1] = ring
    return corners[:n], rings[: ring + 1].copy(), polygons


@njit(cache=True, nogil=True)
def _draw(runs: NDArray[np.int32], x0: int, y0: int, side: int, pixels: NDArray[np.uint8]) -> None:
    """Draw runs into an image of rows of ``side`` pixels whose first pixel is ``x0, y0``."""
    pixels[:] = 0
    for run in range(len(runs)):
        row = (runs[run, RUN_ROW] - y0) * side - x0
        pixels[row + runs[run, RUN_START] : row + runs[run, RUN_STOP]] = _KEPT


@njit(cache=True, nogil=True)
def _follow(
    pixels: NDArray[np.uint8],
    side: int,
    corners: NDArray[np.int32],
    n: int,
    start: tuple[int, int],
    heading: int,
) -> tuple[int, int]:
    """Walk one ring from its topmost, leftmost corner; mark the pixels whose lower edge it is.

    Returns the number of corners by now and the pixels the ring encloses, below 0 for holes."""
    x, y = start
    enclosed = 0
    while True:
        corners[n, 0], corners[n, 1] = x, y
        n += 1
        left, right = False, True
        while right and not left:
            x += _STEP_X[heading]
            y += _STEP_Y[heading]
            enclosed -= _STEP_X[heading] * y
            # The pixels around the corner: the one below and right of it is `here`.
            here = y * side + x
            if heading == _RIGHT:
                left, right = pixels[here - side] > 0, pixels[here] > 0
            elif heading == _DOWN:
                left, right = pixels[here] > 0, pixels[here - 1] > 0
            elif heading == _LEFT:
                pixels[here - side] = _SEEN
                left, right = pixels[here - 1] > 0, pixels[here - side - 1] > 0
            else:
                left, right = pixels[here - side - 1] > 0, pixels[here - side] > 0
        heading = (heading + 3) % 4 if left else (heading + 1) % 4
        if x == start[0] and y == start[1]:
            return n, enclosed


@njit(cache=True, nogil=True)
def _scaled(
    corners: NDArray[np.int32], origin: tuple[int, int], scale: tuple[float, float]
) -> NDArray[np.int32]:
    """Corners of the window's pixels in level-0 hundredths."""
    vertices = np.empty(corners.shape, np.int32)
    for n in range(len(corners)):
        vertices[n, 0] = np.rint((corners[n, 0] + origin[0]) * scale[0] * HUNDREDTHS)
        vertices[n, 1] = np.rint((corners[n, 1] + origin[1]) * scale[1] * HUNDREDTHS)
    return vertices
