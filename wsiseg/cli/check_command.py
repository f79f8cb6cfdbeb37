"""``wsiseg check``: what would fail tonight, and what is odd, before the night begins."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wsiseg.cli.job_file import JobFile, job_from_file


def check(
    context: typer.Context,
    slides: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Slide files, folders, quoted globs, or lists (CSV, Parquet), as for run.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Write all findings to FILE.csv or FILE.json.", show_default=False
        ),
    ] = None,
    job_file: JobFile = None,
    model: Annotated[str, typer.Option(help="Segmenter that is to be run.")] = "nuclei-he",
    mpp: Annotated[
        float | None, typer.Option(help="Pixel size of level 0 in µm/px, as for run.")
    ] = None,
    channel: Annotated[str | None, typer.Option(help="Channel to segment, as for run.")] = None,
    reader: Annotated[str, typer.Option(help="auto, openslide or tiffslide.")] = "auto",
    tissue: Annotated[
        str, typer.Option(help="How tissue is found: a method, a network or a GeoJSON, as for run.")
    ] = "auto",
    damaged: Annotated[str, typer.Option(help="fail or fill, as for run.")] = "fail",
    threads: Annotated[
        int | None, typer.Option(min=1, help="Slides looked at together. Default: two a core.")
    ] = None,
) -> None:
    """Look at slides before a run: which would fail, which are copies, which are odd.

    Reads headers and samples, never whole files. Exits with 1 if a slide would fail or is a copy
    of another, with 0 if all can be run, odd ones among them or not.
    """
    from wsiseg.archive.check import check as check_slides
    from wsiseg.archive.check import require_known_ending, write_check
    from wsiseg.cli.check_display import CheckProgress, check_view
    from wsiseg.cli.display import console
    from wsiseg.job import Job

    if out is not None:
        require_known_ending(out)
    settings = {
        "model": model,
        "mpp": mpp,
        "channel": channel,
        "reader": reader,
        "tissue": tissue,
        "damaged": damaged,
    }
    with console(stderr=True).status("listing the slides"):
        if job_file is not None:
            job = job_from_file(context, job_file, slides or (), settings)
        elif slides:
            job = Job.of(*slides, **settings)
        else:
            raise typer.BadParameter("name slides, or a file that does with --job")
    with CheckProgress(console(stderr=True), len(job.slides)) as progress:
        checked = check_slides(job, threads=threads, looked=progress.looked)
    if out is not None:
        write_check(out, checked)
    console().print(check_view(checked, out))
    if checked.failing:
        raise typer.Exit(1)
