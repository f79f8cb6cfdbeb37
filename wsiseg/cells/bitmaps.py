"""Nuclei drawn a bit for each pixel: which pixels are whose, and which are nobody's.

As :mod:`wsiseg.cells.rasterize` draws them, in less memory and time than a label image takes.
Rows are words of 64 columns; bit ``x % 64`` of word ``x // 64`` stands for column ``x``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wsiseg.cells.batch import CellBatch
from wsiseg.cells.rasterize import mark_edges, paint_order, pixel_box
from wsiseg.geometry import Box

SHIFT = 6
WORD = 1 << SHIFT
"""Columns of a word."""

_ALL_BUT_SIGN = (1 << (WORD - 1)) - 1


@dataclass(frozen=True, slots=True)
class Bitmaps:
    """Nuclei in a box of a frame.

    Attributes
    ----------
    box
        The box, in pixels of the frame.
    taken
        int64 ``[y, w]``: the pixels of all nuclei.
    boxes
        int64 ``[n, 4]``: ``x0, y0, x1, y1`` in ``box`` around the pixels of each nucleus.
    words, starts
        int64 ``[k]`` and ``[n + 1]``: the pixels of nucleus ``i``, row by row of its box, are
        ``words[starts[i]:starts[i + 1]]``; each row begins with the word that its first column
        lies in.
    """

    box: Box
    taken: NDArray[np.int64]
    boxes: NDArray[np.int64]
    words: NDArray[np.int64]
    starts: NDArray[np.int64]


def draw_bitmaps(cells: CellBatch, box: Box, scale: tuple[float, float]) -> Bitmaps:
    """Draw cells into a box of a frame.

    Parameters
    ----------
    cells
        The cells; where they overlap, pixels belong to whom
        :func:`wsiseg.cells.rasterize.paint_order` gives them.
    box
        Box in pixels of the frame; may reach beyond the frame. Cells are cut by it.
    scale
        ``(fx, fy)``: level-0 pixels per frame pixel, from ``Frame.scale_to(level0)``.
    """
    polygons = cells.polygons
    outlines = (polygons.vertices, polygons.ring_offsets, polygons.polygon_offsets)
    corner = (box.x0, box.y0)
    boxes = _pixel_boxes(outlines, (*corner, box.x1, box.y1), scale)
    sizes = (boxes[:, 3] - boxes[:, 1]) * _words(boxes[:, 0], boxes[:, 2])
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
    words = np.zeros(starts[-1], np.int64)
    taken, shared = np.zeros((2, box.height, -(-box.width // WORD)), np.int64)
    _draw_all(outlines, corner, scale, (boxes, words, starts), (taken, shared))
    if shared.any():
        rivals = np.flatnonzero(_having(shared, boxes, words, starts))
        order = rivals[paint_order(cells.probabilities[rivals], cells.centroids[rivals])]
        _settle(order[::-1], shared, boxes, words, starts)
    return Bitmaps(box, taken, boxes, words, starts)


@njit(cache=True, nogil=True)
def rows_of(
    i: int, boxes: NDArray[np.int64], words: NDArray[np.int64], starts: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The words ``[y, w]`` of one nucleus, see :class:`Bitmaps`."""
    return words[starts[i] : starts[i + 1]].reshape(boxes[i, 3] - boxes[i, 1], -1)


