"""Regions, in and out: tissue as locked annotations of QuPath, and the user's own annotations."""

from __future__ import annotations

import gzip
import uuid
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import shapely
from numpy.typing import NDArray
from shapely.geometry import mapping, shape

from wsiseg.cells.batch import CellsInfo
from wsiseg.errors import ConfigurationError
from wsiseg.export.validity import from_lattice, on_lattice, polygon_parts
from wsiseg.files import writing

_MAX_BYTES = 512 << 20
# Vertices become int32 hundredths of a pixel further on, after a shift to the slide's corner.
_FARTHEST_PX = 20_000_000
_AREAL = ("Polygon", "MultiPolygon")
_WITHOUT_AREA = ("Point", "MultiPoint", "LineString", "MultiLineString")
_NAMESPACE = uuid.UUID("6f0d8f0c-3a53-5d0c-9f0e-5a1c4c3c9a57")


@dataclass(frozen=True, slots=True)
class Region:
    """One object of a GeoJSON file.

    Attributes
    ----------
    name
        The object's own name, ``None`` without.
    class_name
        Name of its class, derived ones as ``"Tumor: Positive"``; ``None`` without.
    object_type
        QuPath's word: ``annotation``, ``detection`` ...
    geometry
        A shapely geometry in level-0 pixels of QuPath's frame: add ``CellsInfo.origin_px`` to
        be in the slide's. A valid Polygon or MultiPolygon with an area, or points or lines,
        which have none.
    uuid
        The object's id as QuPath keeps it, ``None`` without.
    """

    name: str | None
    class_name: str | None
    object_type: str
    geometry: Any
    uuid: str | None = None


def write_tissue_geojson(
    path: Path,
    polygons: Iterable[Any],
    info: CellsInfo,
    *,
    class_name: str = "Tissue",
    color: tuple[int, int, int] = (120, 90, 160),
    names: Sequence[str] | None = None,
) -> int:
    """Write regions as locked annotations of QuPath, whole or not at all.

    Every region is cut into its valid polygons on the lattice of hundredths of a pixel; each
    becomes an annotation with an id that depends on slide, class, place and shape only.

    Parameters
    ----------
    path
        Compressed if it ends in ``.gz``.
    polygons
        shapely Polygons or MultiPolygons in level-0 pixels, holes allowed.
    info
        Of the slide; its ``origin_px`` is subtracted.
    class_name, color
        Of all of them.
    names
        One for each of ``polygons``.

    Returns
    -------
    The number of annotations written.

    Raises
    ------
    StoreError
        If the file cannot be written.
    """
    features = _annotations(polygons, info, class_name, color, names)
    _write_features(path, features)
    return len(features)


@dataclass(frozen=True, slots=True)
class ClassRegions:
    """All regions of one class: shapely Polygons or MultiPolygons in level-0 pixels."""

    class_name: str
    color: tuple[int, int, int]
    polygons: Sequence[Any]


def write_classes_geojson(path: Path, groups: Iterable[ClassRegions], info: CellsInfo) -> int:
    """Write regions of several classes, as :func:`write_tissue_geojson` those of one.

    Returns
    -------
    The number of annotations written.

    Raises
    ------
    StoreError
        If the file cannot be written.
    """
    features = [
        feature
        for group in groups
        for feature in _annotations(group.polygons, info, group.class_name, group.color, None)
    ]
    _write_features(path, features)
    return len(features)


def _annotations(
    polygons: Iterable[Any],
    info: CellsInfo,
    class_name: str,
    color: tuple[int, int, int],
    names: Sequence[str] | None,
) -> list[dict[str, object]]:
    given = np.asarray(list(polygons), object)
    parts, owner = polygon_parts(on_lattice(given, info.origin_px))
    drawn = from_lattice(parts).to_shapely()
    fine = shapely.is_valid(drawn)
    features: list[dict[str, object]] = []
    for number, (polygon, whose) in enumerate(zip(drawn[fine], owner[fine], strict=True)):
        properties: dict[str, object] = {
            "objectType": "annotation",
            "classification": {"name": class_name, "color": list(color)},
            "isLocked": True,
        }
        if names is not None:
            properties["name"] = names[whose]
        key = f"{info.slide}/{class_name}/{number}/{polygon.wkb_hex}"
        features.append(
            {
                "type": "Feature",
                "id": str(uuid.uuid5(_NAMESPACE, key)),
                "geometry": mapping(polygon),
                "properties": properties,
            }
        )
    return features


def _write_features(path: Path, features: Sequence[Mapping[str, object]]) -> None:
    text = orjson.dumps({"type": "FeatureCollection", "features": features})
    with writing(path) as temporary:
        temporary.write_bytes(gzip.compress(text, mtime=0) if path.suffix == ".gz" else text)


