"""The places that are scored: the whole slide, every region, all regions of a class."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wsiseg.geometry import Frame
from wsiseg.regions import (
    Area,
    Place,
    Placed,
    block_areas,
    density,
    find_members,
    tissue_areas,
    whole_tissue,
)
from wsiseg.scoring.cells import SlideCells
from wsiseg.statistics import Measure, Resampling, bootstrap
from wsiseg.statistics.blocks import ratio
from wsiseg.tissue import TissueMask

_MEANS = {
    "area_um2": "µm²",
    "solidity": "",
    "nucleus_haematoxylin_od_mean": "OD",
    "nucleus_dab_od_mean": "OD",
    "nucleus_eosin_od_mean": "OD",
}


@dataclass(frozen=True, slots=True)
class Scope:
    """A place and the cells in it.

    Attributes
    ----------
    kind
        The whole slide, one region, or all regions of a class.
    name
        Of the slide, region or class.
    class_name
        The region's class, if any.
    cells
        int64 ``[k]``: places of its cells, rising.
    drawn_mm2, area_mm2
        Area as drawn, and of that on the slide.
    area
        Its tissue, by blocks.
    """

    kind: Literal["slide", "region", "class"]
    name: str
    class_name: str | None
    cells: NDArray[np.int64]
    drawn_mm2: float
    area_mm2: float
    area: Area

    @property
    def tissue_mm2(self) -> float:
        """Its area of tissue."""
        return self.area.total_mm2


def slide_scope(
    name: str, cells: SlideCells, tissue: TissueMask, level0: Frame, block_um: float
) -> Scope:
    """The whole slide."""
    return Scope(
        "slide",
        name,
        None,
        np.arange(len(cells)),
        level0.area_mm2,
        level0.area_mm2,
        whole_tissue(tissue, block_um),
    )


def region_scopes(
    placed: Placed, cells: SlideCells, tissue: TissueMask, level0: Frame, block_um: float
) -> Iterator[Scope]:
    """Every region, then every class of regions."""
    yield from _scopes("region", placed.places, cells, tissue, level0, block_um)
    yield from _scopes("class", placed.classes, cells, tissue, level0, block_um)


def _scopes(
    kind: Literal["region", "class"],
    places: tuple[Place, ...],
    cells: SlideCells,
    tissue: TissueMask,
    level0: Frame,
    block_um: float,
) -> Iterator[Scope]:
    geometries = [place.geometry for place in places]
    members = find_members(geometries, cells.x_px, cells.y_px)
    areas = tissue_areas(geometries, tissue, level0)
    for number, place in enumerate(places):
        area = block_areas(place.geometry, tissue, level0, block_um, float(areas[number]))
        yield Scope(
            kind,
            place.name,
            place.class_name,
            members.of(number),
            place.drawn_mm2,
            place.area_mm2,
            area,
        )


def overview(scope: Scope, cells: SlideCells, resampling: Resampling) -> tuple[Measure, ...]:
    """Density and means of features of the cells of a place."""
    points = cells.points.take(scope.cells)
    found = [
        Measure(
            "cell_density", "1/mm²", density(points, scope.area, resampling), "cells by tissue area"
        )
    ]
    for name, unit in _MEANS.items():
        if name not in cells.columns:
            continue
        values = cells.columns[name][scope.cells]
        known = np.isfinite(values)
        sums = np.stack([values[known], np.ones(int(known.sum()))], axis=1)
        mean = bootstrap(points.take(known), sums, ratio, resampling)
        found.append(Measure(f"mean_{name}", unit, mean, f"mean of {name} over the cells"))
    return tuple(found)
