"""The stitched cells of a slide, in parts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor, wait
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from wsiseg.cells.batch import CellBatch, CellClass, CellsInfo
from wsiseg.errors import StoreError
from wsiseg.files import read_json, write_json, writing
from wsiseg.geometry import HUNDREDTHS, MPP, Box, Frame, Size
from wsiseg.store.parquet import (
    arrow_column,
    column_polygons,
    column_values,
    polygon_columns,
    read_table,
    write_part,
)

_FEATURE = "feature:"

Item = TypeVar("Item")


def write_cells(
    folder: Path,
    info: CellsInfo,
    make: Callable[[Item], CellBatch],
    items: Iterable[Item],
    pool: Executor,
) -> int:
    """Write the cells of a slide part by part, the whole folder or nothing; their number.

    ``make`` gives the cells of a part for each of ``items``; as many parts as ``pool`` has
    threads are made and written at a time.
    """

    def put(number: int, item: Item) -> dict[str, Any]:
        batch = make(item)
        write_part(temporary / _part_name(number), _table(batch))
        extent = _extent(batch, info)
        return {"count": len(batch), "extent": [extent.x0, extent.y0, extent.x1, extent.y1]}

    with writing(folder) as temporary:
        temporary.mkdir()
        futures = [pool.submit(put, number, item) for number, item in enumerate(items)]
        try:
            parts = [future.result() for future in futures]
        finally:
            # The folder goes if one has failed: nobody may still be writing into it.
            for future in futures:
                future.cancel()
            wait(futures)
        write_json(temporary / "index.json", {"info": _info_dict(info), "parts": parts})
    return sum(part["count"] for part in parts)


class StoredCells:
    """The stitched cells in a folder; a :class:`wsiseg.cells.batch.CellSource`.

    Parameters
    ----------
    folder
        The folder.
    about
        For ``info.about``, which the store does not keep.

    Raises
    ------
    StoreError
        If the folder is missing or damaged.
    """

    def __init__(self, folder: Path, about: Mapping[str, object] | None = None) -> None:
        index: Any = read_json(folder / "index.json")
        try:
            self._parts: list[dict[str, Any]] = list(index["parts"])
            self._info = replace(_info_from(index["info"]), about=dict(about or {}))
        except (KeyError, TypeError, ValueError) as error:
            raise StoreError(f"{folder / 'index.json'} is damaged; export again") from error
        self._folder = folder

    @property
    def info(self) -> CellsInfo:
        """What is common to all cells."""
        return self._info

    @property
    def count(self) -> int:
        """Number of cells."""
        return sum(int(part["count"]) for part in self._parts)

    @property
    def extents(self) -> tuple[Box, ...]:
        """Frame box over the polygons of every part."""
        return tuple(Box(*part["extent"]) for part in self._parts)

    def read(self, part: int) -> CellBatch:
        """The cells of one part."""
        return _batch(read_table(self._folder / _part_name(part)))


def _part_name(number: int) -> str:
    return f"part-{number:05d}.parquet"


def _extent(batch: CellBatch, info: CellsInfo) -> Box:
    """Frame box that covers the polygons of a batch."""
    fx, fy = info.level0.scale_to(info.frame)
    x, y = (batch.polygons.vertices[:, axis] for axis in range(2))
    x0, y0 = int(x.min()) / HUNDREDTHS * fx, int(y.min()) / HUNDREDTHS * fy
    x1, y1 = int(x.max()) / HUNDREDTHS * fx, int(y.max()) / HUNDREDTHS * fy
    return Box(math.floor(x0), math.floor(y0), math.ceil(x1), math.ceil(y1))


def _table(batch: CellBatch) -> pa.Table:
    columns: dict[str, Any] = {
        "id": arrow_column(batch.ids),
        "uuid": pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(16), len(batch), [None, pa.py_buffer(np.ascontiguousarray(batch.uuids))]
        ),
        "x": arrow_column(batch.centroids[:, 0]),
        "y": arrow_column(batch.centroids[:, 1]),
        "class": arrow_column(batch.class_index),
        "probability": arrow_column(batch.probabilities),
        "truncated": arrow_column(batch.truncated),
        **polygon_columns(batch.polygons),
    }
    for name, values in batch.features.items():
        columns[_FEATURE + name] = arrow_column(values)
    return pa.table(columns)


def _batch(table: pa.Table) -> CellBatch:
    uuids = table["uuid"].combine_chunks()
    raw = np.frombuffer(uuids.buffers()[1], np.uint8)[: 16 * len(uuids)] if len(uuids) else b""
    return CellBatch(
        column_values(table, "id", np.uint32),
        np.frombuffer(raw, np.uint8).reshape(-1, 16),
        column_polygons(table),
        np.stack([column_values(table, name, np.float64) for name in ("x", "y")], axis=1),
        column_values(table, "class", np.uint8),
        column_values(table, "probability", np.float32),
        column_values(table, "truncated", np.bool_),
        {
            name.removeprefix(_FEATURE): column_values(table, name, np.float32)
            for name in table.column_names
            if name.startswith(_FEATURE)
        },
    )


def _info_dict(info: CellsInfo) -> dict[str, object]:
    return {
        "slide": info.slide,
        "level0": frame_dict(info.level0),
        "frame": frame_dict(info.frame),
        "classes": [{"name": c.name, "color": list(c.color)} for c in info.classes],
        "origin_px": list(info.origin_px),
        "provenance": dict(info.provenance),
    }


def _info_from(value: Any) -> CellsInfo:
    return CellsInfo(
        slide=str(value["slide"]),
        level0=frame_from(value["level0"]),
        frame=frame_from(value["frame"]),
        classes=tuple(CellClass(c["name"], tuple(c["color"])) for c in value["classes"]),
        origin_px=(int(value["origin_px"][0]), int(value["origin_px"][1])),
        provenance=value["provenance"],
    )


def frame_dict(frame: Frame) -> dict[str, float]:
    """A frame as JSON."""
    return {
        "width": frame.size.width,
        "height": frame.size.height,
        "mpp_x": frame.mpp.x,
        "mpp_y": frame.mpp.y,
    }


def frame_from(value: Any) -> Frame:
    """The inverse of :func:`frame_dict`."""
    return Frame(
        Size(int(value["width"]), int(value["height"])),
        MPP(float(value["mpp_x"]), float(value["mpp_y"])),
    )
