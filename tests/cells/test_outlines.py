"""Vectorising and rasterising label images."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy import ndimage

from wsiseg.cells.components import largest_parts as find_parts
from wsiseg.cells.polygons import Polygons
from wsiseg.cells.rasterize import paint_order, rasterize
from wsiseg.cells.vectorize import trace, vectorize
from wsiseg.errors import ModelError
from wsiseg.geometry import Box

SCALES = st.sampled_from([0.05, 0.07, 0.5, 1.0, 0.5 / 0.263018, 2.0, 4.000123, 31.7])

PIXELS = st.sampled_from(
    [st.integers(0, 4), st.integers(0, 1), st.sampled_from([0, 1, 1, 1, 1]), st.integers(1, 2)]
)
LABELS = st.tuples(st.integers(1, 12), st.integers(1, 12), PIXELS).flatmap(
    lambda drawn: arrays(np.int32, drawn[:2], elements=drawn[2], fill=st.nothing())
)
"""Specks, rings, combs, nested holes and pixels that meet in corners."""

ORIGINS = st.tuples(st.integers(-3000, 200_000), st.integers(-3000, 200_000))


def largest_parts(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """The reference: scipy's parts, the first of the largest kept."""
    kept = np.zeros_like(labels)
    for label in range(1, labels.max(initial=0) + 1):
        parts, count = ndimage.label(labels == label)
        if count:
            kept[parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])] = label
    return kept


def paint(polygons: Polygons, values, box: Box, scale) -> NDArray[np.uint32]:
    values = np.asarray(values, np.uint32)
    return rasterize(polygons, values, np.arange(len(polygons)), box, scale)


def disc(shape, y, x, radius) -> NDArray[np.bool_]:
    yy, xx = np.ogrid[: shape[0], : shape[1]]
    return (yy - y) ** 2 + (xx - x) ** 2 <= radius**2


@settings(max_examples=300, deadline=None)
@given(LABELS, ORIGINS, SCALES, SCALES)
def test_rasterising_is_the_inverse_of_vectorising(labels, origin, fx, fy):
    traced = vectorize(labels, 4, origin, (fx, fy))
    height, width = labels.shape
    box = Box(origin[0], origin[1], origin[0] + width, origin[1] + height)
    kept = largest_parts(labels)
    np.testing.assert_array_equal(
        paint(traced.polygons, traced.index + 1, box, (fx, fy)), kept.astype(np.uint32)
    )
    # Nothing lies beyond: a wider box holds the same pixels.
    wider = paint(traced.polygons, traced.index + 1, box.grown(3), (fx, fy))
    assert np.count_nonzero(wider) == np.count_nonzero(kept)
    assert traced.dropped_px == np.count_nonzero(labels) - np.count_nonzero(kept)


@settings(max_examples=300, deadline=None)
@given(LABELS, ORIGINS, SCALES)
def test_polygons_are_valid_with_the_area_of_their_pixels(labels, origin, scale):
    traced = vectorize(labels, 4, origin, (scale, scale))
    shapes = traced.polygons.to_shapely()
    assert shapely.is_valid(shapes).all()
    exact = vectorize(labels, 4, origin, (1.0, 1.0)).polygons.to_shapely()
    np.testing.assert_array_equal(shapely.area(exact), traced.area_px)
    assert all(shape.exterior.is_ccw for shape in shapes)
    assert not any(hole.is_ccw for shape in shapes for hole in shape.interiors)


@settings(max_examples=150, deadline=None)
@given(LABELS, ORIGINS)
def test_measures_are_those_of_the_kept_pixels(labels, origin):
    traced = vectorize(labels, 4, origin, (1.0, 1.0))
    kept = largest_parts(labels)
    present = np.unique(kept[kept > 0])
    np.testing.assert_array_equal(traced.index, present - 1)
    parts = sum(ndimage.label(labels == label)[1] for label in range(1, 5))
    assert traced.dropped_fragments == parts - len(present)
    for i, label in enumerate(present):
        y, x = np.nonzero(kept == label)
        x, y = x + origin[0], y + origin[1]
        assert traced.area_px[i] == len(x)
        assert (traced.sum_x[i], traced.sum_y[i]) == (x.sum(), y.sum())
        assert tuple(traced.boxes[i]) == (x.min(), y.min(), x.max() + 1, y.max() + 1)


