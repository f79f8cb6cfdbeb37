"""Is a TIFF file whole? A bounded walk over its directories, before any reader trusts it.

Readers are lenient: a file cut short still opens with the directories that survived, and its
missing tiles turn up one by one in the middle of a run. Here the chain of directories is
followed to its end and every tile or strip must lie inside the file.

Layout after the TIFF 6.0 specification (sections 2 and 15) and the BigTIFF design
(https://www.awaresystems.be/imaging/tiff/bigtiff.html).
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from wsiseg.errors import UnreadableSlideError

MAX_DIRECTORIES = 16_384
MAX_ENTRIES = 4_096
MAX_TABLE_BYTES = 1 << 29
"""All tile tables of a file together; a slide of 400,000 pixels a side needs 40 MB a level."""

MAX_TILE_BYTES = 1 << 29
"""One decoded tile; nobody writes such, and a reader would allocate it."""

FETCH_AGAIN = "fetch the slide again from where it came from"

_CLASSIC_LIMIT = 1 << 32
_DTYPES = {1: "u1", 3: "u2", 4: "u4", 13: "u4", 16: "u8", 18: "u8"}
_WIDTH, _HEIGHT, _BITS, _SAMPLES, _PLANAR = 256, 257, 258, 277, 284
_STRIP_OFFSETS, _ROWS_PER_STRIP, _STRIP_BYTES = 273, 278, 279
_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_BYTES = 322, 323, 324, 325
_SUB_DIRECTORIES = 330
_TABLES = {_STRIP_OFFSETS, _STRIP_BYTES, _TILE_OFFSETS, _TILE_BYTES, _SUB_DIRECTORIES}
_NUMBERS = {
    _WIDTH,
    _HEIGHT,
    _BITS,
    _SAMPLES,
    _PLANAR,
    _ROWS_PER_STRIP,
    _TILE_WIDTH,
    _TILE_HEIGHT,
}

_Values = NDArray[np.unsignedinteger]


def is_tiff(path: Path) -> bool:
    """Whether the file begins as a TIFF or BigTIFF does, whatever it is called."""
    with path.open("rb") as file:
        head = file.read(4)
    return head in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def check_tiff(path: Path) -> None:
    """Walk the directories of a TIFF file.

    Raises
    ------
    UnreadableSlideError
        If the chain of directories or a tile leads out of the file or in a circle, or a size
        is absurd; the message names the file and the place.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(4)
        if head[2:] in (b"*\0", b"\0*") and size >= _CLASSIC_LIMIT:
            # Plain TIFF ends at 4 GiB. What lies beyond is Hamamatsu's private extension, which
            # only OpenSlide reads, with its own checks.
            return
        _Walk(path, file, size).run()


@dataclass(slots=True)
class _Form:
    """How numbers are laid out: ``order`` is ``"<"`` or ``">"``."""

    order: str
    big: bool

    @property
    def pointer(self) -> str:
        return self.order + ("Q" if self.big else "I")

    @property
    def entry_size(self) -> int:
        return 20 if self.big else 12

    @property
    def inline(self) -> int:
        return 8 if self.big else 4


