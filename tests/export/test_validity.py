"""What is seen to be valid at once is valid; what is broken is mended or left out."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from wsiseg.cells.polygons import Polygons
from wsiseg.cells.simple import plainly_valid
from wsiseg.export.validity import sound

STAIRS = [(0, 0), (800, 0), (800, 200), (600, 200), (600, 400), (200, 400), (200, 600), (0, 600)]
BOW_TIE = [(0, 0), (100, 100), (100, 0), (0, 100)]
SPIKE = [(0, 0), (100, 0), (100, 100), (300, 100), (100, 100), (0, 100)]
TOUCHING = [(0, 0), (100, 0), (50, 50), (100, 100), (0, 100), (50, 50)]
TWICE = [(0, 0), (100, 0), (100, 0), (100, 100)]


def rings(*given_rings: list[tuple[int, int]]) -> Polygons:
    """Polygons of one ring each."""
    points = np.array([point for ring in given_rings for point in ring], np.int32).reshape(-1, 2)
    ends = np.cumsum([0, *map(len, given_rings)])
    return Polygons(points, ends, np.arange(len(given_rings) + 1))


def by_library(polygons: Polygons) -> NDArray[np.bool_]:
    return np.asarray(shapely.is_valid(polygons.to_shapely()))


def test_rings_that_keep_apart_are_seen_to_be_valid() -> None:
    circle = [
        (round(900 * np.cos(a)), round(900 * np.sin(a)))
        for a in np.linspace(0, 2 * np.pi, 60, endpoint=False)
    ]
    seen = plainly_valid(rings(STAIRS, STAIRS[::-1], circle, STAIRS[:3]))
    assert seen.tolist() == [True] * 4


@pytest.mark.parametrize("ring", [BOW_TIE, SPIKE, TOUCHING, TWICE, STAIRS[:2], []])
def test_rings_that_meet_themselves_are_not(ring: list[tuple[int, int]]) -> None:
    assert plainly_valid(rings(STAIRS, ring)).tolist() == [True, False]


def test_holes_and_giants_are_left_to_the_library() -> None:
    square = np.array([(0, 0), (100, 0), (100, 100), (0, 100)])
    hole = Polygons(
        np.concatenate([square, square // 2 + 10]).astype(np.int32),
        np.array([0, 4, 8]),
        np.array([0, 2]),
    )
    assert not plainly_valid(hole).any()
    assert len(sound(hole).polygons) == 1
    giant = rings([(0, 0), (1 << 30, 0), (1 << 30, 1 << 30)])
    assert not plainly_valid(giant).any()
    assert sound(giant).mended == 0


@settings(max_examples=300, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([4, 7, 30, 1000, 100_000]),
    st.sampled_from([0, -3, 2_000_000_000]),
)
def test_nothing_is_seen_to_be_valid_that_is_not(seed: int, width: int, far: int) -> None:
    rng = np.random.default_rng(seed)
    drawn = [rng.integers(0, width, (n, 2)) + far for n in rng.integers(3, 12, 40)]
    # Round a middle, so that some are simple however many vertices they have.
    drawn += [ring[np.argsort(np.arctan2(*(ring - ring.mean(axis=0)).T))] for ring in drawn[:20]]
    polygons = rings(*(list(map(tuple, ring.tolist())) for ring in drawn))
    assert not (plainly_valid(polygons) & ~by_library(polygons)).any()


def test_broken_ones_are_mended_among_the_whole() -> None:
    checked = sound(rings(STAIRS, BOW_TIE, STAIRS, TWICE[:2], TOUCHING))
    assert checked.kept.tolist() == [0, 1, 2, 4]
    assert checked.mended >= 1
    assert by_library(checked.polygons).all()
    np.testing.assert_array_equal(checked.polygons.take(np.array([2])).vertices, STAIRS)
