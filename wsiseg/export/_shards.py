"""Shards of Zarr arrays, put together in one go.

Zarr's own way to a shard leads every chunk through several copies, tasks and threads, which takes
longer than drawing and compressing labels. Zarr makes the arrays, and reads them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, partial
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

_ABSENT = np.iinfo(np.uint64).max
_POLYNOMIAL = 0x82F63B78
_zstd = cache(partial(pa.Codec, "zstd"))


def encode_chunk(pixels: NDArray[Any], side: int, level: int) -> bytes:
    """A chunk by the codecs ``bytes`` (little-endian) and ``zstd`` of this level.

    ``pixels`` are unsigned integers ``[y, x]``; where they do not fill a square of this side, at
    the end of the array, 0 follows.
    """
    height, width = pixels.shape
    if pixels.shape != (side, side):
        pixels = np.pad(pixels, ((0, side - height), (0, side - width)))
    whole = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<"))
    encoded: bytes = _zstd(compression_level=level).compress(whole, asbytes=True)
    return encoded


def join_chunks(chunks: Mapping[tuple[int, int], bytes], across: int) -> bytes:
    """A shard of the codec ``sharding_indexed``, its index at the end with a checksum.

    https://zarr-specs.readthedocs.io/en/latest/v3/codecs/sharding-indexed/index.html

    Parameters
    ----------
    chunks
        Encoded chunks by ``(row, column)`` in the shard; others hold nothing but the fill value.
    across
        Chunks along a side of the shard.
    """
    index = np.full((across, across, 2), _ABSENT, "<u8")
    laid = sorted(chunks, key=_morton)
    end = 0
    for place in laid:
        index[place] = end, len(chunks[place])
        end += len(chunks[place])
    stored = index.tobytes()
    return b"".join([*(chunks[place] for place in laid), stored, _crc32c(stored)])


def _morton(place: tuple[int, int]) -> int:
    """Number of a chunk in the order in which Zarr lays chunks down: bits of row and column in
    turns, the row's first."""
    row, column = (int(f"{number:b}", 4) for number in place)
    return row + 2 * column


def _crc32c(data: bytes) -> bytes:
    """Castagnoli's cyclic redundancy check (RFC 3720, appendix B.4), little-endian."""
    remainders = _remainders()
    rest = 0xFFFFFFFF
    for byte in data:
        rest = rest >> 8 ^ remainders[(rest ^ byte) & 0xFF]
    return (rest ^ 0xFFFFFFFF).to_bytes(4, "little")


@cache
def _remainders() -> list[int]:
    """What each byte leaves of itself in the check of what follows."""
    found = list(range(256))
    for _ in range(8):
        found = [rest >> 1 ^ (_POLYNOMIAL if rest & 1 else 0) for rest in found]
    return found
