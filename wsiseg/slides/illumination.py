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
    """Judge by the brightest channel of every pixel: whether more than half are dark.

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
        decoded, dark, count = False, 0, 0
        for box in _sample(sizes[level]):
            try:
                pixels = read(level, box)
            except DamagedPixelsError as error:
                reason = str(error)
                continue
            decoded = True
            brightest = _brightest(pixels)
            count += brightest.size
            dark += int(np.count_nonzero(brightest < DARK * np.iinfo(pixels.dtype).max))
        if decoded:
            return "fluorescence" if 2 * dark > count else "brightfield"
    raise UnreadableSlideError(f"none of the pixels tried can be decoded: {reason}")


def _brightest(pixels: Pixels) -> Pixels:
    # Channel by channel: numpy is slow along axes as short as three.
    brightest: Pixels = pixels[..., 0]
    for channel in range(1, pixels.shape[2]):
        brightest = np.maximum(brightest, pixels[..., channel])
    return brightest


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
