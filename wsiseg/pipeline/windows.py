"""Which window to read next for an instance that its window cuts. Arithmetic only."""

from __future__ import annotations

from dataclasses import replace

from wsiseg.geometry import Box
from wsiseg.tiling import Tile, TileGrid

FIT_PX = 64
"""Cores are cut to multiples of this, at least. Each shape costs a network's runtime 16 ms when it
first meets it; steps of 256 px cost 7 % more prediction in all."""

SEARCH_PX = 256
"""Sides of the windows that cut instances are sought in are multiples of this: their supports are
mostly alike, so one shape does for nearly all."""

LIMIT = 4096
"""Side in frame pixels of the largest window an instance is re-read in, and the step of the
global lattice on which anything larger is cut."""


def fitted(tile: Tile, tissue: Box | None, grid: TileGrid) -> Tile:
    """The tile with its core cut to where its tissue lies, its window to that core's halo.

    Right only for models of the exact class, which see an instance alike in every window. What
    lies in the core beside the tissue would be dropped, so that nothing is lost: the anchor of
    whatever the tile has to emit lies in tissue.

    Parameters
    ----------
    tile
        A tile of ``grid``.
    tissue
        The part of its core that holds all of the core's tissue; ``None``: there is none.
    """
    if tissue is None:
        return tile
    step = -(-FIT_PX // grid.stride) * grid.stride
    near, origin = tissue.grown(1), tile.core
    core = Box(
        origin.x0 + (near.x0 - origin.x0) // step * step,
        origin.y0 + (near.y0 - origin.y0) // step * step,
        origin.x0 - (origin.x0 - near.x1) // step * step,
        origin.y0 - (origin.y0 - near.y1) // step * step,
    ).intersection(origin)
    return replace(tile, core=core, window=core.grown(grid.halo))


def fits(support: Box, window: Box, reach: int) -> bool:
    """Whether an instance that hangs on ``support`` comes out of ``window`` untouched by its
    edge."""
    return window.contains(support.grown(reach))


def too_large(support: Box, reach: int, stride: int) -> bool:
    """Whether no window of ``LIMIT`` pixels on the stride's lattice is sure to hold it whole."""
    room = LIMIT - 2 * (reach + stride)
    return max(support.width, support.height) > room


def widest(reach: int, stride: int, support_px: int) -> int:
    """Side of the largest window that an instance may be looked for in.

    ``support_px`` is the longest side that a support can have; 0 where nothing bounds it.
    """
    if not support_px:
        return LIMIT
    # Cut on both sides, an instance may lie anywhere about the middle of what is seen of it.
    needed = -(-2 * (support_px + reach + stride) // SEARCH_PX) * SEARCH_PX
    return min(-(-needed // stride) * stride, LIMIT)


def wider_window(
    support: Box, window: Box, reach: int, stride: int, *, first: bool, support_px: int = 0
) -> Box:
    """The next window for an instance whose visible ``support`` reaches the edge of ``window``.

    The first such window is twice as wide as what is visible of the instance, with the margin it
    needs: mostly much smaller than the tile's, for nuclei are. Each further one is twice as wide
    as the last. It is at most ``widest`` wide, its origin a multiple of ``stride``. A side where
    the instance ends keeps just the margin it needs; the room goes to the sides that cut it.
    """
    if first:
        needed = 2 * (max(support.width, support.height) + reach + stride)
        side = -(-needed // SEARCH_PX) * SEARCH_PX
    else:
        side = 2 * max(window.width, window.height)
    side = min(-(-side // stride) * stride, widest(reach, stride, support_px))
    x0 = _place(support.x0, support.x1, window.x0, window.x1, side, reach, stride)
    y0 = _place(support.y0, support.y1, window.y0, window.y1, side, reach, stride)
    return Box(x0, y0, x0 + side, y0 + side)


def _place(
    low: int, high: int, window_low: int, window_high: int, side: int, reach: int, stride: int
) -> int:
    """Origin of the new window along one axis."""
    cut_low = low - reach < window_low
    cut_high = high + reach > window_high
    if cut_low == cut_high:
        origin = (low + high - side) // 2
    elif cut_low:
        origin = high + reach + stride - side
    else:
        origin = low - reach
    return origin // stride * stride


def lattice_window(cell: Box, reach: int, stride: int) -> Box:
    """The window that shows a cell of the global lattice with the margin it needs."""
    margin = -(-reach // stride) * stride
    x0, y0 = (cell.x0 - margin) // stride * stride, (cell.y0 - margin) // stride * stride
    x1 = -(-(cell.x1 + margin) // stride) * stride
    y1 = -(-(cell.y1 + margin) // stride) * stride
    return Box(x0, y0, x1, y1)
