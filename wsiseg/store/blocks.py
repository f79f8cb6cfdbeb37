"""Committed blocks of candidates."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from wsiseg.cells.candidates import Candidates
from wsiseg.errors import StoreError
from wsiseg.files import storage_trouble
from wsiseg.store.folders import SlideFolder
from wsiseg.store.parquet import column_polygons, polygon_columns, read_table, write_table

_META = b"wsiseg"


@dataclass(frozen=True, slots=True)
class BlockRecord:
    """What a committed block says of itself besides its candidates.

    Attributes
    ----------
    key
        Hash of the segmentation and the lattice it belongs to.
    name
        Name of the block.
    count
        Number of candidates.
    extent
        Frame box over all candidates' boxes, ``(x0, y0, x1, y1)``; zeros without candidates.
    ledger
        Counts of the block (``pipeline.ledger``).
    seconds
        Busy time by stage.
    damage
        Level-0 boxes that could not be decoded, with the reason.
    remarks
        Sentences for the slide's report.
    span
        Seconds by the clock; what a stage was not busy of them, it waited.
    """

    key: str
    name: str
    count: int
    extent: tuple[int, int, int, int]
    ledger: Mapping[str, int]
    seconds: Mapping[str, float]
    damage: tuple[tuple[int, int, int, int, str], ...]
    remarks: tuple[str, ...] = ()
    span: float = 0.0


def write_block(path: Path, found: Candidates, record: BlockRecord) -> None:
    """Commit a block."""
    meta = {
        "key": record.key,
        "name": record.name,
        "count": record.count,
        "extent": record.extent,
        "ledger": dict(record.ledger),
        "seconds": dict(record.seconds),
        "damage": record.damage,
        "remarks": record.remarks,
        "span": record.span,
    }
    table = _candidate_table(found).replace_schema_metadata({_META: json.dumps(meta).encode()})
    write_table(path, table)


def read_block(path: Path) -> tuple[Candidates, BlockRecord]:
    """Candidates and record of a committed block, checksums verified.

    Raises
    ------
    StoreError
        If the file is damaged.
    """
    table = read_table(path)
    return _table_candidates(table), _record(path, table.schema.metadata)


def committed_blocks(folder: SlideFolder, key: str) -> dict[str, BlockRecord]:
    """Whole blocks of that key by name; damaged ones are deleted, to be done again."""
    records = (committed_block(path, key) for path in sorted(folder.blocks.glob("[0-9]*.parquet")))
    return {record.name: record for record in records if record is not None}


def committed_block(path: Path, key: str) -> BlockRecord | None:
    """The record of a whole block of that key; a damaged one is deleted.

    Raises
    ------
    StoreError
        If the storage cannot be reached.
    """
    if not path.exists():
        return None
    try:
        _, record = read_block(path)
    except StoreError as error:
        if storage_trouble(error):
            raise
        path.unlink(missing_ok=True)
        return None
    return record if record.key == key else None


def _record(path: Path, metadata: Mapping[bytes, bytes] | None) -> BlockRecord:
    try:
        meta = json.loads((metadata or {})[_META])
        return BlockRecord(
            meta["key"],
            meta["name"],
            int(meta["count"]),
            tuple(meta["extent"]),
            meta["ledger"],
            meta["seconds"],
            tuple(tuple(item) for item in meta["damage"]),
            tuple(str(remark) for remark in meta.get("remarks", ())),
            float(meta.get("span", 0.0)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(f"{path} is not a block of wsiseg; delete it and run again") from error


def _candidate_table(found: Candidates) -> pa.Table:
    columns: dict[str, Any] = polygon_columns(found.polygons)
    for axis, name in enumerate(("x0", "y0", "x1", "y1")):
        columns[name] = pa.array(found.boxes[:, axis].astype(np.int32))
    columns["area_px"] = pa.array(found.area_px)
    columns["sum_x"] = pa.array(found.sum_x)
    columns["sum_y"] = pa.array(found.sum_y)
    columns["class"] = pa.array(found.classes)
    columns["probability"] = pa.array(found.probabilities)
    columns["truncated"] = pa.array(found.truncated)
    columns["tile_column"] = pa.array(np.ascontiguousarray(found.tiles[:, 0]))
    columns["tile_row"] = pa.array(np.ascontiguousarray(found.tiles[:, 1]))
    return pa.table(columns)


def _table_candidates(table: pa.Table) -> Candidates:
    def column(name: str, dtype: type) -> NDArray[Any]:
        return np.asarray(table[name].to_numpy(), dtype)

    return Candidates(
        column_polygons(table),
        np.stack([column(n, np.int64) for n in ("x0", "y0", "x1", "y1")], axis=1),
        column("area_px", np.int64),
        column("sum_x", np.int64),
        column("sum_y", np.int64),
        column("class", np.uint8),
        column("probability", np.float32),
        column("truncated", np.bool_),
        np.stack([column(n, np.int32) for n in ("tile_column", "tile_row")], axis=1),
    )


class BlockStore:
    """The committed candidates of a slide, numbered through all blocks in order of names."""

    def __init__(self, folder: SlideFolder, records: Mapping[str, BlockRecord]) -> None:
        self.folder = folder
        self.records = tuple(records[name] for name in sorted(records))
        self._cache: dict[int, Candidates] = {}

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """Number of the first candidate of every block, and the total at the end."""
        counts = [record.count for record in self.records]
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])

    @cached_property
    def extents(self) -> NDArray[np.int64]:
        """int64 ``[b, 4]``: frame box of every block's candidates."""
        return np.array([r.extent for r in self.records], np.int64).reshape(-1, 4)

    def meeting(self, box: tuple[int, int, int, int]) -> tuple[Candidates, NDArray[np.int64]]:
        """Distinct candidates whose boxes meet the frame box, and their numbers."""
        x0, y0, x1, y1 = box
        e = self.extents
        near = np.flatnonzero((e[:, 0] < x1) & (e[:, 2] > x0) & (e[:, 1] < y1) & (e[:, 3] > y0))
        wanted = set(near.tolist())
        self._cache = {block: kept for block, kept in self._cache.items() if block in wanted}
        parts, numbers = [], []
        for block in near.tolist():
            found = self._block(block)
            b = found.boxes
            meets = np.flatnonzero(
                (b[:, 0] < x1) & (b[:, 2] > x0) & (b[:, 1] < y1) & (b[:, 3] > y0)
            )
            parts.append(found.take(meets))
            numbers.append(meets + self.offsets[block])
        found = Candidates.concatenate(parts)
        distinct = found.first_of_equals()
        joined = np.concatenate(numbers) if numbers else np.empty(0, np.int64)
        return found.take(distinct), joined[distinct]

    def _block(self, index: int) -> Candidates:
        if index not in self._cache:
            path = self.folder.block(self.records[index].name)
            self._cache[index] = read_block(path)[0]
        return self._cache[index]
