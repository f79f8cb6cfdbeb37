"""What commands that work on a run directory share: progress, interruption, the end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from wsiseg.execution.api import RunResult


@contextmanager
def interruptible() -> Iterator[None]:
    """Tell of an interruption without a traceback, and end with 130."""
    try:
        yield
    except KeyboardInterrupt:
        from wsiseg.cli.display import console

        console(stderr=True).print(
            "Interrupted. Finished work is kept: run the same command to go on."
        )
        raise typer.Exit(130) from None


def progress() -> Any:
    """A display of a run's progress on stderr."""
    from wsiseg.cli.display import console
    from wsiseg.cli.run_display import RunProgress

    return RunProgress(console(stderr=True))


def finish(result: RunResult) -> None:
    """Show how a run ended; exit with 1 if slides failed."""
    from wsiseg.cli.display import console
    from wsiseg.cli.result_display import result_table

    console().print(result_table(result))
    if result.failed:
        raise typer.Exit(1)
