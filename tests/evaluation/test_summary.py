"""Means, intervals, strata, classes and annotators."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsiseg.evaluation.bootstrap import draw, interval, mean_defined
from wsiseg.evaluation.cases import Case, Compared, measure
from wsiseg.evaluation.matching import Overlaps, match
from wsiseg.evaluation.summary import (
    Settings,
    agreement,
    by_class,
    by_seam,
    by_stratum,
    summarise,
)

SETTINGS = Settings((0.5, 0.8), resamples=400, seed=3)


def row(hits: int, missed: int, false: int, bad: int = 0) -> Overlaps:
    """One line of nuclei of 8 px: found exactly, found with IoU 6/8, missed, and false ones."""
    truth, found = [], []
    for number in range(1, hits + bad + missed + false + 1):
        exact, shifted = number <= hits, hits < number <= hits + bad
        there = number <= hits + bad + missed
        truth += [0, 0] + [number if there else 0] * 8
        seen = exact or shifted or not there
        found += [0, 0] + [0 if shifted else number * seen] * 2 + [number * seen] * 6
    return match(np.array([truth], int), np.array([found], int))


def case(overlaps: Overlaps, group: str = "p", **strata: str) -> Case:
    return measure(Compared("i", "set", overlaps), group, strata, SETTINGS.thresholds, 0)


def test_mean_and_pooled_by_hand() -> None:
    cases = [case(row(1, 0, 0), "a"), case(row(2, 6, 0), "b"), case(row(0, 0, 0), "c")]
    told = summarise(cases, SETTINGS)
    assert (told.images, told.groups, told.truth, told.predicted) == (3, 3, 9, 3)
    recall = told.mean["recall@0.50"]
    assert recall.value == pytest.approx((1 + 0.25) / 2)
    assert told.defined["recall@0.50"] == 2
    assert told.pooled["recall@0.50"].value == pytest.approx(3 / 9)
    assert recall.low <= recall.value <= recall.high


def test_a_threshold_above_the_overlap_takes_the_match_away() -> None:
    told = summarise([case(row(1, 0, 0, bad=1))], SETTINGS)
    assert told.pooled["f1@0.50"].value == 1
    assert told.pooled["f1@0.80"].value == pytest.approx(0.5)
    assert told.pooled["sq"].value == pytest.approx((1 + 6 / 8) / 2)


def test_images_of_a_group_are_drawn_together() -> None:
    resamples = draw(["a", "b", "a", "c", "b", "a"], 500, seed=1)
    assert (resamples.unit, resamples.units) == ("group", 3)
    weights = resamples.weights
    assert (weights[:, 0] == weights[:, 2]).all()
    assert (weights[:, 0] == weights[:, 5]).all()
    assert (weights[:, 1] == weights[:, 4]).all()
    assert (weights[:, [0, 1, 3]].sum(axis=1) == 3).all()
    assert (weights[:, 0] != weights[:, 1]).any()


def test_draws_hang_on_the_seed_alone() -> None:
    first, again, other = (draw(["a", "b", "c"], 50, seed).weights for seed in (5, 5, 6))
    assert (first == again).all()
    assert (first != other).any()


def test_one_group_falls_back_on_images_and_one_image_on_nothing() -> None:
    assert draw(["a"] * 4, 10, 0).unit == "image"
    assert draw(["a", "b"], 10, 0).unit == "none"
    alone = draw(["a"], 10, 0)
    assert (alone.unit, alone.weights.shape) == ("none", (0, 1))
    told = summarise([case(row(1, 1, 0))], SETTINGS).mean["f1@0.50"]
    assert told.value == pytest.approx(2 / 3)
    assert np.isnan(told.low)
    assert told.to_dict() == {"value": told.value, "low": None, "high": None}


def test_clustering_widens_the_interval() -> None:
    # Four images a patient, alike within and different between patients.
    cases = [case(row(k, 8 - k, 0), f"p{k}") for k in range(1, 8) for _ in range(4)]
    alone = [case(row(k, 8 - k, 0), f"p{k}-{i}") for k in range(1, 8) for i in range(4)]
    wide, narrow = (summarise(c, SETTINGS).mean["recall@0.50"] for c in (cases, alone))
    assert wide.value == narrow.value
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)


def test_interval_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        values = rng.normal(0.5, 0.1, 40)
        weights = draw([str(i) for i in range(40)], 400, trial).weights
        told = interval(float(values.mean()), mean_defined(values, weights))
        covered += told.low <= 0.5 <= told.high
    # 95 % of 200 within four standard deviations of the count, the bootstrap being a bit narrow.
    assert 174 <= covered <= 200


@given(st.lists(st.one_of(st.floats(0, 1), st.just(float("nan"))), min_size=1, max_size=8))
@settings(max_examples=40)
def test_mean_of_what_is_defined(values: list[float]) -> None:
    array = np.array(values)
    (told,) = mean_defined(array, np.ones((1, len(values))))
    known = array[~np.isnan(array)]
    assert told == pytest.approx(known.mean() if len(known) else np.nan, nan_ok=True)


def test_strata_and_their_gap_by_hand() -> None:
    cases = [
        case(row(4, 0, 0), "a", organ="liver"),
        case(row(3, 1, 0), "b", organ="liver"),
        case(row(1, 3, 0), "c", organ="brain"),
    ]
    told = by_stratum(cases, "organ", SETTINGS)
    assert set(told.levels) == {"liver", "brain"}
    assert told.levels["liver"].images == 2
    gap = told.gaps["f1@0.50"]
    f1 = [1.0, 6 / 7, 2 / 5]
    assert (gap.worst, gap.best) == ("brain", "liver")
    assert gap.behind_all.value == pytest.approx(np.mean(f1) - f1[2])
    assert gap.behind_best.value == pytest.approx(np.mean(f1[:2]) - f1[2])


def test_a_stratum_without_scores_is_no_worst() -> None:
    cases = [case(row(1, 0, 0), "a", organ="x"), case(row(0, 0, 0), "b", organ="y")]
    assert by_stratum(cases, "organ", SETTINGS).gaps == {}


def classed(truth: list[int], predicted: list[int], organ: str = "o") -> Case:
    """Nuclei found exactly; class 0 stands for an object of no class."""
    labels = np.repeat(np.arange(1, len(truth) + 1), 4)[None]
    overlaps = match(labels, labels)
    one = Compared("i", "set", overlaps, np.array(truth), np.array(predicted))
    return measure(one, organ, {"organ": organ}, SETTINGS.thresholds, 2)


def test_classes_by_hand_as_pannuke_and_as_conic() -> None:
    # In the first image the second class is only predicted: PanNuke leaves it out there, CoNIC
    # counts the false prediction.
    cases = [classed([1, 1, 1], [1, 1, 2]), classed([2, 2], [2, 2], organ="q")]
    told = by_class(cases, ("A", "B"), SETTINGS)
    first = 2 / (2 + 0.5)
    assert told["classes"]["A"]["pq_mean"]["value"] == pytest.approx(first)
    assert told["classes"]["B"]["pq_mean"]["value"] == 1
    assert told["mpq"]["value"] == pytest.approx((first + 1) / 2)
    assert told["mpq_plus"]["value"] == pytest.approx((first + 2 / 2.5) / 2)
    assert told["classes"]["A"]["recall_of_any"]["value"] == 1
    assert told["classes"]["A"]["pooled"]["recall@0.50"]["value"] == pytest.approx(2 / 3)
    assert told["classes"]["B"]["pooled"]["precision@0.50"]["value"] == pytest.approx(2 / 3)


def test_mpq_takes_every_tissue_alike() -> None:
    good, bad = classed([1], [1], "liver"), classed([1], [2], "brain")
    told = by_class([good, good, good, bad], ("A", "B"), SETTINGS)
    assert told["mpq"]["value"] == pytest.approx(0.5)
    assert told["mpq_tissues"] == 2


def test_truth_with_classes_against_predictions_without() -> None:
    overlaps = row(2, 2, 0)
    one = Compared("i", "set", overlaps, np.array([1, 2, 2, 2]))
    told = by_class([measure(one, "g", {}, SETTINGS.thresholds, 2)], ("A", "B"), SETTINGS)
    assert told["classes"]["B"]["recall_of_any"]["value"] == pytest.approx(1 / 3)
    assert "mpq" not in told


def test_seams_by_hand() -> None:
    overlaps = row(2, 1, 1)
    near = np.array([True, False, True]), np.array([True, False, False])
    one = Compared("i", "set", overlaps, truth_near=near[0], predicted_near=near[1])
    told = by_seam([measure(one, "g", {}, SETTINGS.thresholds, 0)], SETTINGS)
    assert told["near"]["truth"] == 2
    assert told["near"]["pooled"]["recall@0.50"]["value"] == 0.5
    assert told["near"]["pooled"]["precision@0.50"]["value"] == 1
    assert told["inner"]["pooled"]["precision@0.50"]["value"] == 0.5
    assert told["inner"]["pooled"]["recall@0.50"]["value"] == 1


def test_a_second_annotator_on_the_same_images() -> None:
    doubled = Compared(
        "i", "set", row(1, 3, 0), annotators=row(3, 1, 0), predicted_by_second=row(1, 2, 0)
    )
    cases = [measure(doubled, group, {}, SETTINGS.thresholds, 0) for group in ("a", "b", "c")]
    single = case(row(9, 0, 0), "d")
    told = agreement([*cases, single], SETTINGS)
    assert told["images"] == 3
    assert told["second_against_truth"]["mean"]["recall@0.50"]["value"] == 0.75
    assert told["predicted_against_truth"]["mean"]["recall@0.50"]["value"] == 0.25
    difference = told["difference"]["recall@0.50"]
    assert difference == {"value": -0.5, "low": -0.5, "high": -0.5}


def test_no_second_annotator_no_agreement() -> None:
    assert agreement([case(row(1, 0, 0))], SETTINGS) == {}
