"""Tiles and blocks: arithmetic only.

Tile cores partition a frame exactly. A tile reads a *window*: its core grown by the halo,
always full size, filled beyond the slide. A block is a square of tiles: the unit of work, of
memory, of commit and of resume.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from wsiseg.geometry import Box, Frame


@dataclass(frozen=True, slots=True)
class Tile:
    """One tile of a grid. ``core`` and ``window`` are boxes in the grid's frame."""

    column: int
    row: int
    core: Box
    window: Box


@dataclass(frozen=True, slots=True)
class Block:
    """A square of tiles. ``core`` is cut to no slide border: it is a lattice cell."""

    column: int
    row: int
    core: Box
    tiles: tuple[Tile, ...]

    @property
    def name(self) -> str:
        """File-safe name, sorting row by row."""
        return f"{self.row:05d}-{self.column:05d}"


@dataclass(frozen=True, slots=True)
class TileGrid:
    """A lattice of square tiles over a frame.

    Parameters
    ----------
    frame
        The frame that the cores partition.
    core
        Side of a tile's core in frame pixels.
    halo
        Margin read around the core in frame pixels.
    tiles_per_block
        Side of a block in tiles.
    stride
        Total stride of the network: core and halo, hence every window origin, are multiples
        of it, so that a window's sampling lattice is the same wherever it lies.
    """

    frame: Frame
    core: int
    halo: int
    tiles_per_block: int
    stride: int = 1

    def __post_init__(self) -> None:
        if self.core < 1 or self.halo < 0 or self.tiles_per_block < 1 or self.stride < 1:
            raise ValueError(f"not a grid: {self}")
        if self.core % self.stride or self.halo % self.stride:
            raise ValueError(
                f"core {self.core} and halo {self.halo} must be multiples of {self.stride}"
            )

    @property
    def window(self) -> int:
        """Side of a window in frame pixels."""
        return self.core + 2 * self.halo

    @property
    def columns(self) -> int:
        """Tiles along x."""
        return -(-self.frame.size.width // self.core)

    @property
    def rows(self) -> int:
        """Tiles along y."""
        return -(-self.frame.size.height // self.core)

    @property
    def block_core(self) -> int:
        """Side of a block in frame pixels."""
        return self.core * self.tiles_per_block

    def tile(self, column: int, row: int) -> Tile:
        """The tile at a place of the lattice, inside the frame or not."""
        x, y = column * self.core, row * self.core
        core = Box(x, y, x + self.core, y + self.core)
        return Tile(column, row, core, core.grown(self.halo))

    def tiles(self) -> Iterator[Tile]:
        """Every tile of the frame, row by row."""
        for row in range(self.rows):
            for column in range(self.columns):
                yield self.tile(column, row)

    def owner(self, x: int, y: int) -> Tile:
        """The tile whose core holds frame pixel ``(x, y)``."""
        return self.tile(x // self.core, y // self.core)

    def blocks(self, tiles: Iterator[Tile] | tuple[Tile, ...]) -> tuple[Block, ...]:
        """The given tiles gathered into blocks, row by row; blocks without a tile are absent."""
        gathered: dict[tuple[int, int], list[Tile]] = {}
        side = self.tiles_per_block
        for tile in tiles:
            gathered.setdefault((tile.row // side, tile.column // side), []).append(tile)
        step = self.block_core
        return tuple(
            Block(
                column,
                row,
                Box(column * step, row * step, (column + 1) * step, (row + 1) * step),
                tuple(sorted(members, key=lambda t: (t.row, t.column))),
            )
            for (row, column), members in sorted(gathered.items())
        )
