"""Markers: fill, open and number the connected parts of a mask, each step of bounded reach."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

HOLE_PX = 16
"""Widest hole, along either axis, that :func:`fill_holes` fills; wider ones may hang on pixels
far away."""

OPENING_REACH = 4

Mask = NDArray[np.bool_]
Labels = NDArray[np.int32]


def fill_holes(mask: Mask, within: Mask) -> None:
    """Fill, in place, the holes of ``mask`` that lie wholly in ``within``.

    A hole is a 4-connected part of what is not in the mask, at most ``HOLE_PX`` wide and high and
    away from the window's edge.
    """
    _fill(mask, within, np.flatnonzero(within & ~mask).astype(np.int32))


@njit(cache=True, nogil=True)
def _fill(mask: Mask, within: Mask, pixels: NDArray[np.int32]) -> None:
    height, width = mask.shape
    seen = np.zeros((height, width), np.bool_)
    stack = np.empty(len(pixels), np.int32)
    for start in pixels:
        y, x = start // width, start % width
        if seen[y, x]:
            continue
        seen[y, x] = True
        stack[0] = start
        size, at = 1, 0
        closed = True
        x0, x1, y1 = x, x, y
        while at < size:
            py, px = stack[at] // width, stack[at] % width
            at += 1
            x0, x1, y1 = min(x0, px), max(x1, px), max(y1, py)
            if py == 0 or px == 0 or py == height - 1 or px == width - 1:
                closed = False
            for dy, dx in ((-1, 0), (0, -1), (0, 1), (1, 0)):
                ny, nx = py + dy, px + dx
                if not (0 <= ny < height and 0 <= nx < width) or mask[ny, nx]:
                    continue
                if not within[ny, nx]:
                    closed = False
                elif not seen[ny, nx]:
                    seen[ny, nx] = True
                    stack[size] = ny * width + nx
                    size += 1
        if closed and x1 - x0 < HOLE_PX and y1 - y < HOLE_PX:
            for k in range(size):
                mask[stack[k] // width, stack[k] % width] = True


def open_disc(mask: Mask) -> Mask:
    """Opening by the disc of 5 pixels (three rows of five between two of one)."""
    opened: Mask = _spread(_spread(mask, True), False)
    return opened


@njit(cache=True, nogil=True)
def _spread(mask: Mask, erode: bool) -> Mask:
    """Erosion or dilation; beyond the window is mask for the one and none for the other."""
    height, width = mask.shape
    flat = np.empty((height + 4, width + 4), np.uint8)
    flat[:] = 0
    for y in range(height):
        for x in range(width):
            # Eroding is dilating what is not in the mask.
            flat[y + 2, x + 2] = mask[y, x] != erode
    out = np.empty((height, width), np.bool_)
    wide = np.empty(width, np.uint8)
    for y in range(height):
        wide[:] = flat[y, 2 : width + 2] | flat[y + 4, 2 : width + 2]
        for row in range(y + 1, y + 4):
            line = flat[row]
            for x in range(width):
                wide[x] |= line[x] | line[x + 1] | line[x + 2] | line[x + 3] | line[x + 4]
        for x in range(width):
            out[y, x] = (wide[x] != 0) != erode
    return out


def number_parts(mask: Mask, least_px: int, diagonal: bool) -> tuple[Labels, int]:
    """Connected parts of at least ``least_px`` pixels, 1 to n in reading order, and n.

    ``diagonal``: pixels that meet in a corner are connected.
    """
    labels = np.zeros(mask.shape, np.int32)
    pixels = np.flatnonzero(mask).astype(np.int32)
    count: int = _number(pixels, labels, least_px, diagonal)
    return labels, count


@njit(cache=True, nogil=True)
def _number(pixels: NDArray[np.int32], labels: Labels, least_px: int, diagonal: bool) -> int:
    width = labels.shape[1]
    parents = np.zeros(len(pixels) + 1, np.int32)
    count = 0
    for place in pixels:
        y, x = place // width, place % width
        best = 0
        for k in range(4):
            # Upper left, upper, upper right, left.
            ny, nx = y - (k < 3), x + (k - 1 if k < 3 else -1)
            if (k == 0 or k == 2) and not diagonal:
                continue
            if ny < 0 or nx < 0 or nx >= width or labels[ny, nx] == 0:
                continue
            root = _root(parents, labels[ny, nx])
            if best == 0:
                best = root
            elif root != best:
                parents[max(root, best)] = min(root, best)
                best = min(root, best)
        if best == 0:
            count += 1
            parents[count] = best = count
        labels[y, x] = best
    kept: int = _renumber(pixels, labels.reshape(-1), parents[: count + 1], least_px)
    return kept


@njit(cache=True, nogil=True)
def _renumber(
    pixels: NDArray[np.int32], labels: Labels, parents: NDArray[np.int32], least_px: int
) -> int:
    """Number the roots that have enough pixels, in place; how many there are."""
    areas = np.zeros(len(parents), np.int32)
    for n in range(1, len(parents)):
        parents[n] = parents[parents[n]]
    for place in pixels:
        areas[parents[labels[place]]] += 1
    numbers = np.zeros(len(parents), np.int32)
    kept = 0
    for n in range(1, len(parents)):
        if parents[n] == n and areas[n] >= least_px:
            kept += 1
            numbers[n] = kept
    for place in pixels:
        labels[place] = numbers[parents[labels[place]]]
    return kept


@njit(cache=True, nogil=True)
def _root(parents: NDArray[np.int32], n: int) -> int:
    while parents[n] != n:
        parents[n] = parents[parents[n]]
        n = parents[n]
    return n
