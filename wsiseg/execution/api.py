"""``wsiseg.run``: the one path from a job to results, for the command line and for Python."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wsiseg import __version__
from wsiseg.errors import ConfigurationError, WsisegError
from wsiseg.execution.choice import Choice, slide_names
from wsiseg.execution.cluster import Cluster, Inline, Local, Need, choose_cluster, open_executor
from wsiseg.execution.crew import plan_crew
from wsiseg.execution.driver import Driver, Order, SlideOutcome
from wsiseg.execution.journal import Journal
from wsiseg.execution.memory import MemoryWatch
from wsiseg.execution.progress import Progress, Start
from wsiseg.execution.survey import Left, described, require_same_settings, survey
from wsiseg.features.plugged import plugged_sets
from wsiseg.files import sweep
from wsiseg.job import Job
from wsiseg.models.device import require_device
from wsiseg.models.licence import require_commercial
from wsiseg.models.trust import require_trusted
from wsiseg.models.zoo import load_segmenter, settle_device
from wsiseg.pipeline.exports import require_exports
from wsiseg.pipeline.report import versions
from wsiseg.staging import Scratch, announced, require_scratch
from wsiseg.store.folders import RunFolder, read_manifest, write_manifest
from wsiseg.store.lock import locked
from wsiseg.summary.write import write_summary

FORMAT = 1

_REMEMBERED = {"features", "stain_vectors", "classifier"}
"""Settings that later exports take over from the last measuring."""


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
    summary
        The page to look at first, ``summary.html``.
    """

    out: Path
    slides: Mapping[str, SlideOutcome]
    seconds: float
    peak_bytes: int
    planned_bytes: int
    summary: Path | None = None

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
    cluster: Cluster | None = None,
    new: bool = False,
    choice: Choice | None = None,
    scratch: Scratch | None = None,
    progress: Progress | None = None,
) -> RunResult:
    """Segment the slides of a job and write what it asks for into a run directory.

    A run that was interrupted goes on where it stopped; what is whole is not done again, and
    other settings redo only what depends on them. A slide that fails does not stop the others:
    look at :attr:`RunResult.failed`.

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
    cluster
        Where the work is done, in place of ``workers`` and ``inline``.
    new
        Segment again what lies there from other settings, in place of refusing.
    choice
        The part of the job's slides to take up; ``None``: all.
    scratch
        Where each machine copies slides to before it reads them; ``None``: they are read from
        where they lie.
    progress
        Told of every event.

    Raises
    ------
    WsisegError
        If the run as a whole cannot go on: wrong settings, results of other settings lie
        there, the directory is in use, the disk is full, the memory too small.
    """
    if not isinstance(job, Job):
        raise ConfigurationError("run takes a job: wsiseg.run(wsiseg.Job.of('slide.svs'), 'out')")
    require_trusted(job.model, trust=job.trust)
    if job.commercial:
        require_commercial(load_segmenter(job.model, job.device).spec)
    where = _where(workers, cluster, inline=inline)
    # Settled here, once: a worker without a graphics card must not settle it otherwise.
    job = job.model_copy(update={"device": settle_device(job.model, job.device)})
    if isinstance(where, Inline | Local):
        require_device(job.device)
        if scratch is not None:
            require_scratch(scratch)
    folder = RunFolder(Path(out).resolve())
    choice = choice or Choice()
    return _lead(
        folder,
        lambda known: {
            name: Order(job.settled(entry), job.alone(entry), new=new)
            for name, entry in choice.of(slide_names(job, known), folder).items()
        },
        where,
        progress,
        scratch,
    )


