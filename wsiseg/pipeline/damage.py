"""Telling pixels that are damaged from pixels that merely could not be reached for a moment."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from pathlib import Path

from wsiseg.geometry import Box
from wsiseg.slides.chunked import CHUNK, Damage
from wsiseg.slides.slide import Slide, open_slide


def require_lasting(path: Path, reader: str, mpp: float | None, damage: Iterable[Damage]) -> None:
    """Return if a slide that is opened anew cannot decode these places either.

    Parameters
    ----------
    path, reader, mpp
        As for :func:`wsiseg.slides.slide.open_slide`.
    damage
        What an open slide could not decode.

    Raises
    ------
    OSError
        If one of them can be read now: the storage was to blame, not the file.
    SlideError
        If the slide cannot be opened.
    """
    places = tuple(damage)
    if not places:
        return
    with open_slide(path, reader=reader, mpp=mpp) as fresh:
        for place in places:
            _read_as_chunk(fresh, place.box)
        lasting = {found.box for found in fresh.damage}
    healed = [place for place in places if place.box not in lasting]
    if healed:
        raise OSError(
            errno.EIO, f"{path}: {healed[0].box} could not be read and now can: {healed[0].reason}"
        )


def _read_as_chunk(slide: Slide, box: Box) -> None:
    """Read a level-0 box from everything of which it can be one chunk."""
    for source in slide.sources:
        downsample = slide.downsample(source)
        if max(box.width, box.height) * source.reduction / downsample > CHUNK + 1:
            continue
        frame = slide.level0.at(slide.level0.mpp.times(downsample))
        slide.read(slide.level0.box_in(box, frame), frame)
