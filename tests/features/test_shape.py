"""Shapes agree with scikit-image's region properties."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from skimage.measure import regionprops

from wsiseg.cells.polygons import Polygons
from wsiseg.cells.vectorize import vectorize
from wsiseg.features.shape import measure_shapes
from wsiseg.geometry import MPP, Frame, Size

LEVEL0 = Frame(Size(20_000, 20_000), MPP.square(0.263018))
FRAME = LEVEL0.at(MPP.square(0.5))


def measure(labels, frame=FRAME, origin=(3, 5)):
    traced = vectorize(labels, int(labels.max()), origin, frame.scale_to(LEVEL0))
    return traced, measure_shapes(traced.polygons, frame, LEVEL0)


def blobs(seed: int, side: int = 200):
    """Labels with smooth, concave and tiny shapes."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(side, side)), 2)
    return ndimage.label(noise > 0.04)[0].astype(np.int32)


def compare(labels, mpp: MPP) -> None:
    frame = LEVEL0.at(mpp)
    traced, shapes = measure(labels, frame)
    regions = {r.label: r for r in regionprops(labels, spacing=(mpp.mean, mpp.mean))}
    assert len(regions) == len(traced.index) > 0
    for i, index in enumerate(traced.index):
        region = regions[index + 1]
        expected = {
            "area_um2": region.area,
            "perimeter_um": region.perimeter,
            "major_axis_um": region.axis_major_length,
            "minor_axis_um": region.axis_minor_length,
            "eccentricity": region.eccentricity,
            "equivalent_diameter_um": region.equivalent_diameter_area,
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected["solidity"] = region.solidity
            expected["feret_max_um"] = region.feret_diameter_max
        for name, value in expected.items():
            assert shapes[name][i] == pytest.approx(value, rel=1e-5, abs=1e-5), name
        if region.eccentricity > 0.05:
            turn = shapes["orientation_rad"][i] - region.orientation
            assert abs(np.sin(turn)) < 1e-5
        if region.perimeter:
            circularity = 4 * np.pi * region.area / region.perimeter**2
            assert shapes["circularity"][i] == pytest.approx(circularity, rel=1e-5)
        else:
            assert np.isnan(shapes["circularity"][i])


@pytest.mark.parametrize("seed", range(3))
def test_nuclei_measure_as_region_properties(seed):
    compare(blobs(seed), FRAME.mpp)


@settings(max_examples=150, deadline=None)
@given(
    arrays(np.int32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 1))
)
def test_specks_rings_and_combs_measure_as_region_properties(mask):
    labels = ndimage.label(mask)[0].astype(np.int32)
    if labels.max():
        compare(labels, MPP.square(0.5))


def test_slightly_oblong_pixels_measure_along_their_sides():
    mpp = MPP(0.5, 0.505)
    labels = np.zeros((40, 40), np.int32)
    labels[5:10, 5:35] = 1
    labels[12:38, 5:9] = 2
    _, shapes = measure(labels, LEVEL0.at(mpp))
    regions = regionprops(labels, spacing=(mpp.y, mpp.x))
    for i, region in enumerate(regions):
        assert shapes["area_um2"][i] == pytest.approx(region.area, rel=1e-6)
        assert shapes["major_axis_um"][i] == pytest.approx(region.axis_major_length, rel=1e-6)
        assert shapes["minor_axis_um"][i] == pytest.approx(region.axis_minor_length, rel=1e-6)


def test_a_nucleus_measures_the_same_wherever_it_lies():
    labels = blobs(7)
    _, here = measure(labels, origin=(0, 0))
    _, there = measure(labels, origin=(15_321, 901))
    for name, values in here.items():
        np.testing.assert_array_equal(values, there[name])


def test_overlapping_nuclei_are_measured_as_if_alone():
    square = np.array([[0, 0], [4000, 0], [4000, 4000], [0, 4000]], np.int32)
    pair = Polygons(
        np.concatenate([square, square + 1000]), np.array([0, 4, 8]), np.array([0, 1, 2])
    )
    shapes = measure_shapes(pair, LEVEL0, LEVEL0)
    np.testing.assert_allclose(shapes["area_um2"], 1600 * LEVEL0.mpp.pixel_area_um2, rtol=1e-6)


def test_a_polygon_between_pixel_centres_measures_nothing():
    speck = Polygons(
        np.array([[60, 60], [90, 60], [90, 90]], np.int32), np.array([0, 3]), np.array([0, 1])
    )
    shapes = measure_shapes(speck, LEVEL0, LEVEL0)
    assert shapes["area_um2"] == shapes["perimeter_um"] == shapes["major_axis_um"] == 0
    assert np.isnan(shapes["circularity"])
    assert np.isnan(shapes["solidity"])


def test_no_polygons_make_empty_columns():
    shapes = measure_shapes(Polygons.empty(), FRAME, LEVEL0)
    assert all(values.shape == (0,) and values.dtype == np.float32 for values in shapes.values())


def test_a_rectangle_has_the_diameters_of_its_hull():
    labels = np.zeros((20, 30), np.int32)
    labels[4:8, 5:25] = 1
    _, shapes = measure(labels, LEVEL0)
    side = LEVEL0.mpp.x
    # The hull of the edges' midpoints lacks the pixels' corners: 20 x 4 px without them.
    assert shapes["feret_max_um"][0] == pytest.approx(np.hypot(20, 3) * side, rel=1e-6)
    assert shapes["feret_min_um"][0] == pytest.approx(4 * side, rel=1e-6)
    assert shapes["equivalent_diameter_um"][0] == pytest.approx(np.sqrt(320 / np.pi) * side)
    # Both perimeters go through the centres of the border pixels.
    assert shapes["convexity"][0] == pytest.approx(1, rel=1e-6)


def test_a_notch_lowers_convexity_and_solidity():
    labels = np.zeros((30, 30), np.int32)
    labels[5:25, 5:25] = 1
    labels[12:18, 12:25] = 0
    _, shapes = measure(labels, LEVEL0)
    assert shapes["convexity"][0] < 0.8
    assert shapes["solidity"][0] < 0.9
    assert shapes["elongation"][0] == pytest.approx(
        1 - shapes["minor_axis_um"][0] / shapes["major_axis_um"][0], abs=1e-6
    )


def test_a_discs_diameters_are_alike():
    y, x = np.mgrid[:61, :61]
    labels = ((y - 30) ** 2 + (x - 30) ** 2 <= 25**2).astype(np.int32)
    _, shapes = measure(labels, LEVEL0)
    diameters = [shapes[n][0] for n in ("feret_max_um", "feret_min_um", "equivalent_diameter_um")]
    np.testing.assert_allclose(diameters, 51 * LEVEL0.mpp.x, rtol=0.03)
    assert shapes["elongation"][0] == pytest.approx(0, abs=1e-6)
