"""A slide that reads any box at any pixel size."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, runtime_checkable

import numpy as np

from wsiseg.errors import ChannelError, UnreadableSlideError
from wsiseg.geometry import Box, Frame
from wsiseg.slides.chunked import ChunkedReading, Damage
from wsiseg.slides.chunks import DEFAULT_CACHE_BYTES
from wsiseg.slides.elsewhere import CopiedReader, Copy
from wsiseg.slides.probe import open_reader
from wsiseg.slides.reader import Pixels, SlideFacts, SlideReader, Source
from wsiseg.slides.resample import resample, source_box
from wsiseg.slides.resolution import settle

LEVEL_TOLERANCE = 1e-3
"""A level counts as fine enough if its pixels are at most this share larger than wanted."""

_PIECE = 2048
"""Side, in source pixels, of what is resampled at once: it bounds the memory of a read."""

_FINGERPRINT_PIECES = 64
_FINGERPRINT_BYTES = 1 << 16


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
        self._chunked = ChunkedReading(reader, self._fill, cache_bytes)

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
        """What the reads so far could not decode and filled with the background, in order.

        A place that is spoilt on several sources is told once for each reason.
        """
        return self._chunked.damage

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

    @property
    def sources(self) -> tuple[Source, ...]:
        """Everything that pixels can come from, finest first."""
        found = [
            (level.downsample * reduction, Source(index, reduction))
            for index, level in enumerate(self.facts.levels)
            for reduction in (1, *level.reductions)
        ]
        return tuple(source for _, source in sorted(found))

    def downsample(self, source: Source) -> float:
        """Level-0 pixels per pixel of a source."""
        return self.facts.levels[source.level].downsample * source.reduction

    def source(self, frame: Frame) -> Source:
        """Where the pixels of a frame come from: decided by the frame alone.

        The coarsest level whose pixels are no larger than the frame's (else level 0), decoded as
        small as leaves them no larger.
        """
        wanted = frame.mpp.mean / self.level0.mpp.mean * (1 + LEVEL_TOLERANCE)
        levels = self.facts.levels
        fine = [(d.downsample, index) for index, d in enumerate(levels) if d.downsample <= wanted]
        level = max(fine)[1] if fine else 0
        downsample = levels[level].downsample
        smaller = [r for r in levels[level].reductions if downsample * r <= wanted]
        return Source(level, max(smaller, default=1))

    def source_level(self, frame: Frame) -> int:
        """The level of :meth:`source`."""
        return self.source(frame).level

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
        source = self.source(frame)
        scales = self._scales(frame, source)
        everything = tuple(range(len(self.facts.channels)))
        taken = everything if channels is None else channels
        if scales == (1.0, 1.0):
            return self._chunked.read(source, box, taken)
        out = np.empty((*box.shape, len(taken)), self._dtype)
        side = max(1, int(_PIECE / max(*scales, 1.0)))
        for piece in box.split(side):
            wanted = source_box(piece, *scales)
            pixels = self._chunked.read(source, wanted, taken)
            out[piece.slices(box)] = resample(pixels, wanted, piece, *scales)
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

    def _scales(self, frame: Frame, source: Source) -> tuple[float, float]:
        downsample = self.downsample(source)
        fx, fy = frame.scale_to(self.level0)
        return _snapped(fx / downsample), _snapped(fy / downsample)


def _snapped(scale: float) -> float:
    """Whole numbers that floating point missed by a hair, so that the identity is one."""
    whole = round(scale)
    return float(whole) if whole >= 1 and abs(scale - whole) < 1e-9 * whole else scale
