"""The tasks of a run: small values that any process can perform.

Pixels and cells never travel with them: a task names a place in the run directory, does its
work there and returns a summary. Each carries the epoch of the driver that asked for it, and
does nothing once another driver has taken the run directory over.
"""

from __future__ import annotations

import errno
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from wsiseg import __version__
from wsiseg.errors import DiskFullError, StoreError, UnreadableSlideError, WsisegError
from wsiseg.execution.heap import keep_freed_memory
from wsiseg.files import read_json, storage_trouble, write_json
from wsiseg.geometry import Box
from wsiseg.job import Export, Job, SlideEntry
from wsiseg.models.network.runtime import let_go_of_memory
from wsiseg.models.zoo import load_segmenter
from wsiseg.pipeline.block import BlockTask, run_block
from wsiseg.pipeline.damage import require_lasting
from wsiseg.pipeline.exports import Exported, ExportSettings, write_export
from wsiseg.pipeline.measuring import (
    Measured,
    MeasureSettings,
    Surveyed,
    forget_slides,
    measure_part,
    measured_key,
    survey_features,
)
from wsiseg.pipeline.plan import SlidePlan, key_of, read_plan
from wsiseg.pipeline.prepare import Prepared, prepare_in
from wsiseg.pipeline.session import forget_sessions
from wsiseg.pipeline.stitching import MEASURES, Stitched, stitch_slide
from wsiseg.pipeline.windows import SEARCH_PX
from wsiseg.slides.chunked import Damage
from wsiseg.store.blocks import BlockRecord, committed_blocks, stated_blocks
from wsiseg.store.cells import StoredCells
from wsiseg.store.folders import RunFolder, SlideFolder
from wsiseg.store.lock import lock_epoch
from wsiseg.store.tissue import read_tissue
from wsiseg.tiling import Block


@dataclass(frozen=True, slots=True)
class PrepareTask:
    """Plan a slide, or take up its plan."""

    run: str
    slide: str
    epoch: str
    entry: SlideEntry
    job: Job
    new: bool


@dataclass(frozen=True, slots=True)
class TakeUpTask:
    """Take up the plan of a segmented slide, whether its file is still there or not."""

    run: str
    slide: str
    epoch: str


@dataclass(frozen=True, slots=True)
class StitchTask:
    """Turn the blocks of a slide into cells."""

    run: str
    slide: str
    epoch: str


@dataclass(frozen=True, slots=True)
class SurveyTask:
    """Plan what is measured of a slide's cells."""

    run: str
    slide: str
    epoch: str
    how: MeasureSettings


@dataclass(frozen=True, slots=True)
class MeasureTask:
    """Measure a part of a slide's cells."""

    run: str
    slide: str
    epoch: str
    key: str
    part: int


@dataclass(frozen=True, slots=True)
class ExportTask:
    """Write one export of a slide."""

    run: str
    slide: str
    epoch: str
    name: Export
    how: ExportSettings


Task = PrepareTask | TakeUpTask | BlockTask | StitchTask | SurveyTask | MeasureTask | ExportTask


@dataclass(frozen=True, slots=True)
class Ready:
    """A slide that can be worked on.

    Attributes
    ----------
    segment_key, block_key
        Keys of its segmentation and of its blocks.
    blocks
        ``(name, column, row)`` of every block, in the order that they are done in.
    records
        Blocks that are committed already.
    tissue_mm2
        Area of its tissue.
    seconds
        Time each step took.
    exported
        What the report of an earlier run says was exported of this segmentation.
    nuclei
        Number of cells by that report; ``None`` without one.
    about
        What that report has from the user, see :attr:`wsiseg.job.SlideEntry.about`.
    measured
        The measure key of its features, where all are there.
    """

    segment_key: str
    block_key: str
    blocks: tuple[tuple[str, int, int], ...]
    records: Mapping[str, BlockRecord]
    tissue_mm2: float
    seconds: Mapping[str, float]
    exported: tuple[Exported, ...]
    nuclei: int | None
    about: Mapping[str, object]
    measured: str | None


