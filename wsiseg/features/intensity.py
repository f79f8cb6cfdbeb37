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
_SPAN = 1 << 16
_COUNTED_SPAN = 8192
"""Values that lie closer together are counted, others sorted: both are exact."""

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


def ring_offsets(mpp: MPP, radius_um: float) -> NDArray[np.int64]:
    """int64 ``[n, 2]`` (y, x): pixels whose centre is at most ``radius_um`` from a pixel's."""
    ry, rx = int(radius_um / mpp.y) + 1, int(radius_um / mpp.x) + 1
    y, x = np.mgrid[-ry : ry + 1, -rx : rx + 1]
    # A radius that is a whole number of pixels must not be missed by a rounding error.
    near = (y * mpp.y) ** 2 + (x * mpp.x) ** 2 <= radius_um**2 * (1 + 1e-9)
    return np.stack([y[near], x[near]], axis=1).astype(np.int64)


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
        raster.labels,
        planes,
        (members + 1, boxes - np.asarray(origin)),
        ring_offsets(raster.mpp, radius_um),
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
    offsets: NDArray[np.int64],
    inside: tuple[int, int, int, int],
    nuclei: NDArray[np.float64],
    rings: NDArray[np.float64],
) -> None:
    values, boxes = wanted
    height, width = labels.shape
    stamp = np.zeros((height, width), np.int32)
    core = np.empty((1024, 2), np.int32)
    ring = np.empty((1024, 2), np.int32)
    counts = np.zeros(_SPAN, np.int32)
    low = np.int64(np.iinfo(np.int32).min)
    for i in range(len(values)):
        value = values[i]
        x0, y0 = max(boxes[i, 0], 0), max(boxes[i, 1], 0)
        x1, y1 = min(boxes[i, 2], width), min(boxes[i, 3], height)
        n, m = 0, 0
        for y in range(y0, y1):
            for x in range(x0, x1):
                if labels[y, x] != value:
                    continue
                if n == len(core):
                    core = _doubled(core)
                core[n, 0], core[n, 1] = y, x
                n += 1
                # What is near any pixel of a nucleus is as near to one of its border.
                if (
                    0 < y < height - 1
                    and 0 < x < width - 1
                    and labels[y - 1, x] == value
                    and labels[y + 1, x] == value
                    and labels[y, x - 1] == value
                    and labels[y, x + 1] == value
                ):
                    continue
                for k in range(len(offsets)):
                    ry, rx = y + offsets[k, 0], x + offsets[k, 1]
                    if not (inside[1] <= ry < inside[3] and inside[0] <= rx < inside[2]):
                        continue
                    if labels[ry, rx] != 0 or stamp[ry, rx] == value:
                        continue
                    stamp[ry, rx] = value
                    if m == len(ring):
                        ring = _doubled(ring)
                    ring[m, 0], ring[m, 1] = ry, rx
                    m += 1
        for c in range(len(planes)):
            _describe(planes[c], core[:n], counts, low, nuclei[i, c])
            _describe(planes[c], ring[:m], counts, low, rings[i, c])


@njit(cache=True, nogil=True)
def _doubled(rows: NDArray[np.int32]) -> NDArray[np.int32]:
    larger = np.empty((2 * len(rows), 2), np.int32)
    larger[: len(rows)] = rows
    return larger


@njit(cache=True, nogil=True)
def _describe(
    plane: NDArray[np.integer],
    places: NDArray[np.int32],
    counts: NDArray[np.int32],
    low: int,
    out: NDArray[np.float64],
) -> None:
    """Statistics of a plane at some places; ``counts`` is all zero before and after."""
    n = len(places)
    if n == 0:
        return
    total, squares = np.int64(0), np.int64(0)
    least, most = np.int64(_SPAN), np.int64(low)
    for k in range(n):
        value = np.int64(plane[places[k, 0], places[k, 1]])
        total += value
        squares += value * value
        least, most = min(least, value), max(most, value)
    out[0] = total / n
    out[1] = math.sqrt(max(float(n * squares - total * total), 0.0)) / n
    if most - least < _COUNTED_SPAN:
        for k in range(n):
            counts[np.int64(plane[places[k, 0], places[k, 1]]) - least] += 1
        _counted_percentiles(counts, least, n, out)
        counts[: most - least + 1] = 0
    else:
        ordered = np.empty(n, np.int64)
        for k in range(n):
            ordered[k] = plane[places[k, 0], places[k, 1]]
        ordered.sort()
        for p in range(len(_PERCENTILES)):
            place = (n - 1) * _PERCENTILES[p]
            rank = int(place)
            after = min(rank + 1, n - 1)
            out[2 + p] = ordered[rank] + (ordered[after] - ordered[rank]) * (place - rank)


@njit(cache=True, nogil=True)
def _counted_percentiles(
    counts: NDArray[np.int32], least: int, n: int, out: NDArray[np.float64]
) -> None:
    bin_, below = 0, 0
    for p in range(len(_PERCENTILES)):
        place = (n - 1) * _PERCENTILES[p]
        rank = int(place)
        while below + counts[bin_] <= rank:
            below += counts[bin_]
            bin_ += 1
        after = bin_
        if rank + 1 < n and below + counts[bin_] <= rank + 1:
            after += 1
            while counts[after] == 0:
                after += 1
        out[2 + p] = least + bin_ + (after - bin_) * (place - rank)
