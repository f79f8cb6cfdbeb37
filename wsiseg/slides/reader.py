"""The contract between a slide file and everything above it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from wsiseg.errors import DamagedPixelsError
from wsiseg.geometry import MPP, Box, Size

Pixels = NDArray[np.uint8] | NDArray[np.uint16]
Illumination = Literal["brightfield", "fluorescence"]


@dataclass(frozen=True, slots=True)
class Level:
    """One stored resolution.

    Attributes
    ----------
    size
        In pixels.
    downsample
        Level-0 pixels per pixel, exact where the level is a whole-number reduction whose size was
        merely rounded.
    reductions
        Whole factors by which the reader decodes the level smaller at less cost than whole
        (:class:`BatchReader`), rising.
    """

    size: Size
    downsample: float
    reductions: tuple[int, ...] = ()

    def reduced(self, by: int) -> Size:
        """Size of the level reduced by a whole factor: the whole pixels only."""
        return Size(max(self.size.width // by, 1), max(self.size.height // by, 1))


@dataclass(frozen=True, slots=True, order=True)
class Source:
    """Where pixels come from: a stored level, decoded to one ``reduction``-th of its size."""

    level: int
    reduction: int = 1


@dataclass(frozen=True, slots=True)
class SlideFacts:
    """What a file says of itself. Nothing here identifies a patient.

    Attributes
    ----------
    path
        The file.
    reader
        Name of the reader that opened it.
    vendor
        The format as the reader names it, e.g. ``"aperio"``.
    levels
        Stored resolutions, finest first.
    mpp, mpp_source
        Pixel size of level 0 and where it was read (``"openslide.mpp-x"``, ``"stated"``...);
        ``None`` where the file does not say, or says what cannot be true (see ``problems``).
    objective
        Nominal magnification, where stated. Never used as a resolution.
    channels
        Name of every channel, in the order of the last array axis.
    illumination
        Brightfield slides are filled white beyond their border, fluorescence black.
    dtype
        ``"uint8"`` or ``"uint16"``.
    bounds
        The scanned area in level-0 pixels where the file states one (MRXS and others).
        Viewers such as QuPath crop to it.
    problems
        Sentences on what is odd about the file.
    decoder
        What decodes the pixels; empty where the reader does not say.
    """

    path: Path
    reader: str
    vendor: str
    levels: tuple[Level, ...]
    mpp: MPP | None
    mpp_source: str
    objective: float | None
    channels: tuple[str, ...]
    illumination: Illumination
    dtype: Literal["uint8", "uint16"]
    bounds: Box | None = None
    problems: tuple[str, ...] = ()
    decoder: str = ""


@runtime_checkable
class SlideReader(Protocol):
    """Reads raw pixels of one file. Opened in the process that uses it, never pickled.

    ``read_level`` must be safe to call from several threads.
    """

    @property
    def facts(self) -> SlideFacts:
        """What the file says of itself."""
        ...

    def read_level(self, level: int, box: Box) -> Pixels:
        """The pixels ``[y, x, c]`` of ``box``, which lies inside the level.

        Raises
        ------
        DamagedPixelsError
            If any of them cannot be decoded.
        """
        ...

    def close(self) -> None:
        """Release the file."""
        ...


@runtime_checkable
class BatchReader(SlideReader, Protocol):
    """A reader that gains by being asked for much at once, or that decodes levels smaller."""

    def read_boxes(self, source: Source, boxes: Sequence[Box]) -> list[Pixels | DamagedPixelsError]:
        """The pixels ``[y, x, c]`` of every box, or why they cannot be decoded.

        Parameters
        ----------
        source
            The level, and one of its ``reductions`` or 1. Pixel ``(x, y)`` of a reduced level is
            the mean of the square of pixels from ``(x r, y r)`` on, as near as the decoder gets to
            it, and depends on its place alone.
        boxes
            In pixels of the reduced level, inside of it.
        """
        ...


def read_boxes(
    reader: SlideReader, source: Source, boxes: Sequence[Box]
) -> list[Pixels | DamagedPixelsError]:
    """The pixels of boxes of a source through any reader, as :meth:`BatchReader.read_boxes`."""
    if isinstance(reader, BatchReader):
        return reader.read_boxes(source, boxes)
    found: list[Pixels | DamagedPixelsError] = []
    for box in boxes:
        try:
            found.append(reader.read_level(source.level, box))
        except DamagedPixelsError as error:
            found.append(error)
    return found
