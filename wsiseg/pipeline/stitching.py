"""From committed blocks to the cells of a slide: settle seams, give ids, measure."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsiseg.cells.batch import CellBatch, CellsInfo
from wsiseg.cells.candidates import Candidates
from wsiseg.features.shape import measure_shapes
from wsiseg.geometry import Box
from wsiseg.pipeline.plan import SlidePlan
from wsiseg.stitch import Conflicts, canonical_order, cell_uuids, find_conflicts, settle
from wsiseg.store.blocks import BlockRecord, BlockStore
from wsiseg.store.cells import write_cells
from wsiseg.store.folders import SlideFolder

MEASURES = 2
"""Raised whenever a change of wsiseg changes what stitching measures or an export holds."""

REGION_PX = 4096
"""Cells are settled, numbered and stored in regions of this many frame pixels: a lattice of
its own, so that ids do not hang on tiles or blocks."""


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


def stitch_slide(
    folder: SlideFolder, plan: SlidePlan, records: Mapping[str, BlockRecord], info: CellsInfo
) -> Stitched:
    """Write the cells of a slide from its committed blocks."""
    begin = time.perf_counter()
    store = BlockStore(folder, records)
    dropped, distinct = _settle_slide(store, plan)
    tally = {"truncated": 0}
    cells = write_cells(folder.cells, info, _batches(store, plan, info, dropped, tally))
    return Stitched(
        candidates=int(store.offsets[-1]),
        duplicates=int(store.offsets[-1]) - distinct,
        settled=len(dropped),
        cells=cells,
        truncated=tally["truncated"],
        seconds=time.perf_counter() - begin,
    )


def _regions(store: BlockStore, plan: SlidePlan) -> Iterator[Box]:
    """Regions that hold candidates, row by row."""
    if not len(store.extents):
        return
    used = store.extents[(store.extents[:, 2] > store.extents[:, 0])]
    cover = plan.grid.frame.box
    if len(used):
        low, high = used[:, :2].min(axis=0), used[:, 2:].max(axis=0)
        cover = cover.union(Box(int(low[0]), int(low[1]), int(high[0]), int(high[1])))
    for cell in cover.split(REGION_PX):
        x, y = cell.x0 // REGION_PX * REGION_PX, cell.y0 // REGION_PX * REGION_PX
        yield Box(x, y, x + REGION_PX, y + REGION_PX)


def _settle_slide(store: BlockStore, plan: SlidePlan) -> tuple[NDArray[np.int64], int]:
    """Numbers of the candidates that give way, and how many distinct candidates there are."""
    conflicts: list[Conflicts] = []
    distinct = 0
    for region in _regions(store, plan):
        found, numbers = store.meeting((region.x0, region.y0, region.x1, region.y1))
        distinct += len(_anchored(found, region))
        conflicts.append(find_conflicts(found, numbers, region, plan.scale))
    return settle(conflicts), distinct


def _batches(
    store: BlockStore,
    plan: SlidePlan,
    info: CellsInfo,
    dropped: NDArray[np.int64],
    tally: dict[str, int],
) -> Iterator[CellBatch]:
    first = 1
    for region in _regions(store, plan):
        found, numbers = store.meeting((region.x0, region.y0, region.x1, region.y1))
        here = _anchored(found, region)
        here = here[~np.isin(numbers[here], dropped)]
        if not len(here):
            continue
        found = found.take(here)
        found = found.take(canonical_order(found))
        tally["truncated"] += int(found.truncated.sum())
        yield _batch(found, first, plan, info)
        first += len(found)


def _anchored(found: Candidates, region: Box) -> NDArray[np.int64]:
    """Indices of the candidates whose anchor lies in the region."""
    cells = found.anchor_cells(REGION_PX)
    inside = (cells == [region.x0 // REGION_PX, region.y0 // REGION_PX]).all(axis=1)
    return np.flatnonzero(inside)


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
