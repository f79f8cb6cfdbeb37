"""What the terminal shows of a training."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from wsiseg.training.progress import Step

_QUIET_SECONDS = 30.0
"""Between two lines where there is no terminal."""


class TrainingProgress:
    """A bar on a terminal, sparse lines elsewhere; to be used as a context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._spoke = time.monotonic()
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]:.3f}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("training", total=None, loss=float("nan"))

    def __enter__(self) -> TrainingProgress:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def step(self, step: Step) -> None:
        """Show how far it is."""
        self._bar.update(self._task, completed=step.step, total=step.steps, loss=step.loss)
        now = time.monotonic()
        if not self._console.is_terminal and now - self._spoke >= _QUIET_SECONDS:
            self._spoke = now
            self._console.print(f"{step.step} of {step.steps} steps, loss {step.loss:.3f}")
