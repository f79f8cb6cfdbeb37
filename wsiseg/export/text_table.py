"""Nuclei as comma-separated text, for spreadsheets and statistics programs."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute
import pyarrow.csv

from wsiseg.cells.batch import CellSource
from wsiseg.export.tables import cell_tables
from wsiseg.files import writing

LEFT_OUT = ("outlines", "units beyond the columns' names", "provenance", "colours of classes")
"""What the format has no place for."""

_NO_TEXT = ("geometry", "bbox")


def write_csv(path: Path, source: CellSource) -> None:
    """Write one line a nucleus, gzip-compressed, streamed, whole or not at all.

    The columns are those of the GeoParquet table without the outlines; the unit of a number is
    the suffix of its column's name; not-a-number is an empty field.

    Raises
    ------
    StoreError
        If the file cannot be written.
    """
    with writing(path) as temporary, pa.CompressedOutputStream(str(temporary), "gzip") as stream:
        tables = map(_plain, cell_tables(source))
        first = next(tables)
        with pyarrow.csv.CSVWriter(stream, first.schema) as writer:
            writer.write_table(first)
            for table in tables:
                writer.write_table(table)


def _plain(table: pa.Table) -> pa.Table:
    table = table.drop_columns(_NO_TEXT)
    columns = {}
    for name in table.column_names:
        column = table[name]
        if pa.types.is_dictionary(column.type):
            column = column.cast(pa.string())
        elif pa.types.is_floating(column.type):
            finite = pyarrow.compute.is_finite(column)
            column = pyarrow.compute.if_else(finite, column, pa.scalar(None, column.type))
        columns[name] = column
    return pa.table(columns)
