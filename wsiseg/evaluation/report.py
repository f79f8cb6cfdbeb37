"""``evaluation.json`` and ``images.csv``: every number, and all that is needed to defend it."""

from __future__ import annotations

import csv
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsiseg import __version__
from wsiseg.evaluation.bootstrap import CONFIDENCE, FEW_GROUPS, LEAST_UNITS
from wsiseg.evaluation.cases import Case
from wsiseg.evaluation.evaluate import Evaluation
from wsiseg.evaluation.gallery import draw_gallery
from wsiseg.evaluation.metrics import DEFINITIONS, image_scores, object_counts
from wsiseg.evaluation.picture import draw_evaluation
from wsiseg.evaluation.predict import NUCLEUS_UM2
from wsiseg.evaluation.runs import NEAR_UM
from wsiseg.evaluation.summary import Gap, Stratum
from wsiseg.files import write_json, writing

FORMAT = 1

FILES = {
    "json": "evaluation.json",
    "images": "images.csv",
    "picture": "evaluation.png",
    "worst": "worst.png",
}
"""What :func:`write_evaluation` writes."""

_PACKAGES = ("numpy", "scipy", "scikit-image", "numba", "pillow", "shapely")

_TERMS: Mapping[str, str] = {
    "match": "A true and a predicted nucleus match if the intersection over union (IoU) of their "
    "pixels is larger than the threshold; thresholds are 0.5 or more, so no nucleus matches twice.",
    "mean": "Mean over the images for which the score is defined; mean_over_images says how many. "
    "With neither true nor predicted nuclei an image has no score; with predictions but no truth, "
    "or truth but no predictions, Dice, AJI, PQ, DQ and F1 are 0.",
    "pooled": "The score of all images taken as one: their counts are added, then the formula "
    "applied.",
    "interval": f"Percentile bootstrap, {CONFIDENCE:.0%}: whole groups (patients, slides) are "
    "drawn with replacement, as many as there are; where there is one group only, images; with "
    f"fewer than {LEAST_UNITS} to draw from, no interval. rough: fewer than {FEW_GROUPS} groups; "
    "such intervals are too narrow as a rule.",
    "gap": "behind_all: mean of all images that have the column minus mean of the worst "
    "level; behind_best: mean of the best level minus that of the worst. Intervals keep the two "
    "levels fixed, so they do not count that the worst was picked for being worst.",
    "classes": "pq_mean and mpq as PanNuke defines them (arXiv:2003.10778): PQ of a class by "
    "itself, in images whose truth has the class; mpq_plus as CoNIC (arXiv:2111.14485): pooled PQ "
    "by class, then the mean over classes. recall_of_any: true nuclei of the class matched at IoU "
    "> 0.5, whatever class was predicted.",
    "seams": f"near: centroid at most {NEAR_UM:g} µm from the border between two tile cores of "
    "the run; inner: all others. A match counts where its true nucleus lies.",
    "areas": "Where areas are named, each is one image and objects are cut at its border.",
    "model": "Every image is segmented as a small slide of its own: brought to the model's pixel "
    "size, the model calibrated on it, its surround filled with background; outlines are traced, "
    "quantised to 0.01 px and painted back onto the image's own pixels.",
    "nuclei_mpp": f"'median nucleus of the truth': the pixel size at which the median true nucleus "
    f"has {NUCLEUS_UM2:g} µm².",
}


@dataclass(frozen=True, slots=True)
class Circumstances:
    """When and how an evaluation was made; given, not found out, so that files can be equal.

    Attributes
    ----------
    date
        ISO 8601.
    command
        The command line, or what stands for it.
    """

    date: str
    command: str


