"""Agreement: against published examples."""

from __future__ import annotations

import math

import numpy as np
import pytest

from wsiseg.statistics import bland_altman, cohen_kappa, confusion


def test_confusion_has_the_truth_in_rows() -> None:
    table = confusion(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1]), 2)
    assert table.tolist() == [[1, 1], [0, 2]]


def test_confusion_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="found"):
        confusion(np.zeros(2, np.int64), np.zeros(3, np.int64), 2)
    with pytest.raises(ValueError, match="within"):
        confusion(np.array([2]), np.array([0]), 2)


def test_kappa_by_hand() -> None:
    # 70 % agree, 50 % would by chance.
    assert cohen_kappa(np.array([[20, 5], [10, 15]])) == pytest.approx(0.4)
    assert cohen_kappa(np.diag([3, 4, 5])) == 1
    assert math.isnan(cohen_kappa(np.zeros((2, 2), np.int64)))
    assert math.isnan(cohen_kappa(np.array([[5, 0], [0, 0]])))


def test_weighted_kappa_forgives_near_misses() -> None:
    near = np.array([[10, 3, 0], [0, 10, 3], [0, 0, 10]])
    far = np.array([[10, 0, 3], [0, 10, 3], [0, 0, 10]])
    assert cohen_kappa(near, weighted=True) > cohen_kappa(far, weighted=True)
    assert cohen_kappa(near, weighted=True) > cohen_kappa(near)


def test_weighted_kappa_of_two_classes_is_the_plain_one() -> None:
    table = np.array([[20, 5], [10, 15]])
    assert cohen_kappa(table, weighted=True) == pytest.approx(cohen_kappa(table))


def test_bland_altman_by_hand() -> None:
    found = bland_altman(np.array([1.0, 2, 3, math.nan]), np.array([2.0, 2, 4, 1]))
    assert found.pairs == 3
    assert found.bias == pytest.approx(2 / 3)
    assert found.high - found.bias == pytest.approx(1.959964 * math.sqrt(1 / 3), rel=1e-6)
    assert bland_altman(np.empty(0), np.empty(0)).pairs == 0
