"""The cells of a slide as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from wsiseg.errors import ConfigurationError
from wsiseg.execution.results import Run
from wsiseg.geometry import Frame
from wsiseg.statistics import Points

_PLAIN = ("centroid_x_px", "centroid_y_px", "class")
_WANTED = (
    "area_um2",
    "solidity",
    "elongation",
    "nucleus_haematoxylin_od_mean",
    "nucleus_dab_od_mean",
    "nucleus_eosin_od_mean",
    "ring_dab_od_mean",
    "nearest_1_um",
)
"""Columns that are read where they are there."""

NO_CLASS = "(no class)"
_SHOWN_CLASSES = 20


@dataclass(frozen=True, slots=True)
class SlideCells:
    """Cells of one slide.

    Attributes
    ----------
    x_px, y_px
        float64 ``[n]``, level-0 pixels.
    points
        The same in µm.
    class_index
        int64 ``[n]``: index in ``class_names``.
    class_names
        All classes that cells have.
    columns
        Features float64 ``[n]`` by name.
    unplaced
        Cells that were left out because their centroid is not finite.
    """

    x_px: NDArray[np.float64]
    y_px: NDArray[np.float64]
    points: Points
    class_index: NDArray[np.int64]
    class_names: tuple[str, ...]
    columns: dict[str, NDArray[np.float64]]
    unplaced: int

    def __len__(self) -> int:
        return len(self.x_px)

    def of_class(self, names: Sequence[str], meaning: str) -> NDArray[np.bool_]:
        """Which cells are of one of some classes, whatever the case: bool ``[n]``.

        Raises
        ------
        ConfigurationError
            If no cell has one of them; ``meaning`` says what they were named for.
        """
        wanted = {name.casefold() for name in names}
        there = {name.casefold() for name in self.class_names}
        if wanted - there and len(self):
            shown = ", ".join(self.class_names[:_SHOWN_CLASSES])
            more = len(self.class_names) - _SHOWN_CLASSES
            raise ConfigurationError(
                f"no cell has the class {', '.join(sorted(wanted - there))!s}, named as {meaning}; "
                f"the classes are {shown}{f' and {more} more' if more > 0 else ''}"
            )
        known = np.array([name.casefold() in wanted for name in self.class_names], np.bool_)
        return known[self.class_index] if len(known) else np.zeros(len(self), np.bool_)

    def counts(self, chosen: NDArray[np.int64]) -> dict[str, int]:
        """How many of some cells have each class; classes without a cell are left out."""
        held = np.bincount(self.class_index[chosen], minlength=len(self.class_names))
        return {n: int(c) for n, c in zip(self.class_names, held, strict=True) if c}


def read_cells(run: Run, slide: str, level0: Frame, extra: Sequence[str] = ()) -> SlideCells:
    """Read a slide's cells.

    Parameters
    ----------
    level0
        Level 0 of the slide.
    extra
        Further columns that must be there.

    Raises
    ------
    StoreError
        If the table of cells was not written.
    ConfigurationError
        If a column of ``extra`` is not there or holds no numbers.
    """
    there = pq.read_schema(run.file(slide, "table"))
    for name in extra:
        if name in there.names and not _is_number(there.field(name).type):
            raise ConfigurationError(f"the column {name} of {slide} holds no numbers")
    names = [name for name in _WANTED if name in there.names]
    table = run.cells(slide, [*_PLAIN, *dict.fromkeys([*names, *extra])])
    x, y = (np.asarray(table[name].to_numpy(), np.float64) for name in _PLAIN[:2])
    placed = np.isfinite(x) & np.isfinite(y)
    index, class_names = _classes(table["class"])
    return SlideCells(
        x[placed],
        y[placed],
        Points(x[placed] * level0.mpp.x, y[placed] * level0.mpp.y),
        index[placed],
        class_names,
        {
            name: np.asarray(table[name].to_numpy(), np.float64)[placed]
            for name in table.column_names
            if name not in _PLAIN
        },
        int(np.count_nonzero(~placed)),
    )


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))


def _classes(column: pa.ChunkedArray) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    text = column.cast(pa.string()).fill_null(NO_CLASS).combine_chunks()
    coded = text.dictionary_encode()
    if isinstance(coded, pa.ChunkedArray):
        coded = coded.combine_chunks()
    names = [str(name) for name in coded.dictionary.to_pylist()]
    order = np.argsort(np.array(names, dtype=str), kind="stable")
    place = np.empty(len(names), np.int64)
    place[order] = np.arange(len(names))
    codes = np.asarray(coded.indices.to_numpy(), np.int64)
    return place[codes], tuple(names[i] for i in order)
