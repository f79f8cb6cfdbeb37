"""Who performs tasks."""

from __future__ import annotations

from collections import deque
from typing import Protocol

from wsiseg.execution.tasks import Result, Task, perform


class Executor(Protocol):
    """Performs tasks, here or elsewhere."""

    @property
    def room(self) -> int:
        """How many more tasks it takes now."""
        ...

    def submit(self, task: Task) -> None:
        """Take a task."""
        ...

    def next(self) -> tuple[Task, Result]:
        """Wait for a task that is done."""
        ...

    def close(self) -> None:
        """Let go of everything, unfinished tasks included."""
        ...


class InlineExecutor:
    """Performs tasks one after the other in this process: for debugging and small slides."""

    def __init__(self) -> None:
        self._tasks: deque[Task] = deque()

    @property
    def room(self) -> int:
        """One task at a time."""
        return 1 - len(self._tasks)

    def submit(self, task: Task) -> None:
        """Take a task."""
        self._tasks.append(task)

    def next(self) -> tuple[Task, Result]:
        """Perform the oldest task."""
        task = self._tasks.popleft()
        return task, perform(task)

    def close(self) -> None:
        """Forget the tasks."""
        self._tasks.clear()
