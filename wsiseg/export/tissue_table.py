"""Nuclei by class of tissue: how many, how densely, and the means of their features."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsiseg.cells.batch import CellBatch, CellSource
from wsiseg.files import writing
from wsiseg.tissue import TissueMask


@dataclass(frozen=True, slots=True)
class _Place:
    """A class of tissue, or all tissue together."""

    name: str
    counts: str
    area_mm2: float


def write_tissue_table(path: Path, source: CellSource, mask: TissueMask) -> None:
    """Write one line a class of tissue and one for all tissue, as comma-separated text.

    ``area_mm2`` of a class is that of the network's map; a nucleus belongs to the class under its
    centroid. ``nuclei_NAME`` counts those of a class of nuclei. ``mean_COLUMN`` and ``sd_COLUMN``
    (of all, not of a sample) leave out undefined values; without any the field is empty. Where
    tissue was found without a network there is one line alone.

    Raises
    ------
    StoreError
        If the file cannot be written.
    """
    kinds = source.info.classes
    places = _places(mask)
    nuclei = np.zeros((len(places), len(kinds)), np.int64)
    sums: dict[str, NDArray[np.float64]] = {}
    for part in range(len(source.extents)):
        batch = source.read(part)
        _add(batch, _owners(batch, source, mask), nuclei, sums)
    with writing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        names = [kind.name for kind in kinds]
        writer.writerow(
            ["tissue_class", "counts", "area_mm2", "nuclei", "nuclei_per_mm2"]
            + ([f"nuclei_{name}" for name in names] if len(names) > 1 else [])
            + [f"{word}_{name}" for name in sums for word in ("mean", "sd")]
        )
        for number, place in enumerate(places):
            total = int(nuclei[number].sum())
            dense = total / place.area_mm2 if place.area_mm2 > 0 else math.nan
            writer.writerow(
                [place.name, place.counts, f"{place.area_mm2:.6f}", total, _text(dense)]
                + ([int(n) for n in nuclei[number]] if len(names) > 1 else [])
                + [_text(v) for name in sums for v in _moments(sums[name][number])]
            )


def _places(mask: TissueMask) -> Sequence[_Place]:
    whole = _Place("(all tissue)", "tissue", mask.area_mm2())
    if mask.classes is None:
        return [whole]
    named = [
        _Place(entry.name, entry.counts, mask.classes.area_mm2(number))
        for number, entry in enumerate(mask.classes.classes)
    ]
    return [*named, whole]


def _owners(batch: CellBatch, source: CellSource, mask: TissueMask) -> NDArray[np.int16]:
    """The line of each cell's class; -1 for none."""
    if mask.classes is None:
        return np.full(len(batch), -1, np.int16)
    x, y = batch.centroids.T
    return mask.classes.at(x, y, source.info.level0)


def _add(
    batch: CellBatch,
    owners: NDArray[np.int16],
    nuclei: NDArray[np.int64],
    sums: dict[str, NDArray[np.float64]],
) -> None:
    lines = len(nuclei)
    known = owners >= 0
    np.add.at(nuclei, (owners[known], batch.class_index[known]), 1)
    nuclei[-1] += np.bincount(batch.class_index, minlength=nuclei.shape[1])
    for name, values in batch.features.items():
        own = sums.setdefault(name, np.zeros((lines, 3)))
        finite = np.isfinite(values)
        exact = values.astype(np.float64)
        for power in range(3):
            raised = exact[finite] ** power
            chosen = known[finite]
            own[:, power] += np.bincount(owners[finite][chosen], raised[chosen], minlength=lines)
            own[-1, power] += raised.sum()


def _moments(sums: NDArray[np.float64]) -> tuple[float, float]:
    """Mean and standard deviation from the sums of powers 0, 1 and 2."""
    count, total, squares = (float(v) for v in sums)
    if count == 0:
        return math.nan, math.nan
    mean = total / count
    return mean, math.sqrt(max(squares / count - mean**2, 0.0))


def _text(value: float) -> str:
    return f"{value:.7g}" if math.isfinite(value) else ""
