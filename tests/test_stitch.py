"""Conflicts, order and names of nuclei, held against the plain way to find them."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seams import assert_same, crowd, segment
from wsiseg.cells.candidates import Candidates
from wsiseg.cells.polygons import Polygons
from wsiseg.cells.rasterize import rasterize
from wsiseg.geometry import HUNDREDTHS, Box
from wsiseg.pipeline import stitching
from wsiseg.stitch import (
    CONFLICT_SHARE,
    Seams,
    canonical_order,
    cell_uuids,
    find_conflicts,
    rim_of,
    settle,
)
from wsiseg.store import blocks
from wsiseg.testing.segmenters import WobblySegmenter, mock_spec

SCALE = (2.0, 2.0)


def squares(seed: int, count: int, side: int = 60) -> Candidates:
    """Squares of 1 to 8 frame pixels, some of them twice, by tiles of 20 px and some neighbours."""
    rng = np.random.default_rng(seed)
    corners, sizes = rng.integers(0, side, (count, 2)), rng.integers(1, 9, count)
    tiles = corners // 20 + rng.integers(0, 2, (count, 2))
    again = rng.integers(0, count, count // 4)
    corners, sizes = np.concatenate([corners, corners[again]]), np.append(sizes, sizes[again])
    tiles = np.concatenate([tiles, tiles[again] + 1])
    boxes = np.concatenate([corners, corners + sizes[:, None]], axis=1)
    x0, y0, x1, y1 = (boxes * int(SCALE[0] * HUNDREDTHS)).T
    vertices = np.stack([x0, y0, x1, y0, x1, y1, x0, y1], axis=1).reshape(-1, 2)
    sums = ((corners + (sizes[:, None] - 1) / 2) * sizes[:, None] ** 2).astype(np.int64)
    return Candidates(
        Polygons(
            vertices.astype(np.int32), np.arange(len(sizes) + 1) * 4, np.arange(len(sizes) + 1)
        ),
        boxes,
        sizes**2,
        sums[:, 0],
        sums[:, 1],
        np.zeros(len(sizes), np.uint8),
        np.ones(len(sizes), np.float32),
        sizes == 8,
        tiles.astype(np.int32),
    )


def overlaps(found: Candidates) -> set[tuple[int, int]]:
    """Conflicting pairs, drawn one by one."""
    frame = Box(0, 0, 100, 100)
    drawn = [
        rasterize(
            found.polygons.take(np.array([i])),
            np.ones(1, np.uint32),
            np.zeros(1, int),
            frame,
            SCALE,
        )
        for i in range(len(found))
    ]
    return {
        (i, j)
        for i, j in combinations(range(len(found)), 2)
        if (found.tiles[i] != found.tiles[j]).any()
        and np.count_nonzero(drawn[i] & drawn[j])
        >= CONFLICT_SHARE * min(found.area_px[i], found.area_px[j])
    }


@pytest.mark.parametrize("seed", range(3))
def test_conflicts_are_those_of_pixels_drawn_one_by_one(seed: int) -> None:
    found = squares(seed, 80)
    expected = overlaps(found)
    conflicts = find_conflicts(found, np.arange(len(found)) + 1000, SCALE)
    assert {(min(p) - 1000, max(p) - 1000) for p in conflicts.pairs.tolist()} == expected
    assert len(expected) > 20


def test_nothing_conflicts_with_nothing() -> None:
    none = find_conflicts(Candidates.empty(), np.empty(0, np.int64), SCALE)
    assert none.pairs.shape == (0, 2)
    assert not len(settle([none], np.empty(0, np.int64)))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(1, 60), cuts=st.integers(1, 8))
def test_blocks_side_by_side_settle_like_one(seed: int, count: int, cuts: int) -> None:
    """Whichever block a candidate lies in: the same copies fall away, the same readings stay."""
    found = squares(seed, count)
    kept = found.first_of_equals()
    alone = find_conflicts(found.take(kept), kept, SCALE)
    copies = np.setdiff1d(np.arange(len(found)), kept)
    expected = settle([alone], np.empty(0, np.int64))

    # Blocks hold no copies of their own: each candidate goes to the block of its tile.
    owner = (found.tiles[:, 0] + 3 * found.tiles[:, 1]) % cuts
    members = [np.flatnonzero(owner == block) for block in range(cuts)]
    members = [m[found.take(m).first_of_equals()] for m in members]
    inner = np.setdiff1d(np.arange(len(found)), np.concatenate(members))
    extents = np.array(
        [
            (*b[:, :2].min(axis=0), *b[:, 2:].max(axis=0)) if len(b) else (0, 0, 0, 0)
            for b in (found.boxes[m] for m in members)
        ]
    )
    seams, conflicts = Seams(extents, SCALE), []
    for block, numbers in enumerate(members):
        part = found.take(numbers)
        conflicts.append(find_conflicts(part, numbers, SCALE))
        seams.add(block, rim_of(part, numbers, extents, block))
    assert np.array_equal(np.union1d(seams.copies(), inner), copies)
    settled = settle([*conflicts, *seams.conflicts], seams.copies())
    assert settled.tolist() == expected.tolist()


@pytest.mark.parametrize("seed", range(5))
def test_order_of_ids_where_anchors_are_level(seed: int) -> None:
    found = squares(seed, 300, side=12)
    anchors = found.anchors()
    keys = (*found.boxes.T[::-1], found.area_px, anchors[:, 0], anchors[:, 1])
    assert canonical_order(found).tolist() == np.lexsort(keys).tolist()


def test_uuids_hang_on_a_cell_and_on_its_equals_alone() -> None:
    rng = np.random.default_rng(1)
    centroids, areas = rng.uniform(0, 1e5, (500, 2)), rng.integers(20, 900, 500)
    alone = cell_uuids("slide", centroids, areas)
    assert len(np.unique(alone, axis=0)) == 500
    assert ((alone[:, 6] >> 4) == 8).all()
    assert np.array_equal(alone[100:300], cell_uuids("slide", centroids[100:300], areas[100:300]))
    assert (alone != cell_uuids("another", centroids, areas)).any(axis=1).all()
    twice = cell_uuids("slide", np.repeat(centroids, 2, axis=0), np.repeat(areas, 2))
    assert np.array_equal(twice[::2], alone)
    assert len(np.unique(twice, axis=0)) == 1000


def test_threads_and_what_is_kept_do_not_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = crowd((300, 400), 400, seed=2)
    wobbly = WobblySegmenter(mock_spec("wobbly", halo=16))
    monkeypatch.setattr(stitching, "REGION_PX", 90)
    monkeypatch.setattr(stitching, "_THREADS", 1)
    one = segment(labels, wobbly, tmp_path / "one", core=64)
    monkeypatch.setattr(stitching, "_THREADS", 4)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(4))
    monkeypatch.setattr(blocks, "_KEPT_BYTES", 0)
    four = segment(labels, wobbly, tmp_path / "four", core=64)
    assert one.stitched.settled == four.stitched.settled > 10
    assert_same(one, four)
    for path in (tmp_path / "one" / "cells").iterdir():
        assert path.read_bytes() == (tmp_path / "four" / "cells" / path.name).read_bytes()
