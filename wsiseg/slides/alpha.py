"""Putting transparent pixels on the background of the slide."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wsiseg.slides.reader import Pixels


def over_premultiplied_bgra(pixels: NDArray[np.uint8], background: int) -> NDArray[np.uint8]:
    """RGB ``[y, x, 3]`` of cairo's premultiplied ``[y, x, (b, g, r, a)]`` on ``background``.

    Premultiplied colours need no division: ``c + background (255 - a) / 255``, rounded half up.
    """
    height, width = pixels.shape[:2]
    out = np.empty((height, width, 3), np.uint8)
    _over_bgra(pixels.reshape(-1, 4), out.reshape(-1, 3), background)
    return out


@njit(cache=True, nogil=True)
def _over_bgra(source, out, background):  # type: ignore[no-untyped-def]
    for i in range(source.shape[0]):
        alpha = source[i, 3]
        rest = ((255 - int(alpha)) * background * 2 + 255) // 510 if alpha != 255 else 0
        out[i, 0] = min(source[i, 2] + rest, 255)
        out[i, 1] = min(source[i, 1] + rest, 255)
        out[i, 2] = min(source[i, 0] + rest, 255)


def over(pixels: Pixels, background: int, *, premultiplied: bool) -> Pixels:
    """Colours ``[y, x, c - 1]`` of ``[y, x, c]`` whose last channel is alpha, rounded half up.

    Parameters
    ----------
    pixels
        uint8 or uint16.
    background
        Value of every colour behind the slide, in the units of the dtype.
    premultiplied
        Whether the colours were multiplied by alpha already (TIFF: associated alpha).
    """
    top = np.iinfo(pixels.dtype).max
    colours = pixels[..., :-1].astype(np.int64)
    alpha = pixels[..., -1:].astype(np.int64)
    part = colours * top if premultiplied else colours * alpha
    mixed = (2 * (part + background * (top - alpha)) + top) // (2 * top)
    result: Pixels = np.minimum(mixed, top).astype(pixels.dtype)
    return result
