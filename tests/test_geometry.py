"""Boxes, frames and lattices."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsiseg.errors import ResolutionError
from wsiseg.geometry import MPP, Box, Frame, Size
from wsiseg.pipeline.windows import (
    FIT_PX,
    LIMIT,
    fits,
    fitted,
    lattice_window,
    too_large,
    wider_window,
    widest,
)
from wsiseg.tiling import TileGrid

coordinates = st.integers(-5000, 5000)


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    x0, y0 = draw(coordinates), draw(coordinates)
    return Box(x0, y0, x0 + draw(st.integers(0, 900)), y0 + draw(st.integers(0, 900)))


@given(boxes(), boxes())
def test_intersection_and_union(a: Box, b: Box) -> None:
    common, cover = a.intersection(b), a.union(b)
    assert common == b.intersection(a) or common.empty
    assert cover.contains(a)
    assert cover.contains(b)
    if not common.empty:
        assert a.contains(common)
        assert b.contains(common)
        assert a.intersects(b)


@given(boxes(), st.integers(1, 400))
def test_split_partitions(box: Box, step: int) -> None:
    parts = list(box.split(step))
    assert sum(p.area for p in parts) == box.area
    for p in parts:
        assert box.contains(p)
        assert p.x0 // step == (p.x1 - 1) // step
        assert p.y0 // step == (p.y1 - 1) // step


def test_inside_out_box_is_refused() -> None:
    with pytest.raises(ValueError, match="inside out"):
        Box(2, 0, 1, 1)


@pytest.mark.parametrize(("x", "y"), [(0.25, 0.26), (0.0, 0.5), (float("nan"), 0.5), (-1, -1)])
def test_pixel_sizes_that_cannot_be(x: float, y: float) -> None:
    with pytest.raises(ResolutionError):
        MPP(x, y)


@given(st.floats(0.1, 1.0), st.integers(1, 100_000), st.integers(1, 100_000), st.integers(0, 5))
def test_reduced_frame_covers_level0(mpp: float, width: int, height: int, power: int) -> None:
    level0 = Frame(Size(width, height), MPP.square(mpp))
    frame = level0.reduced(2**power)
    assert frame.scale_to(level0) == (2.0**power, 2.0**power)
    assert frame.size.width == -(-width // 2**power)
    assert level0.box_in(level0.box, frame) == frame.box


@given(boxes(), st.floats(0.2, 4.0))
def test_box_in_another_frame_covers_it(box: Box, factor: float) -> None:
    level0 = Frame(Size(10_000, 10_000), MPP.square(0.25))
    other = level0.at(level0.mpp.times(factor))
    there = level0.box_in(box, other)
    assert there.x0 * factor <= box.x0 + 1e-3
    assert there.x1 * factor >= box.x1 - 1e-3
    assert (there.x0 + 1) * factor > box.x0 - 1e-3


@given(
    st.integers(1, 3000),
    st.integers(1, 3000),
    st.integers(1, 20),
    st.integers(0, 6),
    st.integers(1, 5),
)
def test_cores_partition_the_frame(
    width: int, height: int, cores: int, halos: int, side: int
) -> None:
    stride = 16
    frame = Frame(Size(width, height), MPP.square(0.5))
    grid = TileGrid(frame, cores * stride + 64, halos * stride, side, stride)
    counts = np.zeros((grid.rows * grid.core, grid.columns * grid.core), np.uint8)
    for tile in grid.tiles():
        counts[tile.core.slices()] += 1
        assert tile.window.x0 % stride == tile.window.y0 % stride == 0
        assert tile.window.width == tile.window.height == grid.window
    assert (counts == 1).all()
    assert counts.shape[0] >= height > counts.shape[0] - grid.core
    blocks = grid.blocks(tuple(grid.tiles()))
    assert sum(len(b.tiles) for b in blocks) == grid.rows * grid.columns
    for block in blocks:
        assert all(block.core.contains(t.core) for t in block.tiles)
    assert [b.name for b in blocks] == sorted(b.name for b in blocks)


@given(boxes(), st.integers(0, 200), st.sampled_from([1, 8, 16, 32]), st.integers(64, 2400))
def test_search_for_the_whole_ends(obj: Box, reach: int, stride: int, side: int) -> None:
    """From any part of an object on, windows grow until one shows it whole, or it is too large."""
    if obj.empty:
        return
    x0, y0 = (obj.x0 - side // 2) // stride * stride, (obj.y0 - side // 2) // stride * stride
    window = Box(x0, y0, x0 + side, y0 + side)
    for depth in range(16):
        visible = obj.intersection(window)
        if fits(visible, window, reach) and visible == obj:
            break
        if too_large(visible, reach, stride):
            break
        window = wider_window(visible, window, reach, stride, first=depth == 0)
        assert window.x0 % stride == window.y0 % stride == 0
        assert max(window.width, window.height) <= LIMIT
        assert not obj.intersection(window).empty
    else:
        pytest.fail(f"no end: {obj} in {window}")
    if not too_large(obj, reach, stride):
        assert fits(obj, window, reach)


@given(boxes(), st.integers(0, 200), st.sampled_from([1, 8, 16, 32]), st.integers(64, 2400))
def test_a_bound_on_supports_bounds_the_search(
    obj: Box, reach: int, stride: int, side: int
) -> None:
    bound = max(obj.width, obj.height)
    if obj.empty or too_large(Box(0, 0, bound, bound), reach, stride):
        return
    x0, y0 = (obj.x0 - side // 2) // stride * stride, (obj.y0 - side // 2) // stride * stride
    window = Box(x0, y0, x0 + side, y0 + side)
    for depth in range(16):
        visible = obj.intersection(window)
        if fits(obj, window, reach):
            break
        window = wider_window(visible, window, reach, stride, first=depth == 0, support_px=bound)
        assert max(window.width, window.height) <= widest(reach, stride, bound)
    assert fits(obj, window, reach)


@given(st.data(), st.sampled_from([1, 8, 16]))
def test_a_tile_is_cut_to_its_tissue_and_keeps_its_halo(data: st.DataObject, stride: int) -> None:
    grid = TileGrid(Frame(Size(9000, 9000), MPP(0.5, 0.5)), 1024, 64 * stride, 2, stride)
    tile = grid.tile(data.draw(st.integers(0, 7)), data.draw(st.integers(0, 7)))
    x0, x1 = sorted(data.draw(st.tuples(st.integers(0, 1023), st.integers(1, 1024))))
    y0, y1 = sorted(data.draw(st.tuples(st.integers(0, 1023), st.integers(1, 1024))))
    x, y = tile.core.x0, tile.core.y0
    tissue = Box(x + x0, y + y0, x + max(x1, x0 + 1), y + max(y1, y0 + 1))
    cut = fitted(tile, tissue, grid)
    assert tile.core.contains(cut.core)
    assert cut.core.contains(tissue)
    assert cut.window == cut.core.grown(grid.halo)
    assert cut.window.x0 % stride == cut.window.width % stride == 0
    assert (cut.column, cut.row) == (tile.column, tile.row)
    assert cut.core.width <= tissue.width + 2 * FIT_PX + 2
    assert fitted(tile, None, grid) == tile


@given(st.integers(-3, 9), st.integers(-3, 9), st.integers(0, 200), st.sampled_from([1, 16]))
def test_lattice_window_has_its_margin(column: int, row: int, reach: int, stride: int) -> None:
    cell = Box(column * LIMIT, row * LIMIT, (column + 1) * LIMIT, (row + 1) * LIMIT)
    window = lattice_window(cell, reach, stride)
    assert window.contains(cell.grown(reach))
    assert window.x0 % stride == window.y1 % stride == 0
