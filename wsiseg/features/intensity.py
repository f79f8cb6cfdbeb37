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

from wsiseg.features.definitions import NUCLEUS_STATISTICS, RING_STATISTICS
from wsiseg.geometry import MPP, Box
from wsiseg.stain import AMOUNT_UNIT, Stains, amount_of, amount_tables, density_table

_SHARES = {"p10": 0.1, "p50": 0.5, "p90": 0.9}

_VALUES = 1 << 16
_GROUP_BITS = 4
"""Every value has its count, and so has every group of ``1 << _GROUP_BITS`` values, by which a
rank is found in few steps."""

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


def stain_tables(stains: Stains) -> NDArray[np.int32]:
    """What is measured on a stained slide: int32 ``[3, 3, 256]``, three tables of
    :func:`wsiseg.stain.amount`, for haematoxylin, counterstain and the sum of the channels'
    densities."""
    densities = np.stack([density_table(level) for level in stains.white])
    total = np.rint(densities * (AMOUNT_UNIT * _TABLE_UNIT)).astype(np.int32)
    return np.stack([*amount_tables(stains)[:2], total])


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
    pixels: NDArray[np.integer],
    tables: NDArray[np.int32] | None,
    members: NDArray[np.int64],
    boxes: NDArray[np.int64],
    radius_um: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Statistics of stains or channels in nuclei and in their rings.

    Parameters
    ----------
    raster
        The nuclei; those around the ones that are measured must be drawn too.
    pixels
        Integers of at most 16 bits ``[y, x, c]``, as large as the raster.
    tables
        Those of :func:`stain_tables` where the pixels are RGB of a stained slide, whose amounts
        are measured in 1/1024 of optical density; ``None``: the channels are measured.
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
    nuclei
        float64 ``[n, v, 5]``: ``NUCLEUS_STATISTICS`` of every table or channel, NaN where there
        is no pixel. Of the last table, the sum, only the mean is measured.
    rings
        float64 ``[n, v, 3]``: ``RING_STATISTICS``, likewise; nothing of the sum.
    """
    if tables is None:
        tables = np.zeros((0, 3, 256), np.int32)
    count = len(tables) or pixels.shape[-1]
    nuclei = np.full((len(members), count, len(NUCLEUS_STATISTICS)), np.nan)
    rings = np.full((len(members), count, len(RING_STATISTICS)), np.nan)
    origin = (raster.box.x0, raster.box.y0, raster.box.x0, raster.box.y0)
    inside = raster.inside.shifted(-raster.box.x0, -raster.box.y0)
    _measure(
        np.ascontiguousarray(raster.labels),
        (np.ascontiguousarray(pixels).reshape(-1, pixels.shape[-1]), tables),
        (members + 1, boxes - np.asarray(origin)),
        ring_reach(raster.mpp, radius_um),
        (inside.x0, inside.y0, inside.x1, inside.y1),
        (nuclei, _shares(NUCLEUS_STATISTICS)),
        (rings, _shares(RING_STATISTICS)),
    )
    return nuclei, rings


def chosen(
    statistics: NDArray[np.float64], plane: int, names: Sequence[str], scale: float
) -> dict[str, NDArray[np.float32]]:
    """The first statistics of one plane, by what they are called."""
    return {
        name: (statistics[:, plane, place] * scale).astype(np.float32)
        for place, name in enumerate(names)
    }


def _shares(names: Sequence[str]) -> NDArray[np.float64]:
    """The percentiles among statistics, whose first are mean and standard deviation."""
    return np.array([_SHARES[name] for name in names[2:]])


@njit(cache=True, nogil=True)
def _measure(
    labels: NDArray[np.int32],
    picture: tuple[NDArray[np.integer], NDArray[np.int32]],
    wanted: tuple[NDArray[np.int64], NDArray[np.int64]],
    reach: NDArray[np.int64],
    inside: tuple[int, int, int, int],
    nuclei: tuple[NDArray[np.float64], NDArray[np.float64]],
    rings: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> None:
    """Fill the statistics of nuclei and rings, each given with its percentiles."""
    pixels, tables = picture
    values, boxes = wanted
    height, width = labels.shape
    tally = np.zeros(_VALUES, np.int32), np.zeros(_VALUES >> _GROUP_BITS, np.int32)
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
        for c in range(len(tables) - 1):
            _describe(_amounts(pixels, core, tables[c]), nuclei[1], tally, nuclei[0][i, c])
            _describe(_amounts(pixels, ring, tables[c]), rings[1], tally, rings[0][i, c])
        if len(tables):
            if len(core):
                nuclei[0][i, -1, 0] = _amounts(pixels, core, tables[-1]).sum() / len(core)
        else:
            for c in range(pixels.shape[1]):
                _describe(_channel(pixels, core, c), nuclei[1], tally, nuclei[0][i, c])
                _describe(_channel(pixels, ring, c), rings[1], tally, rings[0][i, c])


@njit(cache=True, nogil=True)
def _core(
    labels: NDArray[np.int32], value: int, box: tuple[int, int, int, int]
) -> NDArray[np.int64]:
    """Places of a nucleus's pixels in the flat raster."""
    width = labels.shape[1]
    # One more: a place is written before it is known to count.
    places = np.empty((box[2] - box[0]) * (box[3] - box[1]) + 1, np.int64)
    n = 0
    for y in range(box[1], box[3]):
        for x in range(box[0], box[2]):
            places[n] = y * width + x
            n += labels[y, x] == value
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
            places[n] = y * labels.shape[1] + x
            n += (covers > 0) & (labels[y, x] == 0)
    return places[:n]


