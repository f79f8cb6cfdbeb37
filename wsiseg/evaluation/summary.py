"""From the counts of images to scores with intervals: all, by stratum, by class, by annotator."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsiseg.evaluation.bootstrap import (
    FEW_GROUPS,
    Estimate,
    Resamples,
    Unit,
    draw,
    interval,
    mean_defined,
)
from wsiseg.evaluation.cases import Case
from wsiseg.evaluation.metrics import detection_scores, image_scores, object_counts

RANKED = ("f1@0.50", "aji", "pq")
"""Scores by which strata are compared."""

Scores = dict[str, NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Settings:
    """How scores are told.

    Attributes
    ----------
    thresholds
        Of IoU, from :func:`~wsiseg.evaluation.metrics.check_thresholds`.
    resamples, seed
        Of the bootstrap.
    """

    thresholds: tuple[float, ...]
    resamples: int = 2000
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Summary:
    """The scores of some images.

    Attributes
    ----------
    images, groups
        How many.
    truth, predicted
        Objects.
    unit, units
        What the intervals rest on, see :class:`~wsiseg.evaluation.bootstrap.Resamples`.
    mean
        Means over the images for which a score is defined.
    defined
        For how many images each is.
    pooled
        The scores of all images taken as one, by summing their counts.
    """

    images: int
    groups: int
    truth: int
    predicted: int
    unit: Unit
    units: int
    mean: Mapping[str, Estimate]
    defined: Mapping[str, int]
    pooled: Mapping[str, Estimate]

    @property
    def rough(self) -> bool:
        """Whether the intervals rest on so few groups that they are too narrow as a rule."""
        return self.unit != "group" or self.units < FEW_GROUPS

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "images": self.images,
            "groups": self.groups,
            "truth": self.truth,
            "predicted": self.predicted,
            "interval_from": {"unit": self.unit, "units": self.units, "rough": self.rough},
            "mean": {name: e.to_dict() for name, e in self.mean.items()},
            "mean_over_images": dict(self.defined),
            "pooled": {name: e.to_dict() for name, e in self.pooled.items()},
        }


@dataclass(frozen=True, slots=True)
class Gap:
    """How far the worst level of a stratum lies behind, in the mean over images of one score.

    ``behind_all`` is the mean of all images of the stratum minus that of the worst level,
    ``behind_best`` that of the best level minus it; the intervals keep the two levels fixed.
    """

    worst: str
    best: str
    behind_all: Estimate
    behind_best: Estimate


@dataclass(frozen=True, slots=True)
class Stratum:
    """One column by which images are grouped: a summary a level, and the gaps."""

    levels: Mapping[str, Summary]
    gaps: Mapping[str, Gap]


def summarise(cases: Sequence[Case], settings: Settings) -> Summary:
    """Scores of truth against prediction."""
    return _summary(np.stack([c.counts for c in cases]), [_group(c) for c in cases], settings)


def by_stratum(cases: Sequence[Case], column: str, settings: Settings) -> Stratum:
    """Scores of every level of one column of ``Case.strata``, and the gaps between them."""
    levels = np.array([case.strata[column] for case in cases])
    names = sorted(set(levels.tolist()))
    summaries = {
        name: summarise([c for c in cases if c.strata[column] == name], settings) for name in names
    }
    resamples = draw([_group(c) for c in cases], settings.resamples, settings.seed)
    scores = image_scores(np.stack([c.counts for c in cases]), settings.thresholds)
    gaps = {}
    for metric in RANKED:
        gap = _gap(scores[metric], levels, names, resamples)
        if gap is not None:
            gaps[metric] = gap
    return Stratum(summaries, gaps)


def by_seam(cases: Sequence[Case], settings: Settings) -> dict[str, dict[str, Any]]:
    """Detection scores, pooled, of objects near seams and of the others."""
    known = [case for case in cases if case.seams is not None]
    if not known:
        return {}
    table = np.stack([case.seams for case in known if case.seams is not None])
    resamples = draw([_group(c) for c in known], settings.resamples, settings.seed)
    return {
        name: {
            "truth": int(table[:, i, 0].sum()),
            "predicted": int(table[:, i, 1].sum()),
            "pooled": _estimates(
                _pooled(table[:, i], resamples, lambda t: detection_scores(t, settings.thresholds))
            ),
        }
        for i, name in enumerate(("near", "inner"))
    }


def by_class(
    cases: Sequence[Case], classes: Sequence[str], settings: Settings, tissue: str = "organ"
) -> dict[str, Any]:
    """Scores of every class, and their means over classes.

    Returns
    -------
    ``classes``
        For every class the objects of either side, ``recall_of_any`` (true objects matched at
        0.5 whatever class was predicted) and, where predictions have classes, the ``pooled``
        detection scores of the class taken by itself and ``pq_mean``, the mean of PQ over the
        images that have the class in their truth.
    ``mpq``
        As PanNuke defines it (Gamper et al., "PanNuke dataset extension, insights and
        baselines", arXiv:2003.10778): PQ of every class by itself in every image, left out
        where the image has no true object of the class; its mean over the classes of an image,
        then over the images, of each tissue first where a column ``organ`` tells it.
    ``mpq_plus``
        The mean over classes of the pooled PQ (Graham et al., "CoNIC", arXiv:2111.14485): here
        predictions of a class that an image does not have count against it.
    """
    known = [case for case in cases if case.class_found is not None]
    if not known:
        return {}
    resamples = draw([_group(c) for c in known], settings.resamples, settings.seed)
    found = np.stack([case.class_found for case in known if case.class_found is not None])
    told: dict[str, Any] = {}
    for i, name in enumerate(classes):
        any_class = _pooled(found[:, i], resamples, _found_share)
        told[name] = {"truth": int(found[:, i, 0].sum()), **_estimates(any_class)}
    rows = [case.classes for case in known if case.classes is not None]
    if len(rows) < len(known):
        return {"classes": told}
    table = np.stack(rows)
    each = detection_scores(table, settings.thresholds)["pq"]
    each[table[..., 0] == 0] = np.nan
    for i, name in enumerate(classes):
        scores = _pooled(table[:, i], resamples, lambda t: detection_scores(t, settings.thresholds))
        told[name] |= {
            "predicted": int(table[:, i, 1].sum()),
            "pooled": _estimates(scores),
            "pq_mean": _mean(each[:, i], resamples).to_dict(),
        }
    image_mpq = mean_defined_rows(each)
    tissues = [case.strata.get(tissue, "") for case in known]
    return {
        "classes": told,
        "mpq": _tissue_mean(image_mpq, tissues, resamples).to_dict(),
        "mpq_tissues": len(set(tissues)),
        "mpq_plus": _pooled(table, resamples, lambda t: _plus(t, settings))["mpq_plus"].to_dict(),
    }


def agreement(cases: Sequence[Case], settings: Settings) -> dict[str, Any]:
    """The prediction and a second annotator on one yardstick: the images that both marked.

    Returns
    -------
    ``second_against_truth``, ``predicted_against_truth``, ``predicted_against_second``
        Summaries.
    ``difference``
        Prediction minus second annotator, both against the truth, in the mean over images of
        every score; the interval draws the same images for both.
    """
    shared = [c for c in cases if c.annotators is not None and c.predicted_by_second is not None]
    if not shared:
        return {}
    groups = [_group(c) for c in shared]
    second = np.stack([c.annotators for c in shared if c.annotators is not None])
    crossed = np.stack([c.predicted_by_second for c in shared if c.predicted_by_second is not None])
    counts = np.stack([c.counts for c in shared])
    resamples = draw(groups, settings.resamples, settings.seed)
    ours, theirs = (image_scores(t, settings.thresholds) for t in (counts, second))
    return {
        "images": len(shared),
        "second_against_truth": _summary(second, groups, settings).to_dict(),
        "predicted_against_truth": _summary(counts, groups, settings).to_dict(),
        "predicted_against_second": _summary(crossed, groups, settings).to_dict(),
        "difference": {
            name: _mean(ours[name] - theirs[name], resamples).to_dict() for name in ours
        },
    }


def mean_defined_rows(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means ``[n]`` of what is not NaN in every row of ``[n, c]``; NaN where nothing is."""
    known = np.isfinite(values)
    count = known.sum(axis=1)
    total = np.where(known, values, 0.0).sum(axis=1)
    out = np.full(len(values), np.nan)
    np.divide(total, count, out=out, where=count > 0)
    return out


def _group(case: Case) -> str:
    return f"{case.dataset}/{case.group}"


def _summary(counts: NDArray[np.float64], groups: Sequence[str], settings: Settings) -> Summary:
    resamples = draw(groups, settings.resamples, settings.seed)
    scores = image_scores(counts, settings.thresholds)
    objects = object_counts(counts).sum(axis=0)
    return Summary(
        images=len(counts),
        groups=len(set(groups)),
        truth=int(objects[0]),
        predicted=int(objects[1]),
        unit=resamples.unit,
        units=resamples.units,
        mean={name: _mean(values, resamples) for name, values in scores.items()},
        defined={name: int(np.isfinite(values).sum()) for name, values in scores.items()},
        pooled=_pooled(counts, resamples, lambda t: image_scores(t, settings.thresholds)),
    )


def _mean(values: NDArray[np.float64], resamples: Resamples) -> Estimate:
    whole = mean_defined(values, np.ones((1, len(values))))
    return interval(float(whole[0]), mean_defined(values, resamples.weights))


def _pooled(
    table: NDArray[np.float64],
    resamples: Resamples,
    formula: Callable[[NDArray[np.float64]], Scores],
) -> dict[str, Estimate]:
    """``formula`` of the sum over images of ``table``, ``[n, ...]``, and of every resample's."""
    whole = formula(table.sum(axis=0))
    drawn = formula(np.tensordot(resamples.weights, table, axes=1))
    return {name: interval(float(value), drawn[name]) for name, value in whole.items()}


def _estimates(estimates: Mapping[str, Estimate]) -> dict[str, dict[str, float | None]]:
    return {name: estimate.to_dict() for name, estimate in estimates.items()}


def _found_share(table: NDArray[np.float64]) -> Scores:
    share = np.full(table.shape[:-1], np.nan)
    return {
        "recall_of_any": np.divide(table[..., 1], table[..., 0], out=share, where=table[..., 0] > 0)
    }


def _plus(table: NDArray[np.float64], settings: Settings) -> Scores:
    each = np.atleast_2d(detection_scores(table, settings.thresholds)["pq"])
    means = mean_defined_rows(each)
    return {"mpq_plus": means if table.ndim > 2 else means[0]}


def _tissue_mean(
    values: NDArray[np.float64], tissues: Sequence[str], resamples: Resamples
) -> Estimate:
    """The mean over tissues of the mean over the images of each."""
    names = np.array(tissues)

    def over(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        columns = [
            mean_defined(values[names == name], weights[:, names == name])
            for name in sorted(set(tissues))
        ]
        return mean_defined_rows(np.stack(columns, axis=1))

    return interval(float(over(np.ones((1, len(values))))[0]), over(resamples.weights))


def _gap(
    values: NDArray[np.float64],
    levels: NDArray[np.str_],
    names: Sequence[str],
    resamples: Resamples,
) -> Gap | None:
    every = np.ones((1, len(values)))

    def mean_of(name: str | None, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        here = np.ones(len(values), bool) if name is None else levels == name
        return mean_defined(values[here], weights[:, here])

    means = {name: float(mean_of(name, every)[0]) for name in names}
    known = [name for name in names if np.isfinite(means[name])]
    if len(known) < 2:
        return None
    worst, best = min(known, key=means.__getitem__), max(known, key=means.__getitem__)

    def behind(name: str | None) -> Estimate:
        value = mean_of(name, every) - mean_of(worst, every)
        drawn = mean_of(name, resamples.weights) - mean_of(worst, resamples.weights)
        return interval(float(value[0]), drawn)

    return Gap(worst, best, behind(None), behind(best))
