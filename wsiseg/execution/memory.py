"""How much memory a run may take, and how much it took."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType

import psutil

from wsiseg.errors import MemoryPlanError
from wsiseg.models.segmenter import ModelSpec
from wsiseg.pipeline.plan import SlidePlan
from wsiseg.pipeline.windows import widest
from wsiseg.slides.chunks import DEFAULT_CACHE_BYTES
from wsiseg.slides.tiffslide_reader import TILE_CACHE_BYTES

MIB = 1 << 20

PROCESS_BYTES = 480 * MIB
"""A process with everything imported and compiled, before its first pixel."""

CARD_BYTES = 3072 * MIB
"""Allowed beyond that for a process whose network runs on a graphics card: torch, the libraries
of the card and pinned memory."""

CARD_WORKERS = 4
"""Processes that share a graphics card unless more are asked for."""

CACHE_BYTES = 2 * (DEFAULT_CACHE_BYTES + TILE_CACHE_BYTES)
"""Decoded chunks and tiles that the two slides open in a process keep."""

STITCH_BYTES = 256 * MIB
"""Cells of a few regions with their polygons, while they are settled or written."""

_LOOKS = 2
"""How often processes are looked at until children are sought again."""

BYTES_PER_CELL = 64
"""What a cell costs beyond that, while its slide is stitched and exported."""


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Planned peak memory in bytes: what each process may need at once."""

    driver: int
    worker: int
    workers: int

    @property
    def total(self) -> int:
        """Peak of all processes together."""
        return self.driver + self.worker * self.workers


def window_bytes(spec: ModelSpec, side: int) -> int:
    """Memory of one window of ``side`` pixels: the pixels read ahead and the work on one."""
    return side * side * (spec.bytes_per_px + 3 * spec.channels)


def plan_memory(spec: ModelSpec, window: int, workers: int, cells: int = 0) -> MemoryPlan:
    """Memory for ``workers`` processes (0: all in the driver's own).

    The largest window is counted with: an instance that its tile cuts may ask for it.
    """
    sought = widest(spec.reach_px, spec.stride, spec.support_px)
    largest = max(window, sought if spec.support_px else sought + 2 * spec.reach_px)
    # One prediction is made at a time, of tiles or of the window of a cut instance.
    work = max(spec.batch * window_bytes(spec, window), window_bytes(spec, largest))
    process = PROCESS_BYTES + (CARD_BYTES if _on_card(spec) else 0)
    worker = process + CACHE_BYTES + max(work, STITCH_BYTES + cells * BYTES_PER_CELL)
    if workers == 0:
        return MemoryPlan(worker, 0, 0)
    return MemoryPlan(PROCESS_BYTES, worker, workers)


def slide_cells(plan: SlidePlan) -> int:
    """Upper estimate of a slide's cells: 2,000 a megapixel of its tiles at 0.5 µm/px."""
    pixels = len(plan.tiles) * plan.grid.core**2 * plan.grid.frame.mpp.pixel_area_um2 / 0.25
    return int(pixels * 2e-3)


def choose_workers(spec: ModelSpec, window: int, wanted: int | None) -> int:
    """As many workers as there are cores, or as the free memory holds, or as share a graphics card.

    Raises
    ------
    MemoryPlanError
        If not even one fits, or not as many as were asked for.
    """
    free = psutil.virtual_memory().available
    single = plan_memory(spec, window, 1)
    fitting = (free - single.driver) // single.worker
    if wanted is not None and wanted > fitting:
        raise MemoryPlanError(
            f"{wanted} workers may need {plan_memory(spec, window, wanted).total / 2**30:.1f} GiB, "
            f"but {free / 2**30:.1f} GiB are free: use at most --workers {max(fitting, 1)}"
        )
    if fitting < 1:
        raise MemoryPlanError(
            f"one worker may need {single.total / 2**30:.1f} GiB, but {free / 2**30:.1f} GiB are "
            "free; use smaller tiles (--core 512) or free some memory"
        )
    most = CARD_WORKERS if _on_card(spec) else fitting
    return wanted or int(min(len(os.sched_getaffinity(0)), fitting, most))


def _on_card(spec: ModelSpec) -> bool:
    return spec.runtime.startswith("torch-cuda")


class MemoryWatch:
    """Watches the resident memory of this process and all its children together."""

    def __init__(self, every_seconds: float = 0.5) -> None:
        self.peak_bytes = 0
        self._every = every_seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="wsiseg-memory", daemon=True)

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        me = psutil.Process()
        while True:
            # Finding them takes longer than looking at them.
            members = (me, *me.children(recursive=True))
            for _ in range(_LOOKS):
                self.peak_bytes = max(self.peak_bytes, _resident(members))
                if self._stop.wait(self._every):
                    return


def _resident(members: Iterable[psutil.Process]) -> int:
    total = 0
    for member in members:
        try:
            total += member.memory_info().rss
        except psutil.Error:
            continue
    return total
