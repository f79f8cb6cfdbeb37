"""Pairs of truth and prediction from folders of label images, or of images and a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wsiseg.errors import ConfigurationError
from wsiseg.evaluation.cases import Compared
from wsiseg.evaluation.gallery import view
from wsiseg.evaluation.groups import DataSet, GroupTable, Selection
from wsiseg.evaluation.labels import (
    PICTURE_SUFFIXES,
    image_files,
    read_labels,
    read_pixels,
    require_same_size,
)
from wsiseg.evaluation.matching import Overlaps, count_pairs, match
from wsiseg.evaluation.predict import mpp_of_nuclei, predict
from wsiseg.models.segmenter import Segmenter

MppRule = float | Literal["nuclei"] | None
"""Pixel size of images for which none is stated: a number, by their nuclei, or refused."""


@dataclass(frozen=True)
class Classes:
    """Names of classes and the numbers that stand for them.

    Attributes
    ----------
    names
        Class ``i + 1`` is ``names[i]``.
    numbers
        Class by its value in files.
    """

    names: tuple[str, ...] = ()
    numbers: Mapping[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, values: Mapping[int, str]) -> Classes:
        """Classes in the order of their values."""
        ordered = sorted(values)
        return cls(
            tuple(values[v] for v in ordered), {v: i for i, v in enumerate(ordered, start=1)}
        )

    def number(self, name: str) -> int:
        """The class of that name, whatever the case; 0 if there is none."""
        known = [other.casefold() for other in self.names]
        return known.index(name.casefold()) + 1 if name.casefold() in known else 0

    def from_values(self, values: NDArray[np.int64]) -> NDArray[np.int64]:
        """Classes ``[n]`` for values ``[n]`` in files; 0 for values without a name."""
        table = np.zeros(int(values.max(initial=0)) + 1, np.int64)
        for value, number in self.numbers.items():
            if value < len(table):
                table[value] = number
        return table[values]


@dataclass(frozen=True)
class Item:
    """The files of one image."""

    name: str
    dataset: str
    truth: Path
    truth_classes: Path | None = None
    image: Path | None = None
    predicted: Path | None = None
    predicted_classes: Path | None = None
    second: Path | None = None
    mpp: float | None = None


def data_items(
    folders: Sequence[Path],
    select: Selection,
    table: GroupTable | None,
    second: Path | None,
) -> list[Item]:
    """The images with instance masks of data folders: ``images/``, ``instances/`` and, where
    there are classes, ``classes/``, files of one image being named alike.

    Raises
    ------
    ConfigurationError
        If a file of an image is missing, or no image is left.
    """
    seconds = label_files(second) if second is not None else {}
    items: list[Item] = []
    for folder in folders:
        data = DataSet.read(folder)
        images, truths = (
            image_files(folder / "images", PICTURE_SUFFIXES),
            image_files(folder / "instances"),
        )
        select.require(data.name, images, folder)
        wanted = [name for name in images if select.takes(data.name, name)]
        _require_all(wanted, truths, folder / "instances", folder / "images")
        classes = _class_files(folder, wanted)
        for name in wanted:
            stated = table.find(data.name, name).mpp if table is not None else None
            items.append(
                Item(
                    name,
                    data.name,
                    truths[name],
                    classes.get(name),
                    image=images[name],
                    second=seconds.get(name),
                    mpp=stated if stated is not None else data.mpp,
                )
            )
    _require_any(items, folders)
    _require_unique(items)
    if second is not None and all(item.second is None for item in items):
        raise ConfigurationError(f"{second} holds a label image of none of the images")
    return items


def label_items(truth: Path, predicted: Path, select: Selection, second: Path | None) -> list[Item]:
    """Label images of two folders that are named alike.

    A folder holds the images itself, or in ``instances/`` with classes beside in ``classes/``.

    Raises
    ------
    ConfigurationError
        If an image is in one folder only, or none is left.
    """
    dataset = truth.resolve().name
    truths, predictions = label_files(truth), label_files(predicted)
    seconds = label_files(second) if second is not None else {}
    wanted = [name for name in truths if select.takes(dataset, name)]
    theirs = [name for name in predictions if select.takes(dataset, name)]
    _require_all(wanted, predictions, predicted, truth)
    _require_all(theirs, truths, truth, predicted)
    truth_classes, predicted_classes = _class_files(truth, wanted), _class_files(predicted, wanted)
    items = [
        Item(
            name,
            dataset,
            truths[name],
            truth_classes.get(name),
            predicted=predictions[name],
            predicted_classes=predicted_classes.get(name),
            second=seconds.get(name),
        )
        for name in wanted
    ]
    _require_any(items, [truth])
    return items


def label_files(folder: Path) -> dict[str, Path]:
    """The label images of a folder, or of its ``instances/``, by name."""
    inner = folder / "instances"
    files = image_files(inner if inner.is_dir() else folder)
    if not files:
        raise ConfigurationError(f"{folder} holds no label images (.png, .tif, .npy)")
    return files


def compare_labels(items: Sequence[Item], classes: Classes) -> Iterator[Compared]:
    """Compare the two label images of every item."""
    for item in items:
        assert item.predicted is not None  # noqa: S101 - label_items() saw to it
        truth, predicted = read_labels(item.truth), read_labels(item.predicted)
        require_same_size({item.truth: truth.shape, item.predicted: predicted.shape})
        overlaps = match(truth, predicted)
        predicted_class = None
        if item.predicted_classes is not None:
            values = _class_values(predicted, overlaps.predicted_labels, item.predicted_classes)
            predicted_class = classes.from_values(values)
        yield _compared(item, truth, predicted, overlaps, classes, predicted_class, {})


def compare_model(
    items: Sequence[Item],
    classes: Classes,
    segmenter: Segmenter,
    mpp: MppRule,
    channel: str | None = None,
) -> Iterator[Compared]:
    """Segment the image of every item and compare what comes out with its truth.

    Raises
    ------
    ConfigurationError
        If an image has no pixel size, or files differ in size.
    """
    numbers = np.array([classes.number(c.name) for c in segmenter.spec.classes], np.int64)
    for item in items:
        assert item.image is not None  # noqa: S101 - data_items() saw to it
        pixels, truth = read_pixels(item.image), read_labels(item.truth)
        require_same_size({item.image: pixels.shape, item.truth: truth.shape})
        size_um, source = _mpp_of(item, item.image, truth, mpp)
        found = predict(segmenter, pixels, size_um, item.image.name, channel)
        overlaps = match(truth, found.labels)
        predicted_class = None
        if numbers.any():
            indices = found.class_index[overlaps.predicted_labels.astype(np.int64) - 1]
            predicted_class = numbers[indices]
        facts: dict[str, str | float] = {"mpp": round(size_um, 6), "mpp_source": source}
        one = _compared(item, truth, found.labels, overlaps, classes, predicted_class, facts)
        yield replace(one, view=view(pixels, truth, found.labels, overlaps))


def _compared(
    item: Item,
    truth: NDArray[np.uint32],
    predicted: NDArray[np.uint32],
    overlaps: Overlaps,
    classes: Classes,
    predicted_class: NDArray[np.int64] | None,
    facts: Mapping[str, str | float],
) -> Compared:
    truth_class, annotators, crossed = None, None, None
    if item.truth_classes is not None:
        values = _class_values(truth, overlaps.truth_labels, item.truth_classes)
        truth_class = classes.from_values(values)
    if item.second is not None:
        second = read_labels(item.second)
        require_same_size({item.truth: truth.shape, item.second: second.shape})
        annotators, crossed = match(truth, second), match(second, predicted)
    return Compared(
        item.name,
        item.dataset,
        overlaps,
        truth_class,
        predicted_class,
        annotators=annotators,
        predicted_by_second=crossed,
        facts=facts,
    )


def _class_values(
    labels: NDArray[np.uint32], present: NDArray[np.uint32], path: Path
) -> NDArray[np.int64]:
    """The value of ``classes/`` that most pixels of every object carry."""
    values = read_labels(path)
    require_same_size({path: values.shape, Path("its instances"): labels.shape})
    return count_pairs(labels, values).majority(present)


def _mpp_of(item: Item, image: Path, truth: NDArray[np.uint32], rule: MppRule) -> tuple[float, str]:
    if item.mpp is not None:
        return item.mpp, "stated with the data"
    if isinstance(rule, float):
        return rule, "stated for all"
    if rule == "nuclei":
        told = mpp_of_nuclei(truth)
        if told is None:
            raise ConfigurationError(
                f"{item.truth} shows no nucleus to take the pixel size of {image.name} from; "
                "state it in a column mpp of --groups, or leave the image out (--only)"
            )
        return told, "median nucleus of the truth"
    raise ConfigurationError(
        f"{image}: nobody states its pixel size; give it in meta.json, in a column mpp of "
        "--groups, or with --mpp (a number in µm/px, or 'nuclei' to take it from the size of the "
        "true nuclei)"
    )


def _class_files(folder: Path, names: Sequence[str]) -> dict[str, Path]:
    place = folder / "classes"
    if not place.is_dir():
        return {}
    files = image_files(place)
    _require_all(names, files, place, folder)
    return files


def _require_all(
    names: Sequence[str], there: Mapping[str, Path], folder: Path, other: Path
) -> None:
    missing = [name for name in names if name not in there]
    if missing:
        shown = ", ".join(missing[:5]) + (" ..." if len(missing) > 5 else "")
        raise ConfigurationError(
            f"{folder} lacks {len(missing)} of the {len(names)} images of {other}: {shown}"
        )


def _require_any(items: Sequence[Item], folders: Sequence[Path]) -> None:
    if not items:
        places = ", ".join(map(str, folders))
        raise ConfigurationError(
            f"no image is left to evaluate in {places}; check the folders, --only and --split"
        )


def _require_unique(items: Sequence[Item]) -> None:
    seen: set[tuple[str, str]] = set()
    for item in items:
        if (item.dataset, item.name) in seen:
            raise ConfigurationError(
                f"two data folders are named {item.dataset!r}; rename one, names tell them apart"
            )
        seen.add((item.dataset, item.name))
