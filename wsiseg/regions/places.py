"""The user's regions, on the slide they belong to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import shapely

from wsiseg.errors import ConfigurationError
from wsiseg.geometry import Frame

_CELL_TYPES = ("detection", "cell", "tile")
_SHOWN = 5


class Region(Protocol):
    """One of the user's regions, as an annotation of QuPath's is read."""

    @property
    def geometry(self) -> Any:
        """shapely geometry in QuPath's frame: level-0 pixels from the corner of the bounds."""
        ...

    @property
    def class_name(self) -> str | None:
        """Its class, if any."""
        ...

    @property
    def name(self) -> str | None:
        """Its name, if any."""
        ...

    @property
    def object_type(self) -> str:
        """QuPath's word: ``annotation``, ``detection`` ..."""
        ...


@dataclass(frozen=True, slots=True)
class Place:
    """A region on a slide.

    Attributes
    ----------
    name
        Its own name, or its class and number: never empty.
    class_name
        Its class, if any.
    geometry
        shapely Polygon or MultiPolygon in the slide's level-0 pixels, cut to the slide; empty
        where the region lies outside.
    drawn_mm2
        Area as drawn.
    area_mm2
        Area on the slide.
    """

    name: str
    class_name: str | None
    geometry: Any
    drawn_mm2: float
    area_mm2: float


@dataclass(frozen=True, slots=True)
class Placed:
    """All regions of a slide.

    Attributes
    ----------
    places
        In the order of the file.
    classes
        For every class, in order of its first region: the union of its regions, so that what
        lies in two of them counts once.
    warnings
        Sentences for the user.
    """

    places: tuple[Place, ...]
    classes: tuple[Place, ...]
    warnings: tuple[str, ...]


def place_regions(
    regions: Sequence[Region], level0: Frame, origin_px: tuple[int, int] = (0, 0)
) -> Placed:
    """Bring regions to the slide's frame and cut them to it.

    Parameters
    ----------
    regions
        As of ``wsiseg.export.regions.read_regions``: valid geometries in QuPath's frame.
    level0
        Level 0 of the slide.
    origin_px
        Level-0 position of QuPath's origin.

    Raises
    ------
    ConfigurationError
        If no region has an area, or none lies on the slide.
    """
    areal = [r for r in regions if shapely.area(r.geometry) > 0]
    kept = [r for r in areal if r.object_type not in _CELL_TYPES]
    warnings = _on_dropped(len(regions), len(areal), len(kept))
    if not kept:
        raise ConfigurationError(
            f"none of the {len(regions)} objects is a region: annotations with an area are wanted, "
            "not cells, points or lines"
        )
    mm2 = level0.mpp.pixel_area_um2 * 1e-6
    drawn = np.array([r.geometry for r in kept], object)
    moved = shapely.transform(drawn, lambda points: points + np.asarray(origin_px, np.float64))
    slide = shapely.box(0, 0, level0.size.width, level0.size.height)
    cut = np.array([_areal(g) for g in shapely.intersection(moved, slide)], object)
    names = _names(kept)
    places = tuple(
        Place(name, r.class_name, g, float(shapely.area(d)) * mm2, float(shapely.area(g)) * mm2)
        for name, r, g, d in zip(names, kept, cut, drawn, strict=True)
    )
    warnings += _on_place(places)
    if not any(place.area_mm2 > 0 for place in places):
        x0, y0, x1, y1 = shapely.total_bounds(moved)
        raise ConfigurationError(
            f"all {len(places)} regions lie outside the slide, which has {level0.size.width:,} x "
            f"{level0.size.height:,} px: they span x {x0:,.0f} to {x1:,.0f}, y {y0:,.0f} to "
            f"{y1:,.0f}; are they of another slide?"
        )
    return Placed(places, _unions(places, mm2), tuple(warnings))


def _areal(geometry: Any) -> Any:
    """The polygons of a geometry; cutting may leave lines where borders touch."""
    if shapely.get_type_id(geometry) in (
        shapely.GeometryType.POLYGON,
        shapely.GeometryType.MULTIPOLYGON,
    ):
        return geometry
    parts = shapely.get_parts(shapely.get_parts(geometry))
    polygons = parts[shapely.get_type_id(parts) == shapely.GeometryType.POLYGON]
    return shapely.union_all(polygons) if len(polygons) else shapely.Polygon()


def _names(regions: Sequence[Region]) -> list[str]:
    """Names that tell the regions apart: equal ones, and those of their class, are numbered."""
    plain = [r.name or r.class_name or "Region" for r in regions]
    often = Counter(plain)
    seen: Counter[str] = Counter()
    names = []
    for region, name in zip(regions, plain, strict=True):
        seen[name] += 1
        numbered = often[name] > 1 or not region.name
        names.append(f"{name} {seen[name]}" if numbered else name)
    return names


def _unions(places: Sequence[Place], mm2: float) -> tuple[Place, ...]:
    unions = []
    for kind in dict.fromkeys(p.class_name for p in places if p.class_name is not None):
        own = [p for p in places if p.class_name == kind]
        whole = _areal(shapely.union_all([p.geometry for p in own]))
        drawn = sum(p.drawn_mm2 for p in own)
        unions.append(Place(kind, kind, whole, drawn, float(shapely.area(whole)) * mm2))
    return tuple(unions)


def _on_dropped(all_: int, areal: int, kept: int) -> list[str]:
    found = []
    if areal < all_:
        found.append(f"{all_ - areal} of {all_} objects have no area (points, lines): ignored")
    if kept < areal:
        found.append(f"{areal - kept} of {all_} objects are cells or tiles, no regions: ignored")
    return found


def _on_place(places: Sequence[Place]) -> list[str]:
    outside = [p.name for p in places if p.area_mm2 == 0]
    partly = [p.name for p in places if 0 < p.area_mm2 < 0.999 * p.drawn_mm2]
    found = []
    if outside:
        found.append(f"outside the slide, hence empty: {_listed(outside)}")
    if partly:
        found.append(f"partly outside the slide and cut to it: {_listed(partly)}")
    tree = shapely.STRtree([p.geometry for p in places])
    geometries = np.array([p.geometry for p in places], object)
    first, second = tree.query(geometries, predicate="overlaps")
    pairs = int(np.count_nonzero(first < second))
    if pairs:
        found.append(
            f"{pairs} pairs of regions overlap: a cell in both counts in each of them, and once "
            "in their class"
        )
    return found


def _listed(names: Sequence[str]) -> str:
    rest = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + rest
