"""Intensities in nuclei and in the rings around them, counted exactly.

Values are integers, sums are 64-bit and percentiles come from counts, so that every number is
the same whatever window a nucleus is seen in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wsiseg.geometry import MPP, Box
from wsiseg.stain import AMOUNT_UNIT, Stains, amount, amount_tables, density_table

_STATISTICS = 5
_PERCENTILES = np.array([0.1, 0.5, 0.9])
_BINS = 256
"""Values are counted in so many bins; those of one are sorted where they are not all equal."""

_TABLE_UNIT = 16
"""Tables of :func:`wsiseg.stain.amount` hold this many steps a step of its results."""


@dataclass(frozen=True, slots=True)
class Raster:
    """Nuclei drawn into a box of a frame.

    Attributes
    ----------
    labels
        int32 ``[y, x]``: 1 + the index of the nucleus, 0 outside of all.
    box
        The box, in pixels of the frame.
    inside
        The part of the box that lies on the slide.
    mpp
        Pixel size of the frame.
    """

    labels: NDArray[np.int32]
    box: Box
    inside: Box
    mpp: MPP


def stain_planes(pixels: NDArray[np.uint8], stains: Stains) -> NDArray[np.int16]:
    """Densities of a picture: int16 ``[3, y, x]`` in 1/1024 of optical density.

    The planes are haematoxylin, counterstain and the sum of the channels' densities.

    Parameters
    ----------
    pixels
        RGB uint8 ``[y, x, 3]``.
    stains
        The slide's stains.
    """
    densities = np.stack([density_table(level) for level in stains.white])
    total = np.rint(densities * (AMOUNT_UNIT * _TABLE_UNIT)).astype(np.int32)
    tables = [*amount_tables(stains)[:2], total]
    return np.stack([amount(pixels, table) for table in tables])


def ring_reach(mpp: MPP, radius_um: float) -> NDArray[np.int64]:
    """int64 ``[n]``: for each number of rows away, how many columns a pixel's ring reaches.

    What lies so far has its centre at most ``radius_um`` from the pixel's.
    """
    rows, columns = int(radius_um / mpp.y) + 1, int(radius_um / mpp.x) + 1
    y, x = np.mgrid[: rows + 1, : columns + 1]
    # A radius that is a whole number of pixels must not be missed by a rounding error.
    near = (y * mpp.y) ** 2 + (x * mpp.x) ** 2 <= radius_um**2 * (1 + 1e-9)
    reach: NDArray[np.int64] = near.sum(axis=1) - 1
    return reach[reach >= 0]


def intensity_statistics(
    raster: Raster,
    planes: NDArray[np.integer],
    members: NDArray[np.int64],
    boxes: NDArray[np.int64],
    radius_um: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean, standard deviation, 10th, 50th and 90th percentile in nuclei and in their rings.

    Parameters
    ----------
    raster
        The nuclei; those around the ones that are measured must be drawn too.
    planes
        Integers of at most 16 bits ``[c, y, x]``, as large as the raster.
    members
        int64 ``[n]``: indices of the nuclei to measure.
    boxes
        int64 ``[n, 4]``: ``x0, y0, x1, y1`` in the frame that cover their pixels. With the
        ring's radius more they lie in the raster, or the ring is cut.
    radius_um
        The ring takes the pixels of no nucleus and on the slide that are at most this far from
        one of the nucleus's, from centre to centre.

    Returns
    -------
    nuclei, rings
        float64 ``[n, c, 5]``, NaN where there is no pixel.
    """
    shape = (len(members), len(planes), _STATISTICS)
    nuclei, rings = np.full(shape, np.nan), np.full(shape, np.nan)
    origin = (raster.box.x0, raster.box.y0, raster.box.x0, raster.box.y0)
    inside = raster.inside.shifted(-raster.box.x0, -raster.box.y0)
    _measure(
        np.ascontiguousarray(raster.labels),
        np.ascontiguousarray(planes),
        (members + 1, boxes - np.asarray(origin)),
        ring_reach(raster.mpp, radius_um),
        (inside.x0, inside.y0, inside.x1, inside.y1),
        nuclei,
        rings,
    )
    return nuclei, rings


def chosen(
    statistics: NDArray[np.float64], plane: int, names: Sequence[str], scale: float
) -> dict[str, NDArray[np.float32]]:
    """Some statistics of one plane by name (``mean``, ``std``, ``p10``, ``p50``, ``p90``)."""
    order = ("mean", "std", "p10", "p50", "p90")
    return {
        name: (statistics[:, plane, order.index(name)] * scale).astype(np.float32) for name in names
    }