@njit(cache=True, nogil=True)
def _amounts(
    pixels: NDArray[np.integer], places: NDArray[np.int64], table: NDArray[np.int32]
) -> NDArray[np.int64]:
    """Amounts of a stain in some pixels."""
    values = np.empty(len(places), np.int64)
    for k in range(len(places)):
        red, green, blue = pixels[places[k], 0], pixels[places[k], 1], pixels[places[k], 2]
        values[k] = amount_of(red, green, blue, table)
    return values


@njit(cache=True, nogil=True)
def _channel(
    pixels: NDArray[np.integer], places: NDArray[np.int64], channel: int
) -> NDArray[np.int64]:
    """Values of a channel in some pixels."""
    values = np.empty(len(places), np.int64)
    for k in range(len(places)):
        values[k] = pixels[places[k], channel]
    return values


@njit(cache=True, nogil=True)
def _describe(
    values: NDArray[np.int64],
    shares: NDArray[np.float64],
    tally: tuple[NDArray[np.int32], NDArray[np.int32]],
    out: NDArray[np.float64],
) -> None:
    """Mean, standard deviation and percentiles of some values, of which it takes off the least.

    ``tally`` is the counts of values and of groups, all zero before and after.
    """
    n = len(values)
    if n == 0:
        return
    least = values.min()
    total, squares = np.int64(0), np.int64(0)
    for k in range(n):
        values[k] -= least
        total += values[k]
        squares += values[k] * values[k]
    out[0] = (total + n * least) / n
    out[1] = math.sqrt(max(float(n * squares - total * total), 0.0)) / n
    counts, groups = tally
    for k in range(n):
        counts[values[k]] += 1
        groups[values[k] >> _GROUP_BITS] += 1
    for p in range(len(shares)):
        place = (n - 1) * shares[p]
        rank = int(place)
        low, ranks = _at_rank(counts, groups, rank)
        high = low
        if rank + 1 == ranks and ranks < n:
            high, _ = _at_rank(counts, groups, ranks)
        out[2 + p] = least + low + (high - low) * (place - rank)
    for k in range(n):
        counts[values[k]] = 0
        groups[values[k] >> _GROUP_BITS] = 0


@njit(cache=True, nogil=True)
def _at_rank(counts: NDArray[np.int32], groups: NDArray[np.int32], rank: int) -> tuple[int, int]:
    """The value of some rank among those counted, and how many are at most that."""
    group, ranks = 0, 0
    while ranks + groups[group] <= rank:
        ranks += groups[group]
        group += 1
    value = group << _GROUP_BITS
    ranks += counts[value]
    while ranks <= rank:
        value += 1
        ranks += counts[value]
    return value, ranks
