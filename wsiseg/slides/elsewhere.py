"""A slide that is read from a copy, and known by its own path."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from wsiseg.errors import DamagedPixelsError
from wsiseg.geometry import Box
from wsiseg.slides.reader import Pixels, SlideFacts, SlideReader, Source, read_boxes


class Copy(Protocol):
    """A copy of a slide file that stays as long as it is held."""

    @property
    def path(self) -> Path:
        """Where it lies."""
        ...

    @property
    def fingerprint(self) -> str:
        """What :meth:`wsiseg.slides.slide.Slide.fingerprint` gave of the slide itself."""
        ...

    def release(self) -> None:
        """Hold it no longer."""
        ...


class CopiedReader:
    """A :class:`~wsiseg.slides.reader.SlideReader` of a copy; facts and messages name the slide.

    Parameters
    ----------
    reader
        Of the copy; closed with this one, and the copy released.
    path
        The slide itself.
    copy
        The copy.
    """

    def __init__(self, reader: SlideReader, path: Path, copy: Copy) -> None:
        self._reader = reader
        self._path = path
        self._copy = copy

    @property
    def facts(self) -> SlideFacts:
        """What the file says of itself."""
        return replace(self._reader.facts, path=self._path)

    def read_level(self, level: int, box: Box) -> Pixels:
        """The pixels ``[y, x, c]`` of ``box``, which lies inside the level.

        Raises
        ------
        DamagedPixelsError
            If any of them cannot be decoded.
        """
        try:
            return self._reader.read_level(level, box)
        except DamagedPixelsError as error:
            raise self._renamed(error) from error

    def read_boxes(self, source: Source, boxes: Sequence[Box]) -> list[Pixels | DamagedPixelsError]:
        """As :meth:`wsiseg.slides.reader.BatchReader.read_boxes`."""
        return [
            self._renamed(found) if isinstance(found, DamagedPixelsError) else found
            for found in read_boxes(self._reader, source, boxes)
        ]

    def _renamed(self, error: DamagedPixelsError) -> DamagedPixelsError:
        return DamagedPixelsError(str(error).replace(str(self._copy.path), str(self._path)))

    def fingerprint(self) -> str:
        """The slide's own fingerprint, as it was when it was copied."""
        return self._copy.fingerprint

    def close(self) -> None:
        """Release the file and the copy."""
        self._reader.close()
        self._copy.release()
