"""Grading features against numpy and hand cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsiseg.grading import Nuclei, Reference, find_reference, grading, lymphocyte_like
from wsiseg.regions import Area
from wsiseg.statistics import Points, Resampling

QUICK = Resampling(resamples=200)
UNKNOWN = Reference(math.nan, math.nan, 3, "a rule")
AREA = Area(Points(np.array([500.0]), np.array([500.0])), np.array([4.0]))


def nuclei(count: int = 3000, seed: int = 0) -> Nuclei:
    random = np.random.default_rng(seed)
    return Nuclei(
        Points(random.uniform(0, 2000, count), random.uniform(0, 2000, count)),
        random.gamma(9, 5, count),
        random.uniform(0.8, 1, count),
        random.uniform(0, 0.6, count),
        random.normal(0.5, 0.1, count),
        random.uniform(3, 20, count),
    )


def test_measures_are_those_of_numpy() -> None:
    own = nuclei()
    found = grading(own, Reference(20.0, 0.4, 50, "a rule"), AREA, QUICK)
    areas = own.area_um2
    assert found["area_median_um2"].value == np.median(areas)
    assert found["area_cv"].value == pytest.approx(100 * areas.std() / areas.mean())
    low, high = np.quantile(areas, (0.1, 0.9))
    assert found["area_p90_p10"].value == pytest.approx(high / low)
    assert found["diameter_ratio"].value == pytest.approx(math.sqrt(np.median(areas) / 20))
    assert found["large_share"].value == pytest.approx(100 * (areas > 80).mean())
    assert own.solidity is not None
    assert found["solidity_mean"].value == pytest.approx(own.solidity.mean())
    assert found["irregular_share"].value == pytest.approx(100 * (own.solidity < 0.9).mean())
    assert own.elongation is not None
    assert found["elongation_sd"].value == pytest.approx(own.elongation.std())
    assert own.haematoxylin_od is not None
    assert found["haematoxylin_mean"].value == pytest.approx(own.haematoxylin_od.mean())
    assert found["haematoxylin_ratio"].value == pytest.approx(own.haematoxylin_od.mean() / 0.4)
    assert found["density"].value == pytest.approx(750)
    assert own.nearest_um is not None
    assert found["nearest_median_um"].value == np.median(own.nearest_um)
    diameters = np.sqrt(4 * areas / math.pi)
    assert found["crowded_share"].value == pytest.approx(100 * (own.nearest_um < diameters).mean())
    for measure in found.measures:
        estimate = measure.estimate
        assert math.isnan(estimate.low) or estimate.low <= estimate.value <= estimate.high


def test_equal_nuclei_have_no_anisokaryosis() -> None:
    own = nuclei(500)
    same = Nuclei(own.points, np.full(500, 40.1))
    found = grading(same, UNKNOWN, AREA, QUICK)
    assert found["area_cv"].value == pytest.approx(0, abs=1e-5)
    assert found["area_p90_p10"].value == 1


@given(st.floats(0.1, 50))
def test_size_free_measures_do_not_hang_on_the_scale(factor: float) -> None:
    own = nuclei(300)
    large = Nuclei(own.points, own.area_um2 * factor)
    first = grading(own, Reference(20.0, math.nan, 50, ""), AREA, QUICK)
    second = grading(large, Reference(20.0 * factor, math.nan, 50, ""), AREA, QUICK)
    for name in ("area_cv", "area_p90_p10", "diameter_ratio"):
        assert second[name].value == pytest.approx(first[name].value)


def test_a_wider_spread_is_more_anisokaryosis() -> None:
    points = nuclei().points
    random = np.random.default_rng(1)
    narrow = Nuclei(points, random.normal(50, 5, 3000))
    wide = Nuclei(points, random.normal(50, 12, 3000))
    first, second = (grading(n, UNKNOWN, AREA, QUICK) for n in (narrow, wide))
    assert first["area_cv"].high < second["area_cv"].low
    assert first["area_p90_p10"].high < second["area_p90_p10"].low


def test_nothing_known_is_told_so() -> None:
    nothing = Nuclei(Points(np.empty(0), np.empty(0)), np.empty(0))
    found = grading(nothing, UNKNOWN, AREA, QUICK)
    assert math.isnan(found["area_cv"].value)
    assert found["density"].value == 0
    assert "there are no nuclei" in found.warnings
    assert any("only 3 reference nuclei" in w for w in found.warnings)
    assert found.warnings[0].startswith("for research only")
    with pytest.raises(KeyError):
        found["diameter_ratio"]


def test_one_nucleus_and_nan() -> None:
    one = Nuclei(Points(np.array([1.0]), np.array([1.0])), np.array([30.0]))
    found = grading(one, UNKNOWN, AREA, QUICK)
    assert found["area_median_um2"].value == 30
    assert math.isnan(found["area_cv"].value)
    unknown = Nuclei(one.points, np.array([math.nan]), np.array([math.nan]))
    found = grading(unknown, UNKNOWN, AREA, QUICK)
    assert found.counts["unmeasured"] == 1
    assert math.isnan(found["solidity_mean"].value)


def test_columns_with_gaps_use_what_there_is() -> None:
    own = nuclei(400)
    assert own.haematoxylin_od is not None
    own.haematoxylin_od[::2] = math.nan
    found = grading(own, UNKNOWN, AREA, QUICK)
    assert found["haematoxylin_mean"].value == pytest.approx(np.nanmean(own.haematoxylin_od))


def test_lymphocyte_like_nuclei_are_small_round_and_dark() -> None:
    area = np.array([30.0, 30, 30, 30, 10, 50, math.nan])
    solidity = np.array([0.95, 0.85, 0.95, 0.95, 0.95, 0.95, 0.95])
    elongation = np.array([0.1, 0.1, 0.5, 0.1, 0.1, 0.1, 0.1])
    dark = np.array([0.9, 0.9, 0.9, 0.1, 0.9, 0.2, 0.3])
    chosen, rule = lymphocyte_like(area, solidity, elongation, dark)
    assert np.flatnonzero(chosen).tolist() == []  # the median is 0.9: nothing is above it
    dark[0] = 1.0
    chosen, rule = lymphocyte_like(area, solidity, elongation, dark)
    assert np.flatnonzero(chosen).tolist() == [0]
    assert "haematoxylin" in rule
    chosen, rule = lymphocyte_like(area, solidity, elongation, None)
    assert np.flatnonzero(chosen).tolist() == [0, 3]
    assert "haematoxylin" not in rule


def test_a_reference_needs_enough_nuclei() -> None:
    area = np.full(100, 25.0)
    found = find_reference(np.arange(100) < 40, area, np.full(100, 0.5), "a rule")
    assert (found.area_um2, found.haematoxylin_od, found.cells) == (25, 0.5, 40)
    assert found.known
    assert not find_reference(np.arange(100) < 29, area, None, "a rule").known
    assert not find_reference(np.zeros(0, np.bool_), np.empty(0), None, "a rule").known
