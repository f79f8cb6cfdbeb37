"""``wsiseg report``: a page a slide and one over all, to be read and printed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wsiseg.errors import ConfigurationError, WsisegError

if TYPE_CHECKING:
    from wsiseg.execution.results import Run


def report(
    out: Annotated[Path, typer.Argument(help="Run directory.", show_default=False)],
    slide: Annotated[
        list[str] | None,
        typer.Option(
            help="Name of a slide in OUT (repeatable; default: all that are finished).",
            show_default=False,
        ),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder to write to. Default: OUT.", show_default=False),
    ] = None,
    cohort: Annotated[
        bool,
        typer.Option(
            "--cohort", help="Only the page over all slides; with --slide, that one besides."
        ),
    ] = False,
) -> None:
    """Write report.html of every finished slide and cohort.html over all of them.

    Pictures, densities, distributions, biomarkers (after wsiseg score), quality and where the
    numbers come from, each page a file that needs nothing else. Summaries of the batch, with
    its failures, are made by wsiseg summary.
    """
    from wsiseg.cli.display import console, show_error
    from wsiseg.execution.results import open_run
    from wsiseg.reporting import write_cohort, write_slide_report

    run = open_run(out)
    failed = False
    for name in _slides(run, slide, cohort=cohort):
        try:
            with console(stderr=True).status(f"reporting {name}"):
                page = write_slide_report(run, name, folder)
            console().print(f"Report in {page}", highlight=False, markup=False)
        except WsisegError as error:
            failed = True
            show_error(console(stderr=True), error)
    if cohort or not slide:
        page = write_cohort(run, folder)
        console().print(f"Cohort in {page}", highlight=False, markup=False)
    if failed:
        raise typer.Exit(1)


def _slides(run: Run, asked: list[str] | None, *, cohort: bool) -> tuple[str, ...]:
    """The slides that a report is to be written of."""
    if asked:
        unknown = [name for name in asked if name not in run.slides]
        if unknown:
            raise ConfigurationError(
                f"{run.path} has no slide {unknown[0]!r}; it has {', '.join(run.slides)}"
            )
        return tuple(dict.fromkeys(asked))
    if not run.complete:
        raise ConfigurationError(f"{run.path} has no slide that is whole; finish the run first")
    return () if cohort else run.complete
