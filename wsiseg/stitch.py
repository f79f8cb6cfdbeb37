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
from wsiseg.cells.rasterize import rasterize
from wsiseg.geometry import HUNDREDTHS, Box

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
    found: Candidates,
    numbers: NDArray[np.int64],
    cell: Box,
    scale: tuple[float, float],
) -> Conflicts:
    """Conflicts among candidates whose boxes' common part begins in ``cell``.

    ``found`` holds every distinct candidate whose box meets ``cell``; ``numbers`` are their
    numbers on the slide. Cells that partition the frame find every pair exactly once.
    """
    pairs = _overlapping_boxes(found.boxes, found.tiles)
    corner = np.maximum(found.boxes[pairs[:, 0], :2], found.boxes[pairs[:, 1], :2])
    here = (corner >= [cell.x0, cell.y0]).all(axis=1) & (corner < [cell.x1, cell.y1]).all(axis=1)
    pairs = pairs[here]
    share = np.array([_overlap_share(found, int(i), int(j), scale) for i, j in pairs])
    pairs = pairs[share >= CONFLICT_SHARE] if len(pairs) else pairs
    ranks = _rank_keys(found)
    return Conflicts(numbers[pairs], ranks[pairs])


def settle(conflicts: list[Conflicts]) -> NDArray[np.int64]:
    """Numbers of the candidates that give way, rising."""
    pairs = np.concatenate([c.pairs for c in conflicts]) if conflicts else np.empty((0, 2), int)
    if not len(pairs):
        return np.empty(0, np.int64)
    ranks = np.concatenate([c.ranks for c in conflicts])
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
        for value in (*keys.T, _number_among_equals(keys)):
            state = _mix(state ^ value.astype(np.uint64))
        words[:, column] = state
    uuids = words.view(np.uint8).reshape(-1, 16).copy()
    uuids[:, 6] = (uuids[:, 6] & 0x0F) | 0x80
    uuids[:, 8] = (uuids[:, 8] & 0x3F) | 0x80
    return uuids


def canonical_order(found: Candidates) -> NDArray[np.int64]:
    """Order of ids within a region: by anchor (y, then x), area and box."""
    anchors = found.anchors()
    return np.lexsort((*found.boxes.T[::-1], found.area_px, anchors[:, 0], anchors[:, 1]))


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
    """Pairs ``i < j`` of boxes that share a pixel and come from different tiles."""
    order = np.argsort(boxes[:, 0])
    capacity = 1024
    pairs = np.empty((capacity, 2), np.int64)
    count = 0
    for a in range(len(order)):
        i = order[a]
        for b in range(a + 1, len(order)):
            j = order[b]
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
            pairs[count, 0] = min(i, j)
            pairs[count, 1] = max(i, j)
            count += 1
    return pairs[:count]


def _overlap_share(found: Candidates, i: int, j: int, scale: tuple[float, float]) -> float:
    """Pixels that two candidates share over the pixels of the smaller one."""
    a, b = found.boxes[i], found.boxes[j]
    common = Box(
        int(max(a[0], b[0])), int(max(a[1], b[1])), int(min(a[2], b[2])), int(min(a[3], b[3]))
    )
    drawn = [
        rasterize(
            found.polygons.take(np.array([k])),
            np.ones(1, np.uint32),
            np.zeros(1, np.int64),
            common,
            scale,
        )
        for k in (i, j)
    ]
    shared = int(np.count_nonzero(drawn[0] & drawn[1]))
    return shared / float(min(found.area_px[i], found.area_px[j]))


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


def _number_among_equals(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """0 for the first row of every group of equal rows, 1 for the second, and so on."""
    order = np.lexsort(keys.T)
    ordered = keys[order]
    fresh = np.ones(len(keys), bool)
    fresh[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    starts = np.maximum.accumulate(np.where(fresh, np.arange(len(keys)), 0))
    numbers = np.empty(len(keys), np.int64)
    numbers[order] = np.arange(len(keys)) - starts
    return numbers


def _mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of splitmix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    state = state + np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(state ^ (state >> np.uint64(31)))