def export_run(
    out: str | Path,
    settings: Mapping[str, Any],
    *,
    slides: Sequence[str] | None = None,
    workers: int | None = None,
    inline: bool = False,
    cluster: Cluster | None = None,
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
    workers, inline, cluster, progress
        As for :func:`run`.

    Raises
    ------
    WsisegError
        If the directory holds no finished slide of that name, or a setting is wrong.
    """
    folder = RunFolder(Path(out).resolve())
    orders = {
        name: _order_again(slide, settings) for name, slide in _finished(folder, slides).items()
    }
    _require_trusted_again(orders)
    where = _where(workers, cluster, inline=inline)
    return _lead(folder, lambda _: orders, where, progress)


def measure_run(
    out: str | Path,
    settings: Mapping[str, Any],
    *,
    slides: Sequence[str] | None = None,
    workers: int | None = None,
    inline: bool = False,
    cluster: Cluster | None = None,
    progress: Progress | None = None,
) -> RunResult:
    """Measure the cells of the finished slides in a run directory, without segmenting again.

    Features that are there with the same settings are kept; of the exports that each slide was
    run with, those that depend on what changed are written again.

    Parameters
    ----------
    out
        The run directory.
    settings
        Any of ``features``, ``stain_vectors``, ``classifier``, in place of those the slide was
        run with.
    slides
        Names of slides in the run directory; ``None``: all that are whole.
    workers, inline, cluster, progress
        As for :func:`run`.

    Raises
    ------
    WsisegError
        If the directory holds no finished slide of that name, or a setting is wrong.
    """
    folder = RunFolder(Path(out).resolve())
    orders = {
        name: replace(_order_again(slide, settings), stale_only=True)
        for name, slide in _finished(folder, slides).items()
    }
    _require_trusted_again(orders)
    where = _where(workers, cluster, inline=inline)
    return _lead(folder, lambda _: orders, where, progress)


def _require_trusted_again(orders: Mapping[str, Order]) -> None:
    """Ask again for trust in the models of a run: its manifest may be of anybody's making.

    Raises
    ------
    ModelError
        If one can run code and is not trusted.
    """
    for model in sorted({order.job.model for order in orders.values()}):
        require_trusted(model, trust=False)


def _finished(folder: RunFolder, slides: Sequence[str] | None) -> dict[str, Mapping[str, Any]]:
    """What the manifest says of the finished slides, or of those that are named.

    Raises
    ------
    ConfigurationError
        If there is none, or one of the named is not finished.
    """
    there = read_manifest(folder)["slides"]
    whole = [name for name in there if folder.slide(name).report.exists()]
    chosen = list(slides) if slides else whole
    missing = [name for name in chosen if name not in whole]
    if missing or not chosen:
        raise ConfigurationError(
            f"{folder.root} has no finished slide {', '.join(missing) or 'at all'}"
            + (f"; it has {', '.join(whole)}" if whole else "")
        )
    return {name: there[name] for name in chosen}


def _lead(
    folder: RunFolder,
    choose: Callable[[Mapping[str, Path]], Mapping[str, Order]],
    where: Cluster,
    progress: Progress | None,
    scratch: Scratch | None = None,
) -> RunResult:
    """Hold the run directory and lead the slides that are chosen, given those it knows."""
    begin, progress = time.perf_counter(), progress or Progress()
    with locked(folder) as lock, MemoryWatch() as memory:
        sweep(folder.root)
        manifest = _open_manifest(folder)
        orders = choose({n: Path(s["path"]) for n, s in manifest["slides"].items()})
        if not orders:
            progress.message(f"no slide of {folder.root} has failed: nothing to do")
            return RunResult(folder.root, {}, time.perf_counter() - begin, memory.peak_bytes, 0)
        left = _look_ahead(folder, orders, progress)
        reading = [n for n, found in left.items() if found.work not in ("whole", "exports")]
        copied = announced(folder, scratch, [orders[name].entry.place for name in reading])
        require_exports({name for order in orders.values() for name in order.job.exports})
        plugged_sets({name for order in orders.values() for name in order.job.features})
        crew = plan_crew(orders.values(), where)
        for name, order in orders.items():
            manifest["slides"].setdefault(name, _entry(order, "pending"))
        write_manifest(folder, manifest)

        def note(outcome: SlideOutcome) -> None:
            order = orders[outcome.name]
            if outcome.state == "complete" and not order.again:
                manifest["slides"][outcome.name] = _entry(order, "complete", nuclei=outcome.nuclei)
            elif outcome.state == "complete" and order.stale_only:
                # What is exported later is to hold what was measured last.
                job = order.job.model_dump(mode="json", include=_REMEMBERED)
                manifest["slides"][outcome.name]["job"].update(job)
            elif not folder.slide(outcome.name).report.exists():
                failed = _entry(order, "failed", reason=outcome.reason)
                manifest["slides"][outcome.name] = failed
            write_manifest(folder, manifest)

        with _summed_up(folder), copied, Journal(folder, lock.epoch, progress) as journal:
            need = Need(
                folder, lock, crew.cpu, crew.cards, crew.gpu, crew.worker_bytes, crew.threads
            )
            executor = open_executor(where, need, journal.message)
            journal.started(
                Start(
                    len(orders),
                    crew.processes,
                    crew.planned_bytes,
                    lambda: memory.peak_bytes,
                    executor.dashboard,
                )
            )
            try:
                outcomes = Driver(folder, orders, lock, journal).lead(executor, note)
            finally:
                executor.close()
            # What workers left that died on the way.
            sweep(folder.root)
            seconds = time.perf_counter() - begin
            manifest["last_run"] = {
                "seconds": seconds,
                "workers": crew.processes,
                "memory_peak_bytes": memory.peak_bytes,
                "memory_planned_bytes": crew.planned_bytes,
            }
            write_manifest(folder, manifest)
    page = folder.summary("html")
    return RunResult(folder.root, outcomes, seconds, memory.peak_bytes, crew.planned_bytes, page)


@contextmanager
def _summed_up(folder: RunFolder) -> Iterator[None]:
    """Write the summary at the end, however it comes."""
    try:
        yield
    except BaseException:
        # What ended the run is worth more than why its summary could not be written.
        with suppress(WsisegError):
            write_summary(folder)
        raise
    write_summary(folder)


def _look_ahead(
    folder: RunFolder, orders: Mapping[str, Order], progress: Progress
) -> dict[str, Left]:
    """Say what is left to do, and refuse to begin where results of other settings lie.

    Raises
    ------
    ResultMismatchError
        If slides would have to be segmented anew that was not asked for.
    """
    found = survey(folder, orders)
    if not any(order.new for order in orders.values()):
        require_same_settings(folder, found)
    if len(found) > 1:
        progress.message(described(found))
    return found


def _where(workers: int | None, cluster: Cluster | None, *, inline: bool) -> Cluster:
    if cluster is None:
        return choose_cluster(workers=workers, inline=inline)
    if inline or workers is not None:
        raise ConfigurationError(
            "a cluster says how many processes work: it goes neither with inline nor with a number "
            "of workers"
        )
    return cluster


def _open_manifest(folder: RunFolder) -> dict[str, Any]:
    slides: dict[str, Any] = read_manifest(folder)["slides"] if folder.manifest.exists() else {}
    return {"format": FORMAT, "wsiseg": __version__, "versions": versions(), "slides": slides}


def _entry(order: Order, state: str, **more: object) -> dict[str, Any]:
    """What the manifest says of a slide."""
    return {
        "path": str(order.entry.place),
        "state": state,
        **more,
        "entry": order.entry.model_dump(mode="json", exclude={"path"}),
        "job": order.job.model_dump(mode="json", exclude={"slides"}),
    }


def _order_again(slide: Mapping[str, Any], settings: Mapping[str, Any]) -> Order:
    """The order a finished slide came from, with other settings of the exports."""
    try:
        # Regions may be gone since; what they gave lies in the slide's folder.
        entry = {**slide["entry"], "path": slide["path"], "tissue": "auto"}
        # A slide that was run before there were features has none.
        kept = {"features": (), **slide["job"], "tissue": "auto"}
    except (KeyError, TypeError) as error:
        raise ConfigurationError(
            "the manifest is of another version of wsiseg; run the slides again"
        ) from error
    job = Job.checked({**kept, **settings, "slides": [entry]})
    return Order(job.slides[0], job, again=True)
