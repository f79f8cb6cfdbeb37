"""Edits of a slide's nuclei made in QuPath, matched by UUID with what was segmented."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import shapely
from numpy.typing import NDArray

from wsiseg.cells.batch import CellSource
from wsiseg.errors import ConfigurationError
from wsiseg.export.regions import Region

Kind = Literal["deleted", "reclassed", "reshaped", "added"]
KINDS: tuple[Kind, ...] = ("deleted", "reclassed", "reshaped", "added")

_MOVED_PX = 0.5
"""A corner of the outline's box that moved less is taken for rounding, not for an edit."""

_CHANGED_AREA = 0.01


@dataclass(frozen=True, slots=True)
class Edits:
    """What an annotator changed, one row an edit; a nucleus may be reclassed and reshaped.

    Attributes
    ----------
    kinds
        ``[n]`` words of :data:`KINDS`.
    uuids
        ``[n]`` text: of the segmented nucleus, or the added object's own.
    before, after
        ``[n]`` names of classes; ``""`` for none.
    outlines
        object ``[n]`` of shapely geometries in level-0 pixels of the slide; ``None`` where the
        outline is as segmented.
    known, confirmed, ignored
        How many nuclei were segmented, how many of them came back, and how many objects of the
        file are neither nuclei nor have an area (annotations, points).
    """

    kinds: NDArray[np.object_]
    uuids: NDArray[np.object_]
    before: NDArray[np.object_]
    after: NDArray[np.object_]
    outlines: NDArray[np.object_]
    known: int
    confirmed: int
    ignored: int

    def count(self, kind: Kind) -> int:
        """Number of edits of a kind."""
        return int((self.kinds == kind).sum())


def find_edits(source: CellSource, objects: Sequence[Region], *, partial: bool = False) -> Edits:
    """Compare the objects of a file with the cells of a slide.

    Detections and cells count as nuclei, known by their UUID; an unknown one was added. A known
    nucleus that is not in the file was deleted, unless the file is ``partial``: then it only
    shows what was changed or added.

    Parameters
    ----------
    source
        The cells as they were exported.
    objects
        Of the edited file, in QuPath's frame.

    Raises
    ------
    ConfigurationError
        If the file has no nucleus of this slide, or has one of them twice, or is not said to be
        partial and lacks more than half of the nuclei.
    """
    nuclei = [o for o in objects if o.object_type in ("detection", "cell") and _areal(o)]
    given = {o.uuid: place for place, o in enumerate(nuclei) if o.uuid is not None}
    if len(given) < sum(o.uuid is not None for o in nuclei):
        raise ConfigurationError("an object of the same id is in the file twice: export it anew")
    origin = np.array(source.info.origin_px)
    outlines = shapely.transform(
        np.array([o.geometry for o in nuclei], object), lambda points: points + origin
    )
    rows: list[tuple[str, str, str, str, object]] = []
    seen = np.zeros(len(nuclei), bool)
    for part in range(len(source.extents)):
        batch = source.read(part)
        names = [str(uuid.UUID(bytes=row.tobytes())) for row in batch.uuids]
        places = np.array([given.get(name, -1) for name in names], np.int64)
        back = places >= 0
        seen[places[back]] = True
        old = np.array([kind.name for kind in source.info.classes], object)[batch.class_index]
        if not partial:
            rows += [("deleted", names[k], old[k], "", None) for k in np.flatnonzero(~back)]
        chosen = np.flatnonzero(back)
        new = np.array([nuclei[k].class_name or "" for k in places[chosen]], object)
        rows += [
            ("reclassed", names[k], old[k], name, None)
            for k, name in zip(chosen, new, strict=True)
            if name != old[k]
        ]
        drawn = outlines[places[chosen]]
        moved = _differ(batch.polygons.take(chosen).to_shapely(), drawn)
        rows += [
            ("reshaped", names[chosen[k]], old[chosen[k]], new[k], drawn[k])
            for k in np.flatnonzero(moved)
        ]
    confirmed = int(seen.sum())
    _require_same_slide(source, confirmed, partial=partial)
    for k in np.flatnonzero(~seen):
        own = nuclei[k].uuid or str(uuid.uuid5(uuid.NAMESPACE_OID, outlines[k].wkb_hex))
        rows.append(("added", own, "", nuclei[k].class_name or "", outlines[k]))
    kinds, uuids, before, after, shapes = map(
        _objects, zip(*rows, strict=True) if rows else [()] * 5
    )
    return Edits(
        kinds,
        uuids,
        before,
        after,
        shapes,
        known=source.count,
        confirmed=confirmed,
        ignored=len(objects) - len(nuclei),
    )


def _areal(region: Region) -> bool:
    return region.geometry.geom_type in ("Polygon", "MultiPolygon")


def _objects(values: Sequence[object]) -> NDArray[np.object_]:
    # Filled one by one: numpy would take a list of geometries apart.
    column: NDArray[np.object_] = np.empty(len(values), object)
    for place, value in enumerate(values):
        column[place] = value
    return column


def _differ(old: NDArray[np.object_], new: NDArray[np.object_]) -> NDArray[np.bool_]:
    if not len(old):
        return np.zeros(0, bool)
    moved = np.abs(shapely.bounds(old) - shapely.bounds(new)).max(axis=1) > _MOVED_PX
    areas = shapely.area(old)
    return np.asarray(moved | (np.abs(areas - shapely.area(new)) > _CHANGED_AREA * areas), bool)


def _require_same_slide(source: CellSource, confirmed: int, *, partial: bool) -> None:
    name = source.info.slide
    if confirmed == 0 and source.count:
        raise ConfigurationError(
            f"no object of the file is a nucleus of {name}: it was exported for another slide, or "
            "the slide was segmented anew since, which gives nuclei new ids"
        )
    if not partial and confirmed < source.count / 2:
        raise ConfigurationError(
            f"the file has {confirmed:,} of the {source.count:,} nuclei of {name}; if only some "
            "objects were exported pass --partial, so that the others do not count as deleted"
        )
