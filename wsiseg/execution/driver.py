"""Leads a run: decides which task comes next, and what a finished one means."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field

from wsiseg.errors import DiskFullError, StoreError, WsisegError
from wsiseg.execution.agenda import PAUSES, Agenda
from wsiseg.execution.executor import Executor
from wsiseg.execution.progress import Progress
from wsiseg.execution.tasks import (
    ExportTask,
    Failure,
    MeasureTask,
    PrepareTask,
    Ready,
    Result,
    StitchTask,
    SurveyTask,
    TakeUpTask,
    Task,
    unforeseen,
)
from wsiseg.files import storage_trouble, write_json
from wsiseg.job import Export, Job, SlideEntry
from wsiseg.pipeline.block import BlockTask
from wsiseg.pipeline.exports import Exported, ExportSettings, longest_first
from wsiseg.pipeline.measuring import Measured, MeasureSettings, Surveyed
from wsiseg.pipeline.plan import read_plan
from wsiseg.pipeline.report import damaged_places, slide_report, told_speed
from wsiseg.pipeline.stitching import Stitched
from wsiseg.store.blocks import BlockRecord
from wsiseg.store.folders import RunFolder, SlideFolder
from wsiseg.store.lock import Lock
from wsiseg.store.tissue import read_tissue
from wsiseg.summary.measured import median_nuclear_area

_UNMEASURED: frozenset[Export] = frozenset({"labels", "overview", "tissue"})
"""Exports that show no features: they need not wait until these are measured."""

_SHOWN_PLACES = 3
_LOOK_SECONDS = 5.0


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
    stale_only
        With ``again``: only those exports that other settings made.
    """

    entry: SlideEntry
    job: Job
    new: bool = False
    again: bool = False
    stale_only: bool = False

    @property
    def how(self) -> ExportSettings:
        """How its exports are written."""
        return ExportSettings(
            self.job.ngff, self.job.split_um, self.entry.about, self.measure, self.job.classifier
        )

    @property
    def measure(self) -> MeasureSettings:
        """What is measured of its cells."""
        return MeasureSettings(self.job.features, self.entry.stain, self.job.stain_vectors)


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
    unmeasured: set[int] | None = None
    measure_seconds: float = 0.0
    begun: set[Export] = field(default_factory=set)
    exported: dict[Export, Exported] = field(default_factory=dict)
    outcome: SlideOutcome | None = None

    def planned(self) -> Ready:
        """Its plan, which every later task rests on."""
        if self.ready is None:
            raise RuntimeError(f"{self.name}: a result came before the slide was planned")
        return self.ready

    def missing(self) -> list[Export]:
        """Exports that are asked for and not there yet."""
        return [name for name in self.order.job.exports if name not in self.exported]

    @property
    def is_measured(self) -> bool:
        """Whether it is known what there is to measure, and all of that is done."""
        return self.unmeasured is not None and not self.unmeasured

    def is_early(self, name: Export) -> bool:
        """Whether an export can be written before the cells are measured."""
        return name in _UNMEASURED and self.order.job.classifier is None


