"""Classifiers of cells: equal to scikit-learn's, tested by groups, safe to read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier

from wsiseg.classify.classified import PROBABILITY, ClassifiedCells
from wsiseg.classify.forest import Forest, read_forest, write_forest
from wsiseg.classify.learn import Labelled, train_forest
from wsiseg.errors import ConfigurationError, ModelError
from wsiseg.testing.sources import MemorySource, synthetic_cells

FEATURES = ("area_um2", "solidity", "hematoxylin_od_mean")


def labelled(count: int = 240, groups: int = 6, seed: int = 0) -> Labelled:
    random = np.random.default_rng(seed)
    kind = random.integers(0, 3, count)
    centres = np.array([[20, 0.9, 0.3], [60, 0.8, 0.8], [35, 0.95, 1.2]])
    values = centres[kind] + random.normal(0, [4, 0.03, 0.1], (count, 3))
    return Labelled(
        values.astype(np.float32),
        np.array(["lymphocyte", "tumour", "other"], object)[kind],
        random.integers(0, groups, count),
    )


def test_the_arrays_predict_as_scikit_learn_does() -> None:
    learnt = labelled()
    forest = train_forest(learnt, FEATURES, seed=4)
    theirs = RandomForestClassifier(
        200, min_samples_leaf=2, class_weight="balanced", random_state=4, n_jobs=1
    ).fit(learnt.values, np.unique(learnt.classes.astype(str), return_inverse=True)[1])
    fresh = labelled(500, seed=9).values
    np.testing.assert_allclose(forest.probabilities(fresh), theirs.predict_proba(fresh), atol=1e-5)


def test_a_value_that_is_no_number_counts_as_the_median() -> None:
    forest = train_forest(labelled(), FEATURES)
    values = labelled(50, seed=2).values
    holed, filled = values.copy(), values.copy()
    holed[:, 1], filled[:, 1] = np.nan, forest.medians[1]
    np.testing.assert_array_equal(forest.probabilities(holed), forest.probabilities(filled))


def test_scores_are_of_groups_not_trained_on() -> None:
    """Values that tell only the group: perfect when seen, no better than chance when not."""
    random = np.random.default_rng(0)
    groups = np.repeat(np.arange(40), 10)
    kinds = random.integers(0, 2, 40)[groups]
    values = np.stack([groups, np.zeros(400)], axis=1).astype(np.float32)
    names = np.array(["a", "b"], object)[kinds]
    # Neighbouring numbers must not carry over: the groups' numbers are shuffled.
    values[:, 0] = random.permutation(1000)[:40][groups]
    forest = train_forest(Labelled(values, names, groups), ("number", "nothing"))
    seen = forest.probabilities(values).argmax(axis=1) == kinds
    assert seen.mean() > 0.95
    assert forest.about["test"]["accuracy"] < 0.75


def test_one_group_is_not_tested() -> None:
    learnt = labelled()
    alone = Labelled(learnt.values, learnt.classes, np.zeros(len(learnt.classes), np.int64))
    assert train_forest(alone, FEATURES).about["test"] is None


def test_too_few_labels_are_refused() -> None:
    learnt = labelled(8)
    with pytest.raises(ConfigurationError, match="at least 5"):
        train_forest(learnt, FEATURES)


def test_a_file_gives_the_same_classifier(tmp_path: Path) -> None:
    forest = train_forest(labelled(), FEATURES)
    write_forest(tmp_path / "cells.npz", forest)
    again = read_forest(tmp_path / "cells.npz")
    values = labelled(100, seed=5).values
    np.testing.assert_array_equal(again.probabilities(values), forest.probabilities(values))
    assert (again.classes, again.features, again.about) == (
        forest.classes,
        forest.features,
        json.loads(json.dumps(forest.about)),
    )


def changed(forest: Forest, **parts: object) -> Forest:
    return Forest(**{name: getattr(forest, name) for name in forest.__slots__} | parts)


def test_files_that_are_no_classifier_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "cells.npz"
    with pytest.raises(ModelError, match="no classifier"):
        read_forest(path)
    path.write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(ModelError, match="no classifier"):
        read_forest(path)
    np.savez(path, about=np.array([{"a": 1}], object))
    with pytest.raises(ModelError, match="no classifier"):
        read_forest(path)
    forest = train_forest(labelled(), FEATURES)
    left = forest.left.copy()
    left[forest.roots[0]] = forest.roots[0]
    write_forest(path, changed(forest, left=left))
    with pytest.raises(ModelError, match="damaged"):
        read_forest(path)


def test_cells_get_the_classifiers_classes() -> None:
    made = synthetic_cells(200, seed=1)
    source = MemorySource(made.info, [made.read(0)])
    forest = train_forest(labelled(), FEATURES)
    cells = ClassifiedCells(source, forest, "abc", lambda names: names[:1])
    batch = cells.read(0)
    assert [kind.name for kind in cells.info.classes] == list(forest.classes)
    assert cells.info.provenance["classifier"]["sha256"] == "abc"
    assert list(batch.features) == ["area_um2", PROBABILITY]
    values = np.stack([source.read(0).features[name] for name in FEATURES], axis=1)
    shares = forest.probabilities(values)
    np.testing.assert_array_equal(batch.class_index, shares.argmax(axis=1))
    np.testing.assert_array_equal(batch.features[PROBABILITY], shares.max(axis=1))


def test_a_feature_that_was_not_measured_is_named() -> None:
    made = synthetic_cells(20, seed=1)
    forest = changed(train_forest(labelled(), FEATURES), features=("area_um2", "x", "solidity"))
    with pytest.raises(ConfigurationError, match="looks at x"):
        ClassifiedCells(made, forest, "abc").read(0)
