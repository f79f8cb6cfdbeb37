"""Overlaps of label images."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from wsiseg.errors import ConfigurationError
from wsiseg.evaluation.matching import PairCounts, as_labels, count_pairs, match

TRUTH = np.array([[1, 1, 0, 7], [1, 1, 0, 7], [0, 0, 0, 7]])
FOUND = np.array([[0, 4, 4, 0], [0, 4, 4, 2], [0, 0, 0, 2]])

IMAGES = hnp.arrays(np.uint32, (9, 11), elements=st.sampled_from([0, 0, 1, 2, 5, 2**32 - 1]))


def test_a_case_by_hand() -> None:
    found = match(TRUTH, FOUND)
    assert found.truth_labels.tolist() == [1, 7]
    assert found.predicted_labels.tolist() == [2, 4]
    assert found.truth_px.tolist() == [4, 3]
    assert found.predicted_px.tolist() == [2, 4]
    assert list(zip(found.truth, found.predicted, strict=True)) == [(0, 1), (1, 0)]
    assert found.common_px.tolist() == [2, 2]
    assert found.union_px.tolist() == [6, 3]
    assert found.iou.tolist() == pytest.approx([1 / 3, 2 / 3])


@given(IMAGES, IMAGES)
@settings(max_examples=60)
def test_counts_are_those_of_masks(truth: np.ndarray, predicted: np.ndarray) -> None:
    found = match(truth, predicted)
    told = {
        (int(found.truth_labels[t]), int(found.predicted_labels[p])): int(n)
        for t, p, n in zip(found.truth, found.predicted, found.common_px, strict=True)
    }
    expected = {
        (int(a), int(b)): int(((truth == a) & (predicted == b)).sum())
        for a in np.unique(truth[truth > 0])
        for b in np.unique(predicted[predicted > 0])
        if ((truth == a) & (predicted == b)).any()
    }
    assert told == expected
    assert found.truth_px.tolist() == [(truth == a).sum() for a in found.truth_labels]
    assert found.predicted_px.tolist() == [(predicted == b).sum() for b in found.predicted_labels]


@given(IMAGES, IMAGES, st.integers(0, 9), st.integers(0, 11))
@settings(max_examples=60)
def test_regions_add_up(truth: np.ndarray, predicted: np.ndarray, row: int, column: int) -> None:
    pieces = [
        count_pairs(truth[rows, columns], predicted[rows, columns])
        for rows in (slice(0, row), slice(row, None))
        for columns in (slice(0, column), slice(column, None))
    ]
    whole, total = count_pairs(truth, predicted), PairCounts.total(pieces)
    assert total.keys.tolist() == whole.keys.tolist()
    assert total.pixels.tolist() == whole.pixels.tolist()


def test_nothing_at_all() -> None:
    empty = match(np.zeros((3, 4), np.uint8), np.zeros((3, 4), bool))
    assert len(empty.truth_px) == len(empty.predicted_px) == len(empty.iou) == 0
    assert len(PairCounts.total([]).overlaps().truth_px) == 0


def test_majority_takes_most_pixels_then_the_lower_value() -> None:
    labels = np.array([[1, 1, 1, 2, 2, 3, 5]])
    values = np.array([[9, 9, 4, 8, 6, 0, 1]])
    present = np.array([1, 2, 3, 5], np.uint32)
    assert count_pairs(labels, values).majority(present).tolist() == [9, 6, 0, 1]


def test_majority_of_labels_that_are_absent_is_none() -> None:
    counts = count_pairs(np.array([[2, 4]]), np.array([[1, 1]]))
    assert counts.majority(np.array([1, 2, 3], np.uint32)).tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    "values",
    [
        np.zeros((2, 2, 3), np.uint8),
        np.zeros((2, 2), np.float32),
        np.array([[-1]]),
        np.array([[2**32]]),
    ],
)
def test_what_is_no_label_image_is_refused(values: np.ndarray) -> None:
    with pytest.raises(ConfigurationError, match="label"):
        as_labels(values)


def test_different_sizes_are_refused_with_both() -> None:
    with pytest.raises(ConfigurationError, match="4 x 3 px and 3 x 4 px"):
        count_pairs(np.zeros((3, 4), int), np.zeros((4, 3), int))
