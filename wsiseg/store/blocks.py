"""Committed blocks of candidates."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from wsiseg.cells.candidates import Candidates
from wsiseg.errors import StoreError
from wsiseg.files import storage_trouble
from wsiseg.store.columns import ColumnFile, open_columns, write_columns
from wsiseg.store.folders import SlideFolder
from wsiseg.store.outlines import column_outlines, outline_columns

_KEPT_BYTES = 24 << 20
"""Candidates that a store keeps once they are read: those of a region and its margin, about."""

Value = TypeVar("Value")


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
    pace
        How windows were handed to the model (``pipeline.pace``).
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
    pace: Mapping[str, int] = field(default_factory=dict)


def write_block(path: Path, found: Candidates, record: BlockRecord) -> None:
    """Commit a block."""
    about = {
        "key": record.key,
        "name": record.name,
        "count": record.count,
        "extent": record.extent,
        "ledger": dict(record.ledger),
        "seconds": dict(record.seconds),
        "damage": record.damage,
        "remarks": record.remarks,
        "span": record.span,
        "pace": dict(record.pace),
    }
    write_columns(path, _candidate_columns(found), about)


def read_block(path: Path) -> tuple[Candidates, BlockRecord]:
    """Candidates and record of a committed block, checksums verified.

    Raises
    ------
    StoreError
        If the file is damaged.
    """
    with open_columns(path) as file:
        return _column_candidates(file), _record(file)


def committed_blocks(folder: SlideFolder, key: str) -> dict[str, BlockRecord]:
    """Whole blocks of that key by name; damaged ones are deleted, to be done again."""
    return _records(folder, key, _verified)


def stated_blocks(folder: SlideFolder, key: str) -> dict[str, BlockRecord]:
    """What blocks of that key say of themselves, by name; their candidates are not looked at.

    For those who read the candidates afterwards (:class:`BlockStore`): that verifies them.
    """
    return _records(folder, key, _stated)


def committed_block(path: Path, key: str) -> BlockRecord | None:
    """The record of a whole block of that key; a damaged one is deleted.

    Raises
    ------
    StoreError
        If the storage cannot be reached.
    """
    return _of_key(path, key, _verified)


def _records(
    folder: SlideFolder, key: str, read: Callable[[Path], BlockRecord]
) -> dict[str, BlockRecord]:
    records = (_of_key(path, key, read) for path in folder.committed())
    return {record.name: record for record in records if record is not None}


def _of_key(path: Path, key: str, read: Callable[[Path], BlockRecord]) -> BlockRecord | None:
    if not path.exists():
        return None
    try:
        record = _or_deleted(path, read)
    except StoreError as error:
        if storage_trouble(error):
            raise
        return None
    return record if record.key == key else None


def _or_deleted(path: Path, read: Callable[[Path], Value]) -> Value:
    """What is read of a block; a damaged one is deleted before the error goes on."""
    try:
        return read(path)
    except StoreError as error:
        if not storage_trouble(error):
            path.unlink(missing_ok=True)
        raise


def _verified(path: Path) -> BlockRecord:
    with open_columns(path) as file:
        return _record(file.verify())


def _stated(path: Path) -> BlockRecord:
    with open_columns(path) as file:
        return _record(file)


def _record(file: ColumnFile) -> BlockRecord:
    about = file.about
    return BlockRecord(
        about["key"],
        about["name"],
        int(about["count"]),
        tuple(about["extent"]),
        about["ledger"],
        about["seconds"],
        tuple(tuple(item) for item in about["damage"]),
        tuple(str(remark) for remark in about["remarks"]),
        float(about["span"]),
        {str(name): int(value) for name, value in about["pace"].items()},
    )


def _candidate_columns(found: Candidates) -> dict[str, NDArray[Any]]:
    return {
        **outline_columns(found.polygons),
        "boxes": found.boxes,
        "area_px": found.area_px,
        "sum_x": found.sum_x,
        "sum_y": found.sum_y,
        "class": found.classes,
        "probability": found.probabilities,
        "truncated": found.truncated,
        "tiles": found.tiles,
    }


def _column_candidates(file: ColumnFile) -> Candidates:
    return Candidates(
        column_outlines(file),
        file["boxes"],
        file["area_px"],
        file["sum_x"],
        file["sum_y"],
        file["class"],
        file["probability"],
        file["truncated"],
        file["tiles"],
    )


class BlockStore:
    """The committed candidates of a slide, numbered through all blocks in order of names.

    What was read last is kept, up to ``_KEPT_BYTES``. Several threads may read.
    """

    def __init__(self, folder: SlideFolder, records: Mapping[str, BlockRecord]) -> None:
        self._folder = folder
        self._records = tuple(records[name] for name in sorted(records))
        self._kept: OrderedDict[int, Candidates] = OrderedDict()
        self._keeping = Lock()
        self._reading = tuple(Lock() for _ in self._records)

    def __len__(self) -> int:
        return len(self._records)

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """Number of the first candidate of every block, and the total at the end."""
        counts = [record.count for record in self._records]
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])

    @cached_property
    def extents(self) -> NDArray[np.int64]:
        """int64 ``[b, 4]``: frame box of every block's candidates."""
        return np.array([r.extent for r in self._records], np.int64).reshape(-1, 4)

    def read(self, block: int) -> Candidates:
        """The candidates of a block, checksums verified.

        Raises
        ------
        StoreError
            If the block is damaged; it is deleted then.
        """
        with self._reading[block]:
            with self._keeping:
                known = self._kept.get(block)
                if known is not None:
                    self._kept.move_to_end(block)
                    return known
            found = self._from_disk(self._records[block].name)
            with self._keeping:
                self._kept[block] = found
                total = sum(map(_size, self._kept.values()))
                while total > _KEPT_BYTES:
                    total -= _size(self._kept.popitem(last=False)[1])
            return found

    def _from_disk(self, name: str) -> Candidates:
        try:
            return _or_deleted(self._folder.block(name), read_block)[0]
        except StoreError as error:
            if storage_trouble(error):
                raise
            raise StoreError(
                f"{self._folder.blocks} lacks {name}, which was damaged and is deleted: run the "
                "same command again"
            ) from error


def _size(found: Candidates) -> int:
    """Bytes of some candidates, all but those that hardly count."""
    polygons = found.polygons
    arrays = (found.boxes, found.area_px, found.sum_x, found.sum_y, found.tiles)
    outlines = (polygons.vertices, polygons.ring_offsets, polygons.polygon_offsets)
    return sum(array.nbytes for array in arrays + outlines)
