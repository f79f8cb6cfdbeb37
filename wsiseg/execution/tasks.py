"""The tasks of a run: small values that any process can perform.

Pixels and cells never travel with them: a task names a place in the run directory, does its
work there and returns a summary. Each carries the epoch of the driver that asked for it, and
does nothing once another driver has taken the run directory over.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from wsiseg import __version__
from wsiseg.errors import DiskFullError, StoreError, WsisegError
from wsiseg.files import read_json, write_json
from wsiseg.job import Export, Job, SlideEntry
from wsiseg.models.zoo import load_segmenter
from wsiseg.pipeline.block import BlockTask, run_block
from wsiseg.pipeline.exports import MEASURES, Exported, ExportSettings, write_export
from wsiseg.pipeline.plan import key_of, read_plan
from wsiseg.pipeline.prepare import Prepared, prepare_in
from wsiseg.pipeline.stitching import Stitched, stitch_slide
from wsiseg.store.blocks import BlockRecord, committed_blocks
from wsiseg.store.cells import StoredCells
from wsiseg.store.folders import RunFolder, SlideFolder
from wsiseg.store.lock import lock_epoch
from wsiseg.store.tissue import read_tissue


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
class ExportTask:
    """Write one export of a slide."""

    run: str
    slide: str
    epoch: str
    name: Export
    how: ExportSettings


Task = PrepareTask | TakeUpTask | BlockTask | StitchTask | ExportTask


@dataclass(frozen=True, slots=True)
class Ready:
    """A slide that can be worked on.

    Attributes
    ----------
    segment_key, block_key
        Keys of its segmentation and of its blocks.
    blocks
        ``(name, column, row)`` of every block.
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
    """

    segment_key: str
    block_key: str
    blocks: tuple[tuple[str, int, int], ...]
    records: Mapping[str, BlockRecord]
    tissue_mm2: float
    seconds: Mapping[str, float]
    exported: tuple[Exported, ...]
    nuclei: int | None


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
    """

    reason: str
    detail: str = ""
    fatal: bool = False


Result = Ready | BlockRecord | Stitched | Exported | Failure


def perform(task: Task) -> Result:
    """Do a task; errors come back as a :class:`Failure`."""
    run = RunFolder(Path(task.run))
    folder = run.slide(task.slide)
    try:
        if lock_epoch(run) != task.epoch:
            raise StoreError(f"{run.root} is no longer held by the run that asked for this")
        match task:
            case PrepareTask():
                return _ready(folder, prepare_in(folder, task.entry, task.job, new=task.new))
            case TakeUpTask():
                plan = read_plan(folder.plan)
                tissue = read_tissue(folder.tissue, plan.segment_key)
                return _ready(folder, Prepared(plan, tissue, {}))
            case BlockTask():
                return run_block(run, task)
            case StitchTask():
                return _stitch(folder)
            case ExportTask():
                return write_export(folder, read_plan(folder.plan), task.name, task.how)
    except WsisegError as error:
        return Failure(str(error), fatal=isinstance(error, DiskFullError))
    except MemoryError:
        return Failure("out of memory: use fewer workers (--workers)")
    except Exception as error:  # noqa: BLE001 a bug in one slide must not stop the others
        return unforeseen(error)


def unforeseen(error: Exception) -> Failure:
    """A failure that nobody foresaw; the first line for the user, the rest for us."""
    lines = str(error).splitlines() or [""]
    reason = f"unexpected {type(error).__name__}: {lines[0]} (traceback in failure.json)"
    return Failure(reason, detail="".join(traceback.format_exception(error)))


def _ready(folder: SlideFolder, prepared: Prepared) -> Ready:
    plan = prepared.plan
    exported, nuclei = _reported(folder, plan.segment_key)
    return Ready(
        segment_key=plan.segment_key,
        block_key=plan.block_key,
        blocks=tuple((b.name, b.column, b.row) for b in plan.blocks()),
        records=committed_blocks(folder, plan.block_key),
        tissue_mm2=prepared.tissue.area_mm2(),
        seconds=prepared.seconds,
        exported=exported,
        nuclei=nuclei,
    )


def _reported(folder: SlideFolder, segment_key: str) -> tuple[tuple[Exported, ...], int | None]:
    """What a report of the same segmentation says of exports and cells; nothing if unreadable."""
    try:
        report: Any = read_json(folder.report)
        if report["segment_key"] != segment_key:
            return (), None
        exported = tuple(Exported(name=n, **item) for n, item in report["exports"].items())
        return exported, int(report["counts"]["nuclei"])
    except (StoreError, KeyError, TypeError, ValueError, AttributeError):
        return (), None


def _stitch(folder: SlideFolder) -> Stitched:
    plan = read_plan(folder.plan)
    key = key_of({"segment": plan.segment_key, "measures": MEASURES})
    note = folder.root / "stitch.json"
    known = _known_stitch(folder, note, key)
    if known is not None:
        return known
    info = plan.info(load_segmenter(plan.model).spec, __version__)
    records = committed_blocks(folder, plan.block_key)
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