@dataclass(frozen=True, slots=True)
class Failure:
    """A task that failed, told across processes.

    Attributes
    ----------
    reason
        One sentence for the user.
    detail
        The traceback, where the cause is not one that wsiseg foresees.
    fatal
        Whether no other task can succeed either (a full disk).
    passing
        Whether the storage could not be reached: the same task may succeed later.
    """

    reason: str
    detail: str = ""
    fatal: bool = False
    passing: bool = False


Result = Ready | BlockRecord | Stitched | Surveyed | Measured | Exported | Failure


def perform_all(tasks: Sequence[Task]) -> tuple[tuple[Result, ...], float]:
    """Do tasks one after the other; their results, and the seconds that all took."""
    begin = time.perf_counter()
    results = tuple(perform(task) for task in tasks)
    return results, time.perf_counter() - begin


def perform(task: Task) -> Result:
    """Do a task; errors come back as a :class:`Failure`."""
    keep_freed_memory()
    run = RunFolder(Path(task.run))
    folder = run.slide(task.slide)
    try:
        if lock_epoch(run) != task.epoch:
            if not run.root.exists():
                raise OSError(errno.EIO, f"{run.root} is not there")
            raise StoreError(f"{run.root} is no longer held by the run that asked for this")
        return _done(task, run, folder)
    except MemoryError:
        return Failure("out of memory: use fewer workers (--workers)")
    except Exception as error:  # noqa: BLE001 a bug in one slide must not stop the others
        if _may_pass(task, folder, error):
            forget_sessions()
            forget_slides()
            return Failure(str(error), passing=True)
        if isinstance(error, WsisegError):
            return Failure(str(error), fatal=isinstance(error, DiskFullError))
        return unforeseen(error)


