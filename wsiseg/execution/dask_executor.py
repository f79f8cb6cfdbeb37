"""Tasks on Dask distributed, wherever its workers are."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue

from wsiseg.errors import ClusterError
from wsiseg.execution.cluster import Inline, Joined, Local, Need, Slurm
from wsiseg.execution.dask_link import Done, Event, Joins, Leaves, Link, Lost, Refused
from wsiseg.execution.roster import Roster
from wsiseg.execution.tasks import PrepareTask, Result, Task
from wsiseg.pipeline.block import BlockTask

FIRST_WORD_SECONDS = 10.0
"""How long to wait without any worker before saying so."""


class DaskExecutor:
    """Performs tasks on the workers of a Dask cluster, which may come and go.

    Parameters
    ----------
    choice
        The cluster: started here, or joined.
    need
        What the run asks of it.
    tell
        Hears what is worth a line to the user.

    Raises
    ------
    ClusterError
        If the cluster cannot be started or reached, or its workers cannot be used.
    """

    def __init__(
        self, choice: Local | Joined | Slurm, need: Need, tell: Callable[[str], None]
    ) -> None:
        self._choice = choice
        self._tell = tell
        self._gpu = need.gpu
        self._coming: tuple[str, str] | None = None
        self._warmed: set[str] = set()
        self._roster = Roster(lambda task: need.gpu and isinstance(task, BlockTask))
        self._events: SimpleQueue[Event] = SimpleQueue()
        self._finished: deque[tuple[Task, Result]] = deque()
        self._absent_since: float | None = time.monotonic()
        self._said = False
        self._link = Link(choice, need, self._events.put)
        self._link.open()

    @property
    def dashboard(self) -> str | None:
        """Address of Dask's dashboard, where the scheduler has one."""
        return self._link.dashboard

    def takes(self, task: Task, waiting: int) -> bool:
        """Whether a worker has room for this task now, one of so many that wait for some."""
        # What was done with others in one load may call for something more urgent.
        return not self._finished and self._roster.takes(task, waiting)

    def submit(self, task: Task) -> None:
        """Take a task."""
        self._roster.add(task)
        if isinstance(task, PrepareTask):
            self._coming = task.job.model, task.job.device
        elif isinstance(task, BlockTask):
            self._coming = None

    def next(self, seconds: float) -> tuple[Task, Result] | None:
        """Wait for a task that is done, or given up."""
        if not self._finished:
            for load in self._roster.to_send():
                self._link.send(load)
            self._warm_up()
            try:
                self._take(self._events.get(timeout=seconds))
            except Empty:
                self._mind_absence()
        return self._finished.popleft() if self._finished else None

    def close(self) -> None:
        """End the cluster if it was started here; what was under way is lost, what was
        committed is not."""
        self._link.close()

    def _warm_up(self) -> None:
        """Have workers that would wait for a slide's first blocks make ready for them."""
        if self._coming is None:
            return
        for worker in self._roster.resting():
            if worker.address not in self._warmed and worker.gpu == self._gpu:
                self._warmed.add(worker.address)
                self._link.warm(worker, *self._coming)

    def _take(self, event: Event) -> None:
        match event:
            case Done(load, results, took):
                if self._roster.done(load, took):
                    self._finished.extend(zip(load.tasks, results, strict=True))
            case Joins(worker, remark):
                self._roster.join(worker)
                self._absent_since = None
                if remark:
                    self._tell(remark)
            case Leaves(address, death):
                self._finished.extend(self._roster.leave(address, death))
                if not len(self._roster):
                    self._absent_since, self._said = time.monotonic(), False
            case Refused(address, why):
                self._tell(f"the worker {address} is not used: {why}")
            case Lost(why):
                raise ClusterError(f"{why}; finished work is kept: run the same command again")

    def _mind_absence(self) -> None:
        """Say that nobody is there, and in the end complain of it."""
        if self._absent_since is None:
            return
        gone = time.monotonic() - self._absent_since
        if gone > 60 * self._choice.wait_minutes:
            raise ClusterError(
                f"no worker for {self._choice.wait_minutes:g} minutes: {_advice(self._choice)}; "
                "finished work is kept: run the same command again"
            )
        if gone > FIRST_WORD_SECONDS and not self._said:
            self._said = True
            self._tell(f"waiting for workers: {_advice(self._choice)}")


def _advice(choice: Inline | Local | Joined | Slurm) -> str:
    match choice:
        case Joined(address=address):
            return f"start some with: dask worker {address} --nthreads 1 --nworkers N"
        case Slurm(name=name):
            return f"the jobs named {name} have not begun (see squeue)"
        case _:
            return "no worker process could be started on this machine"
