"""What a reader of the numbers has to be told beside them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wsiseg.evaluation.bootstrap import FEW_GROUPS, LEAST_UNITS
from wsiseg.evaluation.cases import Case
from wsiseg.evaluation.groups import DataSet, Selection
from wsiseg.evaluation.metrics import object_counts
from wsiseg.evaluation.pairs import Classes, Item, MppRule
from wsiseg.evaluation.summary import Summary
from wsiseg.models.segmenter import ModelSpec


def doubts_of_numbers(whole: Summary, ungrouped: int, cases: Sequence[Case]) -> list[str]:
    """Sentences on intervals, groups and empty images."""
    told = []
    if whole.unit == "none":
        told.append(
            f"there are fewer than {LEAST_UNITS} groups (patients or slides) to draw from: no "
            "interval is told"
        )
    elif whole.unit == "image":
        told.append(
            "all images are of one group (patient or slide): the intervals are over images and say "
            "nothing of other patients"
        )
    elif whole.units < FEW_GROUPS:
        told.append(
            f"the intervals rest on {whole.units} groups (patients or slides), fewer than "
            f"{FEW_GROUPS}: they are rough, and too narrow rather than too wide"
        )
    if ungrouped:
        told.append(
            f"nobody says of which patient {ungrouped} of {len(cases)} images are: each counts as "
            "its own group, and the intervals are too narrow if some share a patient (--groups)"
        )
    objects = object_counts(np.stack([case.counts for case in cases]))
    for side, most in zip(("true", "predicted"), objects.max(axis=0), strict=True):
        if len(cases) > 1 and most == 1:
            told.append(
                f"no {side} label image has more than one label: are these masks of the foreground "
                "rather than one number a nucleus?"
            )
    empty = whole.images - whole.defined["f1@0.50"]
    if empty:
        told.append(
            f"images with neither true nor predicted nuclei, which count in no score: {empty}"
        )
    return told


def doubts_of_classes(items: Sequence[Item], classes: Classes) -> list[str]:
    """Whether the truth has classes that nobody names."""
    if classes.names or all(item.truth_classes is None for item in items):
        return []
    return [
        "the truth has classes but nobody names them, so they are left out; name them with "
        "--class, or under categories in meta.json"
    ]


def doubts_of_model(
    spec: ModelSpec,
    sets: Sequence[DataSet],
    items: Sequence[Item],
    classes: Classes,
    mpp: MppRule,
) -> list[str]:
    """What may flatter or limit a model's scores on these images."""
    told = []
    if classes.names and not any(classes.number(kind.name) for kind in spec.classes):
        told.append(
            f"{spec.name} knows none of the classes {', '.join(classes.names)} of the data: "
            "classes are told by recall only"
        )
    if mpp == "nuclei" and any(item.mpp is None for item in items):
        told.append(
            "the pixel size of some images was taken from the size of their true nuclei, an "
            "advantage that no real slide offers"
        )
    trained = {name.casefold() for name in spec.trained_on} & {s.name.casefold() for s in sets}
    if trained:
        told.append(
            f"{spec.name} was trained on {', '.join(sorted(trained))}: unless the images taken "
            "here were held out, their scores flatter it"
        )
    return told


def doubts_of_selection(select: Selection, sets: Sequence[str]) -> list[str]:
    """Whether a split was taken in part only."""
    absent = select.elsewhere(sets)
    return [f"the split names images of other data sets too: {', '.join(absent)}"] if absent else []
