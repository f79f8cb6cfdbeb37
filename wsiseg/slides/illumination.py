"""Brightfield or fluorescence, told from the background of the coarsest level."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from wsiseg.errors import DamagedPixelsError, UnreadableSlideError
from wsiseg.geometry import Box, Size
from wsiseg.slides.reader import Illumination, Pixels

DARK = 0.3
"""Share of full scale. On glass with nothing on it a brightfield scanner is near full scale,
and even a slide full of tissue has a bright middle; fluorescence is black where nothing glows."""

_WHOLE_LEVEL = 1 << 22
_PIECE = 256
_PIECES_A_SIDE = 5


def detect(sizes: Sequence[Size], read: Callable[[int, Box], Pixels]) -> Illumination:
    """Judge by the median over pixels of the brightest channel.

    Parameters
    ----------
    sizes
        Size of every level, finest first. The coarsest that can be decoded anywhere is used.
    read
        Gives ``[y, x, c]`` of a box of a level, less the pixels that were never scanned. A
        large level is sampled on a fixed grid.

    Raises
    ------
    UnreadableSlideError
        If none of the pixels asked for can be decoded on any level.
    """
    reason = ""
    for level in reversed(range(len(sizes))):
        brightest = []
        for box in _sample(sizes[level]):
            try:
                pixels = read(level, box)
            except DamagedPixelsError as error:
                reason = str(error)
                continue
            top = np.iinfo(pixels.dtype).max
            brightest.append(pixels.max(axis=2).ravel().astype(np.float32) / top)
        if brightest:
            values = np.concatenate(brightest)
            dark = values.size > 0 and float(np.median(values)) < DARK
            return "fluorescence" if dark else "brightfield"
    raise UnreadableSlideError(f"none of the pixels tried can be decoded: {reason}")


def _sample(size: Size) -> Sequence[Box]:
    whole = Box.of(size)
    if size.area <= _WHOLE_LEVEL:
        return list(whole.split(_PIECE))
    return [
        Box(x, y, x + _PIECE, y + _PIECE).intersection(whole)
        for y in _starts(size.height)
        for x in _starts(size.width)
    ]


def _starts(length: int) -> list[int]:
    room = max(length - _PIECE, 0)
    return [round(room * (i + 0.5) / _PIECES_A_SIDE) for i in range(_PIECES_A_SIDE)]