@settings(max_examples=150, deadline=None)
@given(LABELS, st.tuples(*[st.integers(0, 5)] * 4), SCALES)
def test_the_window_does_not_show(labels, margins, scale):
    here = vectorize(labels, 4, (7, 40), (scale, scale))
    left, top, right, bottom = margins
    padded = np.pad(labels, ((top, bottom), (left, right)))
    there = vectorize(padded, 4, (7 - left, 40 - top), (scale, scale))
    for name in ("vertices", "ring_offsets", "polygon_offsets"):
        np.testing.assert_array_equal(getattr(here.polygons, name), getattr(there.polygons, name))
    for name in ("index", "boxes", "area_px", "sum_x", "sum_y"):
        np.testing.assert_array_equal(getattr(here, name), getattr(there, name))


@settings(max_examples=100, deadline=None)
@given(LABELS, ORIGINS, st.permutations(range(4)), st.integers(0, 4))
def test_parts_are_traced_alike_alone_and_together(labels, origin, order, count):
    parts = find_parts(labels, 4, origin)
    every = vectorize(labels, 4, origin, (2.0, 0.3)).polygons
    chosen = np.array([i for i in order[:count] if i < len(parts.index)], np.int64)
    some, expected = trace(parts, chosen, (2.0, 0.3)), every.take(chosen)
    for name in ("vertices", "ring_offsets", "polygon_offsets"):
        np.testing.assert_array_equal(getattr(some, name), getattr(expected, name))


@settings(max_examples=100, deadline=None)
@given(LABELS)
def test_rings_start_at_their_topmost_leftmost_vertex_and_turn_at_every_vertex(labels):
    polygons = vectorize(labels, 4, (0, 0), (1.0, 1.0)).polygons
    for start, stop in zip(polygons.ring_offsets, polygons.ring_offsets[1:], strict=False):
        ring = polygons.vertices[start:stop]
        assert tuple(ring[0]) == min((tuple(v) for v in ring), key=lambda v: (v[1], v[0]))
        steps = np.diff(ring, axis=0, append=ring[:1])
        upright = steps[:, 0] == 0
        assert (upright != np.roll(upright, 1)).all()
        assert len(set(map(tuple, ring))) == len(ring)


def test_a_ring_keeps_its_hole_and_what_lies_in_it():
    labels = np.zeros((40, 40), np.int32)
    labels[disc((40, 40), 20, 20, 15)] = 1
    labels[disc((40, 40), 20, 20, 9)] = 0
    labels[disc((40, 40), 20, 20, 4)] = 2
    traced = vectorize(labels, 2, (0, 0), (2.0, 2.0))
    assert [len(s.interiors) for s in traced.polygons.to_shapely()] == [1, 0]
    np.testing.assert_array_equal(
        paint(traced.polygons, [1, 2], Box(0, 0, 40, 40), (2.0, 2.0)), labels
    )


def test_of_a_bow_tie_one_wing_is_kept():
    labels = np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]], np.int32)
    traced = vectorize(labels, 1, (0, 0), (1.0, 1.0))
    assert traced.dropped_fragments == 1
    assert traced.dropped_px == 4
    assert tuple(traced.boxes[0]) == (0, 0, 2, 2)


def test_a_hole_that_touches_the_outside_in_a_corner_stays_a_hole():
    labels = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 1]], np.int32)
    shape = vectorize(labels, 1, (0, 0), (1.0, 1.0)).polygons.to_shapely()[0]
    assert shape.is_valid
    assert len(shape.interiors) == 1
    assert shape.area == 7


@pytest.mark.parametrize("value", [-1, 3])
def test_labels_out_of_range_are_refused(value):
    labels = np.zeros((4, 4), np.int32)
    labels[1, 1] = value
    with pytest.raises(ModelError, match=r"labels outside 0\.\.2"):
        vectorize(labels, 2, (0, 0), (1.0, 1.0))


def test_an_empty_window_has_no_instances():
    traced = vectorize(np.zeros((8, 8), np.int32), 0, (0, 0), (1.0, 1.0))
    assert len(traced.polygons) == len(traced.index) == len(traced.boxes) == 0


