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

from wsiseg.cells.bitmaps import SHIFT, WORD, Bitmaps, grown_rows, rows_of
from wsiseg.features.definitions import NUCLEUS_STATISTICS, RING_STATISTICS
from wsiseg.geometry import MPP, Box
from wsiseg.stain import AMOUNT_UNIT, Stains, amount_of, amount_tables, density_table

_SHARES = {"p10": 0.1, "p50": 0.5, "p90": 0.9}

_SLOTS = 1 << 8
_GROUP = 8
"""Values are counted in this many slots at most, and slots are passed over a group at a time."""

_TABLE_UNIT = 16
"""Tables of :func:`wsiseg.stain.amount` hold this many steps a step of its results."""


@dataclass(frozen=True, slots=True)
class Window:
    """Pixels that nuclei are measured in.

    Attributes
    ----------
    pixels
        Integers of at most 16 bits ``[y, x, c]``.
    box
        Where they lie, in pixels of the frame.
    inside
        The part of the box that lies on the slide.
    """

    pixels: NDArray[np.integer]
    box: Box
    inside: Box


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
    drawn: Bitmaps,
    members: NDArray[np.int64],
    window: Window,
    tables: NDArray[np.int32] | None,
    reach: NDArray[np.int64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Statistics of stains or channels in nuclei and in their rings.

    Parameters
    ----------
    drawn
        The nuclei; those around the ones that are measured must be drawn too.
    members
        int64 ``[n]``: which of those drawn one by one are measured.
    window
        The pixels; nuclei and rings are cut where they leave it.
    tables
        Those of :func:`stain_tables` where the pixels are RGB of a stained slide, whose amounts
        are measured in 1/1024 of optical density; ``None``: the channels are measured.
    reach
        How far the ring goes: it takes the pixels of no nucleus and on the slide that are at most
        so far from one of the nucleus's, see :func:`ring_reach`.

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
    channels = window.pixels.shape[-1]
    count = len(tables) or channels
    nuclei = np.full((len(members), count, len(NUCLEUS_STATISTICS)), np.nan)
    rings = np.full((len(members), count, len(RING_STATISTICS)), np.nan)
    _measure(
        (drawn.taken, drawn.boxes, drawn.words, drawn.starts),
        members,
        (np.ascontiguousarray(window.pixels).reshape(-1, channels), tables),
        (
            _limits(window.box, drawn.box),
            _limits(window.inside.intersection(drawn.box), drawn.box),
        ),
        reach,
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


def _limits(box: Box, within: Box) -> tuple[int, int, int, int]:
    """``x0, y0, x1, y1`` of a box, counted from the corner of another."""
    moved = box.shifted(-within.x0, -within.y0)
    return moved.x0, moved.y0, moved.x1, moved.y1


_Limits = tuple[int, int, int, int]


@njit(cache=True, nogil=True)
def _measure(
    drawn: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]],
    members: NDArray[np.int64],
    picture: tuple[NDArray[np.integer], NDArray[np.int32]],
    limits: tuple[_Limits, _Limits],
    reach: NDArray[np.int64],
    nuclei: tuple[NDArray[np.float64], NDArray[np.float64]],
    rings: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> None:
    """Fill the statistics of nuclei and rings, each given with its percentiles.

    ``limits`` are those of the picture and of the part of it on the slide, in the box drawn.
    """
    taken, boxes, words, starts = drawn
    pixels, tables = picture
    view, inside = limits
    rows, columns = len(reach) - 1, reach[0]
    most = 1
    for i in members:
        across = boxes[i, 2] - boxes[i, 0] + 2 * columns
        most = max(most, (boxes[i, 3] - boxes[i, 1] + 2 * rows) * across)
    # One more: a place is written before it is known to count.
    places = np.empty(most + 1, np.int64)
    values = np.empty((max(pixels.shape[1], 2), most), np.int32)
    counts = np.zeros(_SLOTS + _GROUP, np.int32)
    for k in range(len(members)):
        i = members[k]
        x0, y0, x1, y1 = boxes[i]
        if x0 >= x1:
            continue
        own = rows_of(i, boxes, words, starts)
        core = _cut((x0, y0, x1, y1), view)
        n = _places(own, (x0 >> SHIFT, y0), core, view, places)
        _values(pixels, places[:n], tables, values)
        for c in range(nuclei[0].shape[1] - (len(tables) > 0)):
            _describe(values[c, :n], nuclei[1], counts, nuclei[0][k, c])
        if len(tables) and n:
            nuclei[0][k, -1, 0] = _total(pixels, places[:n], tables[-1]) / n
        around = _cut((x0 - columns, y0 - rows, x1 + columns, y1 + rows), inside)
        ring = grown_rows(own, (x0, y0, x1, y1), reach)
        corner = (x0 - columns) >> SHIFT, y0 - rows
        for y in range(around[1], around[3]):
            for word in range(around[0] >> SHIFT, ((around[2] - 1) >> SHIFT) + 1):
                ring[y - corner[1], word - corner[0]] &= ~taken[y, word]
        n = _places(ring, corner, around, view, places)
        _values(pixels, places[:n], tables, values)
        for c in range(rings[0].shape[1] - (len(tables) > 0)):
            _describe(values[c, :n], rings[1], counts, rings[0][k, c])


@njit(cache=True, nogil=True)
def _cut(box: _Limits, limits: _Limits) -> _Limits:
    return (
        max(box[0], limits[0]),
        max(box[1], limits[1]),
        min(box[2], limits[2]),
        min(box[3], limits[3]),
    )


@njit(cache=True, nogil=True)
def _places(
    rows: NDArray[np.int64],
    corner: tuple[int, int],
    box: _Limits,
    view: _Limits,
    places: NDArray[np.int64],
) -> int:
    """Write down where in the picture the pixels of a box are that are set; their number.

    ``corner`` is the word and the row that ``rows`` begin with.
    """
    n = 0
    for y in range(box[1], box[3]):
        line = (y - view[1]) * (view[2] - view[0]) - view[0]
        for w in range(rows.shape[1]):
            word = rows[y - corner[1], w]
            begin = (corner[0] + w) << SHIFT
            for x in range(max(box[0], begin), min(box[2], begin + WORD)):
                places[n] = line + x
                n += (word >> (x - begin)) & 1
    return n


@njit(cache=True, nogil=True)
def _values(
    pixels: NDArray[np.integer],
    places: NDArray[np.int64],
    tables: NDArray[np.int32],
    values: NDArray[np.int32],
) -> None:
    """The amounts of both stains in some pixels, or their channels where there are no tables."""
    if len(tables):
        first, second = tables[0], tables[1]
        for k in range(len(places)):
            red, green, blue = pixels[places[k], 0], pixels[places[k], 1], pixels[places[k], 2]
            values[0, k] = amount_of(red, green, blue, first)
            values[1, k] = amount_of(red, green, blue, second)
    else:
        for c in range(pixels.shape[1]):
            for k in range(len(places)):
                values[c, k] = pixels[places[k], c]


@njit(cache=True, nogil=True)
def _total(pixels: NDArray[np.integer], places: NDArray[np.int64], table: NDArray[np.int32]) -> int:
    """The sum of amounts over some pixels."""
    total = 0
    for k in range(len(places)):
        red, green, blue = pixels[places[k], 0], pixels[places[k], 1], pixels[places[k], 2]
        total += amount_of(red, green, blue, table)
    return total


@njit(cache=True, nogil=True)
def _describe(
    values: NDArray[np.int32],
    shares: NDArray[np.float64],
    counts: NDArray[np.int32],
    out: NDArray[np.float64],
) -> None:
    """Mean, standard deviation and percentiles of some values; ``shares`` rise.

    ``counts`` are all zero before and after.
    """
    n = len(values)
    if n == 0:
        return
    least, most = np.int64(values[0]), np.int64(values[0])
    for k in range(n):
        least, most = min(least, values[k]), max(most, values[k])
    total, squares = 0, 0
    for k in range(n):
        above = values[k] - least
        total += above
        squares += above * above
    out[0] = (total + n * least) / n
    out[1] = math.sqrt(max(float(n * squares - total * total), 0.0)) / n
    # Values that are spread too widely share slots.
    coarse = 0
    while (most - least) >> coarse >= _SLOTS:
        coarse += 1
    for k in range(n):
        counts[(values[k] - least) >> coarse] += 1
    slot, before = 0, 0
    for p in range(len(shares)):
        place = (n - 1) * shares[p]
        rank = int(place)
        slot, before = _slot_of_rank(counts, rank, slot, before)
        low = _value_of_rank(values, rank, least + (slot << coarse), 1 << coarse)
        high = _value_after(values, rank, low, most)
        out[2 + p] = low + (high - low) * (place - rank)
    counts[: ((most - least) >> coarse) + 1] = 0


@njit(cache=True, nogil=True)
def _slot_of_rank(counts: NDArray[np.int32], rank: int, slot: int, before: int) -> tuple[int, int]:
    """The slot that holds the value of some rank, and how many values lie before it.

    Sought from a slot on, before which ``before`` values lie.
    """
    while True:
        held = 0
        for k in range(_GROUP):
            held += counts[slot + k]
        if before + held > rank:
            break
        before += held
        slot += _GROUP
    while before + counts[slot] <= rank:
        before += counts[slot]
        slot += 1
    return slot, before


@njit(cache=True, nogil=True)
def _value_of_rank(values: NDArray[np.int32], rank: int, low: int, width: int) -> int:
    """The value of some rank, which is one of ``width`` values from ``low`` on."""
    high = low + width - 1
    while low < high:
        middle = (low + high) >> 1
        below = 0
        for k in range(len(values)):
            below += values[k] <= middle
        if below > rank:
            high = middle
        else:
            low = middle + 1
    return low


@njit(cache=True, nogil=True)
def _value_after(values: NDArray[np.int32], rank: int, value: int, most: int) -> int:
    """The value of the next rank, or of this one if it is the last; ``most`` is the greatest."""
    upto, after = 0, most
    for k in range(len(values)):
        upto += values[k] <= value
        after = min(after, values[k] if values[k] > value else most)
    return value if upto > rank + 1 else after
