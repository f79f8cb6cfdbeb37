"""Intervals by blocks: they cover where cells resemble their neighbours."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from wsiseg.errors import ConfigurationError
from wsiseg.statistics import Points, Resampling, bootstrap, bootstrap_quantiles, proportion, wilson
from wsiseg.statistics.blocks import block_index, percentage, ratio

QUICK = Resampling(resamples=400)


def scattered(count: int, seed: int = 0, side_um: float = 3000.0) -> Points:
    random = np.random.default_rng(seed)
    return Points(random.uniform(0, side_um, count), random.uniform(0, side_um, count))


def test_wilson_is_newcombes_example() -> None:
    # Newcombe, Stat. Med. 17, 1998, table I, method 3: 81/263, 15/148, 0/20, 1/29.
    for found, total, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        assert wilson(found, total) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 10_000), st.data())
def test_wilson_holds_the_share_and_agrees_with_scipy(total: int, data: st.DataObject) -> None:
    from scipy.stats import binomtest

    found = data.draw(st.integers(0, total))
    low, high = wilson(found, total)
    assert 0 <= low <= found / total <= high <= 1
    other = binomtest(found, total).proportion_ci(method="wilson")
    assert (low, high) == pytest.approx((other.low, other.high), abs=1e-9)


def test_wilson_of_nothing_and_of_nonsense() -> None:
    assert all(math.isnan(limit) for limit in wilson(0, 0))
    with pytest.raises(ValueError, match="successes"):
        wilson(3, 2)


def test_blocks_are_numbered_by_rows_then_columns() -> None:
    points = Points(np.array([10.0, 250, 199.9, 10]), np.array([10.0, 10, 0, 200]))
    index, count = block_index(points, 200)
    assert count == 3
    assert index.tolist() == [0, 1, 0, 2]


def patches(seed: int, inside: float = 0.4) -> tuple[NDArray[np.bool_], Points]:
    """Cells on 6 x 6 mm whose chance of being positive is common to patches of 150 µm.

    The chance is 0.9 in a share ``inside`` of the patches, and 0.05 in the others.
    """
    random = np.random.default_rng(seed)
    points = scattered(6000, seed + 1000, 6000)
    hot = random.random((40, 40)) < inside
    chance = np.where(hot, 0.9, 0.05)
    row, column = (points.y_um / 150).astype(int), (points.x_um / 150).astype(int)
    return random.random(len(points)) < chance[row, column], points


def test_blocks_cover_where_the_naive_interval_does_not() -> None:
    truth, trials = 100 * (0.4 * 0.9 + 0.6 * 0.05), 120
    naive = blocked = 0
    for seed in range(trials):
        positive, points = patches(seed)
        low, high = (100 * limit for limit in wilson(int(positive.sum()), len(positive)))
        naive += low <= truth <= high
        found = proportion(positive, points, Resampling(block_um=450, resamples=400))
        blocked += found.low <= truth <= found.high
    # 95 % are promised; percentiles of a few hundred blocks fall a little short of it.
    assert blocked / trials >= 0.88
    assert naive / trials <= 0.80
    assert blocked > naive


def test_independent_cells_need_no_wider_interval() -> None:
    positive = np.random.default_rng(3).random(20_000) < 0.3
    found = proportion(positive, scattered(20_000), Resampling())
    low, high = wilson(int(positive.sum()), len(positive))
    assert found.method == "spatial block bootstrap"
    assert found.high - found.low < 1.35 * 100 * (high - low)


def test_a_share_of_none_keeps_a_limit() -> None:
    found = proportion(np.zeros(300, np.bool_), scattered(300), QUICK)
    assert found.value == found.low == 0
    assert found.high == pytest.approx(100 * wilson(0, 300)[1])


def test_few_blocks_fall_back_to_independent_cells() -> None:
    near = scattered(300, side_um=190)
    found = proportion(np.arange(300) < 30, near, QUICK)
    assert found.method == "Wilson"
    assert found.blocks == 0
    other = bootstrap(near, np.ones((300, 2)), ratio, QUICK)
    assert other.method == "none"
    assert math.isnan(other.low)
    assert other.value == 1


def test_nothing_gives_nothing() -> None:
    nothing = Points(np.empty(0), np.empty(0))
    for found in (
        proportion(np.zeros(0, np.bool_), nothing, QUICK),
        bootstrap(nothing, np.empty((0, 2)), ratio, QUICK),
        bootstrap_quantiles(nothing, np.empty(0), (0.5,), lambda q: q[:, 0], QUICK),
    ):
        assert math.isnan(found.value)
        assert found.to_dict()["value"] is None


def test_one_cell() -> None:
    one = Points(np.array([5.0]), np.array([7.0]))
    found = proportion(np.array([True]), one, QUICK)
    assert found.value == 100
    assert found.low < 100 == found.high


def test_seeds_decide() -> None:
    positive, points = patches(1)
    first = proportion(positive, points, Resampling(seed=4))
    assert first == proportion(positive, points, Resampling(seed=4))
    assert first.low != proportion(positive, points, Resampling(seed=5)).low


def test_order_of_cells_plays_no_part() -> None:
    positive, points = patches(2)
    order = np.random.default_rng(0).permutation(len(points))
    assert proportion(positive, points, QUICK) == proportion(
        positive[order], points.take(order), QUICK
    )


def test_a_ratio_counts_blocks_without_a_numerator() -> None:
    # All positive cells in one of nine blocks: draws without it give 0.
    points = Points(np.repeat(np.arange(9) * 200.0 + 1, 10), np.ones(90))
    sums = np.stack([np.arange(90) < 10, np.ones(90)], axis=1).astype(np.float64)
    found = bootstrap(points, sums, percentage, Resampling())
    assert found.value == pytest.approx(100 / 9)
    assert found.low == 0
    # Two to four draws of the hot block of nine are the upper end of a binomial of 9 by 1/9.
    assert found.high == pytest.approx(300 / 9)


def test_a_mean_varies_as_theory_says() -> None:
    values = np.random.default_rng(5).normal(40, 8, 40_000)
    points = scattered(40_000, 6, 6000)
    found = bootstrap(points, np.stack([values, np.ones(40_000)], axis=1), ratio, Resampling())
    assert found.high - found.low == pytest.approx(2 * 1.96 * 8 / 200, rel=0.15)


def test_a_median_varies_as_theory_says() -> None:
    values = np.random.default_rng(7).normal(40, 8, 40_000)
    points = scattered(40_000, 8, 6000)
    found = bootstrap_quantiles(points, values, (0.5,), lambda q: q[:, 0], Resampling())
    assert found.value == np.quantile(values, 0.5)
    expected = 2 * 1.96 * 8 * math.sqrt(math.pi / 2) / 200
    assert found.high - found.low == pytest.approx(expected, rel=0.2)
    assert found.low < found.value < found.high


def test_equal_values_have_no_spread_to_tell() -> None:
    found = bootstrap_quantiles(
        scattered(500), np.full(500, 3.0), (0.1, 0.9), lambda q: q[:, 1] / q[:, 0], QUICK
    )
    assert found.value == 1
    assert math.isnan(found.low)


@pytest.mark.parametrize(
    "wrong",
    [
        {"block_um": 0},
        {"block_um": math.nan},
        {"resamples": 5},
        {"resamples": 10**9},
        {"confidence": 1.0},
        {"seed": -1},
    ],
)
def test_senseless_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError):
        Resampling(**wrong)  # type: ignore[arg-type]


def test_points_must_be_finite_and_paired() -> None:
    with pytest.raises(ValueError, match="finite"):
        Points(np.array([math.nan]), np.array([0.0]))
    with pytest.raises(ValueError, match="must be"):
        Points(np.zeros(2), np.zeros(3))
