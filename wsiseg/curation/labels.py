"""Labelled nuclei of a run, as a classifier learns from them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from wsiseg.classify.forest import Forest
from wsiseg.classify.learn import Labelled, train_forest
from wsiseg.curation.importing import class_labels
from wsiseg.errors import ConfigurationError
from wsiseg.execution.results import Run, open_run
from wsiseg.features.registry import dictionary

SQUARE_UM = 500.0
"""Labelled nuclei of one slide are grouped by squares of this side for the test."""

_NOT_FEATURES = ("orientation_rad",)
"""Turning the slide must not change a class."""

_NOT_SETS = ("position",)
"""Where a nucleus lies on the slide says how the annotator went about, not what it is."""


def train_on_edits(out: Path, annotators: Sequence[str] = (), seed: int = 0) -> Forest:
    """A classifier learnt from all classes that were given to nuclei of a run.

    It looks at all features that every labelled slide has, but for direction and position.

    Raises
    ------
    ConfigurationError
        If there are too few labels.
    MissingExtraError
        If scikit-learn is not installed.
    """
    run = open_run(out)
    labels = {slide: class_labels(out, slide, tuple(annotators)) for slide in run.complete}
    labels = {slide: found for slide, found in labels.items() if found}
    if not labels:
        raise ConfigurationError(
            f"{out} has no labels: re-class nuclei in QuPath, export them and bring them back "
            "with wsiseg import"
        )
    features = _features(run, list(labels))
    parts = [_labelled(run, slide, found, features) for slide, found in labels.items()]
    joined = Labelled(
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.classes for part in parts]),
        np.concatenate([part.groups for part in parts]),
    )
    if len(parts) > 1:
        # With several slides, whole slides are held out.
        slides = np.repeat(np.arange(len(parts)), [len(part.classes) for part in parts])
        joined = Labelled(joined.values, joined.classes, slides)
    forest = train_forest(joined, features, seed)
    forest.about.update(slides=sorted(labels), annotators=sorted(annotators) or "all")
    return forest


def _features(run: Run, slides: Sequence[str]) -> tuple[str, ...]:
    """Features that all the slides have, in the order of the first."""
    shared: list[str] | None = None
    for slide in slides:
        known = dictionary(run.measured(slide).columns)
        usable = [
            entry["name"]
            for entry in known
            if entry["name"] not in _NOT_FEATURES and entry["set"] not in _NOT_SETS
        ]
        shared = usable if shared is None else [name for name in shared if name in usable]
    return tuple(shared or ())


def _labelled(run: Run, slide: str, labels: dict[str, str], features: Sequence[str]) -> Labelled:
    source = run.measured(slide)
    mpp = source.info.level0.mpp
    wanted = {key.replace("-", ""): name for key, name in labels.items()}
    values, classes, groups = [], [], []
    for part in range(len(source.extents)):
        batch = source.read(part)
        names = [row.tobytes().hex() for row in batch.uuids]
        rows = np.array([k for k, name in enumerate(names) if name in wanted], np.int64)
        if not len(rows):
            continue
        values.append(np.stack([batch.features[name][rows] for name in features], axis=1))
        classes.append(np.array([wanted[names[k]] for k in rows], object))
        squares = (batch.centroids[rows] * (mpp.x, mpp.y) // SQUARE_UM).astype(np.int64)
        groups.append((squares[:, 1] << 20) + squares[:, 0])
    if not values:
        raise ConfigurationError(
            f"the labels of {slide} are of nuclei that are not there any more: it was segmented "
            "anew since; label and import again"
        )
    return Labelled(np.concatenate(values), np.concatenate(classes), np.concatenate(groups))
