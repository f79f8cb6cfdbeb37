"""What the cells of a slide are like: distributions of features, shares of classes.

The table of cells is read a column at a time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from wsiseg.execution.results import Run
from wsiseg.export.units import measurement_name, unit_of
from wsiseg.features.registry import describe
from wsiseg.reporting.plots import Histogram, histogram
from wsiseg.scoring.cells import NO_CLASS

_FIRST = ("area_um2", "circularity")
_STAINS = re.compile(r"nucleus_.+_mean")
_LAST = ("nearest_1_um",)
_MOST_STAINS = 3
_QUANTILES = (5, 25, 50, 75, 95)
_TITLES = {"area_um2": "Nuclear area", "nearest_1_um": "Distance to the nearest nucleus"}
_PLAIN_COLOR = (64, 128, 255)


@dataclass(frozen=True, slots=True)
class Distribution:
    """One feature over the cells of a slide.

    Attributes
    ----------
    column, title, unit, definition
        The column, its name in words, its unit, and what it means.
    count, unknown
        Cells with a value, and those where it is not defined.
    quantiles
        5th, 25th, 50th, 75th and 95th percentile; NaN of no values.
    bins
        Histogram of the values.
    """

    column: str
    title: str
    unit: str
    definition: str
    count: int
    unknown: int
    quantiles: tuple[float, float, float, float, float]
    bins: Histogram

    @property
    def median(self) -> float:
        """The 50th percentile."""
        return self.quantiles[2]


@dataclass(frozen=True, slots=True)
class ClassShare:
    """How many cells have a class, and the colour ``(r, g, b)`` it is drawn in."""

    name: str
    color: tuple[int, int, int]
    count: int


def distributions(run: Run, slide: str) -> tuple[Distribution, ...]:
    """Area, circularity, the means of stains or channels in the nucleus, and the distance to the
    nearest nucleus, as far as they were measured.

    Raises
    ------
    StoreError
        If the table of cells was not written.
    """
    there = pq.read_schema(run.file(slide, "table")).names
    stains = [name for name in there if _STAINS.fullmatch(name) and name != "nucleus_od_sum_mean"]
    wanted = (*_FIRST, *stains[:_MOST_STAINS], *_LAST)
    return tuple(_distribution(run, slide, name) for name in wanted if name in there)


def class_shares(run: Run, slide: str) -> tuple[ClassShare, ...]:
    """The classes that cells have, the most frequent first.

    Raises
    ------
    StoreError
        If the table of cells was not written.
    """
    colors = table_colors(run, slide)
    column = run.cells(slide, ["class"])["class"].cast(pa.string()).fill_null(NO_CLASS)
    found = [
        ClassShare(name, colors.get(name, _PLAIN_COLOR), int(count))
        for name, count in ((e["values"], e["counts"]) for e in pc.value_counts(column).to_pylist())
    ]
    return tuple(sorted(found, key=lambda one: (-one.count, one.name)))


def table_colors(run: Run, slide: str) -> dict[str, tuple[int, int, int]]:
    """Colours of the classes as the table of cells states them; what it does not is left out."""
    metadata = pq.read_schema(run.file(slide, "table")).metadata or {}
    try:
        classes = orjson.loads(metadata.get(b"wsiseg", b"{}")).get("classes", [])
        return {str(c["name"]): _color(c["color"]) for c in classes}
    except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError, ValueError):
        return {}


def _color(value: list[int]) -> tuple[int, int, int]:
    red, green, blue = (min(max(int(part), 0), 255) for part in value)
    return red, green, blue


def _title(column: str, unit: str) -> str:
    return measurement_name(column).removesuffix(unit).strip().removeprefix("Nucleus: ")


def _distribution(run: Run, slide: str, column: str) -> Distribution:
    values = np.asarray(run.cells(slide, [column])[column].to_numpy(), np.float64)
    finite = values[np.isfinite(values)]
    known = describe(column)
    unit = unit_of(column)
    five = np.percentile(finite, _QUANTILES).tolist() if len(finite) else [np.nan] * 5
    return Distribution(
        column=column,
        title=_TITLES.get(column) or _title(column, unit),
        unit=unit.replace("^2", "²"),
        definition=known.definition if known is not None else "",
        count=len(finite),
        unknown=len(values) - len(finite),
        quantiles=(five[0], five[1], five[2], five[3], five[4]),
        bins=histogram(finite),
    )
