"""Leads a job: decides which task comes next, and what a finished one means."""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from wsiseg.errors import DiskFullError
from wsiseg.execution.executor import Executor
from wsiseg.execution.progress import Progress
from wsiseg.execution.tasks import (
    ExportTask,
    Failure,
    PrepareTask,
    Ready,
    Result,
    StitchTask,
    Task,
    export_key,
)
from wsiseg.files import read_json, write_json
from wsiseg.job import Job, SlideEntry
from wsiseg.pipeline.block import BlockTask
from wsiseg.pipeline.exports import Exported, ExportSettings
from wsiseg.pipeline.plan import read_plan
from wsiseg.pipeline.report import damaged_places, slide_report
from wsiseg.pipeline.stitching import Stitched
from wsiseg.store.blocks import BlockRecord
from wsiseg.store.folders import RunFolder, SlideFolder
from wsiseg.store.tissue import read_tissue

_SHOWN_PLACES = 3


@dataclass(frozen=True, slots=True)
class SlideOutcome:
    """How a slide ended.

    Attributes
    ----------
    name
        Name of its folder in the run directory.
    state
        ``"complete"`` or ``"failed"``.
    nuclei
        Number of cells, where complete.
    reason
        Why it failed.
    seconds
        Wall time from its first task of this run to its last; 0 where nothing was to be done.
    """

    name: str
    state: str
    nuclei: int | None = None
    reason: str = ""
    seconds: float = 0.0


@dataclass(slots=True)
class _Slide:
    name: str
    place: int
    entry: SlideEntry
    folder: SlideFolder
    began: float = 0.0
    ready: Ready | None = None
    records: dict[str, BlockRecord] = field(default_factory=dict)
    stitched: Stitched | None = None
    exported: list[Exported] = field(default_factory=list)
    outcome: SlideOutcome | None = None
    told: bool = False

    def planned(self) -> Ready:
        """Its plan, which every later task rests on."""
        if self.ready is None:
            raise RuntimeError(f"{self.name}: a result came before the slide was planned")
        return self.ready