def random_polygons(seed: int, count: int, extent: float) -> Polygons:
    """Stars with random radii, neither convex nor on the lattice, overlapping."""
    rng = np.random.default_rng(seed)
    rings = []
    for _ in range(count):
        angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 20)))
        radii = rng.uniform(0.3, 9, len(angles))
        centre = rng.uniform(0, extent, 2)
        points = centre + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)
        rings.append(np.rint(points * 100).astype(np.int32))
    offsets = np.concatenate([[0], np.cumsum([len(r) for r in rings])])
    return Polygons(np.concatenate(rings), offsets, np.arange(count + 1))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), SCALES.filter(lambda s: s > 0.2), SCALES.filter(lambda s: s > 0.2))
def test_a_pixel_belongs_to_the_polygon_that_holds_its_centre(seed, fx, fy):
    polygons = random_polygons(seed, 1, 10.0)
    box = Box(-8, -5, 60, 45)
    painted = paint(polygons, [9], box, (fx, fy))
    y, x = np.mgrid[box.y0 : box.y1, box.x0 : box.x1]
    points = shapely.points((x + 0.5) * fx, (y + 0.5) * fy)
    shape = polygons.to_shapely()[0]
    inside = shapely.contains(shape, points) if shape.is_valid else even_odd(polygons, x, y, fx, fy)
    clear = shapely.distance(shape.boundary, points) > 1e-9
    np.testing.assert_array_equal((painted == 9)[clear], inside[clear])


def even_odd(polygons, x, y, fx, fy):
    """Crossings to the left of every centre."""
    inside = np.zeros(x.shape, bool)
    cx, cy = (x + 0.5) * fx * 100, (y + 0.5) * fy * 100
    ring = polygons.vertices.astype(float)
    for a, b in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        if a[1] != b[1]:
            at = a[0] + (cy - a[1]) * (b[0] - a[0]) / (b[1] - a[1])
            inside ^= ((a[1] <= cy) != (b[1] <= cy)) & (at <= cx)
    return inside


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(-20, 90), st.integers(-20, 90), st.integers(1, 60))
def test_a_box_shows_the_same_as_the_whole(seed, x, y, side):
    polygons = random_polygons(seed, 25, 60.0)
    values = np.arange(1, 26, dtype=np.uint32)
    order = np.random.default_rng(seed).permutation(25)
    whole = rasterize(polygons, values, order, Box(-30, -30, 160, 160), (0.9, 1.1))
    box = Box(x, y, x + side, y + side)
    part = rasterize(polygons, values, order, box, (0.9, 1.1))
    np.testing.assert_array_equal(part, whole[box.slices(Box(-30, -30, 160, 160))])


def test_neighbours_share_no_pixel_and_leave_none_out():
    rng = np.random.default_rng(1)
    cells = shapely.get_parts(
        shapely.voronoi_polygons(shapely.multipoints(rng.uniform(0, 100, (60, 2))))
    )
    rings = [np.rint(shapely.get_coordinates(cell)[:-1] * 100).astype(np.int32) for cell in cells]
    offsets = np.concatenate([[0], np.cumsum([len(r) for r in rings])])
    polygons = Polygons(np.concatenate(rings), offsets, np.arange(len(rings) + 1))
    total = np.zeros((90, 90), int)
    for i in range(len(polygons)):
        total += paint(polygons.take(np.array([i])), [1], Box(5, 5, 95, 95), (1.0, 1.0))
    assert (total == 1).all()


def test_overlaps_go_to_the_likelier_then_to_the_lower():
    probabilities = np.array([0.9, 0.5, 0.9, 0.9, 0.9], np.float32)
    centroids = np.array([[5, 5], [0, 0], [5, 4], [4, 5], [5, 5]], float)
    assert paint_order(probabilities, centroids).tolist() == [1, 0, 4, 3, 2]


def test_an_empty_box_and_no_polygons():
    assert paint(Polygons.empty(), [], Box(0, 0, 4, 3), (1.0, 1.0)).shape == (3, 4)
    assert paint(random_polygons(0, 3, 5.0), [1, 2, 3], Box(0, 0, 0, 3), (1.0, 1.0)).size == 0
