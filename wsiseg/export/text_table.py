"""Nuclei as comma-separated text, for spreadsheets and statistics programs."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from wsiseg.cells.batch import CellSource
from wsiseg.export._gzip import gzip_member
from wsiseg.export.tables import cell_tables
from wsiseg.files import writing

LEFT_OUT = ("outlines", "units beyond the columns' names", "provenance", "colours of classes")
"""What the format has no place for."""

_NO_TEXT = ("geometry", "bbox")

_CHUNK = 4096
"""Nuclei whose text is held at once: about 2 MB."""


def write_csv(path: Path, source: CellSource) -> None:
    """Write one line a nucleus, gzip-compressed, streamed, whole or not at all.

    The columns are those of the GeoParquet table without the outlines; the unit of a number is
    the suffix of its column's name; not-a-number is an empty field. The file consists of several
    gzip members, which readers take for one stream.

    Raises
    ------
    StoreError
        If the file cannot be written.
    """
    with writing(path) as temporary, temporary.open("wb") as file:
        header = True
        for table in cell_tables(source):
            plain = _plain(table)
            for start in range(0, max(len(plain), 1), _CHUNK):
                text = _text(plain.slice(start, _CHUNK), header=header)
                file.write(gzip_member(text))
                header = False


def _text(table: pa.Table, *, header: bool) -> bytes:
    # Imported where it is needed: workers import this module before they start.
    import pyarrow.csv

    stream = pa.BufferOutputStream()
    options = pyarrow.csv.WriteOptions(include_header=header)
    pyarrow.csv.write_csv(table, stream, options)
    text: bytes = stream.getvalue().to_pybytes()
    return text


def _plain(table: pa.Table) -> pa.Table:
    import pyarrow.compute

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
