"""A slide held in memory: for tests, notebooks and the demonstration."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from wsiseg.geometry import MPP, Box, Size
from wsiseg.slides.illumination import detect
from wsiseg.slides.levels import describe_levels
from wsiseg.slides.reader import Illumination, Pixels, SlideFacts
from wsiseg.slides.resample import resample

_RGB = ("red", "green", "blue")


class ArrayReader:
    """A :class:`~wsiseg.slides.reader.SlideReader` over an array.

    Parameters
    ----------
    array
        Level 0, ``[y, x, c]``, uint8 or uint16.
    mpp
        Pixel size in µm/px; ``None`` for a slide that does not say.
    channels
        One name a channel; by default red, green, blue for three, else ``"channel 0"``...
    reductions
        Whole-number downsamples of the levels to generate, e.g. ``(4, 16)``; each is the area
        mean of level 0 and holds the whole pixels only, as most scanners write them.
    bounds
        The scanned area in level-0 pixels.
    illumination
        By default told from the pixels.
    name
        Stands for the file's name.
    """

    def __init__(
        self,
        array: Pixels,
        mpp: float | MPP | None = 0.5,
        *,
        channels: Sequence[str] | None = None,
        reductions: Sequence[int] = (),
        bounds: Box | None = None,
        illumination: Illumination | None = None,
        name: str = "array",
    ) -> None:
        if array.ndim != 3 or array.dtype not in (np.uint8, np.uint16) or array.size == 0:
            raise ValueError(
                f"a slide is [y, x, c] of uint8 or uint16, not {array.dtype} of {array.shape}"
            )
        depth = array.shape[2]
        if channels is None:
            channels = _RGB if depth == 3 else [f"channel {i}" for i in range(depth)]
        if len(channels) != depth:
            raise ValueError(f"{depth} channels, but {len(channels)} names")
        self._levels = [array, *(_reduced(array, by) for by in reductions)]
        sizes = [Size(level.shape[1], level.shape[0]) for level in self._levels]
        self._facts = SlideFacts(
            path=Path(name),
            reader="array",
            vendor="array",
            levels=describe_levels(sizes),
            mpp=MPP.square(mpp) if isinstance(mpp, int | float) else mpp,
            mpp_source="" if mpp is None else "stated",
            objective=None,
            channels=tuple(channels),
            illumination=illumination or detect(sizes, self.read_level),
            dtype="uint8" if array.dtype == np.uint8 else "uint16",
            bounds=bounds,
            problems=() if mpp is not None else ("the array was given no pixel size",),
        )

    @property
    def facts(self) -> SlideFacts:
        """What was given."""
        return self._facts

    def read_level(self, level: int, box: Box) -> Pixels:
        """A copy of the pixels ``[y, x, c]`` of ``box``."""
        return self._levels[level][box.slices()].copy()

    def fingerprint(self) -> str:
        """Hash of level 0: its shape, dtype and pixels."""
        digest = hashlib.blake2b(digest_size=16)
        array = self._levels[0]
        digest.update(f"{array.shape} {array.dtype}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def close(self) -> None:
        """Nothing to release."""


def _reduced(array: Pixels, by: int) -> Pixels:
    height, width = array.shape[:2]
    size = Size(width // by, height // by)
    return resample(array, Box.of(Size(width, height)), Box.of(size), float(by), float(by))
