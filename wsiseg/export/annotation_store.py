"""Nuclei as TIAToolbox's AnnotationStore: one SQLite file with an R*-tree.

The layout is that of TIAToolbox 1.6 and later (``tiatoolbox.annotation.storage.SQLiteStore``,
store version 1.0.1): geometries in level-0 pixels as zlib-compressed WKB, properties as JSON.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from itertools import repeat
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from wsiseg.cells.batch import CellSource
from wsiseg.export.tables import cell_tables, slide_description
from wsiseg.files import writing

LEFT_OUT = ("colours of classes", "the tissue mask")
"""What the format has no place for."""

_LEVEL = 1
"""zlib at its fastest: readers inflate any level, and outlines shrink little more at 9."""

_LAYOUT = """
CREATE VIRTUAL TABLE rtree USING rtree(id, min_x, max_x, min_y, max_y);
CREATE TABLE annotations(
    id INTEGER PRIMARY KEY, key TEXT UNIQUE, objtype TEXT, cx FLOAT NOT NULL, cy FLOAT NOT NULL,
    geometry BLOB, properties TEXT, area FLOAT NOT NULL);
CREATE TABLE metadata(key TEXT UNIQUE, value TEXT);
"""
_INDEX = "CREATE INDEX area ON annotations(area)"
"""Made when all areas are there, which takes a fraction of the time."""


def write_annotation_store(path: Path, source: CellSource) -> None:
    """Write the nuclei as an AnnotationStore, streamed, whole or not at all.

    The key of an annotation is its UUID; ``type`` is the class, which TIAViz colours by; the other
    properties are the label value, the probability and the features (``null`` where not a
    number). Nuclei whose outline cannot be made valid are left out.

    Raises
    ------
    StoreError
        If the file cannot be written.
    """
    with writing(path) as temporary, closing(sqlite3.connect(temporary)) as store:
        # The file counts once it is moved into place: until then nothing must survive a crash.
        store.execute("PRAGMA journal_mode = OFF")
        store.execute("PRAGMA synchronous = OFF")
        store.executescript(_LAYOUT)
        facts = {
            "version": "1.0.1",
            "compression": "zlib",
            "compression_level": _LEVEL,
            "wsiseg": slide_description(source.info, _features(source)),
        }
        store.executemany(
            "INSERT INTO metadata VALUES (?, ?)",
            [(key, json.dumps(value)) for key, value in facts.items()],
        )
        for table in cell_tables(source):
            _insert(store, table)
        store.execute(_INDEX)
        store.commit()


def _features(source: CellSource) -> list[str]:
    return list(source.read(0).features) if source.extents else []


def _insert(store: sqlite3.Connection, table: pa.Table) -> None:
    table = table.filter(table["geometry"].is_valid())
    boxes = table["bbox"].combine_chunks()
    corners = [_numbers(boxes.field(name)) for name in ("xmin", "xmax", "ymin", "ymax")]
    ids = _numbers(table["id"])
    outlines = table["geometry"].to_pylist()
    store.executemany("INSERT INTO rtree VALUES (?, ?, ?, ?, ?)", zip(ids, *corners, strict=True))
    store.executemany(
        "INSERT INTO annotations VALUES (?, ?, 'Polygon', ?, ?, ?, ?, ?)",
        zip(
            ids,
            table["uuid"].to_pylist(),
            _numbers(table["centroid_x_px"]),
            _numbers(table["centroid_y_px"]),
            # Twice as fast as Python's zlib.
            (imagecodecs.zlibng_encode(outline, level=_LEVEL) for outline in outlines),
            _properties(table),
            _areas(table),
            strict=True,
        ),
    )


def _areas(table: pa.Table) -> list[float]:
    import shapely

    areas: list[float] = shapely.area(shapely.from_wkb(table["geometry"].to_numpy())).tolist()
    return areas


def _numbers(column: pa.ChunkedArray | pa.Array) -> list[Any]:
    # Several times as fast as a column's own to_pylist.
    values: list[Any] = column.to_numpy(zero_copy_only=False).tolist()
    return values


def _properties(table: pa.Table) -> Iterable[str]:
    """JSON of every row: column by column into text, which is then put together by rows."""
    own = ("uuid", "geometry", "centroid_x_px", "centroid_y_px", "bbox", "class")
    names = [name for name in table.column_names if name not in own]
    pieces: list[Iterable[str]] = [
        repeat('{"type":'),
        [orjson.dumps(kind).decode() for kind in table["class"].to_pylist()],
    ]
    for name in names:
        pieces += [repeat(f",{orjson.dumps(name).decode()}:"), _json_column(table[name].to_numpy())]
    return map("".join, zip(*pieces, repeat("}"), strict=False))


def _json_column(values: NDArray[Any]) -> list[str]:
    """JSON of every number or boolean; ``null`` where not a finite number."""
    if not len(values):
        return []
    if values.dtype.kind == "f":
        # As many digits as float32 holds, which its nearest float64 would triple.
        values = np.round(values.astype(np.float64), 5)
    text = orjson.dumps(np.ascontiguousarray(values), option=orjson.OPT_SERIALIZE_NUMPY)
    return text.decode()[1:-1].split(",")
