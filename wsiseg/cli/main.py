"""``wsiseg``: arguments in, a job out; progress, tables, exit codes.

Exit codes: 0, everything asked for is whole; 1, one or more slides failed or the command could
not be done; 2, wrong usage; 130, interrupted.
"""

from __future__ import annotations

import atexit
import gc
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wsiseg import __version__
from wsiseg.cli.check_command import check
from wsiseg.cli.cluster_options import ClusterFile, SchedulerAddress, expect_workers, where
from wsiseg.cli.curate_command import classify, import_
from wsiseg.cli.evaluate_command import evaluate
from wsiseg.cli.job_file import JobFile, job_from_file
from wsiseg.cli.leading import finish, interruptible, progress
from wsiseg.cli.measure_command import Features, StainVectors, features, measure, parse_vectors
from wsiseg.cli.models_command import models
from wsiseg.cli.plugins_command import plugins, shorten_plugin_warnings
from wsiseg.cli.qupath_command import qupath
from wsiseg.cli.report_command import report
from wsiseg.cli.score_command import score
from wsiseg.cli.status_command import status, summary
from wsiseg.cli.tiles_command import tiles
from wsiseg.cli.unlock_command import unlock
from wsiseg.errors import ConfigurationError, WsisegError

if TYPE_CHECKING:
    from wsiseg.job import Job

app = typer.Typer(
    name="wsiseg",
    help="Whole-slide nucleus and tissue segmentation.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

_SLIDES = typer.Argument(
    help="Slide files, folders, quoted globs ('in/**/*.svs'), or lists: CSV or Parquet with "
    "the column path and any of mpp, channel, stain (HE, HDAB), tissue, group; other columns "
    "are carried along.",
    show_default=False,
)
Slides = Annotated[list[Path], _SLIDES]
SomeSlides = Annotated[list[Path] | None, _SLIDES]
Out = Annotated[Path, typer.Option("--out", "-o", help="Run directory.", show_default=False)]
Model = Annotated[
    str,
    typer.Option(
        help="Segmenter: nuclei-he, nuclei-he-nc (non-commercial), nuclei-fluo, classical-he, "
        "classical-fluo, any other of wsiseg models list, or the file or folder of one; with "
        "+macenko, +vahadane or +reinhard behind it the stains are normalised."
    ),
]
Mpp = Annotated[
    float | None, typer.Option(help="Pixel size of level 0 in µm/px, in place of the header's.")
]
Channel = Annotated[
    str | None, typer.Option(help="Fluorescence channel to segment: its name, or number from 1.")
]
Reader = Annotated[str, typer.Option(help="auto, openslide, tiffslide or a plug-in's.")]
Tissue = Annotated[
    str,
    typer.Option(
        help="auto, classical, tissue (the network of the package), none (everything counts), a "
        "GeoJSON of regions from QuPath, or the folder of a tissue network."
    ),
]
Include = Annotated[
    list[str] | None,
    typer.Option(
        help="Class or name of regions, or class of a tissue network, that counts as tissue "
        "(repeatable; all if none)."
    ),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(help="Class or name of regions, or class, cut out of the tissue (repeatable)."),
]
Damaged = Annotated[
    str,
    typer.Option(help="Undecodable pixels: fail the slide, or fill them with background."),
]
Gate = Annotated[
    list[str] | None,
    typer.Option(
        help="Leave out fields of tissue that are blurred, folded, grey or odd_stain (repeatable)."
    ),
]
Classifier = Annotated[
    Path | None,
    typer.Option(help="Classifier of cells, from wsiseg classify.", show_default=False),
]
ExportNames = Annotated[
    list[str] | None,
    typer.Option(
        "--export",
        help="Output to write (repeatable): table, geojson, tissue, labels, overview (the "
        "default), csv, anndata, anndata-zarr, spatialdata, annotations (TIAToolbox), "
        "tissue-table, or a plug-in's.",
    ),
]
Ngff = Annotated[str, typer.Option(help="OME-Zarr version of the label pyramids: 0.5 or 0.4.")]
Split = Annotated[
    float | None,
    typer.Option("--split", help="Split the GeoJSON into square regions of this many µm a side."),
]
Core = Annotated[int | None, typer.Option(help="Side of a tile in pixels; default: the model's.")]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Processes. Default: one a core, as memory allows.")
]
Threads = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Threads that each process spreads a prediction over. Default: its share of the "
        "cores.",
    ),
]
Batch = Annotated[
    int | None,
    typer.Option(min=1, help="Tiles predicted together. Default: the model's own number."),
]
Readers = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Threads of each process that read the slide. Default: as many as keep up with the "
        "model.",
    ),
]
Only = Annotated[
    list[str] | None,
    typer.Option(help="Only slides of this name or glob (repeatable).", show_default=False),
]
Limit = Annotated[
    int | None, typer.Option(min=1, help="At most this many slides, the first.", show_default=False)
]
Device = Annotated[
    str,
    typer.Option(help="auto (a graphics card where there is one), cpu, cuda or cuda:N."),
]
Trust = Annotated[
    bool,
    typer.Option("--trust", help="Run a model that can run code of its maker's (TorchScript...)."),
]
Inline = Annotated[bool, typer.Option("--inline", help="Do everything in this process.")]


