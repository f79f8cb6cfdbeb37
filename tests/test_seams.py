"""Tiling never shows: whatever the lattice, the order and the shapes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from seams import assert_same, crowd, disc, segment, segment_in_one_piece
from wsiseg.pipeline import tile as tile_module
from wsiseg.pipeline import windows
from wsiseg.testing.segmenters import (
    BlurredSegmenter,
    PaintedSegmenter,
    WobblySegmenter,
    mock_spec,
)

PAINTED = PaintedSegmenter(mock_spec("painted"))

# Discs cut apart by others leave parts up to 28 px away, which decide which part is largest.
SPLIT = PaintedSegmenter(mock_spec("split", reach_px=28, halo=64))


def largest_parts(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """Every label reduced to its largest 4-connected part; an independent reference."""
    result = np.zeros_like(labels)
    for value in np.unique(labels[labels > 0]):
        parts, count = ndimage.label(labels == value)
        sizes = ndimage.sum_labels(np.ones_like(parts), parts, range(1, count + 1))
        result[parts == 1 + int(np.argmax(sizes))] = value
    return result


def same_partition(a: NDArray[np.generic], b: NDArray[np.generic]) -> bool:
    """Whether two label images are equal up to the names of the labels."""
    pairs = np.unique(np.stack([a.ravel().astype(np.int64), b.ravel().astype(np.int64)]), axis=1)
    return len(np.unique(pairs[0])) == pairs.shape[1] == len(np.unique(pairs[1]))


@pytest.mark.parametrize("core", [64, 96, 256])
def test_crowd_is_the_same_for_every_lattice_and_order(tmp_path: Path, core: int) -> None:
    labels = crowd((400, 500), 600, seed=core)
    whole = segment_in_one_piece(labels, SPLIT, tmp_path / "whole", margin=64)
    tiled = segment(labels, SPLIT, tmp_path / "tiled", core=core, tiles_per_block=1)
    mixed = segment(labels, SPLIT, tmp_path / "mixed", core=core, tiles_per_block=3, seed=1)
    assert whole.count > 300
    assert_same(whole, tiled)
    assert_same(whole, mixed)
    assert same_partition(whole.raster(), largest_parts(labels))
    assert tiled.stitched.settled == 0


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    seed=st.integers(0, 10_000),
    core=st.integers(64, 200),
    tiles_per_block=st.integers(1, 4),
    count=st.integers(0, 120),
)
def test_any_lattice_gives_the_same_table(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    core: int,
    tiles_per_block: int,
    count: int,
) -> None:
    folder = tmp_path_factory.mktemp("seams")
    labels = crowd((180, 260), count, seed)
    whole = segment_in_one_piece(labels, SPLIT, folder / "whole", margin=64)
    tiled = segment(
        labels, SPLIT, folder / "tiled", core=core, tiles_per_block=tiles_per_block, seed=seed
    )
    assert_same(whole, tiled)


def awkward() -> NDArray[np.int32]:
    """Shapes that break careless tilers; tile borders at multiples of 64, 96 and 128."""
    image = np.zeros((512, 512), np.int32)
    disc(image, 1, (128, 128), 14)  # on four corners
    disc(image, 2, (300, 300), 60)  # ring wider than a tile, hollow inside
    disc(image, 0, (300, 300), 52)
    disc(image, 3, (300, 300), 4)  # a nucleus in the middle of the ring: same centroid
    image[60:70, 60:70] = 4  # bow-tie: two squares that meet in a corner
    image[70:79, 70:79] = 4
    for i in range(12):  # specks along a diagonal, 8-connected only
        image[186 + i, 186 + i] = 5
    image[400:402, 10:400] = 6  # a thread through many tiles
    image[440:460, 440:460] = 7  # a frame with a hole and a hole's island
    image[445:455, 445:455] = 0
    image[449:451, 449:451] = 8
    image[0:3, 0:3] = 9  # at the slide's corner
    image[511, 511] = 10  # one pixel, the last
    image[100:180, 250] = 11  # a U around nothing
    image[180, 250:330] = 11
    image[100:180, 329] = 11
    return image


@pytest.mark.parametrize("core", [64, 96, 128])
def test_awkward_shapes(tmp_path: Path, core: int) -> None:
    labels = awkward()
    whole = segment_in_one_piece(labels, PAINTED, tmp_path / "whole", margin=32)
    tiled = segment(labels, PAINTED, tmp_path / "tiled", core=core, tiles_per_block=2, seed=3)
    assert whole.count == 11
    assert_same(whole, tiled)
    assert same_partition(whole.raster(), largest_parts(labels))
    for batch in tiled.cells:
        assert shapely.is_valid(batch.polygons.to_shapely()).all()
    assert tiled.ledger.rereads > 0
    assert tiled.ledger.reread_whole > 0
    assert tiled.ledger.dropped_fragments > 0
    assert not tiled.column("truncated").any()
    uuids = {bytes(u) for batch in tiled.cells for u in batch.uuids}
    assert len(uuids) == tiled.count


def test_gland_wider_than_any_tile_stays_whole(tmp_path: Path) -> None:
    labels = np.zeros((1800, 1800), np.int32)
    disc(labels, 1, (900, 880), 750)
    disc(labels, 0, (900, 880), 600)
    disc(labels, 2, (900, 880), 10)
    whole = segment_in_one_piece(labels, PAINTED, tmp_path / "whole", margin=32)
    tiled = segment(labels, PAINTED, tmp_path / "tiled", core=512)
    assert whole.count == tiled.count == 2
    assert_same(whole, tiled)


def test_larger_than_the_largest_window_is_cut_and_marked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (windows, tile_module):
        monkeypatch.setattr(module, "LIMIT", 256)
    labels = np.zeros((700, 900), np.int32)
    disc(labels, 1, (400, 350), 300)
    disc(labels, 2, (30, 30), 12)
    tables = [
        segment(labels, PAINTED, tmp_path / str(core), core=core, seed=core)
        for core in (64, 96, 128)
    ]
    for table in tables[1:]:
        assert_same(tables[0], table)
    truncated = tables[0].column("truncated")
    assert truncated.sum() == tables[0].count - 1 > 4
    drawn = tables[0].raster() > 0
    assert np.array_equal(drawn, labels > 0), "the pieces cover the object, pixel for pixel"
    assert tables[0].stitched.truncated == truncated.sum()


@pytest.mark.parametrize("core", [64, 128])
def test_halo_of_a_model_that_needs_its_margin(tmp_path: Path, core: int) -> None:
    segmenter = BlurredSegmenter(mock_spec("blurred", reach_px=5, halo=40))
    labels = crowd((300, 420), 260, seed=4)
    whole = segment_in_one_piece(labels, segmenter, tmp_path / "whole", margin=48)
    tiled = segment(labels, segmenter, tmp_path / "tiled", core=core, seed=5)
    assert whole.count > 20
    assert_same(whole, tiled)


def test_a_reach_declared_too_small_shows(tmp_path: Path) -> None:
    """The test above can fail: a model that lies about its reach breaks the table."""
    liar = BlurredSegmenter(mock_spec("liar", reach_px=0, halo=0), radius=9)
    labels = crowd((300, 420), 260, seed=4)
    whole = segment_in_one_piece(labels, liar, tmp_path / "whole", margin=48)
    tiled = segment(labels, liar, tmp_path / "tiled", core=64)
    assert whole.count != tiled.count or whole.outlines() != tiled.outlines()


def test_model_outside_the_exact_class_neither_doubles_nor_cuts(tmp_path: Path) -> None:
    segmenter = WobblySegmenter(mock_spec("wobbly", reach_px=1, exact=False))
    labels = np.zeros((900, 900), np.int32)
    rng = np.random.default_rng(0)
    value = 0
    for y in range(15, 890, 24):
        for x in range(15, 890, 24):
            value += 1
            disc(
                labels[y - 12 : y + 13, x - 12 : x + 13],
                value,
                12 + rng.uniform(-1, 1, 2),
                rng.uniform(6, 10),
            )
    a = segment(labels, segmenter, tmp_path / "a", core=104, seed=1)
    b = segment(labels, segmenter, tmp_path / "b", core=133, seed=2)
    again = segment(labels, segmenter, tmp_path / "again", core=104, tiles_per_block=5, seed=3)
    assert_same(a, again)
    assert a.stitched.settled > 0
    # Each painted nucleus is found once, in either lattice, and well.
    for table in (a, b):
        raster = table.raster()
        pairs = np.unique(np.stack([labels.ravel(), raster.ravel().astype(np.int64)]), axis=1)
        pairs = pairs[:, (pairs > 0).all(axis=0)]
        assert pairs.shape[1] == value == table.count
        area = np.bincount(labels.ravel(), minlength=value + 1)[pairs[0]]
        found = np.bincount(raster.ravel(), minlength=value + 1)[pairs[1]]
        assert (found / area).min() > 0.6


def test_empty_slide(tmp_path: Path) -> None:
    table = segment(np.zeros((100, 100), np.int32), PAINTED, tmp_path / "empty", core=64)
    assert table.count == 0
    assert table.stitched.cells == 0
