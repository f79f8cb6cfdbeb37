"""What a slide will cost: measured on a few of its own tiles before anything is written."""

from __future__ import annotations

import time
from dataclasses import dataclass

from wsiseg.execution.memory import choose_workers, plan_memory, slide_cells
from wsiseg.job import Job, SlideEntry
from wsiseg.models.zoo import load_segmenter
from wsiseg.pipeline.prepare import Prepared, prepare
from wsiseg.pipeline.session import Clock, Session
from wsiseg.pipeline.tile import segment_tile
from wsiseg.slides.slide import open_slide

EXPORT_CELLS_PER_SECOND = 20_000
"""What stitching and the default exports manage, see ``benchmarks/exports.py``."""

MEASURED_CELLS_PER_SECOND = 18_000
"""Nuclei whose default features a process measures, see ``benchmarks/features.py``."""

MEASURED_TILES = 3
"""Tiles that are segmented to see what one costs."""

DISK_BYTES_PER_CELL = 1_400
"""Blocks, cells and the default exports of one nucleus."""

DISK_BYTES_PER_PIXEL = 0.05
"""Compressed label pyramid of one frame pixel of tissue."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a slide will cost.

    Attributes
    ----------
    prepared
        The plan, the tissue mask and what making them took.
    workers
        Processes counted with.
    bytes_to_read
        Compressed bytes of the slide's level under all windows, about.
    cells
        Nuclei by the measured tiles' density, about.
    disk_bytes
        Size of everything written, about.
    memory_bytes
        Planned peak of all processes together.
    seconds
        Wall time, about.
    megapixels
        Frame pixels in all windows, in millions.
    """

    prepared: Prepared
    workers: int
    bytes_to_read: int
    cells: int
    disk_bytes: int
    memory_bytes: int
    seconds: float
    megapixels: float


def estimate(entry: SlideEntry, job: Job, workers: int | None = None) -> Estimate:
    """Plan a slide and segment a few of its tiles to see what the whole will cost.

    Raises
    ------
    WsisegError
        If the slide cannot be run with this job.
    """
    settled = job.settled(entry)
    prepared = prepare(settled, job)
    plan = prepared.plan
    segmenter = load_segmenter(job.model, plan.device)
    count = choose_workers(segmenter.spec, plan.grid.window, workers)
    with open_slide(plan.path, reader=plan.reader, mpp=plan.stated_mpp) as slide:
        session = Session(plan, slide, prepared.tissue, segmenter)
        tile_seconds, per_tile = _measure(session)
        level = slide.facts.levels[plan.level]
        share = sum(level.size.area for level in slide.facts.levels)
    tiles = len(plan.tiles)
    ratio = (plan.scale[0] / level.downsample) ** 2
    pixels = tiles * plan.grid.window**2
    cells = min(int(per_tile * tiles), slide_cells(plan))
    memory = plan_memory(segmenter.spec, plan.grid.window, count, cells)
    size = plan.path.stat().st_size if plan.path.is_file() else 0
    return Estimate(
        prepared=prepared,
        workers=count,
        bytes_to_read=int(size * min(pixels * ratio / share, 1.0)),
        cells=cells,
        disk_bytes=int(cells * DISK_BYTES_PER_CELL + pixels * DISK_BYTES_PER_PIXEL),
        memory_bytes=memory.total,
        seconds=sum(prepared.seconds.values())
        + tiles * tile_seconds / count
        + (cells / MEASURED_CELLS_PER_SECOND / count if job.features else 0.0)
        + cells / EXPORT_CELLS_PER_SECOND,
        megapixels=pixels / 1e6,
    )


def _measure(session: Session) -> tuple[float, float]:
    """Mean seconds and candidates of a few tiles spread over the slide."""
    places = session.plan.tiles
    if not places:
        return 0.0, 0.0
    grid, rules = session.plan.grid, session.rules(Clock())
    chosen = [
        places[len(places) * part // (2 * MEASURED_TILES)]
        for part in range(1, 2 * MEASURED_TILES, 2)
    ]
    first = session.fitted(grid.tile(*chosen[0]))
    # Whatever is compiled or loaded on first use is not part of a tile's cost.
    segment_tile(first, session.segment(first.window, Clock()), rules)
    begin, found = time.perf_counter(), 0
    for place in chosen:
        tile = session.fitted(grid.tile(*place))
        instances = session.segment(tile.window, Clock())
        found += len(segment_tile(tile, instances, rules)[0])
    return (time.perf_counter() - begin) / len(chosen), found / len(chosen)
