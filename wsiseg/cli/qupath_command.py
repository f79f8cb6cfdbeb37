"""``wsiseg qupath``: whole runs into a QuPath project."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from wsiseg.errors import ConfigurationError


def qupath(
    out: Annotated[list[Path], typer.Argument(help="Run directories.", show_default=False)],
    script: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Script to write. Default: import.groovy in the first OUT.",
            show_default=False,
        ),
    ] = None,
    slides_root: Annotated[
        list[str] | None,
        typer.Option(
            help="OLD=NEW: a folder of slides, or a run directory, that lies elsewhere on the "
            "machine that runs QuPath (repeatable).",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Write a script that adds every finished slide and its overlays to a QuPath project.

    Overlays are the nuclei, the tissue, and regions the slide was run with. QuPath runs the
    script; running it again adds only what is new.
    """
    from wsiseg.cli.display import console
    from wsiseg.execution.qupath import write_qupath_script
    from wsiseg.export.qupath_project import instructions

    target = script or out[0] / "import.groovy"
    slides = write_qupath_script(out, target, dict(map(_moved, slides_root or ())))
    overlays = sum(len(slide.overlays) for slide in slides)
    page = console()
    page.print(
        f"{len(slides)} slides with {overlays} overlays in {target}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    for line in instructions(shlex.quote(str(target))):
        page.print(line, highlight=False, markup=False, soft_wrap=True)


def _moved(pair: str) -> tuple[str, str]:
    old, equals, new = pair.partition("=")
    if not old or not equals or not new:
        raise ConfigurationError(f"--slides-root takes OLD=NEW, two folders; it was {pair!r}")
    return old, new