class Driver:
    """Leads slides through an executor.

    Tasks of earlier slides go first, so slides end one after the other; those of later slides
    fill what room is left, so that no worker idles at the end of a slide.
    """

    def __init__(
        self,
        run: RunFolder,
        orders: Mapping[str, Order],
        lock: Lock,
        progress: Progress,
    ) -> None:
        self._run = run
        self._lock = lock
        self._epoch = lock.epoch
        self._progress = progress
        self._slides = {
            name: _Slide(name, place, order, run.slide(name))
            for place, (name, order) in enumerate(orders.items())
        }
        self._agenda = Agenda()
        self._untold: deque[SlideOutcome] = deque()
        self._told_at = time.monotonic()

    def lead(
        self, executor: Executor, on_outcome: Callable[[SlideOutcome], None]
    ) -> dict[str, SlideOutcome]:
        """Do everything; the outcome of every slide by name.

        Raises
        ------
        DiskFullError
            If the disk is full: no slide could go on.
        RunLockedError
            If the run directory is no longer held.
        ClusterError
            If nobody is left to do the work.
        """
        for slide in self._slides.values():
            self._push(slide, 3, self._first_task(slide))
        while self._agenda or self._untold:
            self._lock.check()
            while (task := self._agenda.take(executor.takes)) is not None:
                self._send(executor, task)
            if not self._agenda and not self._untold:
                break
            finished = executor.next(self._patience())
            if finished is not None:
                self._finish(*finished)
            self._tell(on_outcome)
        return {name: slide.outcome for name, slide in self._slides.items() if slide.outcome}

    def _send(self, executor: Executor, task: Task) -> None:
        slide = self._slides[task.slide]
        if not slide.began:
            slide.began = time.perf_counter()
            self._progress.slide_planning(slide.name)
        executor.submit(task)

    def _finish(self, task: Task, result: Result) -> None:
        slide = self._slides[task.slide]
        failure = None
        try:
            if isinstance(result, Failure):
                failure = result
            else:
                self._handle(slide, result)
        except DiskFullError:
            raise
        except WsisegError as error:
            failure = Failure(str(error), passing=storage_trouble(error))
        except Exception as error:  # noqa: BLE001 one slide must not stop the others
            failure = unforeseen(error)
        if slide.outcome is not None or failure is None or not failure.passing:
            self._agenda.close(task)
            if failure is not None and slide.outcome is None:
                self._fail(slide, failure)
        else:
            self._postpone(slide, task, failure)

    def _postpone(self, slide: _Slide, task: Task, failure: Failure) -> None:
        """Try again later what failed because storage could not be reached."""
        pause = self._agenda.postpone(task)
        if pause is None:
            tried = f"tried {len(PAUSES)} more times in {sum(PAUSES) / 60:.0f} min"
            self._fail(slide, Failure(f"{failure.reason} ({tried})", failure.detail))
        elif pause:
            self._progress.slide_warning(
                slide.name,
                f"storage cannot be reached: {failure.reason}; trying again in {pause:g} s",
            )

    def _patience(self) -> float:
        """Seconds to wait at most before something else is to be looked after."""
        return self._agenda.patience(1.0 if self._untold else _LOOK_SECONDS)

    def _tell(self, on_outcome: Callable[[SlideOutcome], None]) -> None:
        """Pass outcomes on; where that fails for storage, it is tried again."""
        while self._untold:
            try:
                on_outcome(self._untold[0])
            except StoreError as error:
                late = time.monotonic() - self._told_at > sum(PAUSES)
                if late or not storage_trouble(error):
                    raise
                return
            self._untold.popleft()
        self._told_at = time.monotonic()

    def _push(self, slide: _Slide, stage: int, task: Task) -> None:
        self._agenda.push(slide.place, stage, task)

    def _end(self, slide: _Slide, outcome: SlideOutcome) -> None:
        slide.outcome = outcome
        self._agenda.end(slide.name)
        self._untold.append(outcome)

    def _first_task(self, slide: _Slide) -> Task:
        place, order = (str(self._run.root), slide.name, self._epoch), slide.order
        if order.again:
            return TakeUpTask(*place)
        return PrepareTask(*place, order.entry, order.job, order.new)

    def _handle(self, slide: _Slide, result: Result) -> None:
        if slide.outcome is not None:
            return
        match result:
            case Ready():
                self._begin(slide, result)
            case BlockRecord():
                self._block_done(slide, result)
            case Stitched():
                slide.stitched = result
                self._measure(slide)
            case Surveyed():
                self._measure_parts(slide, result)
            case Measured():
                slide.measure_seconds += result.seconds
                if slide.unmeasured is not None:
                    slide.unmeasured.discard(result.part)
                    self._export_when_measured(slide)
            case Exported():
                slide.exported[result.name] = result
                self._finish_when_exported(slide)

    def _begin(self, slide: _Slide, ready: Ready) -> None:
        again = slide.ready is not None
        slide.ready = ready
        slide.records = dict(ready.records)
        if not slide.order.again or slide.order.stale_only:
            slide.exported = {
                item.name: item
                for item in ready.exported
                if item.whole(slide.folder, slide.order.how, ready.segment_key)
            }
        self._progress.slide_started(slide.name, len(ready.blocks), len(ready.records))
        told = ready.about == slide.order.entry.about
        key = slide.order.measure.key(ready.segment_key)
        measured = not slide.order.measure.sets or ready.measured == key
        if ready.nuclei is not None and told and measured and not slide.missing():
            if not self._refuses_damage(slide):
                self._complete(slide, ready.nuclei, 0.0)
            return
        if ready.nuclei is not None and not measured:
            self._progress.message(
                f"{slide.name}: its cells are measured anew, the segmentation stays"
            )
        for name, column, row in () if again else ready.blocks:
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
        busy = sum(record.seconds.values())
        self._progress.block_done(slide.name, record.name, record.count, share, busy)
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

    def _measure(self, slide: _Slide) -> None:
        how = slide.order.measure
        if not how.sets:
            slide.unmeasured = set()
            self._export_when_measured(slide)
            return
        self._progress.slide_stage(slide.name, "measure")
        self._push(slide, 1, SurveyTask(str(self._run.root), slide.name, self._epoch, how))
        # One beside the survey, which nobody can help with; the others where measuring ends.
        early = [name for name in longest_first(slide.missing()) if slide.is_early(name)]
        for number, name in enumerate(early):
            self._begin_export(slide, 2 if number else 1, name)

    def _measure_parts(self, slide: _Slide, surveyed: Surveyed) -> None:
        slide.unmeasured = set(surveyed.missing)
        place = str(self._run.root), slide.name, self._epoch
        for part in surveyed.missing:
            self._push(slide, 1, MeasureTask(*place, surveyed.key, part))
        self._export_when_measured(slide)

    def _export_when_measured(self, slide: _Slide) -> None:
        if not slide.is_measured:
            return
        self._progress.slide_stage(slide.name, "export")
        for name in longest_first(slide.missing()):
            self._begin_export(slide, 0, name)
        self._finish_when_exported(slide)

    def _begin_export(self, slide: _Slide, stage: int, name: Export) -> None:
        if name in slide.begun:
            return
        slide.begun.add(name)
        place = str(self._run.root), slide.name, self._epoch
        self._push(slide, stage, ExportTask(*place, name, slide.order.how))

    def _finish_when_exported(self, slide: _Slide) -> None:
        stitched, ready = slide.stitched, slide.planned()
        if stitched is None or not slide.is_measured or slide.missing():
            return
        # Exports of the same segmentation that were not asked for this time are still there.
        earlier = [e for e in ready.exported if (slide.folder.root / e.file).exists()]
        exported = {e.name: e for e in earlier} | slide.exported
        plan = read_plan(slide.folder.plan)
        report = slide_report(
            slide.folder,
            plan,
            read_tissue(slide.folder.tissue, plan.segment_key),
            slide.records,
            stitched,
            tuple(exported.values()),
            ready.seconds,
            slide.order.entry.about,
            slide.order.measure,
        )
        report["seconds"]["measure"] = slide.measure_seconds
        seconds = time.perf_counter() - slide.began
        report["wall_seconds"] = seconds
        report["speed"] = told_speed(report, seconds)
        report["nuclear_area_um2"] = median_nuclear_area(slide.folder)
        report["storage_retries"] = self._agenda.retries(slide.name)
        write_json(slide.folder.report, report)
        for warning in report["warnings"]:
            self._progress.slide_warning(slide.name, warning)
        self._complete(slide, stitched.cells, seconds)

    def _complete(self, slide: _Slide, nuclei: int, seconds: float) -> None:
        slide.folder.failure.unlink(missing_ok=True)
        self._end(slide, SlideOutcome(slide.name, "complete", nuclei, "", seconds))
        self._progress.slide_done(slide.name, nuclei, seconds)

    def _fail(self, slide: _Slide, failure: Failure) -> None:
        if failure.fatal:
            raise DiskFullError(failure.reason)
        # What an earlier run finished stays finished, whatever this one refuses or lacks.
        if not slide.folder.report.exists():
            with suppress(StoreError):
                write_json(slide.folder.failure, asdict(failure))
        seconds = time.perf_counter() - slide.began
        self._end(slide, SlideOutcome(slide.name, "failed", None, failure.reason, seconds))
        self._progress.slide_failed(slide.name, failure.reason)
