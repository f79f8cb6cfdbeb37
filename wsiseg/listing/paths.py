"""From the paths that a user gives to the slides they stand for."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from wsiseg.errors import ConfigurationError
from wsiseg.listing.entry import COLUMNS, SlideEntry, entry_from
from wsiseg.listing.found import slides_below, slides_matching
from wsiseg.listing.table import MAX_SLIDES, Row, is_table, read_table, too_many


def list_slides(paths: Iterable[str | Path]) -> list[SlideEntry]:
    """The slides that paths stand for: files, folders, globs and lists, in their order.

    What a list names need not be there: such a slide fails by itself when its turn comes.

    Raises
    ------
    ConfigurationError
        If a path is missing, a folder or glob holds no slide, or a list is malformed.
    """
    named: list[tuple[int, SlideEntry]] = []
    swept: list[tuple[int, SlideEntry]] = []
    for place, path in enumerate(map(Path, paths)):
        found, by_name = _entries(path)
        (named if by_name else swept).extend((place, entry) for entry in found)
        if len(named) + len(swept) > 10 * MAX_SLIDES:
            raise too_many("all the paths together name")
    seen = {entry.place for _, entry in named}
    for place, entry in swept:
        if entry.place not in seen:
            seen.add(entry.place)
            named.append((place, entry))
    if len(named) > MAX_SLIDES:
        raise too_many("all the paths together name")
    named.sort(key=lambda item: item[0])
    return [entry for _, entry in named]


def _entries(path: Path) -> tuple[list[SlideEntry], bool]:
    """Slides that a path stands for, and whether it names them rather than finds them."""
    there = os.path.lexists(path)
    if not there and glob.has_magic(str(path)):
        return [SlideEntry(path=found) for found in slides_matching(str(path))], False
    if not there:
        raise ConfigurationError(f"{path} does not exist")
    if path.is_dir():
        slides = slides_below(path)
        if not slides:
            raise ConfigurationError(f"{path} holds no slide")
        return [SlideEntry(path=found) for found in slides], False
    if is_table(path):
        return [_listed(row, path.parent) for row in read_table(path, COLUMNS)], True
    return [SlideEntry(path=path)], True


def _listed(row: Row, base: Path) -> SlideEntry:
    """The slide of one row of a list."""
    values: dict[str, Any] = {k: v for k, v in row.values.items() if k in COLUMNS}
    values["metadata"] = {k: v for k, v in row.values.items() if k not in COLUMNS}
    return entry_from(values, base, row.where)
