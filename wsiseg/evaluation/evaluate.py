"""``wsiseg evaluate`` from Python: what to compare in, an :class:`Evaluation` out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from wsiseg.errors import ConfigurationError
from wsiseg.evaluation.cases import Case, Compared, View, measure
from wsiseg.evaluation.doubts import (
    doubts_of_classes,
    doubts_of_model,
    doubts_of_numbers,
    doubts_of_selection,
)
from wsiseg.evaluation.gallery import COUNT
from wsiseg.evaluation.groups import DataSet, Described, GroupTable, Selection, tcga_patient
from wsiseg.evaluation.metrics import THRESHOLDS, check_thresholds, image_scores
from wsiseg.evaluation.pairs import (
    Classes,
    Item,
    MppRule,
    compare_labels,
    compare_model,
    data_items,
    label_items,
)
from wsiseg.evaluation.runs import class_names, compare_slides, slide_pairs
from wsiseg.evaluation.summary import (
    Settings,
    Stratum,
    Summary,
    agreement,
    by_class,
    by_seam,
    by_stratum,
    summarise,
)
from wsiseg.models.segmenter import Segmenter

Progress = Callable[[int, int, str], None]
"""Called with the number of images done, of all, and the name of the last one."""

DATASET = "dataset"
"""The stratum of the data set, where there are several."""


@dataclass(frozen=True)
class Options:
    """What all kinds of evaluation share.

    Attributes
    ----------
    select
        The images to take.
    groups
        CSV of groups and strata, see :class:`~wsiseg.evaluation.groups.GroupTable`.
    thresholds
        Of IoU, each from 0.5 to below 1; 0.5 is always among them.
    resamples, seed
        Of the bootstrap.
    classes
        Names of classes by their value in ``classes/``, in place of those in ``meta.json``.
    """

    select: Selection = field(default_factory=Selection)
    groups: Path | None = None
    thresholds: Sequence[float] = THRESHOLDS
    resamples: int = 2000
    seed: int = 0
    classes: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluation:
    """Every number of one evaluation.

    Attributes
    ----------
    truth, predicted
        What was compared, as JSON: names, digests, licences.
    settings
        Thresholds and bootstrap.
    cases
        The images.
    all
        All of them.
    strata
        By column.
    classes, seams, annotators
        See :mod:`~wsiseg.evaluation.summary`; empty where there is nothing to tell.
    worst
        Images of lowest F1, the worst first, where there are pixels to show.
    warnings
        Sentences.
    """

    truth: Mapping[str, Any]
    predicted: Mapping[str, Any]
    settings: Settings
    cases: tuple[Case, ...]
    all: Summary
    strata: Mapping[str, Stratum]
    classes: Mapping[str, Any]
    seams: Mapping[str, Any]
    annotators: Mapping[str, Any]
    worst: tuple[tuple[Case, View], ...]
    warnings: tuple[str, ...]


def evaluate_model(
    data: Sequence[Path],
    segmenter: Segmenter,
    options: Options,
    *,
    second: Path | None = None,
    mpp: MppRule = None,
    channel: str | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Segment the images of data folders and compare with their instance masks.

    Parameters
    ----------
    data
        Folders with ``images/`` and ``instances/``.
    segmenter
        From :func:`wsiseg.models.zoo.load_segmenter`.
    options
        What to take and how to tell it.
    second
        Folder of a second annotator's label images of some or all of the images.
    mpp
        For images for which no pixel size is stated.
    channel
        For a model of one channel, the channel of the images to read.
    progress
        Told of every image.

    Raises
    ------
    ConfigurationError
        If files are missing, unreadable or do not fit; the message names them.
    ModelError, ChannelError, ResolutionError
        If the model does not fit the images.
    """
    table = GroupTable.read(options.groups) if options.groups is not None else None
    items = data_items(data, options.select, table, second)
    sets = {data_set.name: data_set for data_set in map(DataSet.read, data)}
    used = [sets[name] for name in dict.fromkeys(item.dataset for item in items)]
    classes = _classes(used, items, options)
    spec = segmenter.spec
    warnings = [
        *doubts_of_selection(options.select, [*sets]),
        *doubts_of_classes(items, classes),
        *doubts_of_model(spec, used, items, classes, mpp),
    ]
    compared = compare_model(items, classes, segmenter, mpp, channel)
    predicted = {
        "kind": "model",
        "name": spec.name,
        "sha256": spec.sha256,
        "licence": spec.licence,
        "data_licence": spec.data_licence,
        "trained_on": list(spec.trained_on),
        "mpp": spec.mpp,
    }
    truth = {"kind": "data", "sets": [_set_facts(s, items) for s in used]}
    describe = _described_by(table, sets)
    return _evaluation(
        (truth, predicted), compared, len(items), describe, classes, options, warnings, progress
    )