def _words(begin: NDArray[np.int64], end: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number of words that hold some columns; 0 where there are none."""
    return np.where(begin < end, ((end - 1) >> SHIFT) - (begin >> SHIFT) + 1, 0)


@njit(cache=True, nogil=True)
def _pixel_boxes(
    polygons: tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]],
    limits: tuple[int, int, int, int],
    scale: tuple[float, float],
) -> NDArray[np.int64]:
    """See :attr:`Bitmaps.boxes`; all 0 for a nucleus without pixels."""
    vertices, ring_offsets, polygon_offsets = polygons
    boxes = np.zeros((len(polygon_offsets) - 1, 4), np.int64)
    for i in range(len(boxes)):
        rings = ring_offsets[polygon_offsets[i] : polygon_offsets[i + 1] + 1]
        x0, y0, x1, y1 = pixel_box(vertices, rings, scale, limits)
        if x0 < x1 and y0 < y1:
            boxes[i] = x0 - limits[0], y0 - limits[1], x1 - limits[0], y1 - limits[1]
    return boxes


@njit(cache=True, nogil=True)
def _draw_all(
    polygons: tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]],
    corner: tuple[int, int],
    scale: tuple[float, float],
    drawn: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]],
    maps: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> None:
    """Draw every nucleus by itself, and map what is taken and what several share."""
    vertices, ring_offsets, polygon_offsets = polygons
    boxes, words, starts = drawn
    taken, shared = maps
    for i in range(len(boxes)):
        if starts[i] == starts[i + 1]:
            continue
        x0, y0, x1, y1 = boxes[i]
        rings = ring_offsets[polygon_offsets[i] : polygon_offsets[i + 1] + 1]
        rows = rows_of(i, boxes, words, starts)
        left = x0 >> SHIFT
        limits = (corner[0] + x0, corner[1] + y0, corner[0] + x1, corner[1] + y1)
        mark_edges(rows, SHIFT, corner[0] + (left << SHIFT), vertices, rings, scale, limits)
        for y in range(rows.shape[0]):
            inside = 0
            for w in range(rows.shape[1]):
                # All ones where the word before ended inside.
                filled = _filled(rows[y, w]) ^ inside
                inside = filled >> (WORD - 1)
                rows[y, w] = filled
                shared[y0 + y, left + w] |= filled & taken[y0 + y, left + w]
                taken[y0 + y, left + w] |= filled


@njit(cache=True, nogil=True)
def _filled(marks: int) -> int:
    """The columns of a word at or to the left of which lies an odd number of marks."""
    marks ^= marks << 1
    marks ^= marks << 2
    marks ^= marks << 4
    marks ^= marks << 8
    marks ^= marks << 16
    return marks ^ (marks << 32)


@njit(cache=True, nogil=True)
def _having(
    shared: NDArray[np.int64],
    boxes: NDArray[np.int64],
    words: NDArray[np.int64],
    starts: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Which nuclei have some of the pixels that several share."""
    having = np.zeros(len(boxes), np.bool_)
    for i in range(len(boxes)):
        rows = rows_of(i, boxes, words, starts)
        left = boxes[i, 0] >> SHIFT
        for y in range(rows.shape[0]):
            for w in range(rows.shape[1]):
                having[i] |= (rows[y, w] & shared[boxes[i, 1] + y, left + w]) != 0
    return having


@njit(cache=True, nogil=True)
def _settle(
    order: NDArray[np.int64],
    shared: NDArray[np.int64],
    boxes: NDArray[np.int64],
    words: NDArray[np.int64],
    starts: NDArray[np.int64],
) -> None:
    """Give every shared pixel to the first nucleus in ``order`` that has it, and to no other."""
    free = shared.copy()
    for i in order:
        rows = rows_of(i, boxes, words, starts)
        left = boxes[i, 0] >> SHIFT
        for y in range(rows.shape[0]):
            for w in range(rows.shape[1]):
                row, word = boxes[i, 1] + y, left + w
                mine = rows[y, w] & (free[row, word] | ~shared[row, word])
                free[row, word] &= ~rows[y, w]
                rows[y, w] = mine


@njit(cache=True, nogil=True)
def grown_rows(
    rows: NDArray[np.int64], box: tuple[int, int, int, int], reach: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The pixels that lie near to those of a nucleus.

    Parameters
    ----------
    rows
        int64 ``[y, w]``: the nucleus.
    box
        ``x0, y0, x1, y1`` around it; ``rows`` begin with the word of ``x0``.
    reach
        int64 ``[r]``: how many columns to either side count as near, by the number of rows away;
        none is larger than the one before.

    Returns
    -------
    int64 ``[y + 2 r - 2, v]``: ``r - 1`` rows more above and below, from the word of
    ``x0 - reach[0]`` on, which may be negative, to that of ``x1 - 1 + reach[0]``.
    """
    first = (box[0] - reach[0]) >> SHIFT
    across = ((box[2] - 1 + reach[0]) >> SHIFT) - first + 1
    margin, left = len(reach) - 1, (box[0] >> SHIFT) - first
    wide = np.zeros((len(rows), across), np.int64)
    wide[:, left : left + rows.shape[1]] = rows
    grown = np.zeros((len(rows) + 2 * margin, across), np.int64)
    # Row by row, which lie one after the other: so the compiler takes several words at once.
    flat, out = wide.reshape(-1), grown.reshape(-1)
    steps = 0
    for away in range(margin, -1, -1):
        while steps < reach[away]:
            _widen(wide)
            steps += 1
        above, below = (margin - away) * across, (margin + away) * across
        for k in range(len(flat)):
            out[above + k] |= flat[k]
        for k in range(len(flat)):
            out[below + k] |= flat[k]
    return grown


@njit(cache=True, nogil=True)
def _widen(rows: NDArray[np.int64]) -> None:
    """Set the pixels to the left and to the right of every one, in rows of words."""
    if rows.shape[1] == 1:
        flat = rows.reshape(-1)
        for k in range(len(flat)):
            flat[k] |= (flat[k] << 1) | ((flat[k] >> 1) & _ALL_BUT_SIGN)
        return
    for y in range(rows.shape[0]):
        before = 0
        for w in range(rows.shape[1]):
            here = rows[y, w]
            rows[y, w] |= (here << 1) | ((here >> 1) & _ALL_BUT_SIGN) | before
            if w:
                rows[y, w - 1] |= here << (WORD - 1)
            before = (here >> (WORD - 1)) & 1