@njit(cache=True, nogil=True)
def _measure(
    labels: NDArray[np.int32],
    planes: NDArray[np.integer],
    wanted: tuple[NDArray[np.int64], NDArray[np.int64]],
    reach: NDArray[np.int64],
    inside: tuple[int, int, int, int],
    nuclei: NDArray[np.float64],
    rings: NDArray[np.float64],
) -> None:
    values, boxes = wanted
    height, width = labels.shape
    counts = np.zeros(_BINS, np.int64)
    rows, columns = len(reach) - 1, reach[0]
    for i in range(len(values)):
        x0, y0 = max(boxes[i, 0], 0), max(boxes[i, 1], 0)
        x1, y1 = min(boxes[i, 2], width), min(boxes[i, 3], height)
        if x0 >= x1 or y0 >= y1:
            continue
        box = (x0, y0, x1, y1)
        core = _core(labels, values[i], box)
        left, top = max(x0 - columns, 0), max(y0 - rows, 0)
        right, bottom = min(x1 + columns, width), min(y1 + rows, height)
        left, top = max(left, inside[0]), max(top, inside[1])
        right, bottom = min(right, inside[2]), min(bottom, inside[3])
        ring = _ring(labels, values[i], box, (left, top, right, bottom), reach)
        for c in range(len(planes)):
            flat = planes[c].ravel()
            _describe(flat, core, counts, nuclei[i, c])
            _describe(flat, ring, counts, rings[i, c])


@njit(cache=True, nogil=True)
def _core(
    labels: NDArray[np.int32], value: int, box: tuple[int, int, int, int]
) -> NDArray[np.int64]:
    """Places of a nucleus's pixels in the flat raster."""
    width = labels.shape[1]
    places = np.empty((box[2] - box[0]) * (box[3] - box[1]), np.int64)
    n = 0
    for y in range(box[1], box[3]):
        for x in range(box[0], box[2]):
            if labels[y, x] == value:
                places[n] = y * width + x
                n += 1
    return places[:n]


@njit(cache=True, nogil=True)
def _ring(
    labels: NDArray[np.int32],
    value: int,
    box: tuple[int, int, int, int],
    around: tuple[int, int, int, int],
    reach: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Places of a nucleus's ring in the flat raster.

    Every run of the nucleus's pixels in a row covers a run in each row that it reaches; where
    the covers begin less often than they have ended, none is left.
    """
    left, top, right, bottom = around
    if left >= right or top >= bottom:
        return np.empty(0, np.int64)
    steps = np.zeros((bottom - top, right - left + 1), np.int32)
    for y in range(box[1], box[3]):
        x = box[0]
        while x < box[2]:
            if labels[y, x] != value:
                x += 1
                continue
            begin = x
            while x < box[2] and labels[y, x] == value:
                x += 1
            for away in range(1 - len(reach), len(reach)):
                row = y + away
                if top <= row < bottom:
                    first = max(begin - reach[abs(away)], left)
                    last = min(x + reach[abs(away)], right)
                    if first < last:
                        steps[row - top, first - left] += 1
                        steps[row - top, last - left] -= 1
    places = np.empty(steps.size, np.int64)
    n = 0
    for y in range(top, bottom):
        covers = 0
        for x in range(left, right):
            covers += steps[y - top, x - left]
            if covers > 0 and labels[y, x] == 0:
                places[n] = y * labels.shape[1] + x
                n += 1
    return places[:n]


@njit(cache=True, nogil=True)
def _describe(
    plane: NDArray[np.integer],
    places: NDArray[np.int64],
    counts: NDArray[np.int64],
    out: NDArray[np.float64],
) -> None:
    """Statistics of a flat plane at some places; ``counts`` is all zero before and after."""
    n = len(places)
    if n == 0:
        return
    values = np.empty(n, np.int64)
    total, squares = np.int64(0), np.int64(0)
    least = most = np.int64(plane[places[0]])
    for k in range(n):
        value = np.int64(plane[places[k]])
        values[k] = value
        total += value
        squares += value * value
        least, most = min(least, value), max(most, value)
    out[0] = total / n
    out[1] = math.sqrt(max(float(n * squares - total * total), 0.0)) / n
    shift = 0
    while (most - least) >> shift >= _BINS:
        shift += 1
    for k in range(n):
        counts[(values[k] - least) >> shift] += 1
    bin_, below = 0, 0
    for p in range(len(_PERCENTILES)):
        place = (n - 1) * _PERCENTILES[p]
        rank = int(place)
        while below + counts[bin_] <= rank:
            below += counts[bin_]
            bin_ += 1
        low = _in_bin(values, (least, shift, bin_), counts[bin_], rank - below)
        high = low
        if rank + 1 < n:
            after, before = bin_, below
            while before + counts[after] <= rank + 1:
                before += counts[after]
                after += 1
            high = _in_bin(values, (least, shift, after), counts[after], rank + 1 - before)
        out[2 + p] = low + (high - low) * (place - rank)
    counts[: ((most - least) >> shift) + 1] = 0


@njit(cache=True, nogil=True)
def _in_bin(values: NDArray[np.int64], bin_: tuple[int, int, int], count: int, rank: int) -> int:
    """The value of some rank among those of one bin ``(least of all, shift, bin)``."""
    least, shift, number = bin_
    if shift == 0:
        return least + number
    members = np.empty(count, np.int64)
    n = 0
    for k in range(len(values)):
        if (values[k] - least) >> shift == number:
            members[n] = values[k]
            n += 1
    members.sort()
    return int(members[rank])
