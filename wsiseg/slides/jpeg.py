"""Damage that JPEG decoders pass over.

The decoder in use fails on some kinds of damage and fills in on others: a stray marker ends the
image early and the rest turns grey, without a word. What a tile's own bytes can prove cheaply
is proven here, before decoding: the size it announces, and a scan without foreign markers that
runs to the end of the image.

Markers after ITU-T T.81, annex B.1; the size of a JPEG 2000 image after ITU-T T.800, A.5.1.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

_SOUND, _HEADER, _STRAY_MARKER, _NO_END = 0, 1, 2, 3
_REASONS = {
    _HEADER: "its JPEG header is damaged",
    _STRAY_MARKER: "its JPEG data are interrupted by a foreign marker",
    _NO_END: "its JPEG data break off before the end of the image",
}


def damage_of(data: bytes, side: tuple[int, int], *, jpeg: bool) -> str:
    """What is wrong with a tile's bytes; empty where nothing is.

    Parameters
    ----------
    data
        The stored bytes of one tile.
    side
        Width and height the tile should have, in pixels. A tile that announces more than that
        would make the decoder allocate it.
    jpeg
        Whether the tile is a JPEG image; otherwise only the size of a bare JPEG 2000
        codestream is looked at.
    """
    if not jpeg:
        if data[:4] != b"\xff\x4f\xff\x51" or len(data) < 24:
            return ""
        width = int.from_bytes(data[8:12], "big") - int.from_bytes(data[16:20], "big")
        height = int.from_bytes(data[12:16], "big") - int.from_bytes(data[20:24], "big")
        return _size_fault(width, height, side)
    verdict, width, height = _inspect(np.frombuffer(data, np.uint8))
    return _REASONS.get(verdict) or _size_fault(width, height, side)


def _size_fault(width: int, height: int, side: tuple[int, int]) -> str:
    if width > side[0] or height > side[1]:
        return f"it announces {width} x {height} pixels in a tile of {side[0]} x {side[1]}"
    return ""


@njit(cache=True, nogil=True)
def _inspect(data: NDArray[np.uint8]) -> tuple[int, int, int]:
    """Verdict, width and height (0 where none is announced)."""
    scan, width, height, baseline = _header(data)
    if scan < 0:
        return _HEADER, width, height
    # Progressive images have markers between their many scans.
    return (_scan(data, scan) if baseline else _SOUND), width, height


@njit(cache=True, nogil=True)
def _header(data: NDArray[np.uint8]) -> tuple[int, int, int, bool]:
    """Where the first scan's data begin (-1 for a damaged header), width, height, and whether
    it is the only scan of a sequential image."""
    size = len(data)
    width = height = components = 0
    sequential = False
    i = 2
    if size < 4 or data[0] != 0xFF or data[1] != 0xD8:
        return -1, width, height, False
    while i + 4 <= size and data[i] == 0xFF:
        marker = data[i + 1]
        if marker == 0xFF:  # fill byte
            i += 1
            continue
        length = int(data[i + 2]) * 256 + int(data[i + 3])
        if length < 3 or i + 2 + length > size:
            break
        if marker == 0xDA:
            only = int(data[i + 4]) == components
            return i + 2 + length, width, height, sequential and only
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            if length < 8:
                break
            sequential = marker <= 0xC1
            height = int(data[i + 5]) * 256 + int(data[i + 6])
            width = int(data[i + 7]) * 256 + int(data[i + 8])
            components = int(data[i + 9])
        i += 2 + length
    return -1, width, height, False


@njit(cache=True, nogil=True)
def _scan(data: NDArray[np.uint8], start: int) -> int:
    for i in range(start, len(data) - 1):
        if data[i] != 0xFF:
            continue
        marker = data[i + 1]
        if marker == 0xD9:
            return _SOUND
        if marker not in (0x00, 0xFF) and not 0xD0 <= marker <= 0xD7:
            return _STRAY_MARKER
    return _NO_END
