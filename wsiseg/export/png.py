"""PNG files of pictures that are looked at once and never sent far: written fast."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from wsiseg.files import writing

_HEAD_BYTES = 33
"""The signature, and the chunk that every file begins with."""


def write_png(path: Path, pixels: NDArray[np.uint8], texts: Mapping[str, str]) -> None:
    """Write a picture as PNG, whole or not at all.

    All rows are predicted alike and only runs are searched for: two fifths of the time of
    Pillow's fastest way, for fewer bytes on pages that are white in part.

    Parameters
    ----------
    path
        The file.
    pixels
        uint8 ``[y, x, 3]``, RGB.
    texts
        What else the file says, in Latin letters, by keyword (https://www.w3.org/TR/png-3/#11tEXt).

    Raises
    ------
    StoreError
        If the file cannot be written.
    """
    encoded = imagecodecs.png_encode(
        pixels,
        level=imagecodecs.PNG.COMPRESSION.SPEED,
        strategy=imagecodecs.PNG.STRATEGY.RLE,
        filter=imagecodecs.PNG.FILTER.PAETH,
    )
    with writing(path) as temporary, temporary.open("wb") as file:
        file.write(encoded[:_HEAD_BYTES])
        for keyword, text in texts.items():
            file.write(_text_chunk(keyword, text))
        file.write(encoded[_HEAD_BYTES:])


def _text_chunk(keyword: str, text: str) -> bytes:
    body = b"tEXt" + f"{keyword}\0{text}".encode("latin-1")
    return struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