def warm_up(model: str, device: str) -> None:
    """Have a model ready before its first block: loaded, compiled and tried where that is cheap.

    What goes wrong here goes wrong again in the tasks that need the model, and is told there.
    """
    with suppress(Exception):
        segmenter = load_segmenter(model, device)
        spec = segmenter.spec
        if spec.exact:
            side = 2 * spec.halo + -(-SEARCH_PX // spec.stride) * spec.stride
            blank = np.full((1, side, side, spec.channels), 255, np.uint8)
            segmenter.decode(segmenter.predict(blank, segmenter.calibrate([])))


def _done(task: Task, run: RunFolder, folder: SlideFolder) -> Result:
    if not isinstance(task, PrepareTask | BlockTask):
        # The plan of memory counts the larger of the two, not their sum.
        let_go_of_memory()
    match task:
        case PrepareTask():
            return _ready(folder, _prepared(folder, task))
        case TakeUpTask():
            plan = read_plan(folder.plan)
            tissue = read_tissue(folder.tissue, plan.segment_key)
            return _ready(folder, Prepared(plan, tissue, {}))
        case BlockTask():
            return run_block(run, task)
        case StitchTask():
            return _stitch(folder)
        case SurveyTask():
            return survey_features(folder, task.how)
        case MeasureTask():
            return measure_part(folder, task.key, task.part)
        case ExportTask():
            return write_export(folder, read_plan(folder.plan), task.name, task.how)


def _may_pass(task: Task, folder: SlideFolder, error: Exception) -> bool:
    """Whether an error comes from storage that may be reached again later.

    A slide that was planned has been read before: whatever makes it unreadable may pass. A file
    that is missing is taken for removed, or for a mistake, unless the folder around it is gone or
    empty.
    """
    if isinstance(error, DiskFullError):
        return False
    if storage_trouble(error):
        return True
    if isinstance(task, PrepareTask):
        return isinstance(error, UnreadableSlideError) and not _inhabited(task.entry.path.parent)
    if not isinstance(error, OSError | UnreadableSlideError) or not folder.plan.exists():
        return False
    slide = read_plan(folder.plan).path
    return slide.exists() or not _inhabited(slide.parent)


def _inhabited(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def _prepared(folder: SlideFolder, task: PrepareTask) -> Prepared:
    prepared = prepare_in(folder, task.entry, task.job, new=task.new)
    plan = prepared.plan
    try:
        damage = [Damage(Box(*place[:4]), place[4]) for place in plan.damage]
        require_lasting(plan.path, plan.reader, plan.stated_mpp, damage)
    except OSError:
        # Tissue and statistics were found on pixels that were not those of the slide.
        folder.plan.unlink(missing_ok=True)
        raise
    return prepared


def unforeseen(error: Exception) -> Failure:
    """A failure that nobody foresaw; the first line for the user, the rest for us."""
    lines = str(error).splitlines() or [""]
    reason = f"unexpected {type(error).__name__}: {lines[0]} (traceback in failure.json)"
    return Failure(reason, detail="".join(traceback.format_exception(error)))


def _ready(folder: SlideFolder, prepared: Prepared) -> Ready:
    plan = prepared.plan
    known = reported(folder, plan.segment_key)
    return Ready(
        segment_key=plan.segment_key,
        block_key=plan.block_key,
        blocks=tuple((b.name, b.column, b.row) for b in _largest_first(plan)),
        records=committed_blocks(folder, plan.block_key),
        tissue_mm2=prepared.tissue.area_mm2(),
        seconds=prepared.seconds,
        exported=known.exported,
        nuclei=known.nuclei,
        about=known.about,
        measured=measured_key(folder),
    )


def _largest_first(plan: SlidePlan) -> list[Block]:
    """The blocks of a slide: those of many tiles first, for the last end at different times on
    different workers; otherwise row by row."""
    return sorted(plan.blocks(), key=lambda block: -len(block.tiles))


@dataclass(frozen=True, slots=True)
class Reported:
    """What the report of an earlier run says: exports, cells, what the user told of the slide."""

    exported: tuple[Exported, ...] = ()
    nuclei: int | None = None
    about: Mapping[str, object] = field(default_factory=dict)


def reported(folder: SlideFolder, segment_key: str) -> Reported:
    """What a report of the same segmentation says; nothing if there is none or it is unreadable."""
    try:
        report: Any = read_json(folder.report)
        if report["segment_key"] != segment_key:
            return Reported()
        exported = tuple(Exported(name=n, **item) for n, item in report["exports"].items())
        return Reported(exported, int(report["counts"]["nuclei"]), dict(report["about"]))
    except (StoreError, KeyError, TypeError, ValueError, AttributeError):
        return Reported()


def _stitch(folder: SlideFolder) -> Stitched:
    plan = read_plan(folder.plan)
    key = key_of({"segment": plan.segment_key, "measures": MEASURES})
    note = folder.root / "stitch.json"
    known = _known_stitch(folder, note, key)
    if known is not None:
        return known
    info = plan.info(load_segmenter(plan.model, plan.device).spec, __version__)
    records = stated_blocks(folder, plan.block_key)
    missing = sorted({block.name for block in plan.blocks()} - set(records))
    if missing:
        raise StoreError(f"{folder.blocks} lacks {', '.join(missing)}: run the same command again")
    stitched = stitch_slide(folder, plan, records, info)
    write_json(note, {"key": key, "stitched": asdict(stitched)})
    return stitched


def _known_stitch(folder: SlideFolder, note: Path, key: str) -> Stitched | None:
    """What an earlier stitching left, if it is of this key and every part can be read."""
    try:
        known: Any = read_json(note)
        if known["key"] != key:
            return None
        source = StoredCells(folder.cells)
        for part in range(len(source.extents)):
            source.read(part)
        return Stitched(**known["stitched"])
    except (StoreError, KeyError, TypeError, AttributeError):
        return None
