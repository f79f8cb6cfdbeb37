"""Tasks on Dask distributed: the only module that imports it."""

from __future__ import annotations

import logging
import signal
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dask
from distributed import Client, Future, KilledWorker, LocalCluster, as_completed

from wsiseg.execution.tasks import Failure, Result, Task, perform

QUEUE_PER_WORKER = 2
"""Tasks given to the scheduler per worker: one at work and one that waits."""

DEATHS = 3
"""A task during which this many workers die, alone on the cluster, is given up."""

_SETTINGS = {
    # Every death of a worker is told at once; who was to blame is found out here.
    "distributed.scheduler.allowed-failures": 0,
    # Memory is planned before the start; pausing and spilling would only hide a wrong plan.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": False,
    "distributed.comm.timeouts.connect": "60s",
}


class DaskExecutor:
    """Performs tasks on a cluster of processes on this machine.

    When a worker dies, every task the scheduler had given it is suspect. Suspects are tried
    again one at a time with nothing else under way, so that the culprit is known; it is given
    up after ``DEATHS`` such deaths, and the others go on.
    """

    def __init__(self, workers: int) -> None:
        dask.config.set(_SETTINGS)
        for name in ("distributed", "distributed.nanny", "distributed.scheduler"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self._capacity = workers * QUEUE_PER_WORKER
        self._tasks: dict[Future, Task] = {}
        self._suspects: deque[Task] = deque()
        self._deaths: dict[Task, int] = {}
        with _shielded_from_interrupts():
            self._cluster = LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
                memory_limit=0,
                silence_logs=logging.CRITICAL,
            )
            self._client = Client(self._cluster)
        self._done: Any = as_completed()

    @property
    def room(self) -> int:
        """How many more tasks it takes now: none while a suspect is on trial."""
        if self._suspects:
            return 0
        return self._capacity - len(self._tasks)

    def submit(self, task: Task) -> None:
        """Take a task."""
        future = self._client.submit(perform, task, pure=False)
        self._tasks[future] = task
        self._done.add(future)

    def next(self) -> tuple[Task, Result]:
        """Wait for a task that is done, or given up."""
        while True:
            if not self._tasks and self._suspects:
                self.submit(self._suspects.popleft())
            alone = len(self._tasks) == 1
            future = next(self._done)
            task = self._tasks.pop(future)
            error = future.exception()
            if error is None:
                result: Result = future.result()
                return task, result
            if not isinstance(error, KilledWorker):
                return task, Failure(f"{type(error).__name__}: {error}")
            if alone:
                self._deaths[task] = self._deaths.get(task, 0) + 1
            if self._deaths.get(task, 0) >= DEATHS:
                return task, Failure(
                    f"{DEATHS} worker processes died while they worked on this alone: a crash in "
                    "the slide reader, or not enough memory"
                )
            self._suspects.append(task)

    def close(self) -> None:
        """End the cluster; what was under way is lost, what was committed is not."""
        self._client.close(timeout=2)
        self._cluster.close(timeout=5)


@contextmanager
def _shielded_from_interrupts() -> Iterator[None]:
    """Processes started inside ignore Ctrl-C: the driver alone hears it, and ends them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
