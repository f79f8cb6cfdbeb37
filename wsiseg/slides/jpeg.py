"""What the bytes of a JPEG or JPEG 2000 tile prove before it is decoded.

Decoders fill in on some kinds of damage: a stray marker ends the image early and the rest turns
grey, without a word. What can be proven cheaply is proven here: the size a tile announces, and a
scan without foreign markers that runs to the end of the image.

Tiles of a TIFF may leave their tables to the page (TIFF Technical Note 2, JPEGTables);
:func:`table_segments` and :func:`without_application_data` give what a stream that stands alone
is put together from.

Markers after ITU-T T.81, annex B.1; the size of a JPEG 2000 image after ITU-T T.800, A.5.1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

Encoded = bytes | memoryview
"""The bytes of a tile as they are stored."""

START_OF_IMAGE = b"\xff\xd8"

_SOUND, _HEADER, _STRAY_MARKER, _NO_END = 0, 1, 2, 3
_REASONS = {
    _HEADER: "its JPEG header is damaged",
    _STRAY_MARKER: "its JPEG data are interrupted by a foreign marker",
    _NO_END: "its JPEG data break off before the end of the image",
}
_END_OF_IMAGE, _START_OF_SCAN, _COMMENT = 0xD9, 0xDA, 0xFE


@dataclass(frozen=True, slots=True)
class Announced:
    """What a tile says of itself.

    Attributes
    ----------
    fault
        What is wrong with it; empty where nothing is.
    width, height
        Size in pixels; 0 where it does not say.
    marked
        Whether it carries application segments (JFIF, Adobe).
    """

    fault: str
    width: int
    height: int
    marked: bool = False


def look_at_jpeg(data: Encoded, side: tuple[int, int]) -> Announced:
    """Look at the stored bytes of a JPEG tile.

    ``side`` is the width and height the tile should have, in pixels: one that announces more would
    make the decoder allocate it.
    """
    verdict, width, height, marked = _inspect(np.frombuffer(data, np.uint8))
    fault = _REASONS.get(verdict) or _size_fault(width, height, side)
    return Announced(fault, width, height, marked)


def look_at_jpeg2000(data: Encoded, side: tuple[int, int]) -> Announced:
    """Look at the stored bytes of a tile that may be a bare JPEG 2000 codestream."""
    if data[:4] != b"\xff\x4f\xff\x51" or len(data) < 24:
        return Announced("", 0, 0)
    width = int.from_bytes(data[8:12], "big") - int.from_bytes(data[16:20], "big")
    height = int.from_bytes(data[12:16], "big") - int.from_bytes(data[20:24], "big")
    return Announced(_size_fault(width, height, side), width, height)


def table_segments(stream: Encoded) -> bytes:
    """The segments of a page's JPEGTables without their frame, application data and comments.

    Decoders forget markers of application data at the next start of an image; left in the middle
    of one they would count.
    """
    kept = [
        stream[start:stop]
        for marker, start, stop in _segments(stream)
        if not _is_application_data(marker)
    ]
    return b"".join(kept)


def without_application_data(data: Encoded) -> bytes:
    """A tile's bytes after its start, without application data and comments before its scan."""
    kept, last = [], 2
    for marker, start, stop in _segments(data):
        if not _is_application_data(marker):
            kept.append(data[start:stop])
        last = stop
    return b"".join((*kept, data[last:]))


def _is_application_data(marker: int) -> bool:
    return 0xE0 <= marker <= 0xEF or marker == _COMMENT


def _segments(stream: Encoded) -> Iterator[tuple[int, int, int]]:
    """Marker, beginning and end of every segment with a length, up to the first scan."""
    at = 2
    while at + 4 <= len(stream) and stream[at] == 0xFF:
        marker = stream[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        stop = at + 2 + max(int.from_bytes(stream[at + 2 : at + 4], "big"), 2)
        if marker in (_START_OF_SCAN, _END_OF_IMAGE) or stop > len(stream):
            return
        yield marker, at, stop
        at = stop


def _size_fault(width: int, height: int, side: tuple[int, int]) -> str:
    if width > side[0] or height > side[1]:
        return f"it announces {width} x {height} pixels in a tile of {side[0]} x {side[1]}"
    return ""


@njit(cache=True, nogil=True)
def _inspect(data: NDArray[np.uint8]) -> tuple[int, int, int, bool]:
    """Verdict, width and height (0 where none is announced), presence of application data."""
    scan, width, height, baseline, marked = _header(data)
    if scan < 0:
        return _HEADER, width, height, marked
    # Progressive images have markers between their many scans.
    return (_scan(data, scan) if baseline else _SOUND), width, height, marked


@njit(cache=True, nogil=True)
def _header(data: NDArray[np.uint8]) -> tuple[int, int, int, bool, bool]:
    """Where the first scan's data begin (-1 for a damaged header), width, height, whether it is
    the only scan of a sequential image, and whether there are application data."""
    size = len(data)
    width = height = components = 0
    sequential = marked = False
    i = 2
    if size < 4 or data[0] != 0xFF or data[1] != 0xD8:
        return -1, width, height, False, marked
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
            return i + 2 + length, width, height, sequential and only, marked
        if 0xE0 <= marker <= 0xEF:
            marked = True
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            if length < 8:
                break
            sequential = marker <= 0xC1
            height = int(data[i + 5]) * 256 + int(data[i + 6])
            width = int(data[i + 7]) * 256 + int(data[i + 8])
            components = int(data[i + 9])
        i += 2 + length
    return -1, width, height, False, marked


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