class Driver:
    """Runs the slides of a job through an executor.

    Tasks of earlier slides go first, so slides end one after the other; those of later slides
    fill what room is left, so that no worker idles at the end of a slide.
    """

    def __init__(
        self,
        run: RunFolder,
        job: Job,
        names: Mapping[str, SlideEntry],
        epoch: str,
        *,
        new: bool,
        progress: Progress,
    ) -> None:
        self._run = run
        self._job = job
        self._epoch = epoch
        self._new = new
        self._progress = progress
        self._slides = {
            name: _Slide(name, place, entry, run.slide(name))
            for place, (name, entry) in enumerate(names.items())
        }
        self._heap: list[tuple[int, int, int, Task]] = []
        self._count = itertools.count()
        self._under_way = 0

    def lead(
        self, executor: Executor, on_outcome: Callable[[SlideOutcome], None]
    ) -> dict[str, SlideOutcome]:
        """Do everything; the outcome of every slide by name.

        Raises
        ------
        DiskFullError
            If the disk is full: no slide could go on.
        """
        for slide in self._slides.values():
            self._push(slide, 3, self._prepare_task(slide))
        while self._heap or self._under_way:
            while self._heap and executor.room > 0:
                _, _, _, task = heapq.heappop(self._heap)
                slide = self._slides[task.slide]
                if slide.outcome is not None:
                    continue
                slide.began = slide.began or time.perf_counter()
                executor.submit(task)
                self._under_way += 1
            if not self._under_way:
                continue
            task, result = executor.next()
            self._under_way -= 1
            self._handle(self._slides[task.slide], result)
            self._tell(self._slides[task.slide], on_outcome)
        return {name: slide.outcome for name, slide in self._slides.items() if slide.outcome}

    @staticmethod
    def _tell(slide: _Slide, on_outcome: Callable[[SlideOutcome], None]) -> None:
        if slide.outcome is not None and not slide.told:
            slide.told = True
            on_outcome(slide.outcome)

    def _push(self, slide: _Slide, stage: int, task: Task) -> None:
        heapq.heappush(self._heap, (slide.place, stage, next(self._count), task))

    def _prepare_task(self, slide: _Slide) -> PrepareTask:
        return PrepareTask(
            str(self._run.root), slide.name, self._job.settled(slide.entry), self._job, self._new
        )

    def _handle(self, slide: _Slide, result: Result) -> None:
        if slide.outcome is not None:
            return
        match result:
            case Failure():
                self._fail(slide, result)
            case Ready():
                self._begin(slide, result)
            case BlockRecord():
                self._block_done(slide, result)
            case Stitched():
                slide.stitched = result
                self._export(slide)
            case Exported():
                slide.exported.append(result)
                self._finish_when_exported(slide)

    def _begin(self, slide: _Slide, ready: Ready) -> None:
        slide.ready = ready
        slide.records = dict(ready.records)
        self._progress.slide_started(slide.name, len(ready.blocks), len(ready.records))
        if ready.whole and not self._refuses_damage(slide):
            report: Any = read_json(slide.folder.report)
            self._complete(slide, int(report["counts"]["nuclei"]), 0.0)
            return
        for name, column, row in ready.blocks:
            if name not in ready.records:
                self._push(
                    slide,
                    2,
                    BlockTask(
                        str(self._run.root),
                        slide.name,
                        ready.block_key,
                        column,
                        row,
                        self._epoch,
                    ),
                )
        self._stitch_when_whole(slide)

    def _block_done(self, slide: _Slide, record: BlockRecord) -> None:
        slide.records[record.name] = record
        share = slide.planned().tissue_mm2 / max(len(slide.planned().blocks), 1)
        self._progress.block_done(slide.name, record.count, share)
        self._stitch_when_whole(slide)

    def _stitch_when_whole(self, slide: _Slide) -> None:
        ready = slide.ready
        if ready is None or len(slide.records) < len(ready.blocks):
            return
        if self._refuses_damage(slide):
            return
        self._progress.slide_stage(slide.name, "stitch")
        self._push(slide, 1, StitchTask(str(self._run.root), slide.name, ready.segment_key))

    def _refuses_damage(self, slide: _Slide) -> bool:
        """Whether undecodable pixels fail the slide."""
        places = damaged_places(read_plan(slide.folder.plan), slide.records)
        if not places or self._job.damaged == "fill":
            return False
        shown = "; ".join(
            f"x {x0}, y {y0}, {x1 - x0} x {y1 - y0} px: {why}"
            for x0, y0, x1, y1, why in places[:_SHOWN_PLACES]
        )
        more = f"; and {len(places) - _SHOWN_PLACES} more" if len(places) > _SHOWN_PLACES else ""
        self._fail(
            slide,
            Failure(
                f"{slide.entry.path.name}: {len(places)} places of the slide cannot be decoded "
                f"({shown}{more}); pass --damaged fill to go on with background in their place"
            ),
        )
        return True

    def _export(self, slide: _Slide) -> None:
        self._progress.slide_stage(slide.name, "export")
        how = ExportSettings(self._job.ngff, self._job.split_um)
        for name in self._job.exports:
            self._push(slide, 0, ExportTask(str(self._run.root), slide.name, name, how))
        self._finish_when_exported(slide)

    def _finish_when_exported(self, slide: _Slide) -> None:
        stitched, ready = slide.stitched, slide.planned()
        if stitched is None or len(slide.exported) < len(self._job.exports):
            return
        seconds = time.perf_counter() - slide.began
        report = slide_report(
            read_plan(slide.folder.plan),
            read_tissue(slide.folder.tissue),
            slide.records,
            stitched,
            slide.exported,
            ready.seconds,
        )
        report["wall_seconds"] = seconds
        report["export_key"] = export_key(ready.segment_key, self._job)
        write_json(slide.folder.report, report)
        for warning in report["warnings"]:
            self._progress.message(f"{slide.name}: {warning}")
        self._complete(slide, stitched.cells, seconds)

    def _complete(self, slide: _Slide, nuclei: int, seconds: float) -> None:
        slide.folder.failure.unlink(missing_ok=True)
        slide.outcome = SlideOutcome(slide.name, "complete", nuclei, "", seconds)
        self._progress.slide_done(slide.name, nuclei, seconds)

    def _fail(self, slide: _Slide, failure: Failure) -> None:
        if failure.fatal:
            raise DiskFullError(failure.reason)
        write_json(slide.folder.failure, asdict(failure))
        slide.folder.report.unlink(missing_ok=True)
        seconds = time.perf_counter() - slide.began
        slide.outcome = SlideOutcome(slide.name, "failed", None, failure.reason, seconds)
        self._progress.slide_failed(slide.name, failure.reason)
