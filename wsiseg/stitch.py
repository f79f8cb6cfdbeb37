"""Settling what several tiles emitted of the same nucleus.

Candidates from different tiles whose overlap covers at least ``CONFLICT_SHARE`` of the smaller
one are two readings of one nucleus. Readings rank by completeness, then area, then anchor,
never by arrival; from the best down, a reading stays unless one that stayed already conflicts
with it. The conflicts are a sparse graph of seam nuclei, so the whole slide is settled at once
whatever the blocks were.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wsiseg.cells.candidates import Candidates
from wsiseg.cells.extent import boxes_meeting
from wsiseg.cells.rasterize import edge_flips
from wsiseg.geometry import HUNDREDTHS

CONFLICT_SHARE = 0.25
"""Share of the smaller candidate's pixels from which an overlap means the same nucleus."""


@dataclass(frozen=True, slots=True)
class Conflicts:
    """Pairs of conflicting candidates by their number on the slide, and what ranks them.

    Attributes
    ----------
    pairs
        int64 ``[p, 2]``.
    ranks
        int64 ``[p, 2, k]``: sort key of each member; lower ranks first.
    """

    pairs: NDArray[np.int64]
    ranks: NDArray[np.int64]


def find_conflicts(
    found: Candidates, numbers: NDArray[np.int64], scale: tuple[float, float]
) -> Conflicts:
    """Conflicts among candidates of different tiles; ``numbers`` are those on the slide.

    ``scale`` is that of level-0 pixels per frame pixel, ``(fx, fy)``.
    """
    order = np.argsort(found.boxes[:, 0])
    pairs = order[_overlapping_boxes(found.boxes[order], found.tiles[order])]
    members, places = np.unique(pairs, return_inverse=True)
    few, places = found.take(members), places.reshape(pairs.shape)
    outlines = few.polygons
    shared = _shared_pixels(
        (outlines.vertices, outlines.ring_offsets, outlines.polygon_offsets),
        few.boxes,
        places,
        scale,
    )
    close = shared / few.area_px[places].min(axis=1)
    places = places[close >= CONFLICT_SHARE]
    return Conflicts(numbers[members][places], _rank_keys(few)[places])


def settle(conflicts: list[Conflicts], copies: NDArray[np.int64]) -> NDArray[np.int64]:
    """Numbers of the candidates that give way, rising.

    ``copies`` are the numbers, rising, of candidates that are out already.
    """
    pairs = np.concatenate([np.empty((0, 2), np.int64), *(c.pairs for c in conflicts)])
    valid = ~np.isin(pairs, copies).any(axis=1)
    pairs = pairs[valid]
    if not len(pairs):
        return np.empty(0, np.int64)
    ranks = np.concatenate([c.ranks for c in conflicts])[valid]
    numbers, first = np.unique(pairs, return_index=True)
    keys = ranks.reshape(-1, ranks.shape[-1])[first]
    order = np.lexsort(keys.T[::-1])
    place = np.empty(len(numbers), np.int64)
    place[order] = np.arange(len(numbers))
    members = place[np.searchsorted(numbers, pairs)]
    better, worse = members.min(axis=1), members.max(axis=1)
    arrange = np.lexsort((better, worse))
    dropped = _drop_worse(better[arrange], worse[arrange], len(numbers))
    return np.sort(numbers[order[dropped]])


@dataclass(frozen=True, slots=True)
class Rim:
    """Candidates of a block that may meet those of others, and their numbers on the slide."""

    found: Candidates
    numbers: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.found)

    def meeting(self, box: NDArray[np.int64]) -> Rim:
        """Those whose boxes meet a box."""
        chosen = np.flatnonzero(boxes_meeting(self.found.boxes, box))
        return Rim(self.found.take(chosen), self.numbers[chosen])


