"""Scores against cases by hand and against an implementation of another kind."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from wsiseg.errors import ConfigurationError
from wsiseg.evaluation.matching import match
from wsiseg.evaluation.metrics import (
    DEFINITIONS,
    check_thresholds,
    detection_counts,
    detection_scores,
    image_counts,
    image_scores,
    object_counts,
)

THRESHOLDS = (0.5, 0.7, 0.9)


def scores(truth: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    counts = image_counts(match(truth, predicted), THRESHOLDS)
    return {name: float(value) for name, value in image_scores(counts, THRESHOLDS).items()}


def field(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    """Labels 1.. of boxes ``x0, y0, x1, y1`` on 20 x 20 px."""
    labels = np.zeros((20, 20), int)
    for number, (x0, y0, x1, y1) in enumerate(boxes, start=1):
        labels[y0:y1, x0:x1] = number
    return labels


def test_a_case_by_hand() -> None:
    # 16 px each. The first is found whole, of the second 12 px, the third is missed, and one
    # prediction of 9 px is false.
    truth = field((0, 0, 4, 4), (8, 0, 12, 4), (0, 8, 4, 12))
    found = field((0, 0, 4, 4), (9, 0, 12, 4), (15, 15, 18, 18))
    told = scores(truth, found)
    assert told["dice"] == pytest.approx(2 * (16 + 12) / (48 + 16 + 12 + 9))
    assert told["aji"] == pytest.approx((16 + 12) / (16 + 16 + 16 + 9))
    assert told["sq"] == pytest.approx((1 + 12 / 16) / 2)
    assert told["dq"] == told["f1@0.50"] == pytest.approx(2 / (2 + 0.5 + 0.5))
    assert told["pq"] == pytest.approx(told["sq"] * told["dq"])
    assert told["precision@0.50"] == told["recall@0.50"] == pytest.approx(2 / 3)
    assert told["recall@0.70"] == pytest.approx(2 / 3)
    assert told["recall@0.90"] == told["precision@0.90"] == pytest.approx(1 / 3)


def test_half_an_overlap_is_no_match() -> None:
    told = scores(field((0, 0, 4, 4)), field((0, 0, 4, 2)))
    assert told["f1@0.50"] == told["pq"] == 0
    assert math.isnan(told["sq"])
    assert told["aji"] == pytest.approx(0.5)


def test_two_true_nuclei_in_one_prediction_share_it_in_aji() -> None:
    # Kumar's index joins the one prediction of 32 px to both nuclei of 16 px.
    told = scores(field((0, 0, 4, 4), (4, 0, 8, 4)), field((0, 0, 8, 4)))
    assert told["aji"] == pytest.approx((16 + 16) / (32 + 32))
    assert told["pq"] == 0


def test_aji_is_not_symmetric_and_joins_each_true_nucleus_to_its_best() -> None:
    one, halves = field((0, 0, 8, 4)), field((0, 0, 4, 4), (4, 0, 8, 4))
    # Both halves are equally good; the first is taken, the second stays unused.
    assert scores(one, halves)["aji"] == pytest.approx(16 / (32 + 16))


def test_equal_images_are_perfect() -> None:
    labels = field((0, 0, 3, 3), (5, 5, 9, 9))
    assert set(scores(labels, labels * 7).values()) == {1.0}


def test_without_any_nucleus_nothing_is_defined() -> None:
    assert all(math.isnan(value) for value in scores(field(), field()).values())


def test_predictions_on_an_image_without_nuclei() -> None:
    told = scores(field(), field((0, 0, 4, 4)))
    zero = {"dice", "aji", "pq", "dq", "f1@0.50", "precision@0.50"}
    assert {name for name, value in told.items() if value == 0} >= zero
    assert math.isnan(told["recall@0.50"])
    assert math.isnan(told["sq"])


def test_nothing_found() -> None:
    told = scores(field((0, 0, 4, 4)), field())
    assert told["dice"] == told["aji"] == told["pq"] == told["f1@0.50"] == told["recall@0.50"] == 0
    assert math.isnan(told["precision@0.50"])


def test_every_score_is_defined_in_words() -> None:
    assert {name.split("@")[0] for name in scores(field(), field())} == set(DEFINITIONS)


@pytest.mark.parametrize("bad", [[0.3], [1.0], [0.5, math.nan]])
def test_thresholds_that_allow_double_matches_are_refused(bad: list[float]) -> None:
    with pytest.raises(ConfigurationError, match=r"from 0\.5 to below 1"):
        check_thresholds(bad)


def test_half_is_always_among_the_thresholds() -> None:
    assert check_thresholds([0.9, 0.75]) == (0.5, 0.75, 0.9)


@st.composite
def scenes(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Truth of random discs and a prediction that moves, drops, merges and invents some."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    ys, xs = np.mgrid[:48, :48]

    def discs(centres: np.ndarray, radii: np.ndarray) -> np.ndarray:
        labels = np.zeros((48, 48), int)
        for number, ((x, y), radius) in enumerate(zip(centres, radii, strict=True), start=3):
            labels[(xs - x) ** 2 + (ys - y) ** 2 <= radius**2] = number
        return labels

    count = int(rng.integers(0, 12))
    centres, radii = rng.uniform(0, 48, (count, 2)), rng.uniform(2, 8, count)
    stays = rng.random(count) < 0.8
    extra = int(rng.integers(0, 4))
    moved = np.concatenate([centres[stays] + rng.normal(0, 1, (stays.sum(), 2)),
                            rng.uniform(0, 48, (extra, 2))])  # fmt: skip
    sizes = np.concatenate([radii[stays] * rng.uniform(0.8, 1.2, stays.sum()),
                            rng.uniform(2, 6, extra)])  # fmt: skip
    return discs(centres, radii), discs(moved, sizes)


@given(scenes())
@settings(max_examples=80)
def test_agrees_with_masks_object_by_object(scene: tuple[np.ndarray, np.ndarray]) -> None:
    truth, predicted = scene
    told, expected = scores(truth, predicted), by_masks(truth, predicted)
    assert set(told) == set(expected)
    for name, value in expected.items():
        assert told[name] == pytest.approx(value, nan_ok=True), name


@given(scenes(), st.integers(0, 2**32 - 1))
@settings(max_examples=40)
def test_parts_of_a_partition_add_up(scene: tuple[np.ndarray, np.ndarray], seed: int) -> None:
    overlaps = match(*scene)
    rng = np.random.default_rng(seed)
    t = rng.random(len(overlaps.truth_px)) < 0.5
    p = rng.random(len(overlaps.predicted_px)) < 0.5
    parts = [
        detection_counts(overlaps, THRESHOLDS, truth_in=a, predicted_in=b)
        for a, b in ((t, p), (~t, ~p))
    ]
    np.testing.assert_allclose(sum(parts), detection_counts(overlaps, THRESHOLDS))


def test_a_class_matches_itself_only() -> None:
    truth, found = field((0, 0, 4, 4), (8, 0, 12, 4)), field((0, 0, 4, 4), (8, 0, 12, 4))
    overlaps = match(truth, found)
    first, second = np.array([True, False]), np.array([True, True])
    pairs = first[overlaps.truth] & second[overlaps.predicted]
    row = detection_counts(overlaps, (0.5,), truth_in=first, predicted_in=second, allowed=pairs)
    told = detection_scores(row, (0.5,))
    assert told["recall@0.50"] == 1
    assert told["precision@0.50"] == 0.5


def test_counts_of_objects_come_back() -> None:
    counts = image_counts(match(field((0, 0, 4, 4)), field((0, 0, 4, 4), (9, 9, 12, 12))), (0.5,))
    assert object_counts(counts).tolist() == [1, 2]


def by_masks(truth: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """All scores from one boolean mask an object; matches by optimal assignment."""
    ours = [truth == label for label in np.unique(truth[truth > 0])]
    theirs = [predicted == label for label in np.unique(predicted[predicted > 0])]
    both = np.array([[(a & b).sum() for b in theirs] for a in ours]).reshape(len(ours), len(theirs))
    either = np.array([[(a | b).sum() for b in theirs] for a in ours]).reshape(
        len(ours), len(theirs)
    )
    iou = both / np.maximum(either, 1)
    told = {}
    shared = ((truth > 0) & (predicted > 0)).sum()
    told["dice"] = divided(2 * shared, (truth > 0).sum() + (predicted > 0).sum())
    common, union, used = 0, 0, set()
    for i, mask in enumerate(ours):
        if theirs and iou[i].max() > 0:
            j = int(iou[i].argmax())
            used.add(j)
            common, union = common + both[i, j], union + either[i, j]
        else:
            union += mask.sum()
    union += sum(mask.sum() for j, mask in enumerate(theirs) if j not in used)
    told["aji"] = divided(common, union)
    for threshold in THRESHOLDS:
        good = iou > threshold
        rows, columns = linear_sum_assignment(-(good + 1e-6 * iou))
        kept = good[rows, columns]
        tp = int(kept.sum())
        fp, fn = len(theirs) - tp, len(ours) - tp
        told[f"f1@{threshold:.2f}"] = divided(2 * tp, 2 * tp + fp + fn)
        told[f"precision@{threshold:.2f}"] = divided(tp, tp + fp)
        told[f"recall@{threshold:.2f}"] = divided(tp, tp + fn)
        if threshold == 0.5:
            told["sq"] = divided(iou[rows, columns][kept].sum(), tp)
            told["dq"] = told["f1@0.50"]
            told["pq"] = divided(iou[rows, columns][kept].sum(), tp + fp / 2 + fn / 2)
    return told


def divided(above: float, below: float) -> float:
    return above / below if below else math.nan