def write_evaluation(folder: Path, evaluation: Evaluation, made: Circumstances) -> None:
    """Write ``evaluation.json``, ``images.csv``, ``evaluation.png`` and, where there are pixels
    to show, ``worst.png`` into a folder.

    Raises
    ------
    StoreError
        If a file cannot be written.
    """
    write_json(folder / FILES["json"], evaluation_json(evaluation, made))
    with (
        writing(folder / FILES["images"]) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        csv.writer(file, lineterminator="\n").writerows(image_rows(evaluation))
    with writing(folder / FILES["picture"]) as temporary:
        draw_evaluation(evaluation).save(temporary, format="PNG")
    if evaluation.worst:
        with writing(folder / FILES["worst"]) as temporary:
            gallery = draw_gallery(evaluation.worst, evaluation.settings.thresholds)
            gallery.save(temporary, format="PNG")


def evaluation_json(evaluation: Evaluation, made: Circumstances) -> dict[str, Any]:
    """Every number with its interval, the definitions, and what made them."""
    settings = evaluation.settings
    return {
        "format": FORMAT,
        "date": made.date,
        "command": made.command,
        "versions": {
            "python": platform.python_version(),
            "wsiseg": __version__,
            **{name: version(name) for name in _PACKAGES},
        },
        "truth": dict(evaluation.truth),
        "predicted": dict(evaluation.predicted),
        "settings": {
            "iou_thresholds": list(settings.thresholds),
            "resamples": settings.resamples,
            "seed": settings.seed,
            "confidence": CONFIDENCE,
        },
        "warnings": list(evaluation.warnings),
        "all": evaluation.all.to_dict(),
        "strata": {name: _stratum(stratum) for name, stratum in evaluation.strata.items()},
        "classes": dict(evaluation.classes),
        "seams": dict(evaluation.seams),
        "annotators": dict(evaluation.annotators),
        "definitions": {"scores": dict(DEFINITIONS), "terms": dict(_TERMS)},
    }


def image_rows(evaluation: Evaluation) -> list[list[str]]:
    """The table of images: a line of names, then a line an image. Empty where not defined."""
    cases = evaluation.cases
    counts = np.stack([case.counts for case in cases])
    scores = image_scores(counts, evaluation.settings.thresholds)
    columns: dict[str, Sequence[str]] = {
        "dataset": [case.dataset for case in cases],
        "name": [case.name for case in cases],
        "group": [case.group for case in cases],
        **_texts([case.strata for case in cases]),
        **_texts([case.facts for case in cases]),
        "truth": [str(n) for n in object_counts(counts)[:, 0]],
        "predicted": [str(n) for n in object_counts(counts)[:, 1]],
        **{name: _numbers(values) for name, values in scores.items()},
        **_annotators(cases, evaluation.settings.thresholds),
    }
    return [list(columns), *map(list, zip(*columns.values(), strict=True))]


def _stratum(stratum: Stratum) -> dict[str, Any]:
    return {
        "levels": {name: summary.to_dict() for name, summary in stratum.levels.items()},
        "gaps": {name: _gap(gap) for name, gap in stratum.gaps.items()},
    }


def _gap(gap: Gap) -> dict[str, Any]:
    return {
        "worst": gap.worst,
        "best": gap.best,
        "behind_all": gap.behind_all.to_dict(),
        "behind_best": gap.behind_best.to_dict(),
    }


def _texts(rows: Sequence[Mapping[str, object]]) -> dict[str, list[str]]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [str(row.get(name, "")) for row in rows] for name in names}


def _numbers(values: NDArray[np.float64]) -> list[str]:
    return ["" if np.isnan(value) else f"{value:.6f}" for value in values]


def _annotators(cases: Sequence[Case], thresholds: Sequence[float]) -> dict[str, list[str]]:
    """Scores of the second annotator against the truth."""
    if all(case.annotators is None for case in cases):
        return {}
    none = np.full_like(cases[0].counts, np.nan)
    table = np.stack([none if c.annotators is None else c.annotators for c in cases])
    scores = image_scores(np.nan_to_num(table), thresholds)
    return {f"second_{name}": _numbers(values) for name, values in scores.items()}