@app.command()
def run(
    context: typer.Context,
    out: Out,
    slides: SomeSlides = None,
    job_file: JobFile = None,
    model: Model = "nuclei-he",
    mpp: Mpp = None,
    channel: Channel = None,
    reader: Reader = "auto",
    tissue: Tissue = "auto",
    include: Include = None,
    exclude: Exclude = None,
    damaged: Damaged = "fail",
    gate: Gate = None,
    features: Features = None,
    stain_vectors: StainVectors = None,
    classifier: Classifier = None,
    export: ExportNames = None,
    ngff: Ngff = "0.5",
    split: Split = None,
    core: Core = None,
    device: Device = "auto",
    workers: Workers = None,
    threads: Threads = None,
    batch: Batch = None,
    readers: Readers = None,
    inline: Inline = False,
    scheduler: SchedulerAddress = None,
    cluster: ClusterFile = None,
    new: Annotated[
        bool, typer.Option("--new", help="Segment again what other settings made in OUT.")
    ] = False,
    only: Only = None,
    limit: Limit = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Only slides that failed in OUT before.")
    ] = False,
    scratch: Annotated[
        Path | None,
        typer.Option(
            help="Local folder: slides are copied there, the next ones ahead, and read from there.",
            show_default=False,
        ),
    ] = None,
    scratch_gb: Annotated[
        float, typer.Option(min=0.001, help="Room for those copies on each machine, in GB.")
    ] = 100.0,
    commercial: Annotated[
        bool,
        typer.Option("--commercial", help="Refuse models that forbid commercial use."),
    ] = False,
    trust: Trust = False,
) -> None:
    """Segment slides and write tables, QuPath overlays, label pyramids and reports.

    Run the same command again after an interruption: it goes on where it stopped. Changed
    settings redo only what depends on them; what was segmented with others is left alone unless
    --new is given.
    """
    expect_workers(scheduler, cluster, inline=inline)
    from wsiseg.execution.choice import Choice
    from wsiseg.staging import Scratch

    settings = {
        "model": model,
        "mpp": mpp,
        "channel": channel,
        "reader": reader,
        "tissue": tissue,
        "include": tuple(include or ()),
        "exclude": tuple(exclude or ()),
        "damaged": damaged,
        "gate": tuple(gate or ()),
        "classifier": str(classifier) if classifier is not None else None,
        **({"features": tuple(features)} if features else {}),
        "stain_vectors": parse_vectors(stain_vectors) if stain_vectors else None,
        **({"exports": tuple(export)} if export else {}),
        "ngff": ngff,
        "split_um": split,
        "core": core,
        "commercial": commercial,
        "trust": trust,
        "device": device,
        "batch": batch,
        "readers": readers,
    }
    if job_file is not None:
        job = job_from_file(context, job_file, slides or (), settings)
    elif slides:
        job = _job(slides, **settings)
    else:
        raise typer.BadParameter("name slides, or a file that does with --job")
    choice = Choice(tuple(only or ()), limit, retry_failed)
    place = where(workers, scheduler, cluster, inline=inline, threads=threads)
    room = Scratch(scratch, int(scratch_gb * 1e9)) if scratch is not None else None
    _run(job, out, cluster=place, new=new, choice=choice, scratch=room)


