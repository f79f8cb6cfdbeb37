"""From committed blocks to the cells of a slide: settle seams, give ids, measure."""

from __future__ import annotations

import os
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from wsiseg.cells.batch import CellBatch, CellsInfo
from wsiseg.cells.candidates import Candidates
from wsiseg.features.shape import measure_shapes
from wsiseg.pipeline.plan import SlidePlan
from wsiseg.stitch import (
    Conflicts,
    Rim,
    Seams,
    canonical_order,
    cell_uuids,
    find_conflicts,
    rim_of,
    settle,
)
from wsiseg.store.blocks import BlockRecord, BlockStore
from wsiseg.store.cells import write_cells
from wsiseg.store.folders import SlideFolder

MEASURES = 2
"""Raised whenever a change of wsiseg changes what stitching measures or an export holds."""

REGION_PX = 4096
"""Cells are numbered and stored in regions of this many frame pixels: a lattice of its own, so
that ids do not hang on tiles or blocks."""

_COLUMNS = 1 << 15
"""More regions than lie side by side on any slide."""

_THREADS = 4
"""Regions in memory at most."""


@dataclass(frozen=True, slots=True)
class Stitched:
    """What happened when a slide was stitched.

    Attributes
    ----------
    candidates, duplicates, settled, cells
        Candidates in all blocks; identical copies among them; readings that gave way to a
        better one of the same nucleus; cells that remain.
    truncated
        Cells that are pieces of something larger than the largest window.
    seconds
        Time taken.
    """

    candidates: int
    duplicates: int
    settled: int
    cells: int
    truncated: int
    seconds: float


@dataclass(frozen=True, slots=True)
class _Part:
    """Cells that are stored together.

    Attributes
    ----------
    region
        Their region, see :func:`_regions`.
    first
        Id of the first one.
    blocks
        Blocks that hold some of them, rising.
    """

    region: int
    first: int
    blocks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Settled:
    """What becomes of the candidates of a slide.

    Attributes
    ----------
    regions
        int32 ``[n]``: the region of each one's anchor; -1 for those that are not stored.
    duplicates, settled, truncated
        As in :class:`Stitched`.
    """

    regions: NDArray[np.int32]
    duplicates: int
    settled: int
    truncated: int

    def parts(self, offsets: NDArray[np.int64]) -> list[_Part]:
        """What is stored together, row by row; ``offsets`` are those of the blocks."""
        blocks: dict[int, list[int]] = defaultdict(list)
        sizes: Counter[int] = Counter()
        for block, (begin, end) in enumerate(pairwise(offsets)):
            regions, counts = np.unique(self.regions[begin:end], return_counts=True)
            for region, count in zip(regions.tolist(), counts.tolist(), strict=True):
                blocks[region].append(block)
                sizes[region] += count
        parts, first = [], 1
        for region in sorted(blocks.keys() - {-1}):
            parts.append(_Part(region, first, tuple(blocks[region])))
            first += sizes[region]
        return parts


@dataclass(frozen=True, slots=True)
class _Look:
    """What can be said of the candidates of a block alone.

    Attributes
    ----------
    regions
        int32 ``[n]``: the region of each one's anchor.
    truncated
        Numbers of those that are cut.
    conflicts
        Those among them.
    rim
        Those that may meet candidates of other blocks.
    """

    regions: NDArray[np.int32]
    truncated: NDArray[np.int64]
    conflicts: Conflicts
    rim: Rim


def stitch_slide(
    folder: SlideFolder, plan: SlidePlan, records: Mapping[str, BlockRecord], info: CellsInfo
) -> Stitched:
    """Write the cells of a slide from its committed blocks, on the cores that there are.

    Raises
    ------
    StoreError
        If a block is damaged; it is deleted, to be done again.
    """
    begin = time.perf_counter()
    store = BlockStore(folder, records)
    threads = min(_THREADS, len(os.sched_getaffinity(0)))
    with ThreadPoolExecutor(threads, thread_name_prefix="wsiseg-stitch") as pool:
        settled = _settle_slide(store, plan.scale, pool)
        make = partial(_part_cells, store, settled.regions, plan, info)
        cells = write_cells(folder.cells, info, make, settled.parts(store.offsets), pool)
    return Stitched(
        candidates=int(store.offsets[-1]),
        duplicates=settled.duplicates,
        settled=settled.settled,
        cells=cells,
        truncated=settled.truncated,
        seconds=time.perf_counter() - begin,
    )


def _settle_slide(store: BlockStore, scale: tuple[float, float], pool: Executor) -> _Settled:
    """Read every block once and find which candidates stay."""
    seams = Seams(store.extents, scale)
    regions = np.empty(store.offsets[-1], np.int32)
    truncated, conflicts = [np.empty(0, np.int64)], []
    looks = pool.map(partial(_look, store, scale), range(len(store)))
    for block, look in enumerate(looks):
        regions[store.offsets[block] : store.offsets[block + 1]] = look.regions
        truncated.append(look.truncated)
        conflicts.append(look.conflicts)
        seams.add(block, look.rim)
    copies = seams.copies()
    regions[copies] = -1
    given_way = settle([*conflicts, *seams.conflicts], copies)
    regions[given_way] = -1
    cut = int(np.count_nonzero(regions[np.concatenate(truncated)] >= 0))
    return _Settled(regions, len(copies), len(given_way), cut)


def _look(store: BlockStore, scale: tuple[float, float], block: int) -> _Look:
    found = store.read(block)
    numbers = store.offsets[block] + np.arange(len(found))
    return _Look(
        _regions(found),
        numbers[found.truncated],
        find_conflicts(found, numbers, scale),
        rim_of(found, numbers, store.extents, block),
    )


def _regions(found: Candidates) -> NDArray[np.int32]:
    """int32 ``[n]``: a number for the region of each anchor, rising row by row."""
    cells = found.anchor_cells(REGION_PX)
    return (cells[:, 1] * _COLUMNS + cells[:, 0]).astype(np.int32)


def _part_cells(
    store: BlockStore,
    regions: NDArray[np.int32],
    plan: SlidePlan,
    info: CellsInfo,
    part: _Part,
) -> CellBatch:
    held = []
    for block in part.blocks:
        here = regions[store.offsets[block] : store.offsets[block + 1]] == part.region
        held.append(store.read(block).take(np.flatnonzero(here)))
    found = Candidates.concatenate(held)
    held.clear()
    found = found.take(canonical_order(found))
    return _batch(found, part.first, plan, info)


def _batch(found: Candidates, first: int, plan: SlidePlan, info: CellsInfo) -> CellBatch:
    centroids = found.anchors() * np.asarray(plan.scale)
    return CellBatch(
        ids=np.arange(first, first + len(found), dtype=np.uint32),
        uuids=cell_uuids(str(plan.segment["slide"]), centroids, found.area_px),
        polygons=found.polygons,
        centroids=centroids,
        class_index=found.classes,
        probabilities=found.probabilities,
        truncated=found.truncated,
        features=measure_shapes(found.polygons, info.frame, info.level0),
    )
