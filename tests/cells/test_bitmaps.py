"""Nuclei drawn in bits are those of the label image."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from wsiseg.cells.batch import CellBatch
from wsiseg.cells.bitmaps import WORD, draw_bitmaps, grown_rows
from wsiseg.cells.polygons import Polygons
from wsiseg.cells.rasterize import paint_order, rasterize
from wsiseg.features.intensity import ring_reach
from wsiseg.geometry import MPP, Box

FIELD = Box(3, -5, 203, 95)


def cells(seed, count=60, most=30):
    """Stars with random corners, many of which overlap, in level-0 pixels."""
    rng = np.random.default_rng(seed)
    middles = rng.uniform((0, -10), (210, 105), (count, 2))
    rings = []
    for middle in middles:
        angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 12)))
        radii = rng.uniform(0.2, most, len(angles))
        points = middle + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        rings.append(np.round(points * 100).astype(np.int32))
    ends = np.cumsum([0, *map(len, rings)])
    return CellBatch(
        np.arange(count, dtype=np.uint32),
        np.zeros((count, 16), np.uint8),
        Polygons(np.concatenate(rings), ends, np.arange(count + 1)),
        middles,
        np.zeros(count, np.uint8),
        rng.integers(0, 3, count).astype(np.float32),
        np.zeros(count, np.bool_),
        {},
    )


def unpacked(words):
    rows = np.ascontiguousarray(words)
    return np.unpackbits(rows.view(np.uint8), axis=1, bitorder="little").astype(bool)


@pytest.mark.parametrize("scale", [(1.0, 1.0), (0.7, 1.3)])
@pytest.mark.parametrize("seed", range(4))
def test_pixels_are_those_of_the_label_image(scale, seed):
    batch = cells(seed)
    values = np.arange(1, len(batch) + 1, dtype=np.uint32)
    order = paint_order(batch.probabilities, batch.centroids)
    labels = rasterize(batch.polygons, values, order, FIELD, scale)
    found = draw_bitmaps(batch, FIELD, scale)
    np.testing.assert_array_equal(unpacked(found.taken)[:, : FIELD.width], labels > 0)
    assert not unpacked(found.taken)[:, FIELD.width :].any()
    painted = np.zeros(labels.shape, np.uint32)
    for i, (x0, y0, x1, y1) in enumerate(found.boxes):
        own = found.words[found.starts[i] : found.starts[i + 1]]
        if len(own):
            mask, left = unpacked(own.reshape(y1 - y0, -1)), x0 // WORD * WORD
            ys, xs = np.nonzero(mask)
            assert x0 <= xs.min(initial=x1) + left
            assert xs.max(initial=0) + left < x1
            assert not painted[ys + y0, xs + left].any()
            painted[ys + y0, xs + left] = i + 1
    np.testing.assert_array_equal(painted, labels)


@settings(max_examples=40)
@given(st.integers(0, 2**31), st.integers(1, 150), st.sampled_from([0.05, 0.25, 0.4, 1.0, 5.0]))
def test_rows_grow_by_the_reach(seed, width, size):
    mpp = MPP(size, size * 1.01)
    reach = ring_reach(mpp, 2.0)
    mask = np.random.default_rng(seed).random((7, 2 * WORD + width)) < 0.05
    mask[:, : WORD + 5] = False
    mask[:2] = mask[-2:] = False
    whole = np.zeros((7, 4 * WORD + WORD), np.uint8)
    whole[:, : mask.shape[1]] = mask
    rows = np.packbits(whole, axis=1, bitorder="little").view(np.int64)
    # The nucleus begins with the second word and the third row.
    box = (WORD + 5, 2, mask.shape[1], 5)
    last = (mask.shape[1] - 1) // WORD + 1
    grown = unpacked(grown_rows(rows[2:5, 1:last].copy(), box, reach))
    margin, more = len(reach) - 1, WORD + 5 - (WORD + 5 - reach[0]) // WORD * WORD
    mask = np.pad(mask, ((margin, margin), (more, more)))
    away = ndimage.distance_transform_edt(~mask, sampling=(mpp.y, mpp.x))
    near = (away <= 2.0 * (1 + 1e-9)) if mask.any() else np.zeros(mask.shape, bool)
    near = near[2 : len(near) - 2, WORD + 5 :]
    wide = min(grown.shape[1], near.shape[1])
    np.testing.assert_array_equal(grown[:, :wide], near[:, :wide])
    assert not grown[:, wide:].any()
    assert not near[:, wide:].any()
