"""Who works on what: tasks are placed on worker processes here, and blamed for their deaths.

A worker holds at most ``QUEUE`` loads, one at work and one that waits. A load is one task, or
several that are so short that handing them out singly would cost more than the work. Towards the
end nothing waits behind other work that an idle worker could begin soon. When a worker dies, each
of its tasks is suspect and is tried again alone on a worker that has nothing else to do, while the
others go on; a task during which ``DEATHS`` workers died so is given up.
Nothing here waits, and nothing here knows how tasks get to workers.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from wsiseg.execution.tasks import Failure, MeasureTask, Task
from wsiseg.pipeline.block import BlockTask

QUEUE = 2
"""Loads a worker is given: one at work and one that waits."""

DEATHS = 3
"""A task during which this many workers died, it alone being on them, is given up."""

LOAD_SECONDS = 0.2
"""Short tasks are handed out together until they take about this long."""

LOAD_TASKS = 64
"""No load holds more tasks than this."""

_WEIGHT = 0.2
"""Weight of the latest load in the mean duration of a task."""

_MANY = (BlockTask, MeasureTask)
"""Tasks of which a slide has so many that short ones are handed out together."""


@dataclass(frozen=True, slots=True)
class Worker:
    """A process that performs tasks.

    Attributes
    ----------
    address
        Tells it from every other while it lives.
    gpu
        Whether it has a GPU of its own.
    queue
        Loads it may hold.
    """

    address: str
    gpu: bool = False
    queue: int = QUEUE


@dataclass(slots=True)
class Load:
    """Tasks that go to a worker together. ``trial``: a suspect, alone on its worker."""

    number: int
    worker: Worker
    tasks: list[Task]
    trial: bool = False
    sent: bool = False


@dataclass(slots=True)
class _Place:
    worker: Worker
    loads: dict[int, Load] = field(default_factory=dict)
    reserved: bool = False

    def has_long(self) -> bool:
        return any(_is_long(load.tasks[0]) for load in self.loads.values())


class Roster:
    """Keeps account of workers and their tasks.

    Parameters
    ----------
    needs_gpu
        Which tasks may only go to a worker that has a GPU. Such workers are kept for them
        while there is any other for the rest.
    """

    def __init__(self, needs_gpu: Callable[[Task], bool] = lambda task: False) -> None:
        self._needs_gpu = needs_gpu
        self._places: dict[str, _Place] = {}
        self._again: deque[Task] = deque()
        self._suspects: deque[Task] = deque()
        self._deaths: dict[int, list[str]] = {}
        self._numbers = itertools.count()
        self._mean_seconds: dict[type, float] = {}

    def __len__(self) -> int:
        return len(self._places)

    @property
    def idle(self) -> bool:
        """Whether no task is held, waits or is suspect."""
        return not (self._again or self._suspects or any(p.loads for p in self._places.values()))

    def resting(self) -> list[Worker]:
        """The workers that hold nothing and may be given something."""
        return [p.worker for p in self._places.values() if not p.loads and not p.reserved]

    def join(self, worker: Worker) -> None:
        """A worker that may be given tasks from now on."""
        self._places[worker.address] = _Place(worker)

    def leave(self, address: str, death: str | None) -> list[tuple[Task, Failure]]:
        """A worker has gone; the tasks that are given up for it.

        Parameters
        ----------
        address
            The worker.
        death
            What it died of; ``None`` if it left on purpose, and no task is to blame.
        """
        place = self._places.pop(address, None)
        if place is None:
            return []
        given_up = []
        for load in place.loads.values():
            if death is None or not load.sent:
                self._again.extend(load.tasks)
                continue
            for task in load.tasks:
                if load.trial:
                    self._deaths.setdefault(id(task), []).append(death)
                if len(self._deaths.get(id(task), ())) < DEATHS:
                    self._suspects.append(task)
                else:
                    given_up.append((task, _poisonous(self._deaths.pop(id(task)))))
        return given_up

    def takes(self, task: Task, waiting: int) -> bool:
        """Whether there is room for a task now, one of so many that wait for some.

        Where no more than two a worker wait, none of them goes to a worker that is busy: another
        may be free sooner. Nor does one of the long ones to a worker that has one already.
        """
        if self._again:
            return False
        if self._open_load(task) is not None:
            return True
        place = self._free_place(task)
        if place is None or not place.loads:
            return place is not None
        crowded = waiting > 2 * len(self._fitting(task))
        return crowded and not (_is_long(task) and place.has_long())

    def add(self, task: Task) -> None:
        """Take a task; where there is no room for it now it is the first to get some."""
        load = self._open_load(task)
        if load is None:
            place = self._free_place(task)
            if place is None:
                self._again.append(task)
            else:
                self._new_load(place, task)
        else:
            load.tasks.append(task)

    def to_send(self) -> list[Load]:
        """The loads that are to go to their workers now."""
        waiting, self._again = self._again, deque()
        for task in waiting:
            self.add(task)
        self._begin_trials()
        loads = [
            load
            for place in self._places.values()
            for load in place.loads.values()
            if not load.sent
        ]
        for load in loads:
            load.sent = True
        return loads

    def done(self, load: Load, seconds: float) -> bool:
        """A load was performed in so many seconds; whether that was still awaited."""
        place = self._places.get(load.worker.address)
        if place is None or place.loads.pop(load.number, None) is None:
            return False
        if load.trial:
            place.reserved = False
            self._deaths.pop(id(load.tasks[0]), None)
        kind, mean = type(load.tasks[0]), seconds / len(load.tasks)
        known = self._mean_seconds.setdefault(kind, mean)
        self._mean_seconds[kind] = known + _WEIGHT * (mean - known)
        return True

    def _new_load(self, place: _Place, task: Task) -> Load:
        load = Load(next(self._numbers), place.worker, [task])
        place.loads[load.number] = load
        return load

    def _open_load(self, task: Task) -> Load | None:
        """A load that is still here and may take this task too."""
        mean = self._mean_seconds.get(type(task)) if isinstance(task, _MANY) else None
        size = min(LOAD_TASKS, int(LOAD_SECONDS / mean)) if mean else 1
        for place in self._fitting(task) if size > 1 else ():
            for load in place.loads.values():
                same = not load.sent and type(load.tasks[0]) is type(task)
                if same and len(load.tasks) < size:
                    return load
        return None

    def _free_place(self, task: Task) -> _Place | None:
        """The worker that holds least, of those that may hold more."""
        free = [
            place
            for place in self._fitting(task)
            if not place.reserved and len(place.loads) < place.worker.queue
        ]
        return min(free, key=lambda place: (len(place.loads), place.has_long()), default=None)

    def _fitting(self, task: Task) -> list[_Place]:
        places = self._places.values()
        if self._needs_gpu(task):
            return [place for place in places if place.worker.gpu]
        return [place for place in places if not place.worker.gpu] or list(places)

    def _begin_trials(self) -> None:
        """Begin what suspects can be tried now; for the others, keep workers free."""
        for place in self._places.values():
            place.reserved = any(load.trial for load in place.loads.values())
        waiting, self._suspects = self._suspects, deque()
        for task in waiting:
            free = [place for place in self._fitting(task) if not place.reserved]
            best = min(free, key=lambda place: len(place.loads), default=None)
            if best is not None:
                best.reserved = True
            if best is None or best.loads:
                self._suspects.append(task)
            else:
                self._new_load(best, task).trial = True


def _is_long(task: Task) -> bool:
    return not isinstance(task, _MANY)


def _poisonous(deaths: list[str]) -> Failure:
    causes = ", ".join(dict.fromkeys(deaths))
    return Failure(f"{len(deaths)} worker processes died while they worked on this alone: {causes}")
