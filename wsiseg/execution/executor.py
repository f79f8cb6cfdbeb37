"""Who performs tasks."""

from __future__ import annotations

import time
from collections import deque
from typing import Protocol

from wsiseg.execution.tasks import Result, Task, perform


class Executor(Protocol):
    """Performs tasks, here or elsewhere."""

    @property
    def dashboard(self) -> str | None:
        """Address of a page that shows what is going on, where there is one."""
        ...

    def takes(self, task: Task, waiting: int) -> bool:
        """Whether it takes this task now, one of so many that wait to be taken."""
        ...

    def submit(self, task: Task) -> None:
        """Take a task."""
        ...

    def next(self, seconds: float) -> tuple[Task, Result] | None:
        """Wait for a task that is done, but not longer than so many seconds.

        ``None`` where none was done, or what it takes has changed.

        Raises
        ------
        ClusterError
            If nobody is left to perform tasks.
        """
        ...

    def close(self) -> None:
        """Let go of everything, unfinished tasks included."""
        ...


class InlineExecutor:
    """Performs tasks one after the other in this process: for debugging and small slides."""

    def __init__(self) -> None:
        self._tasks: deque[Task] = deque()

    @property
    def dashboard(self) -> str | None:
        """There is none."""
        return None

    def takes(self, task: Task, waiting: int) -> bool:
        """One task at a time."""
        return not self._tasks

    def submit(self, task: Task) -> None:
        """Take a task."""
        self._tasks.append(task)

    def next(self, seconds: float) -> tuple[Task, Result] | None:
        """Perform the oldest task; with none, wait."""
        if not self._tasks:
            time.sleep(seconds)
            return None
        task = self._tasks.popleft()
        return task, perform(task)

    def close(self) -> None:
        """Forget the tasks."""
        self._tasks.clear()
