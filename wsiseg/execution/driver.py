"""Leads a run: decides which task comes next, and what a finished one means."""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field

from wsiseg.errors import DiskFullError, StoreError, WsisegError
from wsiseg.execution.executor import Executor
from wsiseg.execution.progress import Progress
from wsiseg.execution.tasks import (
    ExportTask,
    Failure,
    PrepareTask,
    Ready,
    Result,
    StitchTask,
    TakeUpTask,
    Task,
    unforeseen,
)
from wsiseg.files import write_json
from wsiseg.job import Export, Job, SlideEntry
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
class Order:
    """What is to be done to one slide.

    Attributes
    ----------
    entry
        The slide, with what the job says of all slides where it says nothing itself.
    job
        The job it belongs to.
    new
        Whether what other settings made may be discarded.
    again
        Whether the slide is segmented already and its exports are to be written anew.
    """

    entry: SlideEntry
    job: Job
    new: bool = False
    again: bool = False

    @property
    def how(self) -> ExportSettings:
        """How its exports are written."""
        return ExportSettings(self.job.ngff, self.job.split_um)


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
    order: Order
    folder: SlideFolder
    began: float = 0.0
    ready: Ready | None = None
    records: dict[str, BlockRecord] = field(default_factory=dict)
    stitched: Stitched | None = None
    exported: dict[Export, Exported] = field(default_factory=dict)
    outcome: SlideOutcome | None = None
    told: bool = False

    def planned(self) -> Ready:
        """Its plan, which every later task rests on."""
        if self.ready is None:
            raise RuntimeError(f"{self.name}: a result came before the slide was planned")
        return self.ready

    def missing(self) -> list[Export]:
        """Exports that are asked for and not there yet."""
        return [name for name in self.order.job.exports if name not in self.exported]


class Driver:
    """Leads slides through an executor.

    Tasks of earlier slides go first, so slides end one after the other; those of later slides
    fill what room is left, so that no worker idles at the end of a slide.
    """

    def __init__(
        self, run: RunFolder, orders: Mapping[str, Order], epoch: str, progress: Progress
    ) -> None:
        self._run = run
        self._epoch = epoch
        self._progress = progress
        self._slides = {
            name: _Slide(name, place, order, run.slide(name))
            for place, (name, order) in enumerate(orders.items())
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
            self._push(slide, 3, self._first_task(slide))
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
            slide = self._slides[task.slide]
            try:
                self._handle(slide, result)
            except DiskFullError:
                raise
            except WsisegError as error:
                self._fail(slide, Failure(str(error)))
            except Exception as error:  # noqa: BLE001 one slide must not stop the others
                self._fail(slide, unforeseen(error))
            self._tell(slide, on_outcome)
        return {name: slide.outcome for name, slide in self._slides.items() if slide.outcome}

    @staticmethod
    def _tell(slide: _Slide, on_outcome: Callable[[SlideOutcome], None]) -> None:
        if slide.outcome is not None and not slide.told:
            slide.told = True
            on_outcome(slide.outcome)

    def _push(self, slide: _Slide, stage: int, task: Task) -> None:
        heapq.heappush(self._heap, (slide.place, stage, next(self._count), task))

    def _first_task(self, slide: _Slide) -> Task:
        place, order = (str(self._run.root), slide.name, self._epoch), slide.order
        if order.again:
            return TakeUpTask(*place)
        return PrepareTask(*place, order.entry, order.job, order.new)

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
                slide.exported[result.name] = result
                self._finish_when_exported(slide)

    def _begin(self, slide: _Slide, ready: Ready) -> None:
        slide.ready = ready
        slide.records = dict(ready.records)
        if not slide.order.again:
            slide.exported = {
                item.name: item
                for item in ready.exported
                if item.whole(slide.folder, slide.order.how, ready.segment_key)
            }
        self._progress.slide_started(slide.name, len(ready.blocks), len(ready.records))
        if ready.nuclei is not None and not slide.missing():
            if not self._refuses_damage(slide):
                self._complete(slide, ready.nuclei, 0.0)
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
        if len(slide.records) < len(slide.planned().blocks):
            return
        if self._refuses_damage(slide):
            return
        self._progress.slide_stage(slide.name, "stitch")
        self._push(slide, 1, StitchTask(str(self._run.root), slide.name, self._epoch))

    def _refuses_damage(self, slide: _Slide) -> bool:
        """Whether undecodable pixels fail the slide."""
        places = damaged_places(read_plan(slide.folder.plan), slide.records)
        if not places or slide.order.job.damaged == "fill" or slide.order.again:
            return False
        shown = "; ".join(
            f"x {x0}, y {y0}, {x1 - x0} x {y1 - y0} px: {why}"
            for x0, y0, x1, y1, why in places[:_SHOWN_PLACES]
        )
        more = f"; and {len(places) - _SHOWN_PLACES} more" if len(places) > _SHOWN_PLACES else ""
        self._fail(
            slide,
            Failure(
                f"{slide.order.entry.path.name}: {len(places)} places of the slide cannot be "
                f"decoded ({shown}{more}); pass --damaged fill to go on with background in their "
                "place"
            ),
        )
        return True

    def _export(self, slide: _Slide) -> None:
        self._progress.slide_stage(slide.name, "export")
        place = str(self._run.root), slide.name, self._epoch
        for name in slide.missing():
            self._push(slide, 0, ExportTask(*place, name, slide.order.how))
        self._finish_when_exported(slide)

    def _finish_when_exported(self, slide: _Slide) -> None:
        stitched, ready = slide.stitched, slide.planned()
        if stitched is None or slide.missing():
            return
        # Exports of the same segmentation that were not asked for this time are still there.
        earlier = [e for e in ready.exported if (slide.folder.root / e.file).exists()]
        exported = {e.name: e for e in earlier} | slide.exported
        plan = read_plan(slide.folder.plan)
        report = slide_report(
            plan,
            read_tissue(slide.folder.tissue, plan.segment_key),
            slide.records,
            stitched,
            tuple(exported.values()),
            ready.seconds,
        )
        seconds = time.perf_counter() - slide.began
        report["wall_seconds"] = seconds
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
        # What an earlier run finished stays finished, whatever this one refuses or lacks.
        if not slide.folder.report.exists():
            with suppress(StoreError):
                write_json(slide.folder.failure, asdict(failure))
        seconds = time.perf_counter() - slide.began
        slide.outcome = SlideOutcome(slide.name, "failed", None, failure.reason, seconds)
        self._progress.slide_failed(slide.name, failure.reason)
