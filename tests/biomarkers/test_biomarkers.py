"""Biomarkers against hand cases of their publications and another program's."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from wsiseg.biomarkers import (
    Thresholds,
    allred,
    allred_score,
    h_score,
    her2,
    intensity_classes,
    intensity_shares,
    ki67,
    pdl1,
    receptor_share,
    til,
)
from wsiseg.errors import ConfigurationError
from wsiseg.regions import Area, HotSpotRule
from wsiseg.statistics import Points, Resampling, Score, wilson
from wsiseg.statistics.estimate import UNVALIDATED

QUICK = Resampling(resamples=200)


def cells(*counts: int) -> NDArray[np.int8]:
    """So many cells of class 0, 1+, 2+, 3+."""
    return np.repeat(np.arange(len(counts)), counts).astype(np.int8)


def scattered(count: int, seed: int = 0) -> Points:
    random = np.random.default_rng(seed)
    return Points(random.uniform(0, 3000, count), random.uniform(0, 3000, count))


counts_of_classes = st.tuples(*[st.integers(0, 400)] * 4).filter(any)


def test_a_density_at_a_threshold_reaches_it() -> None:
    density = np.array([-0.1, 0.19999, 0.2, 0.4, 0.599, 0.6, 9, np.nan, np.inf])
    assert intensity_classes(density).tolist() == [0, 0, 1, 2, 2, 3, 3, -1, -1]
    assert intensity_classes(density, Thresholds(0.1, 0.3, 0.5))[1] == 1
    assert intensity_classes(np.empty(0)).tolist() == []


@pytest.mark.parametrize(
    "wrong", [(0, 0.4, 0.6), (0.4, 0.2, 0.6), (0.2, 0.4, math.nan), (0.2, 0.2, 0.6)]
)
def test_senseless_thresholds_are_refused(wrong: tuple[float, float, float]) -> None:
    with pytest.raises(ConfigurationError, match="rise"):
        Thresholds(*wrong)


def test_shares_of_classes() -> None:
    found = intensity_shares(np.append(cells(50, 20, 20, 10), [-1, -1]).astype(np.int8))
    names = ("unstained_share", "weak_share", "moderate_share", "strong_share")
    assert [found[name].value for name in names] == [50, 20, 20, 10]
    assert found.counts == {"cells": 100, "0": 50, "1+": 20, "2+": 20, "3+": 10, "unmeasured": 2}
    assert "2 cells without a measured stain" in found.warnings[0]
    with pytest.raises(KeyError):
        found["h_score"]


def test_classes_out_of_range_and_unpaired_points_are_refused() -> None:
    with pytest.raises(ValueError, match="intensity classes"):
        h_score(np.array([4], np.int8))
    with pytest.raises(ValueError, match="points"):
        h_score(np.array([1], np.int8), scattered(2))


def test_h_score_and_allred_as_in_qupaths_own_test() -> None:
    # QuPath's test of its table: 25 cells of each class.
    mixed = cells(25, 25, 25, 25)
    assert h_score(mixed)["h_score"].value == 150
    found = allred(mixed)
    assert found["allred_intensity"].value == 2
    assert found["allred_proportion"].value == 5
    assert found["allred"].value == 7
    assert receptor_share(mixed, "er")["positive_share"].value == 75


def test_h_score_by_hand() -> None:
    # 1 x 30 % + 2 x 20 % + 3 x 10 %
    assert h_score(cells(40, 30, 20, 10))["h_score"].value == pytest.approx(100)
    assert h_score(cells(0, 0, 0, 7))["h_score"].value == 300
    assert h_score(cells(9))["h_score"].value == 0


@given(counts_of_classes)
def test_h_score_lies_in_its_range_and_rises_with_intensity(counts: tuple[int, ...]) -> None:
    own = cells(*counts)
    value = h_score(own)["h_score"].value
    assert 0 <= value <= 300
    assert value == pytest.approx(100 * own.mean())
    stronger = np.minimum(own + 1, 3).astype(np.int8)
    assert h_score(stronger)["h_score"].value >= value


@pytest.mark.parametrize(
    ("positive", "total", "rank"),
    [
        (0, 500, 0),
        (1, 500, 1),
        (4, 500, 1),
        (5, 500, 2),
        (49, 500, 2),
        (50, 500, 3),
        (99, 300, 3),
        (100, 300, 4),
        (199, 300, 4),
        (200, 300, 5),
        (300, 300, 5),
    ],
)
def test_allreds_proportion(positive: int, total: int, rank: int) -> None:
    counts = np.array([[total - positive, positive, 0, 0]])
    assert allred_score(counts)[0, 0] == rank


@pytest.mark.parametrize(
    ("counts", "rank"),
    [
        ((9, 0, 0, 0), 0),
        ((0, 9, 0, 0), 1),
        ((0, 1, 2, 0), 1),
        ((0, 1, 3, 0), 2),
        ((0, 0, 9, 0), 2),
        ((0, 0, 2, 1), 2),
        ((0, 0, 2, 2), 3),
        ((0, 0, 0, 1), 3),
        ((0, 2, 0, 1), 1),
    ],
)
def test_allreds_intensity(counts: tuple[int, ...], rank: int) -> None:
    assert allred_score(np.array([counts]))[0, 1] == rank


@given(counts_of_classes)
def test_allred_is_none_or_two_to_eight(counts: tuple[int, ...]) -> None:
    (ranks,) = allred_score(np.array([counts]))
    assert ranks.sum() == 0 or 2 <= ranks.sum() <= 8
    assert (ranks[0] == 0) == (ranks[1] == 0) == (sum(counts[1:]) == 0)
    more = np.array([[counts[0], *(c * 2 for c in counts[1:])]])
    assert allred_score(more)[0, 0] >= ranks[0]


def test_allreds_interval_holds_ranks() -> None:
    found = allred(cells(2000, 400, 0, 0), scattered(2400), QUICK)
    assert found["allred"].value == 4
    assert found.bands == {"Harvey et al. 1999": "above 2"}


def test_labelling_index() -> None:
    found = ki67(cells(700, 200, 60, 40))
    assert found["labelling_index"].value == 30
    low, high = wilson(300, 1000)
    assert found["labelling_index"].low == pytest.approx(100 * low)
    assert found["labelling_index"].high == pytest.approx(100 * high)
    assert found.counts["positive"] == 300


def test_labelling_index_of_the_hot_spot() -> None:
    points = scattered(20_000)
    hot = np.hypot(points.x_um - 1500, points.y_um - 900) < 300
    share = np.where(hot, 0.6, 0.1)
    classes = (np.random.default_rng(1).random(20_000) < share).astype(np.int8)
    found = ki67(classes, points, QUICK, HotSpotRule(least_cells=300))
    assert found["hot_spot_labelling_index"].value > 50
    assert found["labelling_index"].value < 20
    assert (
        math.hypot(found.counts["hot_spot_x_um"] - 1500, found.counts["hot_spot_y_um"] - 900) < 200
    )
    spot = 100 * found.counts["hot_spot_positive"] / found.counts["hot_spot_cells"]
    assert found["hot_spot_labelling_index"].value == pytest.approx(spot)


def test_no_hot_spot_says_why() -> None:
    found = ki67(cells(900, 100), scattered(1000), QUICK)
    assert any("no hot spot" in w and "the fullest has" in w for w in found.warnings)
    with pytest.raises(KeyError):
        found["hot_spot_labelling_index"]


@pytest.mark.parametrize(
    ("positive", "receptor", "band"),
    [
        (0, "er", "ER below 1 % (negative)"),
        (9, "er", "ER below 1 % (negative)"),
        (10, "er", "ER 1 to 10 % (low positive)"),
        (100, "er", "ER 1 to 10 % (low positive)"),
        (101, "er", "ER above 10 % (positive)"),
        (10, "pr", "PR 1 % or more (positive)"),
        (9, "pr", "PR below 1 % (negative)"),
    ],
)
def test_receptors(positive: int, receptor: str, band: str) -> None:
    found = receptor_share(cells(1000 - positive, positive), receptor)  # type: ignore[arg-type]
    assert found["positive_share"].value == pytest.approx(positive / 10)
    assert found.bands == {"ASCO/CAP 2020": band}


def test_tps_and_cps_by_hand() -> None:
    # 100 tumour cells of which 20 positive; 50 immune cells of which 15 positive.
    found = pdl1(cells(80, 20), cells(35, 5, 5, 5))
    assert found["tps"].value == 20
    assert found["cps"].value == 35
    assert found.bands == {"TPS, 22C3 in lung": "1 to 49 %"}


def test_cps_is_100_at_most_and_tps_below_it() -> None:
    found = pdl1(cells(10, 90), cells(0, 60), scattered(100), scattered(60, 1), QUICK)
    assert found["cps"].value == 100
    assert found["tps"].value == 90
    assert found["cps"].high <= 100 or math.isnan(found["cps"].high)


def test_no_tumour_has_no_score() -> None:
    found = pdl1(cells(), cells(5, 5), scattered(0), scattered(10), QUICK)
    assert math.isnan(found["tps"].value)
    assert math.isnan(found["cps"].value)
    assert found.bands == {}
    assert "there are no tumour cells" in found.warnings[0]


def test_cps_varies_with_the_immune_cells() -> None:
    own, others = scattered(4000), scattered(800, 1)
    patchy = (others.x_um < 1000).astype(np.int8)
    found = pdl1(cells(3600, 400), patchy, own, others, Resampling())
    expected = 100 * (400 + patchy.sum()) / 4000
    assert found["cps"].value == pytest.approx(expected)
    assert found["cps"].low < expected < found["cps"].high


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        ((100, 0, 0, 0), "(0)"),
        ((90, 10, 0, 0), "(0)"),
        ((89, 11, 0, 0), "1+ if not"),
        ((89, 0, 11, 0), "moderate or strong in more than 10 %"),
        ((95, 0, 0, 5), "strong in 10 % of the cells or fewer"),
        ((90, 0, 0, 10), "strong in 10 % of the cells or fewer"),
        ((89, 0, 0, 11), "3+ if complete"),
    ],
)
def test_her2s_limits(counts: tuple[int, ...], text: str) -> None:
    found = her2(cells(*counts))
    assert text in found.bands["by intensity alone"]
    assert any("completeness" in w for w in found.warnings)
    assert found["strong_share"].value == counts[3]


def even_area() -> Area:
    middles = np.arange(15) * 200.0 + 100
    x, y = (part.ravel() for part in np.meshgrid(middles, middles))
    return Area(Points(x, y), np.full(225, 0.04))


def test_til_by_hand() -> None:
    kinds = np.arange(900) < 90
    found = til(kinds, scattered(900), even_area(), QUICK)
    assert found["til_density"].value == pytest.approx(10)
    assert found["til_share"].value == 10
    assert found.counts == {"cells": 900, "lymphocytes": 90}


def test_til_without_tissue_or_cells() -> None:
    nowhere = Area(Points(np.empty(0), np.empty(0)), np.empty(0))
    found = til(np.ones(3, np.bool_), scattered(3), nowhere, QUICK)
    assert math.isnan(found["til_density"].value)
    assert "there is no tissue, hence no density" in found.warnings
    none = til(np.zeros(0, np.bool_), scattered(0), even_area(), QUICK)
    assert none["til_density"].value == 0
    assert math.isnan(none["til_share"].value)


def every_score(own: NDArray[np.int8], points: Points | None) -> list[Score]:
    return [
        ki67(own, points, QUICK),
        receptor_share(own, "er", points, QUICK),
        h_score(own, points, QUICK),
        allred(own, points, QUICK),
        her2(own, points, QUICK),
        pdl1(own, own, points, points, QUICK),
        intensity_shares(own, points, QUICK),
    ]


@pytest.mark.parametrize("placed", [True, False])
@pytest.mark.parametrize("count", [0, 1])
def test_no_cell_and_one_cell(count: int, placed: bool) -> None:
    own = cells(0, count)
    for found in every_score(own, scattered(count) if placed else None):
        assert found.warnings
        if count == 0:
            assert all(math.isnan(m.estimate.value) for m in found.measures)
            assert found.bands == {}
        assert all(m.to_dict()["value"] is None or count for m in found.measures)


def test_only_unmeasured_cells_are_as_none() -> None:
    for found in every_score(np.full(9, -1, np.int8), scattered(9)):
        assert math.isnan(found.measures[0].estimate.value)
        assert found.counts["unmeasured"] in (9, 18)


def test_every_score_says_what_it_is() -> None:
    for found in every_score(cells(900, 50, 30, 20), scattered(1000)):
        assert found.validation == UNVALIDATED
        assert len(found.source) > 20
        assert all(m.definition for m in found.measures)
        assert all(
            math.isnan(m.estimate.low) or m.estimate.low <= m.estimate.value <= m.estimate.high
            for m in found.measures
        )
