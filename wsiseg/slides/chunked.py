"""Reading a slide in fixed squares that are kept, so that pixels depend on their place alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from threading import Lock

import numpy as np

from wsiseg.errors import DamagedPixelsError
from wsiseg.geometry import Box
from wsiseg.slides.chunks import ChunkCache, Key
from wsiseg.slides.reader import Pixels, SlideReader, Source, read_boxes

CHUNK = 512
"""Levels are read in squares of this many pixels a side, at multiples of it, cut at the level's
border; decoded smaller, in the same squares. A reader that interpolates, or fails, then does so in
the same way whatever box is wanted."""

_GROUP_BYTES = 16 << 20
"""Pixels that a reader is asked for at once: enough to read in the order of the file."""


@dataclass(frozen=True, slots=True, order=True)
class Damage:
    """Pixels that could not be decoded. ``box`` is in level-0 pixels."""

    box: Box
    reason: str

    def plain(self) -> tuple[int, int, int, int, str]:
        """``x0, y0, x1, y1, reason``, as plans and blocks keep it."""
        return self.box.x0, self.box.y0, self.box.x1, self.box.y1, self.reason


class ChunkedReading:
    """Pixels of the sources of a reader. Safe to use from several threads.

    Parameters
    ----------
    reader
        The opened file; not closed here.
    fill
        Value of every channel beyond the slide, and of what cannot be decoded.
    cache_bytes
        Decoded pixels kept for the next read.
    """

    def __init__(self, reader: SlideReader, fill: int, cache_bytes: int) -> None:
        self._reader = reader
        self._facts = reader.facts
        self._dtype = np.dtype(self._facts.dtype)
        self._fill = fill
        self._cache = ChunkCache(cache_bytes)
        self._damage_lock = Lock()
        self._damage: dict[Key, Damage] = {}

    @property
    def damage(self) -> tuple[Damage, ...]:
        """What could not be decoded so far, in order."""
        with self._damage_lock:
            return tuple(sorted(set(self._damage.values())))

    def read(self, source: Source, box: Box, channels: tuple[int, ...]) -> Pixels:
        """Pixels ``[y, x, c]`` of a box of a source, beyond its border too.

        Parameters
        ----------
        source
            One of the reader's.
        box
            In pixels of the source.
        channels
            Places of the channels wanted.
        """
        whole = Box.of(self._facts.levels[source.level].reduced(source.reduction))
        inside = box.intersection(whole)
        out: Pixels = np.empty((*box.shape, len(channels)), self._dtype)
        if inside != box:
            out[:] = self._fill
        # Choosing channels by a list copies, pixel by pixel, what a slice only looks at.
        chosen = _as_slice(channels)
        side = CHUNK // source.reduction
        for group in _groups(list(inside.split(side)), self._group(side)):
            cells = [_cell(part, side).intersection(whole) for part in group]
            chunks = self._chunks(source, cells)
            for part, cell in zip(group, cells, strict=True):
                out[part.slices(box)] = chunks[_key(source, cell)][part.slices(cell)][..., chosen]
        return out

    def _group(self, side: int) -> int:
        """Number of chunks to ask for at once."""
        size = side * side * len(self._facts.channels) * self._dtype.itemsize
        return max(_GROUP_BYTES // size, 1)

    def _chunks(self, source: Source, cells: Sequence[Box]) -> dict[Key, Pixels]:
        """Chunks by key, each made by one thread while others wait for it."""
        found: dict[Key, Pixels] = {}
        by_key = {_key(source, cell): cell for cell in cells}
        while missing := by_key.keys() - found.keys():
            claim = self._cache.claim(sorted(missing))
            found |= claim.held
            try:
                made = self._made(source, [by_key[key] for key in claim.to_make])
                for key, pixels in made.items():
                    self._cache.put(key, pixels)
                found |= made
            finally:
                self._cache.release(claim.to_make)
            for other in claim.others:
                other.wait()
        return found

    def _made(self, source: Source, cells: Sequence[Box]) -> dict[Key, Pixels]:
        made = {
            _key(source, cell): self._blank(cell)
            for cell in cells
            if _key(source, cell) in self._damage
        }
        sound = [cell for cell in cells if _key(source, cell) not in made]
        if sound:
            for cell, pixels in zip(sound, read_boxes(self._reader, source, sound), strict=True):
                key = _key(source, cell)
                if isinstance(pixels, DamagedPixelsError):
                    with self._damage_lock:
                        self._damage[key] = Damage(self._in_level0(source, cell), str(pixels))
                    made[key] = self._blank(cell)
                else:
                    made[key] = pixels
        return made

    def _blank(self, box: Box) -> Pixels:
        shape = (*box.shape, len(self._facts.channels))
        blank: Pixels = np.full(shape, self._fill, self._dtype)
        return blank

    def _in_level0(self, source: Source, box: Box) -> Box:
        by = self._facts.levels[source.level].downsample * source.reduction
        scaled = Box(
            math.floor(box.x0 * by),
            math.floor(box.y0 * by),
            math.ceil(box.x1 * by),
            math.ceil(box.y1 * by),
        )
        return scaled.intersection(Box.of(self._facts.levels[0].size))


def _key(source: Source, cell: Box) -> Key:
    return source.level, source.reduction, cell.y0, cell.x0


def _cell(part: Box, side: int) -> Box:
    """The cell of the lattice of ``side`` pixels that holds ``part``."""
    x, y = part.x0 // side * side, part.y0 // side * side
    return Box(x, y, x + side, y + side)


def _groups(boxes: Sequence[Box], size: int) -> Iterator[Sequence[Box]]:
    for first in range(0, len(boxes), size):
        yield boxes[first : first + size]


def _as_slice(places: tuple[int, ...]) -> slice | list[int]:
    first = places[0] if places else 0
    run = places == tuple(range(first, first + len(places)))
    return slice(first, first + len(places)) if run else list(places)
