"""``wsiseg.run``: the one path from a job to results, for the command line and for Python."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsiseg import __version__
from wsiseg.errors import ConfigurationError
from wsiseg.execution.driver import Driver, Order, SlideOutcome
from wsiseg.execution.executor import Executor, InlineExecutor
from wsiseg.execution.memory import MemoryWatch, choose_workers, plan_memory
from wsiseg.execution.progress import Progress, Quiet
from wsiseg.files import sweep
from wsiseg.job import Job, SlideEntry
from wsiseg.models.licence import require_commercial
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
    if not isinstance(job, Job):
        raise ConfigurationError("run takes a job: wsiseg.run(wsiseg.Job.of('slide.svs'), 'out')")
    if job.commercial:
        require_commercial(load_segmenter(job.model).spec)
    folder = RunFolder(Path(out).resolve())
    return _lead(
        folder,
        lambda known: {
            name: Order(job.settled(entry), job, new=new)
            for name, entry in slide_names(job, known).items()
        },
        workers=workers,
        inline=inline,
        progress=progress,
    )


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
        Any of ``exports``, ``ngff``, ``split_um``, in place of those the slide was run with.
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
    slides_there = read_manifest(folder)["slides"]
    whole = [name for name in slides_there if folder.slide(name).report.exists()]
    chosen = list(slides) if slides else whole
    missing = [name for name in chosen if name not in whole]
    if missing or not chosen:
        raise ConfigurationError(
            f"{folder.root} has no finished slide {', '.join(missing) or 'at all'}"
            + (f"; it has {', '.join(whole)}" if whole else "")
        )
    orders = {name: _order_again(slides_there[name], settings) for name in chosen}
    return _lead(folder, lambda _: orders, workers=workers, inline=inline, progress=progress)


def slide_names(job: Job, known: Mapping[str, Path] | None = None) -> dict[str, SlideEntry]:
    """A folder name for every slide of a job.

    The name it has in the run directory already, by its path; else its file name, with a digest
    of its path where another slide has, or is to have, the same.

    Raises
    ------
    ConfigurationError
        If a slide is named twice.
    """
    named = {path: name for name, path in (known or {}).items()}
    plain = [re.sub(r"[^\w.-]+", "_", entry.path.name) for entry in job.slides]
    names: dict[str, SlideEntry] = {}
    seen: set[Path] = set()
    for name, entry in zip(plain, job.slides, strict=True):
        path = entry.path.resolve()
        if path in seen:
            raise ConfigurationError(f"{entry.path} is named twice")
        seen.add(path)
        digest = hashlib.blake2b(str(path).encode(), digest_size=4).hexdigest()
        free = plain.count(name) == 1 and name not in named.values()
        names[named.get(path, name if free else f"{name}-{digest}")] = entry
    return names


def _lead(
    folder: RunFolder,
    choose: Callable[[Mapping[str, Path]], Mapping[str, Order]],
    *,
    workers: int | None,
    inline: bool,
    progress: Progress | None,
) -> RunResult:
    """Hold the run directory and lead the slides that are chosen, given those it knows."""
    if inline and workers is not None:
        raise ConfigurationError("inline does everything in one process: it takes no workers")
    begin = time.perf_counter()
    with locked(folder) as epoch, MemoryWatch() as memory:
        sweep(folder.root)
        manifest = _open_manifest(folder)
        orders = choose({n: Path(s["path"]) for n, s in manifest["slides"].items()})
        count, planned = _plan_processes(orders, workers, inline=inline)
        for name, order in orders.items():
            manifest["slides"].setdefault(name, _entry(order, "pending"))
        write_manifest(folder, manifest)

        def note(outcome: SlideOutcome) -> None:
            order = orders[outcome.name]
            if outcome.state == "complete" and not order.again:
                manifest["slides"][outcome.name] = _entry(order, "complete", nuclei=outcome.nuclei)
            elif not folder.slide(outcome.name).report.exists():
                failed = _entry(order, "failed", reason=outcome.reason)
                manifest["slides"][outcome.name] = failed
            write_manifest(folder, manifest)

        driver = Driver(folder, orders, epoch, progress or Quiet())
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
            "memory_planned_bytes": planned,
        }
        write_manifest(folder, manifest)
    return RunResult(folder.root, outcomes, seconds, memory.peak_bytes, planned)


def _plan_processes(
    orders: Mapping[str, Order], workers: int | None, *, inline: bool
) -> tuple[int, int]:
    """Number of worker processes (0: none but this one) and planned peak memory in bytes."""
    choices = {(o.job.model, o.job.core) for o in orders.values()}
    counts, plans = [], []
    for model, core in choices:
        spec = load_segmenter(model).spec
        window = (core or spec.core) + 2 * spec.halo
        counts.append(0 if inline else choose_workers(spec, window, workers))
        plans.append((spec, window))
    count = min(counts)
    return count, max(plan_memory(spec, window, count).total for spec, window in plans)


def _executor(workers: int) -> Executor:
    if workers == 0:
        return InlineExecutor()
    from wsiseg.execution.dask_executor import DaskExecutor

    return DaskExecutor(workers)


def _open_manifest(folder: RunFolder) -> dict[str, Any]:
    slides: dict[str, Any] = read_manifest(folder)["slides"] if folder.manifest.exists() else {}
    return {"format": FORMAT, "wsiseg": __version__, "versions": versions(), "slides": slides}


def _entry(order: Order, state: str, **more: object) -> dict[str, Any]:
    """What the manifest says of a slide."""
    return {
        "path": str(order.entry.path.resolve()),
        "state": state,
        **more,
        "entry": order.entry.model_dump(mode="json", exclude={"path"}),
        "job": order.job.model_dump(mode="json", exclude={"slides"}),
    }


def _order_again(slide: Mapping[str, Any], settings: Mapping[str, Any]) -> Order:
    """The order a finished slide came from, with other settings of the exports."""
    try:
        entry = {"path": slide["path"]}
        # Regions may be gone since; what they gave lies in the slide's folder.
        kept = {**slide["job"], "tissue": "auto"}
    except (KeyError, TypeError) as error:
        raise ConfigurationError(
            "the manifest is of another version of wsiseg; run the slides again"
        ) from error
    job = Job.checked({**kept, **settings, "slides": [entry]})
    return Order(job.slides[0], job, again=True)
