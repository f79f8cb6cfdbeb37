"""A slide that reads any box at any pixel size."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Protocol, runtime_checkable

import numpy as np

from wsiseg.errors import ChannelError, DamagedPixelsError, UnreadableSlideError
from wsiseg.geometry import Box, Frame
from wsiseg.slides.chunks import DEFAULT_CACHE_BYTES, ChunkCache
from wsiseg.slides.elsewhere import CopiedReader, Copy
from wsiseg.slides.probe import open_reader
from wsiseg.slides.reader import Pixels, SlideFacts, SlideReader
from wsiseg.slides.resample import resample, source_box
from wsiseg.slides.resolution import settle

CHUNK = 512
"""Source pixels are read in squares of this side, at multiples of it, cut at the level's border.
A reader that interpolates, or fails, then does so in the same way whatever box is wanted."""

LEVEL_TOLERANCE = 1e-3
"""A level counts as fine enough if its pixels are at most this share larger than wanted."""

_PIECE = 2048
"""Side, in source pixels, of what is resampled at once: it bounds the memory of a read."""

_FINGERPRINT_PIECES = 64
_FINGERPRINT_BYTES = 1 << 16


@dataclass(frozen=True, slots=True, order=True)
class Damage:
    """Pixels that could not be decoded. ``box`` is in level-0 pixels."""

    box: Box
    reason: str

    def plain(self) -> tuple[int, int, int, int, str]:
        """``x0, y0, x1, y1, reason``, as plans and blocks keep it."""
        return self.box.x0, self.box.y0, self.box.x1, self.box.y1, self.reason


@runtime_checkable
class _SelfPrinted(Protocol):
    """A reader whose pixels are not those of a file."""

    def fingerprint(self) -> str: ...


def open_slide(
    path: str | Path, *, reader: str = "auto", mpp: float | None = None, copy: Copy | None = None
) -> Slide:
    """Open a slide for reading.

    Parameters
    ----------
    path
        The slide file.
    reader
        ``"auto"`` chooses by what can really be read; ``"openslide"`` or ``"tiffslide"``.
    mpp
        Pixel size of level 0 in µm/px; overrides what the file says.
    copy
        A copy of the file to read in its place, released with the slide.

    Raises
    ------
    UnreadableSlideError
        If the file cannot be read, or is damaged as a whole.
    ResolutionError
        If the pixel size is missing or cannot be true, and none is stated.
    ConfigurationError
        If there is no such reader.
    """
    opened = _open(Path(path), reader, copy)
    try:
        return Slide(opened, mpp)
    except BaseException:
        opened.close()
        raise


def _open(path: Path, reader: str, copy: Copy | None) -> SlideReader:
    if copy is not None:
        try:
            return CopiedReader(open_reader(copy.path, reader), path, copy)
        except UnreadableSlideError:
            # Files beside it that it needs were not copied with it, or it is unreadable itself:
            # then the slide says so.
            copy.release()
    return open_reader(path, reader)


def inspect_slide(path: str | Path, *, reader: str = "auto") -> SlideFacts:
    """What a file says of itself; a missing pixel size is one of its ``problems``.

    Raises
    ------
    UnreadableSlideError
        If the file cannot be read.
    """
    opened = open_reader(Path(path), reader)
    try:
        return opened.facts
    finally:
        opened.close()


def file_fingerprint(path: Path) -> str:
    """Hash of a file's size and of 64 evenly spaced pieces of 64 KiB."""
    size = path.stat().st_size
    digest = hashlib.blake2b(str(size).encode(), digest_size=16)
    room = max(size - _FINGERPRINT_BYTES, 0)
    with path.open("rb") as file:
        for i in range(_FINGERPRINT_PIECES):
            file.seek(room * i // (_FINGERPRINT_PIECES - 1))
            digest.update(file.read(_FINGERPRINT_BYTES))
    return digest.hexdigest()


class Slide:
    """Reads any box of a slide at any pixel size, from the level that suits.

    Every pixel depends on its place in the frame alone, so overlapping reads are byte for byte
    equal. Safe to use from several threads. Opened in the process that uses it.

    Parameters
    ----------
    reader
        The opened file; closed with the slide.
    mpp
        Pixel size of level 0 in µm/px that the user states; overrides the file's.
    cache_bytes
        Decoded pixels kept for the next read.

    Raises
    ------
    ResolutionError
        If the pixel size is missing or cannot be true, and none is stated.
    """

    def __init__(
        self,
        reader: SlideReader,
        mpp: float | None = None,
        *,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
    ) -> None:
        self._reader = reader
        self.facts = settle(reader.facts, mpp)
        assert self.facts.mpp is not None  # noqa: S101 - settle() raises instead
        self.level0 = Frame(self.facts.levels[0].size, self.facts.mpp)
        self._dtype = np.dtype(self.facts.dtype)
        bright = self.facts.illumination == "brightfield"
        self._fill = int(np.iinfo(self._dtype).max) if bright else 0
        self._cache = ChunkCache(cache_bytes)
        self._damage_lock = Lock()
        self._damage: dict[tuple[int, int, int], Damage] = {}

    @property
    def name(self) -> str:
        """The file's name without its folder."""
        return self.facts.path.name

    @property
    def fill(self) -> int:
        """Value of every channel outside the slide: white for brightfield, 0 for fluorescence."""
        return self._fill

    @property
    def damage(self) -> tuple[Damage, ...]:
        """What the reads so far could not decode and filled with the background, in order."""
        with self._damage_lock:
            return tuple(sorted(self._damage.values()))

    def channel_indices(self, names: Sequence[str]) -> tuple[int, ...]:
        """Places of channels on the last axis, by name (whatever the case) or number from 1.

        Raises
        ------
        ChannelError
            If there is no such channel; the message lists those there are.
        """
        known = [channel.casefold() for channel in self.facts.channels]
        found = []
        for name in names:
            wanted = name.strip().casefold()
            if wanted in known:
                found.append(known.index(wanted))
            elif wanted.isdecimal() and 1 <= int(wanted) <= len(known):
                found.append(int(wanted) - 1)
            else:
                there = ", ".join(f"{i}: {c}" for i, c in enumerate(self.facts.channels, 1))
                raise ChannelError(
                    f"{self.facts.path}: there is no channel {name!r}; there are {there}"
                )
        return tuple(found)

    def source_level(self, frame: Frame) -> int:
        """The coarsest level whose pixels are no larger than the frame's; else level 0."""
        wanted = frame.mpp.mean / self.level0.mpp.mean * (1 + LEVEL_TOLERANCE)
        fine = [
            (level.downsample, index)
            for index, level in enumerate(self.facts.levels)
            if level.downsample <= wanted
        ]
        return max(fine)[1] if fine else 0

    def read(self, box: Box, frame: Frame, channels: tuple[int, ...] | None = None) -> Pixels:
        """The pixels ``[y, x, c]`` of a box of a frame.

        Parameters
        ----------
        box
            In pixels of ``frame``, inside the slide or not. Outside the slide every channel is
            :attr:`fill`.
        frame
            Any frame of this slide, e.g. ``slide.level0.at(MPP.square(0.5))``.
        channels
            Places of the channels wanted; by default all.

        Returns
        -------
        uint8 or uint16, as the slide. What cannot be decoded is filled and listed in
        :attr:`damage`.
        """
        level = self.source_level(frame)
        scales = self._scales(frame, level)
        count = len(self.facts.channels) if channels is None else len(channels)
        out = np.empty((*box.shape, count), self._dtype)
        side = max(1, int(_PIECE / max(*scales, 1.0)))
        for piece in box.split(side):
            out[piece.slices(box)] = self._piece(piece, level, scales, channels)
        return out

    def fingerprint(self) -> str:
        """Hash of the slide: of the file's size and 64 evenly spaced pieces of 64 KiB."""
        if isinstance(self._reader, _SelfPrinted):
            return self._reader.fingerprint()
        return file_fingerprint(self.facts.path)

    def close(self) -> None:
        """Release the file."""
        self._reader.close()

    def __enter__(self) -> Slide:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _scales(self, frame: Frame, level: int) -> tuple[float, float]:
        downsample = self.facts.levels[level].downsample
        fx, fy = frame.scale_to(self.level0)
        return _snapped(fx / downsample), _snapped(fy / downsample)

    def _piece(
        self,
        box: Box,
        level: int,
        scales: tuple[float, float],
        channels: tuple[int, ...] | None,
    ) -> Pixels:
        wanted = source_box(box, *scales)
        source = self._source(level, wanted, channels)
        return source if scales == (1.0, 1.0) else resample(source, wanted, box, *scales)

    def _source(self, level: int, box: Box, channels: tuple[int, ...] | None) -> Pixels:
        """Pixels of a level, beyond its border too."""
        size = self.facts.levels[level].size
        inside = box.intersection(Box.of(size))
        count = len(self.facts.channels) if channels is None else len(channels)
        shape = (*box.shape, count)
        out: Pixels = (
            np.empty(shape, self._dtype)
            if inside == box
            else np.full(shape, self._fill, self._dtype)
        )
        for part in inside.split(CHUNK):
            x, y = part.x0 // CHUNK * CHUNK, part.y0 // CHUNK * CHUNK
            whole = Box(x, y, x + CHUNK, y + CHUNK).intersection(Box.of(size))
            pixels = self._chunk(level, whole)[part.slices(whole)]
            out[part.slices(box)] = pixels if channels is None else pixels[..., list(channels)]
        return out

    def _chunk(self, level: int, box: Box) -> Pixels:
        key = (level, box.x0, box.y0)
        cached = self._cache.get(key)
        if cached is not None:
            return cached
        if key in self._damage:
            pixels = self._blank(box)
        else:
            try:
                pixels = self._reader.read_level(level, box)
            except DamagedPixelsError as error:
                pixels = self._blank(box)
                with self._damage_lock:
                    self._damage[key] = Damage(self._in_level0(level, box), str(error))
        self._cache.put(key, pixels)
        return pixels

    def _blank(self, box: Box) -> Pixels:
        shape = (*box.shape, len(self.facts.channels))
        blank: Pixels = np.full(shape, self._fill, self._dtype)
        return blank

    def _in_level0(self, level: int, box: Box) -> Box:
        by = self.facts.levels[level].downsample
        scaled = Box(
            math.floor(box.x0 * by),
            math.floor(box.y0 * by),
            math.ceil(box.x1 * by),
            math.ceil(box.y1 * by),
        )
        return scaled.intersection(self.level0.box)


def _snapped(scale: float) -> float:
    """Whole numbers that floating point missed by a hair, so that the identity is one."""
    whole = round(scale)
    return float(whole) if whole >= 1 and abs(scale - whole) < 1e-9 * whole else scale