def rim_of(
    found: Candidates, numbers: NDArray[np.int64], extents: NDArray[np.int64], block: int
) -> Rim:
    """The candidates of a block whose boxes meet the extent of another one.

    ``extents``, int64 ``[b, 4]``, are the boxes over the candidates of every block.
    """
    near = boxes_meeting(extents, extents[block])
    near[block] = False
    chosen = np.zeros(len(found), bool)
    for extent in extents[near]:
        chosen |= boxes_meeting(found.boxes, extent)
    return Rim(found.take(np.flatnonzero(chosen)), numbers[chosen])


class Seams:
    """Copies and conflicts of candidates from different blocks, which come in order.

    Rims are kept until the last block that they may meet has come.

    Parameters
    ----------
    extents
        int64 ``[b, 4]``: frame boxes over the candidates of every block.
    scale
        ``(fx, fy)``: level-0 pixels per frame pixel.
    """

    def __init__(self, extents: NDArray[np.int64], scale: tuple[float, float]) -> None:
        self.conflicts: list[Conflicts] = []
        self._extents = extents
        self._scale = scale
        self._rims: dict[int, Rim] = {}
        self._last: dict[int, int] = {}
        self._copies: list[NDArray[np.int64]] = [np.empty(0, np.int64)]

    def add(self, block: int, rim: Rim) -> None:
        """Compare a block with those before it."""
        extent = self._extents[block]
        near = np.flatnonzero(boxes_meeting(self._extents, extent))
        before = [self._rims[other].meeting(extent) for other in near[near < block].tolist()]
        if any(map(len, before)):
            self._compare([*before, rim])
        self._rims[block] = rim
        self._last[block] = int(near.max(initial=block))
        for done in [b for b in self._rims if self._last[b] <= block]:
            del self._rims[done]

    def _compare(self, rims: list[Rim]) -> None:
        found = Candidates.concatenate([rim.found for rim in rims])
        numbers = np.concatenate([rim.numbers for rim in rims])
        distinct = found.first_of_equals()
        self._copies.append(np.delete(numbers, distinct))
        self.conflicts.append(find_conflicts(found.take(distinct), numbers[distinct], self._scale))

    def copies(self) -> NDArray[np.int64]:
        """Numbers, rising, of the candidates that are the same as another that stays."""
        return np.unique(np.concatenate(self._copies))


def cell_uuids(
    fingerprint: str, centroids: NDArray[np.float64], area_px: NDArray[np.int64]
) -> NDArray[np.uint8]:
    """UUIDs uint8 ``[n, 16]`` that stay the same over re-runs.

    Version 8 (RFC 9562): a hash of the slide's ``fingerprint``, the centroid in hundredths of a
    level-0 pixel and the area. Of cells that agree in all three, the later differ by their
    number among these; such cells have one centroid, so they must be passed together.
    """
    salt = np.frombuffer(hashlib.blake2b(fingerprint.encode(), digest_size=16).digest(), np.uint64)
    points = np.rint(centroids * HUNDREDTHS).astype(np.int64)
    keys = np.column_stack([points, area_px])
    words = np.empty((len(keys), 2), np.uint64)
    for column in range(2):
        state = np.full(len(keys), salt[column], np.uint64)
        for value in keys.T:
            state = _mix(state ^ value.astype(np.uint64))
        if not column:
            numbers = _number_among_equals(keys, state)
        words[:, column] = _mix(state ^ numbers)
    uuids = words.view(np.uint8).reshape(-1, 16).copy()
    uuids[:, 6] = (uuids[:, 6] & 0x0F) | 0x80
    uuids[:, 8] = (uuids[:, 8] & 0x3F) | 0x80
    return uuids


def canonical_order(found: Candidates) -> NDArray[np.int64]:
    """Order of ids within a region: by anchor (y, then x), area and box."""
    anchors = found.anchors()
    order = np.argsort(anchors[:, 1])
    rows = anchors[order, 1]
    # Few anchors are of one height: only these need the other keys.
    tied = np.zeros(len(order), bool)
    tied[1:] = rows[1:] == rows[:-1]
    tied[:-1] |= tied[1:]
    few = np.sort(order[tied])
    keys = (*found.boxes[few].T[::-1], found.area_px[few], anchors[few, 0], anchors[few, 1])
    order[tied] = few[np.lexsort(keys)]
    return order