def evaluate_labels(
    truth: Path,
    predicted: Path,
    options: Options,
    *,
    second: Path | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Compare two folders of label images: two annotators, or a method with the truth.

    Raises
    ------
    ConfigurationError
        If files are missing, unreadable or do not fit; the message names them.
    """
    table = GroupTable.read(options.groups) if options.groups is not None else None
    items = label_items(truth, predicted, options.select, second)
    data = DataSet.read(truth)
    classes = _classes([data], items, options)
    facts = {"kind": "labels", "sets": [_set_facts(data, items)]}
    theirs = {"kind": "labels", "name": predicted.resolve().name}
    describe = _described_by(table, {data.name: data})
    compared = compare_labels(items, classes)
    doubts = doubts_of_classes(items, classes)
    return _evaluation(
        (facts, theirs), compared, len(items), describe, classes, options, doubts, progress
    )


def evaluate_run(
    run: Path,
    against: Path,
    options: Options,
    *,
    within: Sequence[str] = (),
    progress: Progress | None = None,
) -> Evaluation:
    """Compare the slides of a run directory with another run, or with annotations.

    ``within`` names the class, or the annotations, that bound the areas in which the truth is
    known; each area then counts as one image, and objects are cut at its border.

    Raises
    ------
    ConfigurationError
        If slides have no counterpart or annotations do not fit; the message names them.
    StoreError
        If a run directory is missing or damaged.
    """
    table = GroupTable.read(options.groups) if options.groups is not None else None
    pairs = slide_pairs(run, against, options.select, within)
    names = class_names(pairs)
    classes = Classes(names)
    slide_of = {f"{p.name}/{area}": p.name for p in pairs for area in p.area_names}

    def describe(dataset: str, name: str) -> Described:
        slide = slide_of.get(name, name)
        if table is None:
            return Described(tcga_patient(slide) or slide)
        found = table.find(dataset, slide)
        return Described(found.group or slide, found.strata)

    truth = {
        "kind": "run" if against.is_dir() else "annotations",
        "name": against.resolve().name,
        "within": list(within),
        "slides": {p.name: _run_facts(p.truth) for p in pairs},
    }
    predicted = {
        "kind": "run",
        "name": run.resolve().name,
        "slides": {p.name: _run_facts(p.predicted) for p in pairs},
    }
    count = sum(len(p.area_names) or 1 for p in pairs)
    compared = compare_slides(pairs, classes)
    return _evaluation(
        (truth, predicted), compared, count, describe, classes, options, [], progress
    )


def _evaluation(
    sides: tuple[Mapping[str, Any], Mapping[str, Any]],
    compared: Iterator[Compared],
    count: int,
    describe: Callable[[str, str], Described],
    classes: Classes,
    options: Options,
    warnings: Sequence[str],
    progress: Progress | None,
) -> Evaluation:
    thresholds = check_thresholds(options.thresholds)
    settings = Settings(thresholds, options.resamples, options.seed)
    cases: list[Case] = []
    worst: list[tuple[Case, View]] = []
    ungrouped = 0
    for done, one in enumerate(compared, start=1):
        told = describe(one.dataset, one.name)
        ungrouped += told.group is None
        group = told.group if told.group is not None else one.name
        cases.append(measure(one, group, told.strata, thresholds, len(classes.names)))
        if one.view is not None:
            worst = _worst([*worst, (cases[-1], one.view)], thresholds)
        if progress is not None:
            progress(done, count, one.name)
    whole = summarise(cases, settings)
    return Evaluation(
        truth=sides[0],
        predicted=sides[1],
        settings=settings,
        cases=tuple(cases),
        all=whole,
        strata=_strata(cases, settings),
        classes=by_class(cases, classes.names, settings) if classes.names else {},
        seams=by_seam(cases, settings),
        annotators=agreement(cases, settings),
        worst=tuple(worst),
        warnings=(*warnings, *doubts_of_numbers(whole, ungrouped, cases)),
    )


def _worst(
    shown: Sequence[tuple[Case, View]], thresholds: Sequence[float]
) -> list[tuple[Case, View]]:
    def f1(one: tuple[Case, View]) -> float:
        value = float(image_scores(one[0].counts, thresholds)["f1@0.50"])
        return value if math.isfinite(value) else math.inf

    return sorted(shown, key=f1)[:COUNT]


def _strata(cases: Sequence[Case], settings: Settings) -> dict[str, Stratum]:
    """By every column with at least two levels, over the images that have it."""
    placed = [replace(case, strata={DATASET: case.dataset, **case.strata}) for case in cases]
    found = {}
    for column in sorted({name for case in placed for name in case.strata}):
        known = [case for case in placed if column in case.strata]
        if len({case.strata[column] for case in known}) > 1:
            found[column] = by_stratum(known, column, settings)
    return found


def _classes(sets: Sequence[DataSet], items: Sequence[Item], options: Options) -> Classes:
    """The classes of the truth, if any item has some."""
    if all(item.truth_classes is None for item in items):
        return Classes()
    if options.classes:
        return Classes.of(options.classes)
    named: dict[int, str] = {}
    for data in sets:
        for value, name in data.classes.items():
            if named.setdefault(value, name) != name:
                raise ConfigurationError(
                    f"class {value} is {named[value]!r} in one data set and {name!r} in "
                    f"{data.name}; evaluate them one by one, or name the classes with --class"
                )
    return Classes.of(named)


def _described_by(
    table: GroupTable | None, sets: Mapping[str, DataSet]
) -> Callable[[str, str], Described]:
    def describe(dataset: str, name: str) -> Described:
        known = sets[dataset].find(name)
        if table is None:
            return known
        stated = table.find(dataset, name)
        return Described(stated.group or known.group, {**known.strata, **stated.strata})

    return describe


def _set_facts(data: DataSet, items: Sequence[Item]) -> dict[str, Any]:
    return {
        "name": data.name,
        "images": sum(item.dataset == data.name for item in items),
        "licence": data.meta.get("licence_data"),
        "mpp": data.mpp,
    }


def _run_facts(outlines: Any) -> dict[str, Any]:
    info = getattr(outlines, "info", None)
    return dict(info.provenance) if info is not None else {"outlines": len(outlines.objects.ids)}
