"""Choosing the reader by what can really be read, never by the file's name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import openslide

from wsiseg.errors import ConfigurationError, UnreadableSlideError
from wsiseg.plugins import plugins
from wsiseg.slides.openslide_reader import OpenSlideReader
from wsiseg.slides.plugged import open_plugged, recognising
from wsiseg.slides.reader import SlideReader
from wsiseg.slides.tiff_structure import check_tiff, is_tiff
from wsiseg.slides.tiffslide_reader import TiffSlideReader

READERS: dict[str, Callable[[Path], SlideReader]] = {
    "openslide": OpenSlideReader,
    "tiffslide": TiffSlideReader,
}


def open_reader(path: Path, reader: str = "auto") -> SlideReader:
    """Open a slide file with the reader that reads it rightly.

    Parameters
    ----------
    path
        The file.
    reader
        ``"auto"``, ``"openslide"`` or ``"tiffslide"``, or the name of a plug-in's. ``"auto"`` asks
        those of plug-ins for files that none of the others can open: installing one never changes
        how a slide is read that was read before.

    Raises
    ------
    ConfigurationError
        If there is no such reader.
    UnreadableSlideError
        If the file is absent, truncated or damaged as a whole, or no slide.
    """
    plugged = plugins("readers") if reader != "auto" and reader not in READERS else {}
    if reader != "auto" and reader not in READERS and reader not in plugged:
        names = ", ".join(["auto", *READERS, *plugged])
        raise ConfigurationError(f"there is no reader {reader!r}; choose one of {names}")
    if path.is_dir():
        raise UnreadableSlideError(f"{path} is a folder; name the slide file itself")
    if reader in plugged:
        return open_plugged(reader, path)
    try:
        tiff = is_tiff(path)
        if tiff:
            check_tiff(path)
    except OSError as error:
        raise UnreadableSlideError(f"{path}: {error.strerror or error}") from error
    candidates = (reader,) if reader != "auto" else _candidates(path, tiff)
    reasons = []
    for name in candidates:
        try:
            return READERS[name](path)
        except UnreadableSlideError as error:
            reasons.append(str(error).removeprefix(f"{path}: "))
    recognised = recognising(path) if reader == "auto" else None
    if recognised is not None:
        return open_plugged(recognised, path)
    raise UnreadableSlideError(f"{path}: no reader can open it: {'; '.join(reasons)}")


def _candidates(path: Path, tiff: bool) -> tuple[str, ...]:
    if not tiff:
        return ("openslide",)
    vendor = openslide.OpenSlide.detect_format(str(path))
    # A plain or OME-TIFF that OpenSlide recognises it reads wrongly as often as not, in silence:
    # only level 0 of an OME pyramid, channel 0 of many as grey, 16 bits cut to 8.
    if vendor in (None, "generic-tiff"):
        return ("tiffslide",)
    # Measured on Aperio JPEG of 0.263 µm/px, one thread: Slide.read at half the resolution is nine
    # times as fast as through OpenSlide's canvas. Level 0 is equal to the last bit on every slide
    # tried, JPEG and JPEG 2000; OpenSlide blurs levels whose size was rounded, because it addresses
    # them in level-0 pixels, and passes over tiles with stray bytes, whose pictures are spoilt.
    if vendor == "aperio":
        return ("tiffslide", "openslide")
    # Overlapping tiles, hidden levels, private extensions: OpenSlide knows the vendors' ways.
    return ("openslide",)
