"""Where the encoded tiles of a TIFF slide lie, and which of them a box needs; arithmetic only.

Strips are tiles as wide as the image. Tiles that were never written have no bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsiseg.geometry import Box, Size

MAX_ENCODED_SHARE = 4
"""Times the size of its pixels that an encoded tile may claim at most: codecs that grow what they
pack do so by a few per cent."""

_ENCODED_SLACK = 1 << 16


@dataclass(frozen=True, slots=True)
class Plane:
    """One page of a level: the bytes of its tiles, and the tables that they share.

    ``page`` and ``key`` are the page and the one that describes it, as tifffile has them.
    """

    page: Any
    key: Any
    offsets: NDArray[np.uint64]
    lengths: NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class TileStore:
    """One level.

    Attributes
    ----------
    size
        Of the level in pixels.
    planes
        Each holds ``samples`` channels in every tile.
    parts
        Planes that one page holds one after another.
    samples
        Channels of a tile.
    side
        Width and height of a tile in pixels.
    sample_bytes
        Bytes of one channel of one pixel.
    """

    size: Size
    planes: tuple[Plane, ...]
    parts: int
    samples: int
    side: tuple[int, int]
    sample_bytes: int

    @property
    def channels(self) -> int:
        """Channels of a pixel."""
        return self.samples * self.parts * len(self.planes)

    @property
    def across(self) -> int:
        """Tiles along x."""
        return -(-self.size.width // self.side[0])

    @property
    def down(self) -> int:
        """Tiles along y."""
        return -(-self.size.height // self.side[1])

    def place(self, tile: TileKey, reduction: int) -> tuple[Box, slice]:
        """The pixels of the level reduced by ``reduction`` that a tile covers, and its channels."""
        part, within = divmod(tile.index, self.across * self.down)
        row, column = divmod(within, self.across)
        wide, high = self.side[0] // reduction, self.side[1] // reduction
        first = (tile.plane * self.parts + part) * self.samples
        x, y = column * wide, row * high
        return Box(x, y, x + wide, y + high), slice(first, first + self.samples)

    def tiles_of(self, boxes: Sequence[Box], reduction: int) -> dict[TileKey, list[int]]:
        """Every tile that meets one of the boxes, with the numbers of those it meets.

        ``boxes`` are in pixels of the level reduced by ``reduction``.
        """
        found: dict[TileKey, list[int]] = {}
        wide, high = self.side[0] // reduction, self.side[1] // reduction
        for number, box in enumerate(boxes):
            for row in range(box.y0 // high, -(-box.y1 // high)):
                for column in range(box.x0 // wide, -(-box.x1 // wide)):
                    for tile in self._at(row, column):
                        found.setdefault(tile, []).append(number)
        return found

    def _at(self, row: int, column: int) -> Iterable[TileKey]:
        for plane in range(len(self.planes)):
            for part in range(self.parts):
                yield TileKey(plane, (part * self.down + row) * self.across + column)

    def extent(self, tile: TileKey) -> tuple[int, int]:
        """Offset and length in bytes; a length of 0 for a tile that was never written."""
        plane = self.planes[tile.plane]
        if tile.index >= len(plane.lengths):
            return 0, 0
        return int(plane.offsets[tile.index]), int(plane.lengths[tile.index])

    @property
    def most_bytes(self) -> int:
        """Length beyond which an encoded tile is not to be believed."""
        pixels = self.side[0] * self.side[1] * self.samples * self.sample_bytes
        return MAX_ENCODED_SHARE * pixels + _ENCODED_SLACK


@dataclass(frozen=True, slots=True)
class TileKey:
    """A tile of a level: its plane, and its number in there."""

    plane: int
    index: int
