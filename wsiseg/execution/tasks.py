"""The tasks of a run: small values that any process can perform.

Pixels and cells never travel with them: a task names a place in the run directory, does its
work there and returns a summary.
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
from wsiseg.pipeline.exports import (
    FILES,
    SPLIT_FOLDER,
    Exported,
    ExportSettings,
    write_export,
)
from wsiseg.pipeline.plan import key_of, read_plan
from wsiseg.pipeline.prepare import prepare_in
from wsiseg.pipeline.stitching import Stitched, stitch_slide
from wsiseg.store.blocks import BlockRecord, committed_blocks
from wsiseg.store.folders import RunFolder, SlideFolder

MEASURES = 1
"""Raised whenever a change of wsiseg changes what stitching measures."""


@dataclass(frozen=True, slots=True)
class PrepareTask:
    """Plan a slide, or take up its plan."""

    run: str
    slide: str
    entry: SlideEntry
    job: Job
    new: bool


@dataclass(frozen=True, slots=True)
class StitchTask:
    """Turn the blocks of a slide into cells."""

    run: str
    slide: str
    segment_key: str


@dataclass(frozen=True, slots=True)
class ExportTask:
    """Write one export of a slide."""

    run: str
    slide: str
    name: Export
    how: ExportSettings


Task = PrepareTask | BlockTask | StitchTask | ExportTask


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
    whole
        Whether everything that was asked for lies there already.
    """

    segment_key: str
    block_key: str
    blocks: tuple[tuple[str, int, int], ...]
    records: Mapping[str, BlockRecord]
    tissue_mm2: float
    seconds: Mapping[str, float]
    whole: bool


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
    try:
        match task:
            case PrepareTask():
                return _prepare(task)
            case BlockTask():
                return run_block(RunFolder(Path(task.run)), task)
            case StitchTask():
                return _stitch(task)
            case ExportTask():
                folder = RunFolder(Path(task.run)).slide(task.slide)
                return write_export(folder, read_plan(folder.plan), task.name, task.how)
    except WsisegError as error:
        return Failure(str(error), fatal=isinstance(error, DiskFullError))
    except MemoryError:
        return Failure("out of memory: use fewer workers (--workers)")
    except Exception as error:  # noqa: BLE001 a bug in one slide must not stop the others
        lines = str(error).splitlines() or [""]
        reason = f"unexpected {type(error).__name__}: {lines[0]} (traceback in failure.json)"
        return Failure(reason, detail=traceback.format_exc())


def export_key(segment_key: str, job: Job) -> str:
    """Hash of what the exports depend on."""
    return key_of(
        {
            "segment": segment_key,
            "measures": MEASURES,
            "exports": list(job.exports),
            "ngff": job.ngff,
            "split_um": job.split_um,
        }
    )


def _prepare(task: PrepareTask) -> Ready:
    folder = RunFolder(Path(task.run)).slide(task.slide)
    prepared = prepare_in(folder, task.entry, task.job, new=task.new)
    key = prepared.plan.segment_key
    return Ready(
        segment_key=key,
        block_key=prepared.plan.block_key,
        blocks=tuple((b.name, b.column, b.row) for b in prepared.plan.blocks()),
        records=committed_blocks(folder, prepared.plan.block_key),
        tissue_mm2=prepared.tissue.area_mm2(),
        seconds=prepared.seconds,
        whole=_whole(folder, key, task.job),
    )


def _whole(folder: SlideFolder, segment_key: str, job: Job) -> bool:
    """Whether a report says that all is done, and the files are there."""
    try:
        report: Any = read_json(folder.report)
    except StoreError:
        return False
    files = [
        SPLIT_FOLDER if name == "geojson" and job.split_um else FILES[name] for name in job.exports
    ]
    return bool(
        isinstance(report, dict)
        and report.get("export_key") == export_key(segment_key, job)
        and all((folder.root / file).exists() for file in files)
    )


def _stitch(task: StitchTask) -> Stitched:
    folder = RunFolder(Path(task.run)).slide(task.slide)
    note = folder.root / "stitch.json"
    key = key_of({"segment": task.segment_key, "measures": MEASURES})
    if note.exists() and folder.cells.is_dir():
        known: Any = read_json(note)
        if known.get("key") == key:
            return Stitched(**known["stitched"])
    plan = read_plan(folder.plan)
    info = plan.info(load_segmenter(plan.model).spec, __version__)
    records = committed_blocks(folder, plan.block_key)
    missing = sorted({block.name for block in plan.blocks()} - set(records))
    if missing:
        raise StoreError(f"{folder.blocks} lacks {', '.join(missing)}: run the same command again")
    stitched = stitch_slide(folder, plan, records, info)
    write_json(note, {"key": key, "stitched": asdict(stitched)})
    return stitched
