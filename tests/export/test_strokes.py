"""Outlines are drawn as Pillow draws curves, pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from wsiseg.cells.polygons import Polygons
from wsiseg.export.strokes import FINER, outlines_cover

SIZE = (60, 40)
PLACES = st.one_of(
    st.floats(-40, 220, allow_nan=False),
    st.integers(-20, 140).map(float),  # straight and doubled-back lines, repeated points
)
RINGS = st.lists(st.lists(st.tuples(PLACES, PLACES), min_size=3, max_size=9), max_size=4)


def polygons_of(rings: list[list[tuple[float, float]]]) -> tuple[Polygons, np.ndarray]:
    offsets = np.cumsum([0, *map(len, rings)])
    points = np.array([point for ring in rings for point in ring], float).reshape(-1, 2)
    vertices = np.zeros((len(points), 2), np.int32)
    return Polygons(vertices, offsets, np.arange(len(rings) + 1)), points


def drawn_by_pillow(rings: list[list[tuple[float, float]]], width: int) -> Image.Image:
    layer = Image.new("L", (SIZE[0] * FINER, SIZE[1] * FINER))
    draw = ImageDraw.Draw(layer)
    for ring in rings:
        draw.line([*ring, ring[0]], 255, width, joint="curve")
    return layer.reduce(FINER)


@given(RINGS, st.sampled_from([5, 6, 8, 9, 12]))
@settings(max_examples=150, deadline=None)
def test_outlines_are_those_of_pillow(rings: list[list[tuple[float, float]]], width: int) -> None:
    polygons, points = polygons_of(rings)
    found = outlines_cover(polygons, points, SIZE, width)
    np.testing.assert_array_equal(np.asarray(found), np.asarray(drawn_by_pillow(rings, width)))


@pytest.mark.parametrize("width", [6, 12])
def test_round_rings_are_those_of_pillow(width: int) -> None:
    rng = np.random.default_rng(width)
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    rings = []
    for x, y in rng.uniform(10, 110, (30, 2)):
        radii = rng.uniform(12, 18, len(angles))
        ring = np.stack([x + radii * np.cos(angles), y + radii * np.sin(angles)], axis=1)
        rings.append([(float(a), float(b)) for a, b in ring])
    polygons, points = polygons_of(rings)
    found = outlines_cover(polygons, points, SIZE, width)
    expected = drawn_by_pillow(rings, width)
    assert 500 < np.count_nonzero(np.asarray(expected)) < 2400
    np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))
