"""Polygons that every reader accepts: broken ones are mended or named as lost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from wsiseg.cells.polygons import Polygons
from wsiseg.cells.simple import plainly_valid
from wsiseg.geometry import HUNDREDTHS


@dataclass(frozen=True, slots=True)
class Sound:
    """Valid polygons and what it took to have them.

    Attributes
    ----------
    polygons
        The polygons that are valid or could be mended, in their order.
    kept
        int64 ``[n]``: the index of each among those given.
    mended
        How many of them were mended.
    """

    polygons: Polygons
    kept: NDArray[np.int64]
    mended: int


def sound(polygons: Polygons) -> Sound:
    """The polygons, each valid in the sense of OGC simple features once divided by 100.

    An invalid polygon (a bow-tie, a spike, a hole outside its shell) is replaced by the largest
    polygon of its valid form, on the same lattice of hundredths; one that has none is left out,
    and so is one without a shell of three vertices. Holes of fewer are dropped.
    """
    rings = np.diff(polygons.ring_offsets)
    if len(polygons) and (rings.min(initial=3) < 3 or np.diff(polygons.polygon_offsets).min() < 1):
        whole, kept, trimmed = _without_stubs(polygons, rings >= 3)
    else:
        whole, kept, trimmed = polygons, np.arange(len(polygons)), np.zeros(len(polygons), bool)
    doubtful = np.flatnonzero(~(plainly_valid(whole) if whole.plain is None else whole.plain))
    geometries = whole.take(doubtful).to_shapely()
    invalid = ~shapely.is_valid(geometries)
    if not invalid.any():
        return Sound(whole, kept, int(trimmed.sum()))
    broken = doubtful[invalid]
    mended, owner = _largest_parts(*polygon_parts(on_lattice(geometries[invalid])))
    # Dividing by 100 rounds; a mended polygon must be valid in that form too.
    fine = shapely.is_valid(mended.to_shapely())
    position = np.arange(len(whole))
    position[broken] = -1
    position[broken[owner[fine]]] = len(whole) + np.flatnonzero(fine)
    trimmed[broken[owner[fine]]] = True
    stays = position >= 0
    joined = Polygons.concatenate([whole, mended]).take(position[stays])
    return Sound(joined, kept[stays], int(trimmed[stays].sum()))


def on_lattice(
    geometries: NDArray[np.object_], origin_px: tuple[int, int] = (0, 0)
) -> NDArray[np.object_]:
    """Geometries in pixels as whole hundredths of a pixel, counted from ``origin_px``."""
    origin = np.asarray(origin_px, np.float64)
    moved: NDArray[np.object_] = shapely.transform(
        geometries, lambda points: np.rint((points - origin) * HUNDREDTHS)
    )
    return moved


def polygon_parts(
    geometries: NDArray[np.object_],
) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    """The valid polygons that geometries on the lattice consist of, and whose part each is.

    Lines and points, as spikes leave them behind, are dropped; vertices stay whole numbers.
    """
    snapped = shapely.set_precision(shapely.make_valid(geometries), 1.0)
    parts, owner = shapely.get_parts(snapped, return_index=True)
    # A collection may hold a MultiPolygon.
    parts, inner = shapely.get_parts(parts, return_index=True)
    areal = (shapely.get_type_id(parts) == shapely.GeometryType.POLYGON) & ~shapely.is_empty(parts)
    return parts[areal], owner[inner][areal]


def from_lattice(parts: NDArray[np.object_]) -> Polygons:
    """Shapely polygons whose coordinates are whole hundredths as :class:`Polygons`."""
    if not len(parts):
        return Polygons.empty()
    _, points, (ring_offsets, polygon_offsets) = shapely.to_ragged_array(parts)
    opened = np.ones(len(points), bool)
    opened[ring_offsets[1:] - 1] = False
    return Polygons(
        np.rint(points[opened]).astype(np.int32),
        ring_offsets.astype(np.int64) - np.arange(len(ring_offsets)),
        polygon_offsets.astype(np.int64),
    )


def _largest_parts(
    parts: NDArray[np.object_], owner: NDArray[np.int64]
) -> tuple[Polygons, NDArray[np.int64]]:
    order = np.lexsort((np.arange(len(parts)), -shapely.area(parts), owner))
    owners, first = np.unique(owner[order], return_index=True)
    return from_lattice(parts[order[first]]), owners


def _without_stubs(
    polygons: Polygons, whole_ring: NDArray[np.bool_]
) -> tuple[Polygons, NDArray[np.int64], NDArray[np.bool_]]:
    """The polygons without rings that enclose nothing: they, their indices, which lost holes."""
    counts = np.diff(polygons.polygon_offsets)
    kept = np.flatnonzero(counts > 0)
    kept = kept[whole_ring[polygons.polygon_offsets[kept]]]
    chosen = polygons.take(kept)
    sizes = np.diff(chosen.ring_offsets)
    owner = np.repeat(np.arange(len(kept)), np.diff(chosen.polygon_offsets))
    stays = sizes >= 3
    rings = np.bincount(owner[stays], minlength=len(kept))
    trimmed = rings < np.diff(chosen.polygon_offsets)
    return (
        Polygons(
            chosen.vertices[np.repeat(stays, sizes)],
            np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes[stays])]),
            np.concatenate([np.zeros(1, np.int64), np.cumsum(rings)]),
        ),
        kept,
        trimmed,
    )
