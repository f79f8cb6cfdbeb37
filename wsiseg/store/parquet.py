"""Parquet files of our own, whole and checksummed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from wsiseg.errors import StoreError
from wsiseg.files import writing


def write_table(path: Path, table: pa.Table) -> None:
    """Write a Parquet file with page checksums, whole or not at all."""
    with writing(path) as temporary:
        pq.write_table(
            table,
            temporary,
            compression="zstd",
            compression_level=1,
            write_page_checksum=True,
            use_dictionary=False,
            write_statistics=False,
        )


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
        raise StoreError(f"{path} is damaged ({error}); delete it and run again") from error


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
