"""Files of flat columns: nothing to decode, read column by column, whole and checksummed.

::

    16 bytes    MAGIC, which ends in the version of the layout
     4 bytes    length of the header, little endian
     4 bytes    CRC-32 of the header
    header      JSON: what the file says of itself, and of every column its name, type, type as
                stored, shape and CRC-32
    columns     as they lie in memory, in that order, each at a multiple of 64 bytes

What many stages read once each is read far more often than written, and short-lived: formats
that compress took several times as long as all that is done with these numbers beside them.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from math import prod
from pathlib import Path
from typing import Any, Self

import numpy as np
import orjson
from imagecodecs import deflate_crc32
from numpy.typing import NDArray

from wsiseg.errors import StoreError
from wsiseg.files import flush, writing

MAGIC = b"wsiseg columns\n\x01"

_HEAD = struct.Struct("<16sII")
_ALIGNED = 64
_NARROWER = tuple(map(np.dtype, ("u1", "i1", "u2", "i2", "u4", "i4")))


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a column lies, and what it is: type in memory and as stored."""

    offset: int
    dtype: np.dtype[Any]
    stored: np.dtype[Any]
    shape: tuple[int, ...]
    checksum: int


class ColumnFile:
    """An open file of columns, see :func:`open_columns`."""

    def __init__(self, file: FileIO) -> None:
        size = os.fstat(file.fileno()).st_size
        magic, length, checksum = _HEAD.unpack(file.read(_HEAD.size))
        if magic != MAGIC:
            raise ValueError("it is of another version of wsiseg, or none of its files")
        header = file.read(min(length, size))
        if _checksum(header) != checksum:
            raise ValueError("the checksum of its header is wrong")
        described = orjson.loads(header)
        self._file = file
        self.about: Mapping[str, Any] = described["about"]
        """What the file says of itself."""
        self._places: dict[str, _Place] = {}
        end = _HEAD.size + length
        for name, dtype, stored, shape, column_checksum in described["columns"]:
            place = _Place(
                _aligned(end), np.dtype(dtype), np.dtype(stored), tuple(shape), column_checksum
            )
            self._places[name] = place
            end = place.offset + place.stored.itemsize * prod(place.shape)
        if end > size:
            raise ValueError("it is cut off")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(self._places)

    def __getitem__(self, name: str) -> NDArray[Any]:
        """A column as it was written, its checksum verified.

        Raises
        ------
        ValueError
            If it is damaged.
        KeyError
            If there is none of that name.
        """
        place = self._places[name]
        values = np.empty(place.shape, place.stored)
        data = _data(values)
        self._file.seek(place.offset)
        _fill(data, self._file)
        if _checksum(data) != place.checksum:
            raise ValueError(f"the checksum of its column {name} is wrong")
        return values.astype(place.dtype, copy=False)

    def verify(self) -> Self:
        """Read all columns for the sake of their checksums.

        Raises
        ------
        ValueError
            If one is damaged.
        """
        for name in self.names:
            self[name]
        return self


@contextmanager
def open_columns(path: Path) -> Iterator[ColumnFile]:
    """Open a file of columns. Errors of reading it, in the block too, name it.

    Raises
    ------
    StoreError
        If it is missing, damaged or not ours.
    """
    try:
        with path.open("rb", buffering=0) as file:
            yield ColumnFile(file)
    except (OSError, KeyError, TypeError, ValueError, struct.error) as error:
        raise StoreError(f"{path} is damaged ({error}); delete it and run again") from error


def write_columns(
    path: Path, columns: Mapping[str, NDArray[Any]], about: Mapping[str, object]
) -> None:
    """Write a file of columns, whole or not at all.

    Columns of whole numbers are stored in the narrowest type that holds them and come back in
    their own; ``about`` is JSON.
    """
    with writing(path) as temporary:
        _put(temporary, columns, about)


def write_part(
    path: Path, columns: Mapping[str, NDArray[Any]], about: Mapping[str, object]
) -> None:
    """Write such a file into a folder that is itself being written, and flush it to the disk."""
    _put(path, columns, about)
    flush(path)


def _put(path: Path, columns: Mapping[str, NDArray[Any]], about: Mapping[str, object]) -> None:
    stored = [np.ascontiguousarray(_narrow(values)) for values in columns.values()]
    described = [
        [name, values.dtype.str, kept.dtype.str, values.shape, _checksum(_data(kept))]
        for (name, values), kept in zip(columns.items(), stored, strict=True)
    ]
    header = orjson.dumps({"about": dict(about), "columns": described})
    with path.open("wb") as file:
        file.write(_HEAD.pack(MAGIC, len(header), _checksum(header)))
        file.write(header)
        end = _HEAD.size + len(header)
        for kept in stored:
            file.write(bytes(_aligned(end) - end))
            file.write(_data(kept))
            end = _aligned(end) + kept.nbytes


def _narrow(values: NDArray[Any]) -> NDArray[Any]:
    """Whole numbers in the narrowest type that holds them all."""
    if values.dtype.kind not in "iu" or values.dtype.itemsize == 1 or not values.size:
        return values
    least, most = values.min(), values.max()
    for kind in _NARROWER:
        if kind.itemsize >= values.dtype.itemsize:
            break
        if np.iinfo(kind).min <= least and most <= np.iinfo(kind).max:
            return values.astype(kind)
    return values


def _data(values: NDArray[Any]) -> memoryview:
    """The bytes of an array without gaps."""
    return values.reshape(-1).view(np.uint8).data


def _checksum(data: bytes | memoryview) -> int:
    # Ten times as fast as that of zlib; its type hints leave out what it takes as well.
    return int(deflate_crc32(data))  # type: ignore[arg-type]


def _aligned(offset: int) -> int:
    return -(-offset // _ALIGNED) * _ALIGNED


def _fill(room: memoryview, file: FileIO) -> None:
    """Read as many bytes as there is room for."""
    while room:
        count = file.readinto(room)
        if not count:
            raise ValueError("it is cut off")
        room = room[count:]