@app.command()
def info(
    slides: Annotated[list[Path], typer.Argument(help="Slide files.", show_default=False)],
    reader: Reader = "auto",
) -> None:
    """Say what a slide file is: format, levels, pixel size and where it was read, problems."""
    from wsiseg.cli.display import console, facts_table, show_error
    from wsiseg.slides.slide import inspect_slide

    failed = False
    for path in slides:
        try:
            console().print(facts_table(inspect_slide(path, reader=reader)))
        except WsisegError as error:
            failed = True
            show_error(console(stderr=True), error)
    if failed:
        raise typer.Exit(1)


@app.command()
def plan(
    slides: Slides,
    out: Out,
    model: Model = "nuclei-he",
    mpp: Mpp = None,
    channel: Channel = None,
    reader: Reader = "auto",
    tissue: Tissue = "auto",
    include: Include = None,
    exclude: Exclude = None,
    core: Core = None,
    device: Device = "auto",
    only: Only = None,
    limit: Limit = None,
    workers: Workers = None,
    trust: Trust = False,
) -> None:
    """Say what a run would read, take and write, before it starts. Nothing is written."""
    from wsiseg.cli.display import console, plan_table, show_error
    from wsiseg.cli.plan_rows import plan_rows, total_rows
    from wsiseg.execution.choice import Choice, slide_names
    from wsiseg.execution.estimate import estimate
    from wsiseg.models.trust import require_trusted
    from wsiseg.store.folders import RunFolder

    job = _job(
        slides,
        model=model,
        mpp=mpp,
        channel=channel,
        reader=reader,
        tissue=tissue,
        include=tuple(include or ()),
        exclude=tuple(exclude or ()),
        core=core,
        device=device,
        trust=trust,
    )
    require_trusted(job.model, trust=job.trust)
    chosen = Choice(tuple(only or ()), limit).of(slide_names(job), RunFolder(out))
    failed, estimates = False, []
    for entry in chosen.values():
        try:
            with console(stderr=True).status(f"looking at {entry.path.name}"):
                found = estimate(entry, job, workers)
            console().print(plan_table(entry.path.name, plan_rows(found, out)))
            estimates.append(found)
        except WsisegError as error:
            failed = True
            show_error(console(stderr=True), error)
    if len(estimates) > 1:
        console().print(plan_table(f"All {len(estimates)} slides", total_rows(estimates)))
    if failed:
        raise typer.Exit(1)


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Run directory.")] = Path("wsiseg-demo"),
    workers: Workers = None,
    inline: Inline = False,
) -> None:
    """Run the main job on an embedded slide: no file of yours, no network."""
    expect_workers(None, None, inline=inline)
    from wsiseg.cli.display import console
    from wsiseg.demo import write_demo_slide

    slide = out / "demo-slide.tiff"
    if not slide.exists():
        with console(stderr=True).status("making the demo slide"):
            write_demo_slide(slide)
    # The slide is strong DAB, which the network was not trained on.
    job = _job([slide], model="classical-he")
    _run(job, out, workers=workers, inline=inline, new=False, choice=None)


