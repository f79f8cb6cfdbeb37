"""Intensities agree with scikit-image, numpy and distances computed one nucleus at a time."""

from __future__ import annotations

import numpy as np
import pytest
from features.fields import blobs
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from skimage.measure import regionprops

from wsiseg.cells.bitmaps import WORD, Bitmaps
from wsiseg.features.intensity import Window, intensity_statistics, ring_reach, stain_tables
from wsiseg.geometry import MPP, Box
from wsiseg.stain import amount, amount_tables, default_stains, optical_density

HALF = MPP.square(0.5)


def packed(mask):
    """Rows of words of a mask that begins with a word."""
    width = -(-mask.shape[1] // WORD) * WORD
    whole = np.zeros((len(mask), width), np.uint8)
    whole[:, : mask.shape[1]] = mask
    return np.packbits(whole, axis=1, bitorder="little").view(np.int64)


def drawn(labels, box):
    boxes, words = [], []
    for label, found in enumerate(ndimage.find_objects(labels), start=1):
        if found is None:
            boxes.append((0, 0, 0, 0))
            words.append(np.zeros(0, np.int64))
            continue
        rows, columns = found
        boxes.append((columns.start, rows.start, columns.stop, rows.stop))
        first, last = columns.start // WORD, (columns.stop - 1) // WORD + 1
        words.append(packed(labels == label)[rows, first:last].ravel())
    starts = np.cumsum([0, *map(len, words)])
    boxes = np.array(boxes, np.int64).reshape(-1, 4)
    flat = np.concatenate([np.zeros(0, np.int64), *words])
    return Bitmaps(box, packed(labels > 0), boxes, flat, starts)


def measured(labels, planes, mpp=HALF, radius=2.0, inside=None, tables=None):
    box = Box(10, 20, 10 + labels.shape[1], 20 + labels.shape[0])
    window = Window(np.moveaxis(planes, 0, -1), box, inside or box)
    members = np.arange(int(labels.max()))
    reach = ring_reach(mpp, radius)
    return intensity_statistics(drawn(labels, box), members, window, tables, reach)


def expected(values, percentiles=(10, 50, 90)):
    if not len(values):
        return [np.nan] * (2 + len(percentiles))
    return [values.mean(), values.std(), *np.percentile(values, percentiles)]


def ring_of(labels, label, mpp, radius):
    away = ndimage.distance_transform_edt(labels != label, sampling=(mpp.y, mpp.x))
    return (away <= radius + 1e-9) & (labels == 0)


@pytest.mark.parametrize("mpp", [MPP.square(0.5), MPP.square(0.37), MPP(0.5, 0.505)])
def test_nuclei_and_rings_measure_as_one_by_one(mpp):
    labels = blobs(1, 120)
    rng = np.random.default_rng(2)
    planes = np.stack(
        [
            rng.integers(-300, 2000, labels.shape).astype(np.int16),
            ndimage.gaussian_filter(rng.normal(0, 9000, labels.shape), 1).astype(np.int16),
        ]
    )
    nuclei, rings = measured(labels, planes, mpp)
    for label in range(1, labels.max() + 1):
        ring = ring_of(labels, label, mpp, 2.0)
        for plane in range(2):
            inside = planes[plane][labels == label].astype(float)
            np.testing.assert_allclose(nuclei[label - 1, plane], expected(inside), rtol=1e-9)
            around = planes[plane][ring].astype(float)
            np.testing.assert_allclose(rings[label - 1, plane], expected(around, [90]), rtol=1e-9)


def test_means_are_those_of_region_properties():
    labels = blobs(5, 150)
    picture = np.random.default_rng(0).integers(0, 65535, labels.shape).astype(np.uint16)
    nuclei, _ = measured(labels, picture[None])
    for region in regionprops(labels, intensity_image=picture):
        assert nuclei[region.label - 1, 0, 0] == pytest.approx(region.intensity_mean, rel=1e-12)
        assert nuclei[region.label - 1, 0, 1] == pytest.approx(region.intensity_std, rel=1e-9)


@settings(max_examples=60)
@given(
    arrays(np.int32, st.tuples(st.integers(1, 8), st.integers(1, 8)), elements=st.integers(0, 3)),
    st.integers(0, 2**31),
    st.sampled_from([0.4, 0.5, 1.0, 2.0]),
)
def test_any_labels_measure_as_one_by_one(labels, seed, size):
    plane = np.random.default_rng(seed).integers(0, 256, labels.shape).astype(np.uint8)
    mpp = MPP.square(size)
    nuclei, rings = measured(labels, plane[None], mpp)
    for label in range(1, labels.max() + 1):
        inside = plane[labels == label].astype(float)
        around = plane[ring_of(labels, label, mpp, 2.0)] if len(inside) else plane[:0].ravel()
        np.testing.assert_allclose(nuclei[label - 1, 0], expected(inside))
        np.testing.assert_allclose(rings[label - 1, 0], expected(around.astype(float), [90]))


def test_the_ring_leaves_out_other_nuclei_and_what_lies_off_the_slide():
    labels = np.zeros((20, 20), np.int32)
    labels[0:6, 8:12] = 1
    labels[6:9, 8:12] = 2
    plane = np.full(labels.shape, 10, np.uint8)
    plane[labels == 2] = 200
    plane[:, :7] = 90
    box = Box(10, 20, 30, 40)
    _, rings = measured(labels, plane[None], inside=Box(17, 20, 30, 40))
    assert rings[0, 0, 0] == 10
    assert rings[0, 0, 1] == 0
    _, wider = measured(labels, plane[None], inside=box)
    assert wider[0, 0, 0] > 10


def test_a_ring_reaches_exactly_as_far_as_it_says():
    reach = ring_reach(MPP.square(0.1), 2.0)
    assert len(reach) == 21
    assert [reach[0], reach[12], reach[20]] == [20, 16, 0]
    assert ring_reach(MPP.square(5.0), 2.0).tolist() == [0]


def test_widely_spread_values_have_exact_percentiles():
    labels = np.ones((9, 9), np.int32)
    plane = np.arange(81, dtype=np.uint16).reshape(9, 9) * 800
    nuclei, rings = measured(labels, plane[None])
    np.testing.assert_allclose(nuclei[0, 0], expected(plane.ravel().astype(float)))
    assert np.isnan(rings).all()


def test_stains_measure_as_the_planes_of_their_amounts():
    labels = blobs(6, 90)
    tables = stain_tables(default_stains("eosin", (250.0, 245.0, 255.0)))
    pixels = np.random.default_rng(6).integers(0, 256, (*labels.shape, 3)).astype(np.uint8)
    planes = np.stack([amount(pixels, table) for table in tables])
    nuclei, rings = measured(labels, np.moveaxis(pixels, -1, 0), tables=tables)
    of_nuclei, of_rings = measured(labels, planes)
    np.testing.assert_array_equal(nuclei[:, :2], of_nuclei[:, :2])
    np.testing.assert_array_equal(rings[:, :2], of_rings[:, :2])
    # Of the sum of the densities there is only the mean, in nuclei.
    np.testing.assert_array_equal(nuclei[:, 2, 0], of_nuclei[:, 2, 0])
    assert np.isnan(nuclei[:, 2, 1:]).all()
    assert np.isnan(rings[:, 2]).all()


def test_tables_of_stains_add_up_to_the_density():
    stains = default_stains("DAB", (250.0, 245.0, 255.0))
    pixels = np.random.default_rng(3).integers(1, 256, (40, 50, 3)).astype(np.uint8)
    tables = stain_tables(stains)
    np.testing.assert_array_equal(tables[:2], amount_tables(stains)[:2])
    total = optical_density(pixels, stains.white).sum(axis=-1)
    np.testing.assert_allclose(amount(pixels, tables[2]) / 1024, total, atol=1e-3)
