"""Train a classifier of cells on the classes that annotators gave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsiseg.classify.forest import Forest
from wsiseg.errors import ConfigurationError, MissingExtraError
from wsiseg.statistics.agreement import confusion

TREES = 200
LEAST_OF_A_CLASS = 5
"""Fewer labelled nuclei of a class are too few to train on."""

FOLDS = 5

_LEAF = 2
_COLORS = (
    (200, 0, 0),
    (0, 120, 200),
    (0, 150, 60),
    (230, 159, 0),
    (150, 80, 180),
    (90, 90, 90),
    (0, 170, 170),
    (220, 100, 160),
)


@dataclass(frozen=True, slots=True)
class Labelled:
    """Labelled nuclei.

    Attributes
    ----------
    values
        float32 ``[n, features]``.
    classes
        ``[n]`` names.
    groups
        int64 ``[n]``: nuclei of one group (a slide, or a square of one) never stand on both sides
        of a test, because neighbours are alike.
    """

    values: NDArray[np.float32]
    classes: NDArray[np.object_]
    groups: NDArray[np.int64]


def train_forest(labelled: Labelled, features: Sequence[str], seed: int = 0) -> Forest:
    """Grow a forest; ``about`` tells the labels and the scores of a test by groups.

    The scores are those of nuclei whose group the trees had not seen: the groups are dealt into
    up to ``FOLDS`` parts, each tested by trees of the others. With a single group there is none.

    Raises
    ------
    ConfigurationError
        If there are fewer than two classes, or fewer than ``LEAST_OF_A_CLASS`` nuclei of one.
    MissingExtraError
        If scikit-learn is not installed.
    """
    names, index, counts = np.unique(
        labelled.classes.astype(str), return_inverse=True, return_counts=True
    )
    told = ", ".join(f"{name}: {count}" for name, count in zip(names, counts, strict=True))
    if len(names) < 2 or counts.min() < LEAST_OF_A_CLASS:
        raise ConfigurationError(
            f"a classifier needs two classes or more of at least {LEAST_OF_A_CLASS} labelled "
            f"nuclei each; there are {told or 'none'}"
        )
    medians = _medians(labelled.values)
    values = np.where(np.isfinite(labelled.values), labelled.values, medians)
    scores = _test_by_groups(values, index, labelled.groups, names, seed)
    grown = _grow(values, index, seed)
    trees = [tree.tree_ for tree in grown.estimators_]
    starts = np.concatenate([[0], np.cumsum([tree.node_count for tree in trees])[:-1]])

    def joined(name: str) -> NDArray[Any]:
        return np.concatenate([getattr(tree, name) for tree in trees])

    offsets = np.repeat(starts, [tree.node_count for tree in trees])
    shares = joined("value")[:, 0, :]
    return Forest(
        features=tuple(features),
        classes=tuple(map(str, names)),
        colors=tuple(_COLORS[k % len(_COLORS)] for k in range(len(names))),
        medians=medians,
        feature=joined("feature").astype(np.int32),
        threshold=joined("threshold").astype(np.float64),
        left=(joined("children_left") + offsets).astype(np.int32),
        right=(joined("children_right") + offsets).astype(np.int32),
        shares=(shares / shares.sum(axis=1, keepdims=True)).astype(np.float32),
        roots=starts.astype(np.int32),
        about={
            "trees": TREES,
            "seed": seed,
            "labels": dict(zip(map(str, names), map(int, counts), strict=True)),
            "groups": len(np.unique(labelled.groups)),
            "test": scores,
        },
    )


def _medians(values: NDArray[np.float32]) -> NDArray[np.float32]:
    known = np.where(np.isfinite(values), values, np.nan)
    empty = np.isnan(known).all(axis=0)
    known[:, empty] = 0
    return np.nanmedian(known, axis=0).astype(np.float32)


def _grow(values: NDArray[np.float32], index: NDArray[np.integer[Any]], seed: int) -> Any:
    try:
        from sklearn.ensemble import RandomForestClassifier
    except ImportError as error:
        raise MissingExtraError("training a classifier of cells", "learn") from error
    forest = RandomForestClassifier(
        TREES, min_samples_leaf=_LEAF, class_weight="balanced", random_state=seed, n_jobs=1
    )
    return forest.fit(values, index)


def _test_by_groups(
    values: NDArray[np.float32],
    index: NDArray[np.integer[Any]],
    groups: NDArray[np.int64],
    names: NDArray[np.str_],
    seed: int,
) -> dict[str, Any] | None:
    """Confusion and scores of nuclei predicted by trees that saw no nucleus of their group."""
    own, place = np.unique(groups, return_inverse=True)
    if len(own) < 2:
        return None
    dealt = np.random.default_rng(seed).permutation(len(own)) % min(FOLDS, len(own))
    found = np.full(len(index), -1)
    for fold in range(min(FOLDS, len(own))):
        held = dealt[place] == fold
        if len(np.unique(index[~held])) == len(names):
            found[held] = _grow(values[~held], index[~held], seed).predict(values[held])
    tested = found >= 0
    if not tested.any():
        return None
    table = confusion(index[tested], found[tested], len(names))
    right = np.diag(table)
    with np.errstate(invalid="ignore", divide="ignore"):
        recall, precision = right / table.sum(axis=1), right / table.sum(axis=0)
        f1 = 2 * right / (table.sum(axis=1) + table.sum(axis=0))
    return {
        "nuclei": int(tested.sum()),
        "accuracy": float(right.sum() / table.sum()),
        "macro_f1": float(np.nanmean(f1)),
        "precision": _by_name(names, precision),
        "recall": _by_name(names, recall),
        "confusion": table.tolist(),
    }


def _by_name(names: NDArray[np.str_], values: NDArray[np.float64]) -> dict[str, float | None]:
    return {
        str(name): float(value) if np.isfinite(value) else None
        for name, value in zip(names, values, strict=True)
    }
