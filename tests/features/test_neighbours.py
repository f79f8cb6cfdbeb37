"""Neighbours agree with scipy's trees over the whole slide, however it is cut into parts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import KDTree

from wsiseg.features.neighbours import measure_neighbours, nearest_columns, settle_nearest

NAMES = ("neighbours_25_um", "neighbours_50_um", "neighbours_100_um")


def whole(points, classes):
    counted, nearest = measure_neighbours(points, classes, slice(0, len(points)))
    settle_nearest(nearest, points, ())
    return counted | nearest_columns(nearest)


def by_tree(points, classes):
    tree = KDTree(points)
    found = {
        name: tree.query_ball_point(points, radius, return_length=True) - 1
        for name, radius in zip(NAMES, (25, 50, 100), strict=True)
    }
    distance = tree.query(points, k=4)[0][:, 1:]
    found["nearest_1_um"] = np.where(np.isfinite(distance[:, 0]), distance[:, 0], np.nan)
    three = distance.mean(axis=1)
    found["nearest_3_um"] = np.where(np.isfinite(three), three, np.nan)
    near = tree.query_ball_point(points, 50)
    found["other_class_share_50_um"] = np.array(
        [
            np.mean([classes[j] != classes[i] for j in js if j != i]) if len(js) > 1 else np.nan
            for i, js in enumerate(near)
        ]
    )
    return found


def assert_same(found, wanted):
    for name, values in wanted.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-6, err_msg=name)


@pytest.mark.parametrize("side", [300.0, 1500.0, 30000.0])
def test_neighbours_are_those_of_a_tree(side):
    rng = np.random.default_rng(1)
    points, classes = rng.uniform(0, side, (800, 2)), rng.integers(0, 3, 800).astype(np.uint8)
    assert_same(whole(points, classes), by_tree(points, classes))


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=40),
    st.sampled_from([5.0, 12.5, 25.0, 50.0]),
)
def test_lattices_with_ties_and_twins_measure_as_by_tree(places, spacing):
    points = np.array(places, float) * spacing
    classes = (np.arange(len(points)) % 2).astype(np.uint8)
    assert_same(whole(points, classes), by_tree(points, classes))


def test_parts_measure_as_the_whole():
    rng = np.random.default_rng(3)
    dense, sparse = rng.uniform(0, 800, (600, 2)), rng.uniform(0, 4000, (60, 2))
    points = np.concatenate([dense, sparse])
    classes = rng.integers(0, 2, len(points)).astype(np.uint8)
    wanted = whole(points, classes)
    part = (points // 500).astype(int) @ [100, 1]
    for one in np.unique(part):
        own = np.flatnonzero(part == one)
        low, high = points[own].min(axis=0), points[own].max(axis=0)
        near = ((points >= low - 101) & (points <= high + 101)).all(axis=1)
        around = np.flatnonzero(near & (part != one))
        given_ = np.concatenate([own, around])
        counted, nearest = measure_neighbours(points[given_], classes[given_], slice(0, len(own)))
        gaps = []
        for other in np.setdiff1d(np.unique(part), [one]):
            there = points[part == other]
            gap = np.maximum(np.maximum(there.min(axis=0) - high, low - there.max(axis=0)), 0)
            gaps.append((float(np.hypot(*gap)), int(other)))
        farther = ((gap, points[part == other]) for gap, other in sorted(gaps))
        settle_nearest(nearest, points[own], farther)
        for name, values in (counted | nearest_columns(nearest)).items():
            np.testing.assert_array_equal(values, wanted[name][own], err_msg=name)


def test_only_as_many_parts_are_read_as_are_needed():
    points = np.array([[0.0, 0.0], [5.0, 0.0]])
    _, nearest = measure_neighbours(points, np.zeros(2, np.uint8), slice(0, 2))
    asked = []

    def farther():
        for distance in (150.0, 400.0, 900.0):
            asked.append(distance)
            yield distance, np.array([[distance + 10, 0.0], [distance + 20, 0.0]])

    settle_nearest(nearest, points, farther())
    np.testing.assert_allclose(nearest[0], [5, 160, 170])
    assert asked == [150.0, 400.0]


def test_a_lonely_nucleus_has_no_neighbours():
    found = whole(np.array([[7.0, 9.0]]), np.zeros(1, np.uint8))
    assert [found[name][0] for name in NAMES] == [0, 0, 0]
    assert found["density_100_per_mm2"][0] == 0
    names = ("nearest_1_um", "nearest_3_um", "other_class_share_50_um")
    assert all(np.isnan(found[name][0]) for name in names)


def test_a_hand_case():
    points = np.array([[0, 0], [25, 0], [0, 50], [-100, 0], [0, -100.5]], float)
    found = whole(points, np.array([0, 1, 0, 1, 1], np.uint8))
    assert [found[name][0] for name in NAMES] == [1, 2, 3]
    assert found["nearest_1_um"][0] == 25
    assert found["nearest_3_um"][0] == pytest.approx(175 / 3)
    assert found["other_class_share_50_um"][0] == 0.5
    assert found["density_100_per_mm2"][0] == pytest.approx(3 / (np.pi * 0.01))
