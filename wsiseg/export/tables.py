"""Nuclei as GeoParquet 1.1 (https://geoparquet.org/releases/v1.1.0/), streamed."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from wsiseg.cells.batch import CellBatch, CellsInfo, CellSource
from wsiseg.cells.polygons import Polygons
from wsiseg.export._text import UUID_LENGTH, polygons_wkb, uuid_text
from wsiseg.export.units import unit_of
from wsiseg.export.validity import sound
from wsiseg.features.registry import dictionary
from wsiseg.files import writing
from wsiseg.geometry import HUNDREDTHS, Frame
from wsiseg.store.parquet import arrow_column, text_column

_ROW_GROUP = 1 << 15
_ZSTD_LEVEL = 1
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_UNITS = {"centroid_x_px": "px", "centroid_y_px": "px", "geometry": "px", "bbox": "px"}


def write_cells_parquet(path: Path, source: CellSource) -> None:
    """Write the table of nuclei, one row each, whole or not at all.

    Columns: ``id`` (uint32, the label value), ``uuid`` (text), ``geometry`` (WKB polygon in
    level-0 pixels of the slide, not shifted into QuPath's frame), ``centroid_x_px``,
    ``centroid_y_px``, ``class`` (dictionary), ``probability``, ``truncated``, the features
    (float32) and ``bbox``, the covering of GeoParquet. An outline that cannot be made valid is
    null. The key ``wsiseg`` of the file's metadata holds, as JSON, slide, pixel sizes, QuPath's
    origin, classes, units, provenance, and what the user told about the slide.

    Raises
    ------
    StoreError
        If the file cannot be written.
    """
    bounds = Bounds()
    with writing(path) as temporary:
        groups = cell_tables(source, bounds)
        first = next(groups)
        with pq.ParquetWriter(
            temporary,
            first.schema,
            compression="zstd",
            compression_level=_ZSTD_LEVEL,
            use_dictionary=["class"],
            store_schema=False,
        ) as writer:
            writer.write_table(first)
            for table in groups:
                writer.write_table(table)
            columns = [name for name in first.column_names if name not in _UNITS]
            metadata = {
                b"geo": orjson.dumps(bounds.metadata()),
                b"wsiseg": orjson.dumps(slide_description(source.info, columns)),
            }
            # Arrow reads a schema's metadata from this copy of the schema, which it would write
            # at the start, when the bounds are not yet known.
            schema = first.schema.with_metadata(metadata).serialize().to_pybytes()
            metadata[b"ARROW:schema"] = base64.b64encode(schema)
            writer.add_key_value_metadata(metadata)


class Bounds:
    """The box of all outlines so far, in level-0 hundredths."""

    def __init__(self) -> None:
        self._low = np.full(2, np.iinfo(np.int64).max)
        self._high = np.full(2, np.iinfo(np.int64).min)

    def add(self, boxes: NDArray[np.int32]) -> None:
        if len(boxes):
            self._low = np.minimum(self._low, boxes[:, :2].min(axis=0))
            self._high = np.maximum(self._high, boxes[:, 2:].max(axis=0))

    def metadata(self) -> dict[str, object]:
        """The value of GeoParquet's metadata key ``geo``."""
        column: dict[str, object] = {
            "encoding": "WKB",
            "geometry_types": ["Polygon"],
            # Without this member readers take the pixels for longitude and latitude.
            "crs": None,
            "edges": "planar",
            "covering": {"bbox": {corner: ["bbox", corner] for corner in _CORNERS}},
        }
        if (self._low <= self._high).all():
            box = np.concatenate([self._low, self._high]) / HUNDREDTHS
            column["bbox"] = box.tolist()
        return {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}


def cell_tables(source: CellSource, bounds: Bounds | None = None) -> Iterator[pa.Table]:
    """The table of nuclei in pieces of a row group or more, at least one, empty without nuclei.

    Columns as in :func:`write_cells_parquet`; ``bounds`` are widened by the outlines.
    """
    bounds = bounds or Bounds()
    groups = _row_groups(_tables(source, bounds))
    first = next(groups, None)
    yield _table(_no_cells(), source.info, bounds) if first is None else first
    yield from groups


def geo_metadata(bounds: Bounds | None = None) -> dict[str, object]:
    """The value of GeoParquet's metadata key ``geo`` for outlines in pixels."""
    return (bounds or Bounds()).metadata()


def _tables(source: CellSource, bounds: Bounds) -> Iterator[pa.Table]:
    for part in range(len(source.extents)):
        batch = source.read(part)
        for start in range(0, max(len(batch), 1), _ROW_GROUP):
            stop = min(start + _ROW_GROUP, len(batch))
            whole = stop - start == len(batch)
            chunk = batch if whole else batch.take(np.arange(start, stop))
            yield _table(chunk, source.info, bounds)


def _row_groups(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The tables joined until each has at least a row group's rows, the last as it comes."""
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        if sum(len(member) for member in waiting) >= _ROW_GROUP:
            yield pa.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting)


def _table(batch: CellBatch, info: CellsInfo, bounds: Bounds) -> pa.Table:
    checked = sound(batch.polygons)
    boxes = checked.polygons.bounds()
    bounds.add(boxes)
    wkb, offsets = polygons_wkb(checked.polygons)
    geometry = pa.BinaryArray.from_buffers(
        pa.binary(), len(boxes), [None, pa.py_buffer(offsets), pa.py_buffer(wkb)]
    )
    corners = [arrow_column(column) for column in (boxes / HUNDREDTHS).T]
    covering = pa.StructArray.from_arrays(corners, list(_CORNERS))
    if len(boxes) < len(batch):
        rows = np.full(len(batch), -1)
        rows[checked.kept] = np.arange(len(boxes))
        place = pa.array(rows, mask=rows < 0)
        geometry, covering = geometry.take(place), covering.take(place)
    columns = {
        "id": arrow_column(batch.ids),
        "uuid": _uuid_column(batch.uuids),
        "geometry": geometry,
        "centroid_x_px": arrow_column(batch.centroids[:, 0]),
        "centroid_y_px": arrow_column(batch.centroids[:, 1]),
        "class": pa.DictionaryArray.from_arrays(
            arrow_column(batch.class_index),
            text_column([kind.name for kind in info.classes]),
        ),
        "probability": arrow_column(batch.probabilities),
        "truncated": arrow_column(batch.truncated),
        **{name: arrow_column(values) for name, values in batch.features.items()},
        "bbox": covering,
    }
    return pa.table(columns)


def _uuid_column(uuids: NDArray[np.uint8]) -> pa.Array:
    offsets = np.arange(0, UUID_LENGTH * (len(uuids) + 1), UUID_LENGTH, dtype=np.int32)
    text = uuid_text(uuids)
    return pa.StringArray.from_buffers(len(uuids), pa.py_buffer(offsets), pa.py_buffer(text))


def _no_cells() -> CellBatch:
    return CellBatch(
        ids=np.empty(0, np.uint32),
        uuids=np.empty((0, 16), np.uint8),
        polygons=Polygons.empty(),
        centroids=np.empty((0, 2), np.float64),
        class_index=np.empty(0, np.uint8),
        probabilities=np.empty(0, np.float32),
        truncated=np.empty(0, bool),
        features={},
    )


def slide_description(info: CellsInfo, columns: Iterable[str]) -> dict[str, object]:
    """Slide, pixel sizes, classes, units, what every feature means, and provenance: the value
    of the metadata key ``wsiseg``."""
    columns = tuple(columns)
    units = {name: unit_of(name) for name in columns}
    return {
        "slide": info.slide,
        "level0": _frame(info.level0),
        "frame": _frame(info.frame),
        "origin_px": list(info.origin_px),
        "classes": [{"name": kind.name, "color": list(kind.color)} for kind in info.classes],
        "features": dictionary(columns),
        "units": _UNITS | {name: unit for name, unit in units.items() if unit},
        "provenance": dict(info.provenance),
        **info.about,
    }


def _frame(frame: Frame) -> dict[str, object]:
    return {
        "size_px": [frame.size.width, frame.size.height],
        "mpp": [frame.mpp.x, frame.mpp.y],
    }
