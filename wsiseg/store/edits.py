"""Edits as they lie in a run directory: one file an annotator and slide.

::

    OUT/slides/NAME/edits/ANNOTATOR.parquet
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from wsiseg.errors import ConfigurationError, StoreError
from wsiseg.store.folders import SlideFolder
from wsiseg.store.parquet import read_table, write_table

_META = b"wsiseg"

SCHEMA = pa.schema(
    [
        ("kind", pa.string()),
        ("uuid", pa.string()),
        ("class_before", pa.string()),
        ("class_after", pa.string()),
        ("geometry", pa.binary()),
    ]
)
"""``kind``: deleted, reclassed, reshaped or added; ``geometry``: WKB in level-0 pixels of the
slide, null where the outline is as segmented."""


def edits_file(folder: SlideFolder, annotator: str) -> Path:
    """Where the edits of an annotator lie.

    Raises
    ------
    ConfigurationError
        If the name is not 1 to 60 letters, digits, spaces, points, dashes or underscores.
    """
    if not re.fullmatch(r"[\w][\w .-]{0,59}", annotator):
        raise ConfigurationError(
            f"the annotator's name {annotator!r} must be 1 to 60 letters, digits, spaces, points, "
            "dashes or underscores"
        )
    return folder.root / "edits" / f"{annotator}.parquet"


def write_edits(
    folder: SlideFolder, annotator: str, table: pa.Table, about: Mapping[str, object]
) -> None:
    """Keep an annotator's edits in place of earlier ones; ``about`` is JSON for the metadata."""
    meta = {_META: json.dumps({"annotator": annotator, **about}).encode()}
    write_table(edits_file(folder, annotator), table.replace_schema_metadata(meta))


def read_edits(folder: SlideFolder) -> dict[str, tuple[pa.Table, dict[str, Any]]]:
    """The edits of every annotator by name, and what is kept about them.

    Raises
    ------
    StoreError
        If a file is damaged.
    """
    found = {}
    for path in sorted((folder.root / "edits").glob("*.parquet")):
        table = read_table(path)
        try:
            about = json.loads((table.schema.metadata or {})[_META])
        except (KeyError, ValueError) as error:
            raise StoreError(f"{path} holds no edits; delete it and import again") from error
        found[path.stem] = (table, about)
    return found
