"""What is still to be done, the most urgent first; slides whose storage is away pause."""

from __future__ import annotations

import heapq
import itertools
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from wsiseg.execution.tasks import PrepareTask, Task
from wsiseg.pipeline.block import BlockTask

PAUSES = (1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 60.0, 120.0, 240.0)
"""Seconds to wait before a slide whose storage cannot be reached is tried again, each time."""

MANY_BLOCKS = 4096
"""With more blocks than this waiting, no further slide is planned ahead."""

_Item = tuple[int, int, int, Task]


@dataclass(slots=True)
class _Pause:
    until: float
    items: list[_Item] = field(default_factory=list)


class Agenda:
    """Tasks by urgency: those of earlier slides first, of one slide by stage, then in order.

    Blocks are kept apart from the rest, for they may go to other workers.
    """

    def __init__(self) -> None:
        self._blocks: list[_Item] = []
        self._others: list[_Item] = []
        self._numbers = itertools.count()
        self._under_way: dict[int, _Item] = {}
        self._pauses: dict[str, _Pause] = {}
        self._troubles: Counter[str] = Counter()
        self._retries: Counter[str] = Counter()
        self._ended: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self._blocks or self._others or self._under_way or self._pauses)

    def push(self, place: int, stage: int, task: Task) -> None:
        """A task of the slide that comes at this place; lower stages are more urgent."""
        self._put((place, stage, next(self._numbers), task))

    def take(self, takes: Callable[[Task, int], bool]) -> Task | None:
        """The most urgent task that is taken now; it counts as under way.

        ``takes`` is asked of a task, and told how many wait with it.
        """
        self._wake()
        while True:
            for heap in sorted((h for h in (self._blocks, self._others) if h), key=_urgency):
                item = heap[0]
                task = item[-1]
                if task.slide in self._ended:
                    heapq.heappop(heap)
                    break
                if task.slide in self._pauses:
                    self._pauses[task.slide].items.append(heapq.heappop(heap))
                    break
                ahead = isinstance(task, PrepareTask) and len(self._blocks) > MANY_BLOCKS
                if not ahead and takes(task, len(self._blocks) + len(self._others)):
                    heapq.heappop(heap)
                    self._under_way[id(task)] = item
                    return task
            else:
                return None

    def close(self, task: Task) -> None:
        """A task that was under way succeeded, or failed for good."""
        self._under_way.pop(id(task), None)
        self._troubles.pop(task.slide, None)

    def postpone(self, task: Task) -> float | None:
        """A task under way could not reach its storage: it is to be tried again later.

        The seconds of the pause that its slide begins for it; 0 where the slide pauses
        already, ``None`` where it has paused often enough.
        """
        item, name = self._under_way.pop(id(task)), task.slide
        if name in self._pauses:
            # Tasks of a slide that are under way together fail of one cause: it counts once.
            self._pauses[name].items.append(item)
            return 0.0
        if self._troubles[name] >= len(PAUSES):
            return None
        seconds = PAUSES[self._troubles[name]]
        self._troubles[name] += 1
        self._retries[name] += 1
        self._pauses[name] = _Pause(time.monotonic() + seconds, [item])
        return seconds

    def retries(self, slide: str) -> int:
        """How many times a slide has paused."""
        return self._retries[slide]

    def end(self, slide: str) -> None:
        """Nothing more is to be done for a slide."""
        self._ended.add(slide)
        self._pauses.pop(slide, None)

    def patience(self, most: float) -> float:
        """Seconds until a pause is over, but not more than ``most``."""
        now = time.monotonic()
        return max(min((p.until - now for p in self._pauses.values()), default=most), 0.0)

    def _wake(self) -> None:
        now = time.monotonic()
        for name in [n for n, pause in self._pauses.items() if pause.until <= now]:
            for item in self._pauses.pop(name).items:
                self._put(item)

    def _put(self, item: _Item) -> None:
        heapq.heappush(self._blocks if isinstance(item[-1], BlockTask) else self._others, item)


def _urgency(heap: list[_Item]) -> tuple[int, int, int]:
    return heap[0][:3]
