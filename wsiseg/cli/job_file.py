"""Jobs from TOML files, and what the command line says in place of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from wsiseg.job import Job

JobFile = Annotated[
    Path | None,
    typer.Option(
        "--job",
        help="TOML file of slides and settings (keys: the fields of wsiseg.Job). Slides and "
        "options given beside it count in place of the file's.",
        show_default=False,
    ),
]

_OPTIONS = {"exports": "export", "split_um": "split"}
"""Settings of a job whose options have other names."""


def job_from_file(
    context: typer.Context, file: Path, slides: Sequence[Path], settings: Mapping[str, Any]
) -> Job:
    """The job in a file, with the settings that were given on the command line.

    Raises
    ------
    ConfigurationError
        If the file or one of the settings cannot be used.
    """
    from wsiseg.job import read_job

    return read_job(file, slides, **{k: v for k, v in settings.items() if _given(context, k)})


def _given(context: typer.Context, setting: str) -> bool:
    source = context.get_parameter_source(_OPTIONS.get(setting, setting))
    return source is not None and source.name == "COMMANDLINE"
