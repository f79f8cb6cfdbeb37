"""Distances to outlines are those of geometry."""

from __future__ import annotations

import numpy as np
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from wsiseg.features.position import region_outlines, signed_distances
from wsiseg.geometry import MPP, Frame, Size
from wsiseg.tissue.mask import TissueMask, mask_frame

MPP_ = MPP(0.5, 0.505)


def test_distances_are_positive_inside_and_negative_outside():
    square = shapely.box(100, 100, 300, 300)
    outlines = region_outlines(np.array([square], object), MPP.square(0.5))
    points = np.array([[100.0, 100.0], [60.0, 100.0], [40.0, 100.0], [40.0, 40.0], [150.0, 75.0]])
    found = signed_distances(points, outlines)
    np.testing.assert_allclose(found, [50, 10, -10, -np.hypot(10, 10), 0], atol=1e-6)


def test_holes_and_common_borders_of_regions():
    ring = shapely.box(0, 0, 400, 400).difference(shapely.box(150, 150, 250, 250))
    beside = shapely.box(400, 0, 800, 400)
    outlines = region_outlines(np.array([ring, beside], object), MPP.square(0.5))
    found = signed_distances(np.array([[100.0, 100.0], [200.0, 30.0], [110.0, 100.0]]), outlines)
    # The middle of the hole, a place on the common border, one inside the ring.
    np.testing.assert_allclose(found, [-25, 30, -15], atol=1e-5)


def test_tissue_masks_give_the_distance_to_the_nearest_other_pixel():
    level0 = Frame(Size(1600, 1280), MPP.square(0.5))
    frame = mask_frame(level0)
    codes = np.zeros(frame.box.shape, np.uint8)
    codes[20:60, 30:70] = 1
    codes[40:44, 40:50] = 0
    mask = TissueMask(codes, frame, "test")
    outlines = region_outlines(mask.polygons(level0), level0.mpp)
    side = frame.mpp.x
    points = np.array([[50.5, 30.5], [45.0, 41.5], [10.0, 30.0], [31.25, 59.0]]) * side
    np.testing.assert_allclose(
        signed_distances(points, outlines),
        np.array([np.hypot(0.5, 9.5), -1.5, -20, 1]) * side,
        rtol=1e-5,
    )


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(3, 60), st.integers(1, 400))
def test_distances_are_those_of_a_search_through_all_segments(seed, corners, count):
    rng = np.random.default_rng(seed)
    angles, far = np.sort(rng.uniform(0, 2 * np.pi, corners)), rng.uniform(5, 3000, corners)
    ragged = shapely.Polygon(np.stack([np.cos(angles) * far, np.sin(angles) * far], axis=1))
    outlines = region_outlines(np.array([ragged.buffer(0)], object), MPP_)
    points = rng.uniform(-4000, 4000, (count, 2))
    # Corners of the outline, and points that coincide.
    points[::5] = outlines.segments[rng.integers(0, len(outlines.segments), len(points[::5])), :2]
    points[1::7] = points[0]
    lines = shapely.linestrings(outlines.segments.reshape(-1, 2, 2))
    wanted = shapely.distance(shapely.points(points)[:, None], lines).min(axis=1)
    found = signed_distances(points, outlines)
    np.testing.assert_array_equal(np.abs(found), wanted.astype(np.float32))
    inside = shapely.contains_xy(outlines.region, points)
    np.testing.assert_array_equal(found[wanted > 0] > 0, inside[wanted > 0])


def test_where_there_is_no_region_there_is_no_distance():
    outlines = region_outlines(np.empty(0, object), MPP_)
    assert np.isnan(signed_distances(np.zeros((3, 2)), outlines)).all()
    square = region_outlines(np.array([shapely.box(0, 0, 9, 9)], object), MPP_)
    assert signed_distances(np.zeros((0, 2)), square).shape == (0,)