def read_regions(path: Path) -> list[Region]:
    """The objects of a GeoJSON file as QuPath writes it: ``.geojson``, ``.json``, or ``.gz``.

    A FeatureCollection, a list of features, one feature or one bare geometry. An outline that
    crosses itself, as those drawn by hand do, is replaced by all that it encloses. Points and
    lines are read too, so that they do not make a file unusable.

    Raises
    ------
    ConfigurationError
        If the file cannot be read, holds more than 512 MB of text, is not GeoJSON, or one of its
        features is neither area, point nor line, encloses no area, or has coordinates that are
        not finite or beyond 20 million pixels; the message names the file and the feature.
    """
    try:
        document = orjson.loads(_bounded_text(path))
    except orjson.JSONDecodeError as error:
        raise ConfigurationError(f"{path} is not valid JSON: {error}") from error
    features = _features(document, path)
    regions = [
        _region(feature, f"{path}, feature {number}")
        for number, feature in enumerate(features, start=1)
    ]
    sound = _sound([region.geometry for region in regions], path)
    return [
        replace(region, geometry=geometry) for region, geometry in zip(regions, sound, strict=True)
    ]


def _bounded_text(path: Path) -> bytes:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            text = file.read(_MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigurationError(f"cannot read {path}: {reason}") from error
    if len(text) > _MAX_BYTES:
        raise ConfigurationError(
            f"{path} holds more than {_MAX_BYTES >> 20} MB of text; export only the regions from "
            "QuPath, not the cells"
        )
    return text


def _features(document: object, path: Path) -> list[object]:
    if isinstance(document, dict) and document.get("type") == "FeatureCollection":
        document = document.get("features")
    elif isinstance(document, dict):
        return [document]
    if not isinstance(document, list):
        raise ConfigurationError(
            f"{path} is not GeoJSON: expected a FeatureCollection, a list of features or a feature"
        )
    return document


def _region(feature: object, where: str) -> Region:
    if not isinstance(feature, dict):
        raise ConfigurationError(f"{where} is no GeoJSON feature")
    bare = feature.get("type") != "Feature"
    properties = {} if bare else feature.get("properties") or {}
    if not isinstance(properties, dict):
        raise ConfigurationError(f"{where}: its properties are no object")
    name = properties.get("name")
    kind = properties.get("objectType", properties.get("object_type", "annotation"))
    return Region(
        uuid=None if bare else _uuid(feature.get("id")),
        name=name if isinstance(name, str) else None,
        class_name=_class_name(properties.get("classification"), where),
        object_type=kind if isinstance(kind, str) else "annotation",
        geometry=_geometry(feature if bare else feature.get("geometry"), where),
    )


def _uuid(value: object) -> str | None:
    try:
        return str(uuid.UUID(value)) if isinstance(value, str) else None
    except ValueError:
        return None


def _class_name(classification: object, where: str) -> str | None:
    if classification is None or isinstance(classification, str):
        return classification
    if isinstance(classification, dict):
        if isinstance(classification.get("name"), str):
            return str(classification["name"])
        names = classification.get("names")
        if isinstance(names, list) and all(isinstance(name, str) for name in names):
            return ": ".join(names)
    raise ConfigurationError(f"{where}: its classification is neither a name nor has one")


def _geometry(value: object, where: str) -> Any:
    kind = value.get("type") if isinstance(value, dict) else None
    if kind not in (*_AREAL, *_WITHOUT_AREA):
        raise ConfigurationError(
            f"{where} is {'a ' + str(kind) if kind else 'without a geometry'}; only polygons, "
            "points and lines are read, so remove it or leave it out of the export"
        )
    try:
        return shape(value)
    except (shapely.errors.ShapelyError, ValueError, TypeError, LookupError) as error:
        raise ConfigurationError(f"{where}: its coordinates make no {kind}: {error}") from error


def _sound(given: Sequence[Any], path: Path) -> NDArray[np.object_]:
    """The geometries in two dimensions and valid; refuses those that cannot be."""
    geometries: NDArray[np.object_] = shapely.force_2d(np.asarray(given, object))
    points, owner = shapely.get_coordinates(geometries, return_index=True)
    _refuse(path, owner[~np.isfinite(points).all(axis=1)], "has coordinates that are not finite")
    _refuse(
        path,
        owner[(np.abs(points) > _FARTHEST_PX).any(axis=1)],
        f"has coordinates beyond {_FARTHEST_PX:,}, larger than any slide; they count pixels of "
        "full resolution",
    )
    broken = ~shapely.is_valid(geometries)
    # By structure a part drawn over twice stays inside, by line work it would be a hole.
    geometries[broken] = shapely.make_valid(
        geometries[broken], method="structure", keep_collapsed=False
    )
    _refuse(path, np.flatnonzero(shapely.is_empty(geometries)), "encloses no area")
    return geometries


def _refuse(path: Path, features: NDArray[np.integer[Any]], why: str) -> None:
    if len(features):
        raise ConfigurationError(f"{path}, feature {features[0] + 1} {why}")
