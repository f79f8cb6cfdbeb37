"""Bounded prefetch: the next pixels are read while the last ones are worked on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Value = TypeVar("Value")


def prefetched(
    items: Iterable[Item], fetch: Callable[[Item], Value], *, ahead: int = 2
) -> Iterator[tuple[Item, Value]]:
    """``(item, fetch(item))`` in order, with at most ``ahead`` fetched but not yet taken.

    An error of ``fetch`` is raised where its item would come.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="wsiseg-read") as pool:
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
