"""Maps and hot spots."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsiseg.errors import ConfigurationError
from wsiseg.geometry import MPP, Frame, Size
from wsiseg.regions import (
    HotSpotRule,
    count_map,
    density_map,
    find_hot_spot,
    grid_of,
    mean_map,
    share_map,
    tissue_map,
)
from wsiseg.regions.hotspot import FIELD_MM2, most_cells
from wsiseg.statistics import Points
from wsiseg.tissue import TissueCode, TissueMask
from wsiseg.tissue.mask import mask_frame

LEVEL0 = Frame(Size(2000, 1600), MPP.square(0.5))
FOUR = Points(np.array([10.0, 20, 260, 999]), np.array([10.0, 20, 10, 799]))


def speckled() -> TissueMask:
    frame = mask_frame(LEVEL0)
    mask = np.random.default_rng(0).random(frame.box.shape) < 0.6
    return TissueMask(np.where(mask, TissueCode.TISSUE, 0).astype(np.uint8), frame, "test")


def test_counts_and_shares_by_hand() -> None:
    grid = grid_of(LEVEL0, 250)
    assert (grid.rows, grid.columns) == (4, 4)
    counts = count_map(grid, FOUR).values
    assert counts.sum() == 4
    assert (counts[0, 0], counts[0, 1], counts[3, 3]) == (2, 1, 1)
    shares = share_map(grid, FOUR, np.array([True, False, True, False])).values
    assert (shares[0, 0], shares[0, 1], shares[3, 3]) == (50, 100, 0)
    assert math.isnan(shares[2, 2])
    assert math.isnan(share_map(grid, FOUR, np.ones(4, np.bool_), 2).values[0, 1])


def test_means_leave_out_what_is_not_finite() -> None:
    grid = grid_of(LEVEL0, 250)
    values = mean_map(grid, FOUR, np.array([1.0, np.nan, np.nan, 7.0]), "x", "").values
    assert (values[0, 0], values[3, 3]) == (1, 7)
    assert math.isnan(values[0, 1])


def test_points_outside_the_slide_lie_in_no_tile() -> None:
    grid = grid_of(LEVEL0, 250)
    away = Points(np.array([-1.0, 5000.0]), np.array([5.0, 5.0]))
    assert grid.tile_of(away).tolist() == [-1, -1]
    assert count_map(grid, away).values.sum() == 0


@settings(max_examples=30)
@given(st.floats(3, 2000))
def test_tissue_is_divided_without_loss(side: float) -> None:
    tissue = speckled()
    found = tissue_map(grid_of(LEVEL0, side), tissue).values
    reach = tissue.frame.size
    mm2 = tissue.frame.mpp.pixel_area_um2 * 1e-6
    assert found.min() >= -1e-12
    assert found.max() <= side * side * 1e-6 * (1 + 1e-9)
    # The mask's last pixels may reach beyond the last tile, by less than one of them.
    assert found.sum() <= tissue.area_mm2() * (1 + 1e-9)
    assert found.sum() >= tissue.area_mm2() - (reach.width + reach.height) * mm2


def test_density_is_undefined_without_tissue() -> None:
    frame = mask_frame(LEVEL0)
    codes = np.zeros(frame.box.shape, np.uint8)
    codes[:, : frame.size.width // 4] = TissueCode.TISSUE
    tissue = TissueMask(codes, frame, "test")
    grid = grid_of(LEVEL0, 200)
    found = density_map(grid, FOUR, tissue).values
    assert found[0, 0] == pytest.approx(2 / 0.04, rel=1e-6)
    assert np.isnan(found[:, 2:]).all()
    table = density_map(grid, FOUR, tissue).table()
    assert len(table["value"]) == np.isfinite(found).sum()
    assert table["x_um"].max() <= 200


@pytest.mark.parametrize("side", [0, -5, math.nan, 0.01])
def test_senseless_tiles_are_refused(side: float) -> None:
    with pytest.raises(ConfigurationError):
        grid_of(LEVEL0, side)


def even(seed: int = 0) -> Points:
    random = np.random.default_rng(seed)
    return Points(random.uniform(0, 4000, 40_000), random.uniform(0, 4000, 40_000))


@pytest.mark.parametrize("shape", ["circle", "square"])
def test_a_planted_hot_spot_is_found(shape: str) -> None:
    points = even()
    near = np.hypot(points.x_um - 2500, points.y_um - 1200) < 250
    positive = np.random.default_rng(1).random(len(points)) < np.where(near, 0.8, 0.1)
    rule = HotSpotRule(shape=shape)  # type: ignore[arg-type]
    spot = find_hot_spot(points, positive, rule)
    assert spot is not None
    # Noise in the share moves the centre by a few steps of 31 µm.
    assert math.hypot(spot.x_um - 2500, spot.y_um - 1200) < 100
    assert spot.cells >= 500
    assert spot.cells == len(spot.members)
    assert spot.positive == positive[spot.members].sum()
    apart = np.stack([points.x_um - spot.x_um, points.y_um - spot.y_um])[:, spot.members]
    if shape == "circle":
        assert np.hypot(*apart).max() <= 250 + 1e-6
    else:
        assert np.abs(apart).max() <= math.sqrt(FIELD_MM2) * 500 + 1e-6


def test_no_field_beats_the_hot_spot() -> None:
    points = even(3)
    positive = np.random.default_rng(2).random(len(points)) < 0.2
    spot = find_hot_spot(points, positive, HotSpotRule())
    assert spot is not None
    best = spot.positive / spot.cells
    step = HotSpotRule().reach_um / 8
    for x, y in np.random.default_rng(4).integers(1, 120, (200, 2)) * step:
        inside = np.hypot(points.x_um - x, points.y_um - y) <= 250
        if inside.sum() >= 500:
            assert positive[inside].mean() <= best


def test_ties_go_to_more_cells_then_up_then_left() -> None:
    def cluster(x: float, y: float, count: int) -> tuple[np.ndarray, np.ndarray]:
        return np.full(count, x), np.full(count, y)

    def spot_of(*clusters: tuple[float, float, int]) -> tuple[float, float, int]:
        x, y = (np.concatenate(c) for c in zip(*(cluster(*c) for c in clusters), strict=True))
        found = find_hot_spot(
            Points(x, y), np.ones(len(x), np.bool_), HotSpotRule(0.01, least_cells=5)
        )
        assert found is not None
        return found.x_um, found.y_um, found.cells

    assert spot_of((1000, 1000, 6), (3000, 3000, 9))[2] == 9
    x, y, _ = spot_of((3000, 1000, 6), (1000, 3000, 6))
    assert (round(x, -2), round(y, -2)) == (3000, 1000)
    x, y, _ = spot_of((3000, 1000, 6), (1000, 1000, 6))
    assert (round(x, -2), round(y, -2)) == (1000, 1000)


def test_too_few_cells_give_no_hot_spot() -> None:
    points = even().take(np.arange(400))
    assert find_hot_spot(points, np.ones(400, np.bool_), HotSpotRule()) is None
    sparse = even().take(np.arange(2000))
    assert find_hot_spot(sparse, np.ones(2000, np.bool_), HotSpotRule()) is None
    assert 0 < most_cells(sparse, HotSpotRule()) < 500
    assert most_cells(sparse.take(np.arange(0)), HotSpotRule()) == 0


def test_no_positive_cell_is_a_hot_spot_of_nothing() -> None:
    found = find_hot_spot(even(), np.zeros(40_000, np.bool_), HotSpotRule())
    assert found is not None
    assert found.positive == 0


def test_by_density_takes_the_most_positive_cells() -> None:
    dense = even()
    x, y = (
        np.concatenate([dense.x_um, np.full(600, 2000.0)]),
        np.concatenate([dense.y_um, np.full(600, 2000.0)]),
    )
    found = find_hot_spot(
        Points(x, y), np.ones(len(x), np.bool_), HotSpotRule(least_cells=1, by="density")
    )
    assert found is not None
    assert math.hypot(found.x_um - 2000, found.y_um - 2000) <= 250


@pytest.mark.parametrize("wrong", [{"area_mm2": 0}, {"area_mm2": math.inf}, {"least_cells": 0}])
def test_senseless_rules_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError):
        HotSpotRule(**wrong)  # type: ignore[arg-type]