class _Walk:
    def __init__(self, path: Path, file: BinaryIO, size: int) -> None:
        self._path = path
        self._file = file
        self._size = size
        self._seen: set[int] = set()
        self._table_bytes = 0
        self._place = "its header"
        self._form = _Form("<", big=False)

    def run(self) -> None:
        head = self._read(0, 8, "the header")
        self._form = _Form("<" if head[:2] == b"II" else ">", head[2:4] in (b"+\0", b"\0+"))
        if self._form.big:
            head = self._read(0, 16, "the header")
        first = self._pointer(head[8:] if self._form.big else head[4:])
        if first == 0:
            raise self._broken("its header names no directory")
        chains = [first]
        while chains:
            chains.extend(self._chain(chains.pop()))

    def _chain(self, offset: int) -> list[int]:
        """Follow one chain to its end; the chains of sub-directories that it names."""
        children: list[int] = []
        chain: set[int] = set()
        # Chains may meet: a writer may link the sub-directories that another page names too.
        while offset != 0 and (offset in chain or offset not in self._seen):
            if offset in chain:
                raise self._broken(f"its directories form a circle at byte {offset}")
            chain.add(offset)
            offset, named = self._directory(offset)
            children.extend(named)
        return children

    def _directory(self, offset: int) -> tuple[int, list[int]]:
        self._place = f"directory {len(self._seen)} at byte {offset}"
        self._seen.add(offset)
        if len(self._seen) > MAX_DIRECTORIES:
            raise self._broken(f"it has more than {MAX_DIRECTORIES} directories")
        form = self._form
        width = 8 if form.big else 2
        raw = self._read(offset, width, self._place)
        (count,) = struct.unpack(form.order + ("Q" if form.big else "H"), raw)
        if not 0 < count <= MAX_ENTRIES:
            raise self._broken(f"{self._place} claims {count} entries")
        body = self._read(offset + width, count * form.entry_size + form.inline, self._place)
        tags = self._tags(body, count)
        self._check_image(tags)
        children = [int(child) for child in tags.get(_SUB_DIRECTORIES, ())]
        return self._pointer(body[-form.inline :]), children

    def _tags(self, body: bytes, count: int) -> dict[int, _Values]:
        form = self._form
        layout = form.order + ("HHQ" if form.big else "HHI")
        lead = struct.calcsize(layout)
        tags: dict[int, _Values] = {}
        for i in range(count):
            entry = body[i * form.entry_size : (i + 1) * form.entry_size]
            tag, kind, number = struct.unpack(layout, entry[:lead])
            if kind not in _DTYPES or not (tag in _TABLES or (tag in _NUMBERS and number <= 64)):
                continue
            dtype = np.dtype(form.order + _DTYPES[kind])
            length = number * dtype.itemsize
            if length <= form.inline:
                raw = entry[lead : lead + length]
            else:
                self._table_bytes += length
                if self._table_bytes > MAX_TABLE_BYTES:
                    raise self._broken(f"{self._place} has a table of absurd length (tag {tag})")
                raw = self._read(self._pointer(entry[lead:]), length, f"tag {tag} of {self._place}")
            tags[tag] = np.frombuffer(raw, dtype)
        return tags

    def _check_image(self, tags: dict[int, _Values]) -> None:
        tiled = _TILE_OFFSETS in tags
        offsets = tags.get(_TILE_OFFSETS if tiled else _STRIP_OFFSETS)
        lengths = tags.get(_TILE_BYTES if tiled else _STRIP_BYTES)
        width, height = self._number(tags, _WIDTH), self._number(tags, _HEIGHT)
        if offsets is None or width == 0 or height == 0:
            return
        if tiled:
            across, down = self._number(tags, _TILE_WIDTH), self._number(tags, _TILE_HEIGHT)
            bits = self._number(tags, _BITS, 8) * self._number(tags, _SAMPLES, 1)
            if across == 0 or down == 0 or across * down * bits > 8 * MAX_TILE_BYTES:
                raise self._broken(f"{self._place} has tiles of {across} x {down} pixels")
        else:
            across, down = width, self._number(tags, _ROWS_PER_STRIP, height)
        planes = self._number(tags, _SAMPLES, 1) if self._number(tags, _PLANAR, 1) == 2 else 1
        needed = -(-width // across) * -(-height // max(down, 1)) * planes
        noun = "tile" if tiled else "strip"
        if len(offsets) < needed or (lengths is not None and len(lengths) < len(offsets)):
            raise self._broken(
                f"{self._place} describes {width} x {height} pixels but lists {len(offsets)} of "
                f"the {needed} {noun}s they need"
            )
        if lengths is not None:
            self._check_ranges(offsets, lengths[: len(offsets)], noun)

    def _check_ranges(self, offsets: _Values, lengths: _Values, noun: str) -> None:
        size = np.uint64(self._size)
        starts, counts = offsets.astype(np.uint64), lengths.astype(np.uint64)
        # Written so that no sum can wrap around.
        outside = (counts > 0) & ((starts > size) | (counts > size - np.minimum(starts, size)))
        if outside.any():
            first = int(np.argmax(outside))
            raise self._broken(
                f"{int(outside.sum())} of the {len(offsets)} {noun}s of {self._place} lie beyond "
                f"its end at {self._size:,} bytes ({noun} {first} should be {counts[first]} bytes "
                f"at byte {starts[first]})"
            )

    def _read(self, offset: int, length: int, what: str) -> bytes:
        if offset < 0 or offset + length > self._size:
            raise self._broken(
                f"{what} should reach from byte {offset} to {offset + length}, but the file ends "
                f"at {self._size:,} bytes"
            )
        self._file.seek(offset, os.SEEK_SET)
        raw = self._file.read(length)
        if len(raw) != length:
            raise self._broken(f"{what} cannot be read at byte {offset}")
        return raw

    def _pointer(self, raw: bytes) -> int:
        value: int = struct.unpack(self._form.pointer, raw[: self._form.inline])[0]
        return value

    @staticmethod
    def _number(tags: dict[int, _Values], tag: int, missing: int = 0) -> int:
        values = tags.get(tag)
        return missing if values is None or len(values) == 0 else int(values[0])

    def _broken(self, what: str) -> UnreadableSlideError:
        return UnreadableSlideError(
            f"{self._path}: the file is truncated or damaged: {what}; {FETCH_AGAIN}"
        )
