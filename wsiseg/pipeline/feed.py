"""Bounded overlap: the next pixels are read, and the last answers finished, while a model works."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import TypeVar

Item = TypeVar("Item")
Value = TypeVar("Value")


def prefetched(
    items: Iterable[Item], fetch: Callable[[Item], Value], *, ahead: int = 2, threads: int = 1
) -> Iterator[tuple[Item, Value]]:
    """``(item, fetch(item))`` in order, with at most ``ahead`` fetched but not yet taken.

    ``threads`` fetch at a time. An error of ``fetch`` is raised where its item would come.
    """
    with ThreadPoolExecutor(threads, thread_name_prefix="wsiseg-read") as pool:
        queue: deque[tuple[Item, Future[Value]]] = deque()
        try:
            for item in items:
                queue.append((item, pool.submit(fetch, item)))
                if len(queue) > ahead:
                    first, future = queue.popleft()
                    yield first, future.result()
            while queue:
                first, future = queue.popleft()
                yield first, future.result()
        finally:
            for _, future in queue:
                future.cancel()


class Behind:
    """Finishes one thing in a thread of its own while the caller makes the next.

    At most one is being finished and none waits: what is handed on does not heap up. Errors are
    raised by the next call, or on leaving.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="wsiseg-finish")
        self._last: Future[None] | None = None

    def __enter__(self) -> Behind:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self._wait()
        finally:
            self._pool.shutdown()

    def do(self, work: Callable[[], None]) -> None:
        """Have ``work`` done, when what was given before is."""
        self._wait()
        self._last = self._pool.submit(work)

    def _wait(self) -> None:
        last, self._last = self._last, None
        if last is not None:
            last.result()
