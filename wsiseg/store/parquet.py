"""Parquet files of our own, whole and checksummed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from wsiseg.cells.polygons import Polygons
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
        return pq.read_table(path, page_checksum_verification=True, use_threads=False)
    except (OSError, pa.ArrowException) as error:
        raise StoreError(f"{path} is damaged ({error}); delete it and run again") from error


def polygon_columns(polygons: Polygons) -> dict[str, pa.Array]:
    """Arrow columns ``vertices`` (interleaved x, y) and ``rings`` (vertices per ring)."""
    starts = polygons.ring_offsets[polygons.polygon_offsets]
    return {
        "vertices": pa.LargeListArray.from_arrays(
            pa.array(2 * starts), pa.array(np.ascontiguousarray(polygons.vertices).reshape(-1))
        ),
        "rings": pa.LargeListArray.from_arrays(
            pa.array(polygons.polygon_offsets),
            pa.array(np.diff(polygons.ring_offsets).astype(np.int32)),
        ),
    }


def column_polygons(table: pa.Table) -> Polygons:
    """The inverse of :func:`polygon_columns`."""
    vertices = table["vertices"].combine_chunks()
    rings = table["rings"].combine_chunks()
    if not len(rings):
        return Polygons.empty()
    points = np.asarray(vertices.flatten(), np.int32).reshape(-1, 2)
    sizes = np.asarray(rings.flatten(), np.int64)
    counts = np.diff(np.asarray(rings.offsets, np.int64))
    zero = np.zeros(1, np.int64)
    return Polygons(
        points,
        np.concatenate([zero, np.cumsum(sizes)]),
        np.concatenate([zero, np.cumsum(counts)]),
    )
