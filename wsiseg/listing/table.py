"""Tables of slides, CSV or Parquet: one row a slide, plain text in every field.

They come from outside, so everything about them is bounded: bytes, rows, columns and fields.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from wsiseg.errors import ConfigurationError

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIXES = (".csv", ".tsv", ".parquet", ".pq")
"""Endings of the files that are tables of slides and not slides."""

MAX_SLIDES = 100_000
"""Slides of one job at most: what one driver can lead."""

MAX_BYTES = 256 << 20
MAX_COLUMNS = 100
MAX_FIELD = 2_000
"""Characters of one field at most."""

_DELIMITERS = ",;\t"
_BATCH_ROWS = 1_000


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table.

    Attributes
    ----------
    where
        The file and the line (CSV) or row (Parquet) it comes from, for messages.
    values
        Fields by column, without those that are empty. Names of columns that have a meaning
        are in lower case.
    """

    where: str
    values: Mapping[str, str]


def is_table(path: Path) -> bool:
    """Whether a path names a table of slides, by its ending."""
    return path.suffix.lower() in SUFFIXES


def read_table(path: Path, known: Sequence[str]) -> list[Row]:
    """The rows of a table of slides.

    Parameters
    ----------
    path
        CSV (separated by commas, semicolons or tabs; UTF-8) or Parquet.
    known
        Names of the columns that have a meaning, found whatever their case. ``path`` must be
        there.

    Raises
    ------
    ConfigurationError
        If the file cannot be read, lacks the column ``path``, or is larger than a list of
        slides may be; the message names the line.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigurationError(
                f"the list {path} is larger than {MAX_BYTES >> 20} MB: that is no list of slides"
            )
        rows = _parquet(path) if path.suffix.lower() in SUFFIXES[2:] else _csv(path)
        names = _names(next(rows, (path.name, ()))[1], path, known)
        return _bounded(rows, names, path)
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"cannot read the list {path}: it is not UTF-8 text; save it as CSV UTF-8"
        ) from error
    except (OSError, csv.Error) as error:
        raise ConfigurationError(f"cannot read the list {path}: {error}") from error


def too_many(what: str) -> ConfigurationError:
    """The error for more slides than one job may have."""
    return ConfigurationError(
        f"{what} more than {MAX_SLIDES:,} slides; split the archive into several runs"
    )


_Line = tuple[str, Sequence[object]]


def _bounded(lines: Iterable[_Line], names: Sequence[str], path: Path) -> list[Row]:
    rows: list[Row] = []
    for where, fields in lines:
        if not any(_text(value) for value in fields):
            continue
        if len(rows) == MAX_SLIDES:
            raise too_many(f"the list {path} names")
        if len(fields) > len(names):
            raise ConfigurationError(f"{where}: more values than the list has columns")
        values = {name: _text(value) for name, value in zip(names, fields, strict=False)}
        long = next((name for name, value in values.items() if len(value) > MAX_FIELD), None)
        if long is not None:
            raise ConfigurationError(f"{where}: {long} has more than {MAX_FIELD:,} characters")
        if not values.get("path"):
            raise ConfigurationError(f"{where}: the path is empty")
        rows.append(Row(where, {name: value for name, value in values.items() if value}))
    if not rows:
        raise ConfigurationError(f"the list {path} names no slide")
    return rows


def _names(header: Sequence[object], path: Path, known: Sequence[str]) -> list[str]:
    names = [_text(name) for name in header]
    names = [name.lower() if name.lower() in known else name for name in names]
    if "path" not in names:
        raise ConfigurationError(
            f"the list {path} must have the column 'path'; it has "
            f"{', '.join(names[:MAX_COLUMNS]) or 'no column'}"
        )
    if len(names) > MAX_COLUMNS or any(len(name) > MAX_FIELD for name in names):
        raise ConfigurationError(f"the list {path} has more than {MAX_COLUMNS} columns")
    if "" in names:
        raise ConfigurationError(f"column {names.index('') + 1} of the list {path} has no name")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigurationError(f"the list {path} has the column {twice} twice")
    return names


def _csv(path: Path) -> Iterator[_Line]:
    """The header, then the lines, of a CSV."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file, delimiter=_delimiter(file), strict=True)
        while True:
            try:
                fields = next(reader, None)
            except csv.Error as error:
                raise ConfigurationError(f"{path}, line {reader.line_num}: {error}") from error
            if fields is None:
                return
            yield f"{path}, line {reader.line_num}", fields


def _delimiter(file: TextIO) -> str:
    """Whichever separator the first line has most of."""
    first = file.readline(MAX_FIELD * MAX_COLUMNS)
    file.seek(0)
    return max(_DELIMITERS, key=first.count)


def _parquet(path: Path) -> Iterator[_Line]:
    """The header, then the rows, of a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            if file.metadata.num_rows > MAX_SLIDES:
                raise too_many(f"the list {path} names")
            yield path.name, schema.names
            unusable = [field.name for field in schema if not _is_plain(field.type)]
            if unusable:
                raise ConfigurationError(
                    f"the list {path}: {', '.join(unusable)} holds neither text, numbers, dates "
                    "nor true and false"
                )
            number = 0
            for batch in file.iter_batches(_BATCH_ROWS):
                columns = [column.to_pylist() for column in batch.columns]
                for fields in zip(*columns, strict=True):
                    number += 1
                    yield f"{path}, row {number}", fields
    except (pa.ArrowException, OSError) as error:
        first = (str(error).splitlines() or [""])[0]
        raise ConfigurationError(f"cannot read the list {path}: {first}") from error


def _is_plain(kind: pa.DataType) -> bool:
    from pyarrow import types

    if types.is_dictionary(kind):
        kind = kind.value_type
    tests: tuple[Any, ...] = (
        types.is_string,
        types.is_large_string,
        types.is_string_view,
        types.is_integer,
        types.is_floating,
        types.is_boolean,
        types.is_temporal,
        types.is_decimal,
        types.is_null,
    )
    return any(test(kind) for test in tests)


def _text(value: object) -> str:
    """A field as text; nothing for what is missing, not-a-number included."""
    if value is None or value != value:  # noqa: PLR0124 only not-a-number differs from itself
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value).strip()