def _rank_keys(found: Candidates) -> NDArray[np.int64]:
    """int64 ``[n, 8]``: whole before truncated, larger first, then anchor and box.

    Anchors are compared in hundredths of a frame pixel, boxes break what ties remain.
    """
    anchors = np.rint(found.anchors() * HUNDREDTHS).astype(np.int64)
    return np.column_stack(
        [found.truncated, -found.area_px, anchors[:, 1], anchors[:, 0], found.boxes]
    ).astype(np.int64)


@njit(cache=True, nogil=True)
def _overlapping_boxes(boxes: NDArray[np.int64], tiles: NDArray[np.int32]) -> NDArray[np.int64]:
    """Pairs of boxes that share a pixel and come from different tiles; boxes rise by ``x0``."""
    capacity = 1024
    pairs = np.empty((capacity, 2), np.int64)
    count = 0
    for i in range(len(boxes)):
        for j in range(i + 1, len(boxes)):
            if boxes[j, 0] >= boxes[i, 2]:
                break
            if boxes[j, 1] >= boxes[i, 3] or boxes[i, 1] >= boxes[j, 3]:
                continue
            if tiles[i, 0] == tiles[j, 0] and tiles[i, 1] == tiles[j, 1]:
                continue
            if count == capacity:
                grown = np.empty((2 * capacity, 2), np.int64)
                grown[:capacity] = pairs
                pairs = grown
                capacity *= 2
            pairs[count, 0] = i
            pairs[count, 1] = j
            count += 1
    return pairs[:count]


@njit(cache=True, nogil=True)
def _shared_pixels(
    polygons: tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]],
    boxes: NDArray[np.int64],
    pairs: NDArray[np.int64],
    scale: tuple[float, float],
) -> NDArray[np.int64]:
    """Number of pixels that lie in both polygons of every pair."""
    vertices, ring_offsets, polygon_offsets = polygons
    shared = np.zeros(len(pairs), np.int64)
    for p in range(len(pairs)):
        a, b = boxes[pairs[p, 0]], boxes[pairs[p, 1]]
        common = (max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3]))
        drawn = np.zeros((common[3] - common[1], common[2] - common[0]), np.uint8)
        for i in pairs[p]:
            rings = ring_offsets[polygon_offsets[i] : polygon_offsets[i + 1] + 1]
            flips = edge_flips(vertices, rings, scale, common)
            for y in range(drawn.shape[0]):
                inside = False
                for x in range(drawn.shape[1]):
                    inside ^= flips[y, x]
                    drawn[y, x] += inside
        shared[p] = np.count_nonzero(drawn == 2)
    return shared


@njit(cache=True, nogil=True)
def _drop_worse(
    better: NDArray[np.int64], worse: NDArray[np.int64], count: int
) -> NDArray[np.int64]:
    """Walk from the best rank down; drop what conflicts with something that stayed.

    Pairs are sorted by ``worse``, so the fate of every ``better`` is known when it is asked.
    """
    gone = np.zeros(count, np.bool_)
    for k in range(len(worse)):
        if not gone[better[k]]:
            gone[worse[k]] = True
    return np.flatnonzero(gone)


def _number_among_equals(keys: NDArray[np.int64], hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """0 for the first row of every group of equal rows, 1 for the second, and so on.

    ``hashes`` are equal where rows are.
    """
    numbers = np.zeros(len(keys), np.uint64)
    values, counts = np.unique(hashes, return_counts=True)
    few = np.flatnonzero(np.isin(hashes, values[counts > 1]))
    order = few[np.lexsort(keys[few].T)]
    ordered = keys[order]
    fresh = np.ones(len(order), bool)
    fresh[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    starts = np.maximum.accumulate(np.where(fresh, np.arange(len(order)), 0))
    numbers[order] = np.arange(len(order)) - starts
    return numbers


def _mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of splitmix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    state = state + np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(state ^ (state >> np.uint64(31)))
