"""Slides through OpenSlide: vendor formats, DICOM, MRXS and what else it knows."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import openslide
from numpy.typing import NDArray
from openslide import lowlevel

from wsiseg.errors import DamagedPixelsError, UnreadableSlideError
from wsiseg.geometry import Box, Size
from wsiseg.slides.alpha import over_premultiplied_bgra
from wsiseg.slides.illumination import detect
from wsiseg.slides.levels import describe_levels
from wsiseg.slides.reader import Pixels, SlideFacts
from wsiseg.slides.resolution import Claim, Verdict, judge

_ARGB = ctypes.POINTER(ctypes.c_uint32)


class OpenSlideReader:
    """A :class:`~wsiseg.slides.reader.SlideReader` over OpenSlide.

    OpenSlide addresses every level in level-0 pixels and interpolates where that does not fall
    on a whole pixel of the level. Levels that are whole-number reductions are read exactly;
    where a level's size was rounded, its pixels lie within half a level-0 pixel of their place.

    Raises
    ------
    UnreadableSlideError
        If OpenSlide cannot open the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._handle = self._open()
        self._background = 255
        self._downsamples = tuple(self._handle.level_downsamples)
        self._facts = self._read_facts()
        self._background = 255 if self._facts.illumination == "brightfield" else 0

    @property
    def facts(self) -> SlideFacts:
        """What the file says of itself."""
        return self._facts

    def read_level(self, level: int, box: Box) -> Pixels:
        """RGB ``[y, x, 3]`` uint8 of ``box``, transparent pixels on the slide's background.

        Raises
        ------
        DamagedPixelsError
            If OpenSlide cannot decode one of them.
        """
        return over_premultiplied_bgra(self._bgra(level, box), self._background)

    def close(self) -> None:
        """Release the file."""
        self._handle.close()

    def _bgra(self, level: int, box: Box) -> NDArray[np.uint8]:
        handle = self._handle
        try:
            return self._region(handle, level, box)
        except openslide.OpenSlideError:
            pass
        # A handle that failed once fails for ever. Whoever notices first replaces it; the box
        # itself is tried again on a handle of its own, which no other thread can have spoilt.
        with self._lock:
            if self._handle is handle:
                self._handle = self._open()
        fresh = self._open()
        try:
            return self._region(fresh, level, box)
        except openslide.OpenSlideError as error:
            raise DamagedPixelsError(
                f"{self._path}: level {level}, {box}: OpenSlide cannot decode it: {error}"
            ) from error
        finally:
            fresh.close()

    def _scanned(self, level: int, box: Box) -> NDArray[np.uint8]:
        """The pixels that are not wholly transparent, ``[n, 1, 3]``."""
        bgra = self._bgra(level, box)
        return bgra[bgra[..., 3] > 0][:, None, :3]

    def _open(self) -> openslide.OpenSlide:
        try:
            return openslide.OpenSlide(self._path)
        except openslide.OpenSlideError as error:
            raise UnreadableSlideError(
                f"{self._path}: OpenSlide cannot open it: {error}"
            ) from error

    def _region(self, handle: openslide.OpenSlide, level: int, box: Box) -> NDArray[np.uint8]:
        # OpenSlide's own read_region goes through an image object and undoes the
        # premultiplication, a division for every pixel.
        pixels = np.empty((*box.shape, 4), np.uint8)
        downsample = self._downsamples[level]
        lowlevel._read_region(
            handle._osr,
            ctypes.cast(pixels.ctypes.data, _ARGB),
            round(box.x0 * downsample),
            round(box.y0 * downsample),
            level,
            box.width,
            box.height,
        )
        return pixels

    def _read_facts(self) -> SlideFacts:
        properties = dict(self._handle.properties)
        levels = describe_levels([Size(w, h) for w, h in self._handle.level_dimensions])
        vendor = properties.get("openslide.vendor", "unknown")
        objective = _number(properties, "openslide.objective-power")
        verdict = _resolution(properties, vendor, objective)
        return SlideFacts(
            path=self._path,
            reader="openslide",
            vendor=vendor,
            levels=levels,
            mpp=verdict.mpp,
            mpp_source=verdict.source,
            objective=objective,
            channels=("red", "green", "blue"),
            illumination=detect([level.size for level in levels], self._scanned),
            dtype="uint8",
            bounds=stated_bounds(properties),
            problems=verdict.problems,
            decoder="OpenSlide",
        )


def _resolution(properties: Mapping[str, str], vendor: str, objective: float | None) -> Verdict:
    x, y = _number(properties, "openslide.mpp-x"), _number(properties, "openslide.mpp-y")
    if x is None or y is None:
        return judge(None, objective)
    sources = {"generic-tiff": "tiff.XResolution", "dicom": "DICOM PixelSpacing"}
    return judge(Claim(x, y, sources.get(vendor, "openslide.mpp-x")), objective)


def stated_bounds(properties: Mapping[str, str]) -> Box | None:
    """The scanned area in level-0 pixels, if OpenSlide's properties give all four numbers."""
    names = ("x", "y", "width", "height")
    numbers = [_number(properties, f"openslide.bounds-{name}") for name in names]
    found = [round(number) for number in numbers if number is not None]
    if len(found) != len(names):
        return None
    x, y, width, height = found
    return Box(x, y, x + width, y + height) if width > 0 and height > 0 else None


def _number(properties: Mapping[str, str], name: str) -> float | None:
    try:
        return float(properties[name])
    except (KeyError, ValueError):
        return None
