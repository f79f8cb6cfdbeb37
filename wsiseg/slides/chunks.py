"""Decoded pixels kept for the next read, within a bound of bytes, and made once only."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from threading import Event, Lock

from wsiseg.slides.reader import Pixels

DEFAULT_CACHE_BYTES = 64 << 20
"""Holds what the tiles of a block of 2,048 px share, also where pixels are stored twice as fine."""

Key = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Claim:
    """What of some chunks is ``held``, what the claimant has ``to_make`` now, and the ends of
    what ``others`` are making."""

    held: dict[Key, Pixels]
    to_make: tuple[Key, ...]
    others: tuple[Event, ...]


class ChunkCache:
    """The chunks used last; the one unused for longest goes first. Safe between threads.

    Parameters
    ----------
    capacity
        Bytes of pixels held at most.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._held = 0
        self._lock = Lock()
        self._chunks: OrderedDict[Key, Pixels] = OrderedDict()
        self._making: dict[Key, Event] = {}

    def claim(self, keys: Iterable[Key]) -> Claim:
        """What is held of some chunks; what nobody is making becomes the caller's to make.

        The caller then calls :meth:`put` for what it made and :meth:`release` for all of it,
        before it waits for others.
        """
        held: dict[Key, Pixels] = {}
        to_make, others = [], []
        with self._lock:
            for key in keys:
                chunk = self._chunks.get(key)
                if chunk is not None:
                    self._chunks.move_to_end(key)
                    held[key] = chunk
                elif key in self._making:
                    others.append(self._making[key])
                else:
                    self._making[key] = Event()
                    to_make.append(key)
        return Claim(held, tuple(to_make), tuple(others))

    def release(self, keys: Iterable[Key]) -> None:
        """End the making of chunks, made or not."""
        with self._lock:
            ended = [self._making.pop(key) for key in keys]
        for event in ended:
            event.set()

    def get(self, key: Key) -> Pixels | None:
        """The chunk, if it is held."""
        with self._lock:
            chunk = self._chunks.get(key)
            if chunk is not None:
                self._chunks.move_to_end(key)
            return chunk

    def put(self, key: Key, chunk: Pixels) -> None:
        """Hold a chunk, letting go of others to make room; one over the bound is not held."""
        with self._lock:
            old = self._chunks.pop(key, None)
            if old is not None:
                self._held -= old.nbytes
            if chunk.nbytes > self._capacity:
                return
            self._chunks[key] = chunk
            self._held += chunk.nbytes
            while self._held > self._capacity:
                _, gone = self._chunks.popitem(last=False)
                self._held -= gone.nbytes
