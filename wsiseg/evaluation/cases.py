"""One image or region, compared and reduced to counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from wsiseg.evaluation.matching import Overlaps
from wsiseg.evaluation.metrics import detection_counts, image_counts
from wsiseg.slides.reader import Pixels


@dataclass(frozen=True)
class View:
    """The middle of an image, small enough to be kept.

    Attributes
    ----------
    pixels
        ``[y, x, c]``.
    truth, predicted
        uint8 ``[y, x]``, outlines: 1 of objects that matched at 0.5, 2 of others.
    """

    pixels: Pixels
    truth: NDArray[np.uint8]
    predicted: NDArray[np.uint8]


@dataclass(frozen=True)
class Compared:
    """Truth and prediction of one image (or region of a slide), matched.

    Attributes
    ----------
    name, dataset
        The image, unique within its data set, and the data set.
    overlaps
        Truth against prediction.
    truth_class, predicted_class
        int64 ``[n]`` and ``[m]``: class of every object from 1, 0 where it has none; ``None``
        where there are no classes to compare.
    truth_near, predicted_near
        bool ``[n]`` and ``[m]``: which objects lie near the border of a tile's core; ``None``
        for what was not made in tiles.
    annotators
        Truth against a second annotator, where one marked the image too.
    predicted_by_second
        The second annotator as truth against the prediction.
    view
        What to show of it, where there are pixels.
    facts
        What else is to stand in the table of images.
    """

    name: str
    dataset: str
    overlaps: Overlaps
    truth_class: NDArray[np.int64] | None = None
    predicted_class: NDArray[np.int64] | None = None
    truth_near: NDArray[np.bool_] | None = None
    predicted_near: NDArray[np.bool_] | None = None
    annotators: Overlaps | None = None
    predicted_by_second: Overlaps | None = None
    view: View | None = None
    facts: Mapping[str, str | float] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """The counts of one image, and what it is grouped by.

    Attributes
    ----------
    name, dataset, group
        The image, its data set, and what is resampled as a whole (the patient).
    strata
        Its level in every stratum.
    counts
        float64 ``[8 + 2 t]`` of :func:`~wsiseg.evaluation.metrics.image_counts`.
    classes
        float64 ``[c, 3 + 2 t]`` of :func:`~wsiseg.evaluation.metrics.detection_counts`, a row a
        class, where classes were compared.
    class_found
        float64 ``[c, 2]``: true objects of every class, and those of them that were matched at
        0.5 whatever the predicted class, where the truth has classes.
    seams
        float64 ``[2, 3 + 2 t]``: objects near seams and the others.
    annotators, predicted_by_second
        Counts like ``counts``, see :class:`Compared`.
    facts
        Of the image.
    """

    name: str
    dataset: str
    group: str
    strata: Mapping[str, str]
    counts: NDArray[np.float64]
    classes: NDArray[np.float64] | None
    class_found: NDArray[np.float64] | None
    seams: NDArray[np.float64] | None
    annotators: NDArray[np.float64] | None
    predicted_by_second: NDArray[np.float64] | None
    facts: Mapping[str, str | float]


def measure(
    compared: Compared,
    group: str,
    strata: Mapping[str, str],
    thresholds: Sequence[float],
    classes: int,
) -> Case:
    """Reduce one comparison to counts; ``classes`` is the number of classes there are."""
    return Case(
        name=compared.name,
        dataset=compared.dataset,
        group=group,
        strata=strata,
        counts=image_counts(compared.overlaps, thresholds),
        classes=_class_counts(compared, thresholds, classes),
        class_found=_class_found(compared, classes),
        seams=_seam_counts(compared, thresholds),
        annotators=_optional(compared.annotators, thresholds),
        predicted_by_second=_optional(compared.predicted_by_second, thresholds),
        facts=compared.facts,
    )


def _optional(overlaps: Overlaps | None, thresholds: Sequence[float]) -> NDArray[np.float64] | None:
    return None if overlaps is None else image_counts(overlaps, thresholds)


def _class_counts(
    compared: Compared, thresholds: Sequence[float], classes: int
) -> NDArray[np.float64] | None:
    of = compared.overlaps
    truth, predicted = compared.truth_class, compared.predicted_class
    if truth is None or predicted is None or not classes:
        return None
    rows = []
    for number in range(1, classes + 1):
        mine, theirs = truth == number, predicted == number
        both = mine[of.truth] & theirs[of.predicted]
        rows.append(
            detection_counts(of, thresholds, truth_in=mine, predicted_in=theirs, allowed=both)
        )
    return np.stack(rows)


def _class_found(compared: Compared, classes: int) -> NDArray[np.float64] | None:
    if compared.truth_class is None or not classes:
        return None
    of = compared.overlaps
    found = np.zeros(len(of.truth_px), bool)
    found[of.truth[of.iou > 0.5]] = True
    numbers = np.arange(1, classes + 1)[:, None]
    mine = compared.truth_class[None] == numbers
    return np.stack([mine.sum(axis=1), (mine & found).sum(axis=1)], axis=1).astype(np.float64)


def _seam_counts(compared: Compared, thresholds: Sequence[float]) -> NDArray[np.float64] | None:
    truth, predicted = compared.truth_near, compared.predicted_near
    if truth is None or predicted is None:
        return None
    return np.stack(
        [
            detection_counts(compared.overlaps, thresholds, truth_in=t, predicted_in=p)
            for t, p in ((truth, predicted), (~truth, ~predicted))
        ]
    )
