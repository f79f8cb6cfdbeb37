"""Decoded pixels kept for the next read, within a bound of bytes."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

from wsiseg.slides.reader import Pixels

DEFAULT_CACHE_BYTES = 96 << 20

Key = tuple[int, int, int]


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
