"""Parquet files of our own, whole and checksummed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import DTypeLike, NDArray

from wsiseg.cells.polygons import Polygons
from wsiseg.errors import StoreError
from wsiseg.files import flush, writing


def write_table(path: Path, table: pa.Table) -> None:
    """Write a Parquet file with page checksums, whole or not at all."""
    with writing(path) as temporary:
        _put(temporary, table)


def write_part(path: Path, table: pa.Table) -> None:
    """Write such a file into a folder that is itself being written, and flush it to the disk."""
    _put(path, table)
    flush(path)


def read_table(path: Path) -> pa.Table:
    """Read a Parquet file of ours and verify its checksums.

    Raises
    ------
    StoreError
        If it is damaged or not ours.
    """
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            return file.read(use_threads=False)
    except (OSError, pa.ArrowException) as error:
        raise _damaged(path, error) from error


def read_metadata(path: Path) -> Mapping[bytes, bytes]:
    """What a Parquet file of ours says of itself; its columns are not looked at.

    Raises
    ------
    StoreError
        If it is damaged or not ours.
    """
    try:
        return pq.read_metadata(path).metadata or {}
    except (OSError, pa.ArrowException) as error:
        raise _damaged(path, error) from error


def arrow_column(values: NDArray[Any]) -> pa.Array:
    """An Arrow column of ``[n]`` numbers or booleans.

    What ``pa.array`` gives, which imports pandas wherever it is installed.
    """
    packed = values.dtype == np.bool_
    data = np.packbits(values, bitorder="little") if packed else np.ascontiguousarray(values)
    kind = pa.from_numpy_dtype(values.dtype)
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(data)])


def text_column(values: Sequence[str]) -> pa.Array:
    """An Arrow column of texts, as :func:`arrow_column` of numbers."""
    encoded = [value.encode() for value in values]
    offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    return pa.StringArray.from_buffers(
        len(encoded), pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded))
    )


def column_values(table: pa.Table, name: str, dtype: DTypeLike) -> NDArray[Any]:
    """The numbers or booleans ``[n]`` of a column without gaps, as ``dtype``."""
    return _values(table[name].combine_chunks(), dtype)


def polygon_columns(polygons: Polygons) -> dict[str, pa.Array]:
    """Arrow columns ``vertices`` (interleaved x, y) and ``rings`` (vertices per ring)."""
    starts = polygons.ring_offsets[polygons.polygon_offsets]
    return {
        "vertices": pa.LargeListArray.from_arrays(
            arrow_column(2 * starts),
            arrow_column(np.ascontiguousarray(polygons.vertices).reshape(-1)),
        ),
        "rings": pa.LargeListArray.from_arrays(
            arrow_column(polygons.polygon_offsets),
            arrow_column(np.diff(polygons.ring_offsets).astype(np.int32)),
        ),
    }


def column_polygons(table: pa.Table) -> Polygons:
    """The inverse of :func:`polygon_columns`."""
    vertices = table["vertices"].combine_chunks()
    rings = table["rings"].combine_chunks()
    if not len(rings):
        return Polygons.empty()
    points = _values(vertices.flatten(), np.int32).reshape(-1, 2)
    sizes = _values(rings.flatten(), np.int64)
    counts = np.diff(_values(rings.offsets, np.int64))
    zero = np.zeros(1, np.int64)
    return Polygons(
        points,
        np.concatenate([zero, np.cumsum(sizes)]),
        np.concatenate([zero, np.cumsum(counts)]),
    )


def _put(path: Path, table: pa.Table) -> None:
    pq.write_table(
        table,
        path,
        compression="zstd",
        compression_level=1,
        write_page_checksum=True,
        use_dictionary=False,
        write_statistics=False,
    )


def _damaged(path: Path, error: Exception) -> StoreError:
    return StoreError(f"{path} is damaged ({error}); delete it and run again")


def _values(array: pa.Array, dtype: DTypeLike) -> NDArray[Any]:
    if not pa.types.is_boolean(array.type):
        return np.asarray(np.from_dlpack(array), dtype)
    bits = np.frombuffer(array.buffers()[1], np.uint8)
    stored = np.unpackbits(bits, bitorder="little", count=array.offset + len(array))
    return stored[array.offset :].astype(dtype)