@app.command()
def export(
    out: Annotated[Path, typer.Argument(help="Run directory.", show_default=False)],
    export: Annotated[
        list[str] | None,
        typer.Option("--export", help="Output to write (repeatable). Default: those of the run."),
    ] = None,
    ngff: Annotated[
        str | None, typer.Option(help="OME-Zarr version: 0.5 or 0.4. Default: that of the run.")
    ] = None,
    split: Annotated[
        float | None,
        typer.Option(help="Side in µm of the regions to split the GeoJSON into; 0: one file."),
    ] = None,
    slide: Annotated[
        list[str] | None, typer.Option(help="Name of a slide in OUT (repeatable; default: all).")
    ] = None,
    workers: Workers = None,
    inline: Inline = False,
    scheduler: SchedulerAddress = None,
    cluster: ClusterFile = None,
) -> None:
    """Write or rewrite outputs of a finished segmentation, without segmenting again."""
    expect_workers(scheduler, cluster, inline=inline)
    from wsiseg.execution.api import export_run

    settings: dict[str, Any] = {}
    if export:
        settings["exports"] = tuple(export)
    if ngff is not None:
        settings["ngff"] = ngff
    if split is not None:
        settings["split_um"] = split or None
    with interruptible(), progress() as shown:
        place = where(workers, scheduler, cluster, inline=inline)
        result = export_run(out, settings, slides=slide, cluster=place, progress=shown)
    finish(result)


app.command()(check)
app.command()(evaluate)
app.command()(measure)
app.command("import")(import_)
app.command()(classify)
app.command()(features)
app.command()(status)
app.command()(summary)
app.command()(tiles)
app.command()(qupath)
app.command()(unlock)
app.command()(score)
app.command()(report)
app.add_typer(models, name="models")
app.command()(plugins)


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="TOML file of settings.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the model.")],
) -> None:
    """Train a network on labelled images; run it again after an interruption to go on.

    The folder can then be given to --model.
    """
    from wsiseg.cli.display import console
    from wsiseg.cli.train_display import TrainingProgress
    from wsiseg.training.api import train as train_model

    with interruptible(), TrainingProgress(console(stderr=True)) as progress:
        train_model(config, out, progress.step)
    console().print(f"Model in {out}", highlight=False)


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


def main() -> None:
    """Entry point: errors that a user can mend are told without a traceback."""
    # What is imported stays. Looking it through for garbage takes a sixth of the start by default,
    # and most of a second at the end.
    gc.set_threshold(50_000, 20, 20)
    atexit.register(gc.freeze)
    shorten_plugin_warnings()
    try:
        # Without its standalone mode, the library returns the code of an exit.
        code = app(standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except WsisegError as error:
        from wsiseg.cli.display import console, show_error

        show_error(console(stderr=True), error)
        sys.exit(1)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)
    except Exception as error:
        # click's errors of usage know how to show themselves, and their exit code
        show = getattr(error, "show", None)
        if show is None:
            raise
        show()
        sys.exit(int(getattr(error, "exit_code", 2)))


def _job(paths: list[Path], **settings: Any) -> Job:
    from wsiseg.job import Job

    try:
        return Job.of(*paths, **settings)
    except ConfigurationError as error:
        raise ConfigurationError(_in_options(str(error))) from error


def _in_options(message: str) -> str:
    """A message on settings of a job with the options' names in their place."""
    names = "exports|features|stain_vectors|split_um|ngff|damaged|gate|classifier|core"
    names += "|mpp|tissue|reader|device"
    flags = {"exports": "--export", "split_um": "--split", "stain_vectors": "--stain-vectors"}
    return re.sub(
        rf"(^|; )({names})(\.\d+)?: ",
        lambda found: f"{found[1]}{flags.get(found[2], '--' + found[2])}: ",
        message,
    )


def _run(job: Job, out: Path, **how: Any) -> None:
    from wsiseg.execution.api import run as run_job

    with interruptible(), progress() as shown:
        result = run_job(job, out, progress=shown, **how)
    finish(result)


if __name__ == "__main__":
    main()
