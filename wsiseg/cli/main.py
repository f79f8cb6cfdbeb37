"""``wsiseg``: arguments in, a job out; progress, tables, exit codes.

Exit codes: 0, everything asked for is whole; 1, one or more slides failed or the command could
not be done; 2, wrong usage; 130, interrupted.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wsiseg import __version__
from wsiseg.cli.evaluate_command import evaluate
from wsiseg.errors import ConfigurationError, WsisegError

if TYPE_CHECKING:
    from wsiseg.execution.api import RunResult
    from wsiseg.job import Job

app = typer.Typer(
    name="wsiseg",
    help="Whole-slide nucleus and tissue segmentation.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Slides = Annotated[
    list[Path],
    typer.Argument(
        help="Slide files, or CSV lists of slides (columns: path, mpp, channel, tissue).",
        show_default=False,
    ),
]
Out = Annotated[Path, typer.Option("--out", "-o", help="Run directory.", show_default=False)]
Model = Annotated[
    str,
    typer.Option(
        help="Segmenter: nuclei-he, classical-he, classical-fluo, or the folder of a trained one."
    ),
]
Mpp = Annotated[
    float | None, typer.Option(help="Pixel size of level 0 in µm/px, in place of the header's.")
]
Channel = Annotated[
    str | None, typer.Option(help="Fluorescence channel to segment: its name, or number from 1.")
]
Reader = Annotated[str, typer.Option(help="auto, openslide or tiffslide.")]
Tissue = Annotated[
    str,
    typer.Option(help="auto, none (everything counts), or a GeoJSON of regions from QuPath."),
]
Include = Annotated[
    list[str] | None,
    typer.Option(help="Class or name of regions that count as tissue (repeatable; all if none)."),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(help="Class or name of regions cut out of the tissue (repeatable)."),
]
Damaged = Annotated[
    str,
    typer.Option(help="Undecodable pixels: fail the slide, or fill them with background."),
]
ExportNames = Annotated[
    list[str] | None,
    typer.Option(
        "--export",
        help="Output to write (repeatable): table, geojson, tissue, labels, overview. "
        "Default: all.",
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
Inline = Annotated[bool, typer.Option("--inline", help="Do everything in this process.")]


@app.command()
def run(
    slides: Slides,
    out: Out,
    model: Model = "nuclei-he",
    mpp: Mpp = None,
    channel: Channel = None,
    reader: Reader = "auto",
    tissue: Tissue = "auto",
    include: Include = None,
    exclude: Exclude = None,
    damaged: Damaged = "fail",
    export: ExportNames = None,
    ngff: Ngff = "0.5",
    split: Split = None,
    core: Core = None,
    workers: Workers = None,
    inline: Inline = False,
    new: Annotated[
        bool, typer.Option("--new", help="Segment again what other settings made in OUT.")
    ] = False,
    commercial: Annotated[
        bool,
        typer.Option("--commercial", help="Refuse models that forbid commercial use."),
    ] = False,
) -> None:
    """Segment slides and write tables, QuPath overlays, label pyramids and reports.

    Run the same command again after an interruption: it goes on where it stopped.
    """
    job = _job(
        slides,
        model=model,
        mpp=mpp,
        channel=channel,
        reader=reader,
        tissue=tissue,
        include=tuple(include or ()),
        exclude=tuple(exclude or ()),
        damaged=damaged,
        **({"exports": tuple(export)} if export else {}),
        ngff=ngff,
        split_um=split,
        core=core,
        commercial=commercial,
    )
    _run(job, out, workers=workers, inline=inline, new=new)


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
    workers: Workers = None,
) -> None:
    """Say what a run would read, take and write, before it starts. Nothing is written."""
    from wsiseg.cli.display import console, plan_table, show_error
    from wsiseg.cli.plan_rows import plan_rows
    from wsiseg.execution.estimate import estimate

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
    )
    failed = False
    for entry in job.slides:
        try:
            with console(stderr=True).status(f"looking at {entry.path.name}"):
                found = estimate(entry, job, workers)
            console().print(plan_table(entry.path.name, plan_rows(found, out)))
        except WsisegError as error:
            failed = True
            show_error(console(stderr=True), error)
    if failed:
        raise typer.Exit(1)


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Run directory.")] = Path("wsiseg-demo"),
    workers: Workers = None,
    inline: Inline = False,
) -> None:
    """Run the main job on an embedded slide: no file of yours, no network."""
    from wsiseg.cli.display import console
    from wsiseg.demo import write_demo_slide

    slide = out / "demo-slide.tiff"
    if not slide.exists():
        with console(stderr=True).status("making the demo slide"):
            write_demo_slide(slide)
    # The slide is strong DAB, which the network was not trained on.
    job = _job([slide], model="classical-he")
    _run(job, out, workers=workers, inline=inline, new=False)


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
) -> None:
    """Write or rewrite outputs of a finished segmentation, without segmenting again."""
    from wsiseg.execution.api import export_run

    settings: dict[str, Any] = {}
    if export:
        settings["exports"] = tuple(export)
    if ngff is not None:
        settings["ngff"] = ngff
    if split is not None:
        settings["split_um"] = split or None
    with _interruptible(), _progress() as progress:
        result = export_run(
            out, settings, slides=slide, workers=workers, inline=inline, progress=progress
        )
    _finish(result)


app.command()(evaluate)


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

    with _interruptible(), TrainingProgress(console(stderr=True)) as progress:
        train_model(config, out, progress.step)
    console().print(f"Model in {out}", highlight=False)


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


def main() -> None:
    """Entry point: errors that a user can mend are told without a traceback."""
    try:
        # Without its standalone mode, the library returns the code of an exit.
        code = app(standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except WsisegError as error:
        from wsiseg.cli.display import console, show_error

        show_error(console(stderr=True), error)
        sys.exit(1)
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
    names = "exports|split_um|ngff|damaged|core|mpp|tissue|reader"
    flags = {"exports": "--export", "split_um": "--split"}
    return re.sub(
        rf"(^|; )({names})(\.\d+)?: ",
        lambda found: f"{found[1]}{flags.get(found[2], '--' + found[2])}: ",
        message,
    )


def _run(job: Job, out: Path, *, workers: int | None, inline: bool, new: bool) -> None:
    from wsiseg.execution.api import run as run_job

    with _interruptible(), _progress() as progress:
        result = run_job(job, out, workers=workers, inline=inline, new=new, progress=progress)
    _finish(result)


@contextmanager
def _interruptible() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        from wsiseg.cli.display import console

        console(stderr=True).print(
            "Interrupted. Finished work is kept: run the same command to go on."
        )
        raise typer.Exit(130) from None


def _finish(result: RunResult) -> None:
    from wsiseg.cli.display import console, result_table

    console().print(result_table(result))
    if result.failed:
        raise typer.Exit(1)


def _progress() -> Any:
    from wsiseg.cli.display import RunProgress, console

    return RunProgress(console(stderr=True))


if __name__ == "__main__":
    main()
