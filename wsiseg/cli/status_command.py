"""``wsiseg status`` and ``wsiseg summary``: a run directory looked at from outside."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from wsiseg.execution.status import RunStatus

WORKING, DIED = 3, 4
"""Exit codes of ``wsiseg status`` besides 0 (every slide whole) and 1 (nobody is at work, and
slides have failed or are not finished)."""

_EVERY_SECONDS = 5.0
_EVERY_QUIET_SECONDS = 60.0

Out = Annotated[Path, typer.Argument(help="Run directory.", show_default=False)]


def status(
    out: Out,
    json: Annotated[bool, typer.Option("--json", help="Print it as one JSON object.")] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Look again every few seconds while a driver works.")
    ] = False,
) -> None:
    """Say how a run stands: from any shell, also after its driver has died.

    Only files are read. Exit codes: 0, every slide is whole; 1, nobody is at work, and slides
    have failed or are not finished (or OUT is no run directory); 3, a driver is at work; 4, the
    driver has died, or has been silent for a minute on another machine.
    """
    from wsiseg.cli.display import console
    from wsiseg.execution.status import read_status

    there = console()
    if watch and there.is_terminal and not json:
        _live(out, there)
        return
    while True:
        found = read_status(out)
        _print(found, there, json=json, line=watch)
        if not watch or found.driver.state != "working":
            raise typer.Exit(exit_code(found))
        time.sleep(_EVERY_SECONDS if json else _EVERY_QUIET_SECONDS)


def summary(out: Out) -> None:
    """Write summary.csv, summary.json and summary.html of a run directory anew.

    A run does so by itself when it ends; here also while it goes on, or after it has died.
    """
    from wsiseg.cli.display import console
    from wsiseg.store.folders import RunFolder
    from wsiseg.summary.write import write_summary

    page = write_summary(RunFolder(out))
    console().print(f"Summary in {page}", highlight=False, markup=False)


def exit_code(found: RunStatus) -> int:
    """The exit code that tells how a run stands."""
    if found.driver.state == "working":
        return WORKING
    if found.driver.state in ("dead", "silent"):
        return DIED
    return 0 if found.all_whole else 1


def _print(found: RunStatus, there: Console, *, json: bool, line: bool) -> None:
    from wsiseg.cli.status_display import status_line, status_view

    if json:
        import orjson

        value = {**asdict(found), "out": str(found.out), "exit_code": exit_code(found)}
        typer.echo(orjson.dumps(value).decode())
    elif line:
        there.print(status_line(found, time.time()), highlight=False, markup=False)
    else:
        view = status_view(found, time.time(), bars=there.is_terminal)
        there.print(view, highlight=False)


def _live(out: Path, there: Console) -> None:
    from rich.live import Live

    from wsiseg.cli.status_display import status_view
    from wsiseg.execution.status import read_status

    found = read_status(out)
    try:
        with Live(console=there, auto_refresh=False) as live:
            while True:
                live.update(status_view(found, time.time()), refresh=True)
                if found.driver.state != "working":
                    break
                time.sleep(_EVERY_SECONDS)
                found = read_status(out)
    except KeyboardInterrupt:
        pass
    raise typer.Exit(exit_code(found))
