"""``wsiseg.run``: the one path from a job to results, for the command line and for Python."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsiseg import __version__
from wsiseg.errors import ConfigurationError
from wsiseg.execution.driver import Driver, SlideOutcome
from wsiseg.execution.executor import Executor, InlineExecutor
from wsiseg.execution.memory import MemoryWatch, choose_workers, plan_memory
from wsiseg.execution.progress import Progress, Quiet
from wsiseg.files import sweep
from wsiseg.job import Job, SlideEntry
from wsiseg.models.zoo import load_segmenter
from wsiseg.pipeline.report import versions
from wsiseg.store.folders import RunFolder, read_manifest, write_manifest
from wsiseg.store.lock import locked

FORMAT = 1


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended.

    Attributes
    ----------
    out
        The run directory.
    slides
        Outcome of every slide by the name of its folder.
    seconds
        Wall time.
    peak_bytes, planned_bytes
        Resident memory of all processes together at its peak, and as planned.
    """

    out: Path
    slides: Mapping[str, SlideOutcome]
    seconds: float
    peak_bytes: int
    planned_bytes: int

    @property
    def failed(self) -> tuple[SlideOutcome, ...]:
        """The slides that failed."""
        return tuple(o for o in self.slides.values() if o.state == "failed")


def run(
    job: Job,
    out: str | Path,
    *,
    workers: int | None = None,
    inline: bool = False,
    new: bool = False,
    progress: Progress | None = None,
) -> RunResult:
    """Segment the slides of a job and write what it asks for into a run directory.

    A run that was interrupted goes on where it stopped; what is whole is not done again. A
    slide that fails does not stop the others: look at :attr:`RunResult.failed`.

    Parameters
    ----------
    job
        What to do.
    out
        The run directory; made where it is missing.
    workers
        Number of processes; ``None``: one a core, or as many as the memory holds.
    inline
        Do everything in this process.
    new
        Segment again what lies there from other settings, in place of refusing.
    progress
        Told of every event.

    Raises
    ------
    WsisegError
        If the run as a whole cannot go on: wrong settings, the directory is in use, the disk
        is full, the memory too small.
    """
    begin = time.perf_counter()
    folder = RunFolder(Path(out).resolve())
    names = slide_names(job)
    spec = load_segmenter(job.model).spec
    core = job.core or spec.core
    count = 0 if inline else choose_workers(spec, core + 2 * spec.halo, workers)
    planned = plan_memory(spec, core + 2 * spec.halo, count)
    watcher = progress or Quiet()
    with locked(folder) as epoch, MemoryWatch() as memory:
        sweep(folder.root)
        manifest = _manifest(folder, job, names)
        write_manifest(folder, manifest)

        def note(outcome: SlideOutcome) -> None:
            manifest["slides"][outcome.name].update(_state(outcome))
            write_manifest(folder, manifest)

        driver = Driver(folder, job, names, epoch, new=new, progress=watcher)
        executor = _executor(count)
        try:
            outcomes = driver.lead(executor, note)
        finally:
            executor.close()
        seconds = time.perf_counter() - begin
        manifest["last_run"] = {
            "seconds": seconds,
            "workers": count,
            "memory_peak_bytes": memory.peak_bytes,
            "memory_planned_bytes": planned.total,
        }
        write_manifest(folder, manifest)
    return RunResult(folder.root, outcomes, seconds, memory.peak_bytes, planned.total)


def export_run(
    out: str | Path,
    settings: Mapping[str, Any],
    *,
    slides: Sequence[str] | None = None,
    workers: int | None = None,
    inline: bool = False,
    progress: Progress | None = None,
) -> RunResult:
    """Write or rewrite outputs of the finished slides in a run directory.

    Parameters
    ----------
    out
        The run directory.
    settings
        ``exports``, ``ngff``, ``split_um`` in place of those of the run.
    slides
        Names of slides in the run directory; ``None``: all that are whole.
    workers, inline, progress
        As for :func:`run`.

    Raises
    ------
    WsisegError
        If the directory holds no finished slide of that name, or a setting is wrong.
    """
    folder = RunFolder(Path(out).resolve())
    manifest = read_manifest(folder)
    whole = [n for n, slide in manifest["slides"].items() if slide["state"] == "complete"]
    chosen = list(slides) if slides else whole
    missing = [name for name in chosen if name not in whole]
    if missing or not chosen:
        raise ConfigurationError(
            f"{folder.root} has no finished slide {', '.join(missing) or 'at all'}"
            + (f"; it has {', '.join(whole)}" if whole else "")
        )
    entries = [
        {k: v for k, v in manifest["slides"][name].items() if k in SlideEntry.model_fields}
        for name in chosen
    ]
    job = Job.checked({**manifest["job"], **settings, "slides": entries})
    for name in chosen:
        folder.slide(name).report.unlink(missing_ok=True)
    return run(job, out, workers=workers, inline=inline, progress=progress)


def slide_names(job: Job) -> dict[str, SlideEntry]:
    """A folder name for every slide: its file name, with a digest of its path where two agree.

    Raises
    ------
    ConfigurationError
        If a slide is named twice.
    """
    plain = [re.sub(r"[^\w.-]+", "_", entry.path.name) for entry in job.slides]
    names: dict[str, SlideEntry] = {}
    seen: set[Path] = set()
    for name, entry in zip(plain, job.slides, strict=True):
        path = entry.path.resolve()
        if path in seen:
            raise ConfigurationError(f"{entry.path} is named twice")
        seen.add(path)
        digest = hashlib.blake2b(str(path).encode(), digest_size=4).hexdigest()
        unique = name if plain.count(name) == 1 else f"{name}-{digest}"
        names[unique] = entry
    return names


def _executor(workers: int) -> Executor:
    if workers == 0:
        return InlineExecutor()
    from wsiseg.execution.dask_executor import DaskExecutor

    return DaskExecutor(workers)


def _manifest(folder: RunFolder, job: Job, names: Mapping[str, SlideEntry]) -> dict[str, Any]:
    slides: dict[str, Any] = read_manifest(folder)["slides"] if folder.manifest.exists() else {}
    for name, entry in names.items():
        slides[name] = {**entry.model_dump(mode="json", exclude_none=True), "state": "pending"}
        slides[name]["path"] = str(entry.path.resolve())
    return {
        "format": FORMAT,
        "wsiseg": __version__,
        "versions": versions(),
        "job": job.model_dump(mode="json", exclude={"slides"}),
        "slides": slides,
    }


def _state(outcome: SlideOutcome) -> dict[str, Any]:
    if outcome.state == "failed":
        return {"state": "failed", "reason": outcome.reason}
    return {"state": "complete", "nuclei": outcome.nuclei}
