"""Exporters that other packages add, as entry points of the group ``wsiseg.exporters``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from wsiseg.cells.batch import CellSource
from wsiseg.errors import PluginError
from wsiseg.files import writing
from wsiseg.plugins import calling, load_plugin, plugins

SUFFIX = re.compile(r"(\.[A-Za-z0-9]{1,16}){1,3}")
"""What an ending is."""

_TAKEN = frozenset(
    (
        "blocks", "cells", "edits", "failure", "features", "labels", "log", "overview", "plan",
        "quality", "report", "scores", "stitch", "thumbnail", "tissue",
        "tissue_table",
    )
)  # fmt: skip
"""Names of wsiseg's own files in a slide's folder, whatever their ending."""


class ExporterPlugin(Protocol):
    """What the entry point of an exporter names: a module, say.

    The file is called as the entry point is, with its ending. It is written again where the
    segmentation, the features or the version of the exporter's package changed.
    """

    SUFFIX: str
    """Ending of the file or folder it writes, with the dot."""

    def write(self, path: Path, source: CellSource) -> Mapping[str, int] | None:
        """Write the cells of a slide to ``path``, a file or a folder that is not there yet.

        ``source`` is read part by part: a slide may have millions of cells. The file is moved
        into place when all is written. What is returned is kept in the slide's report.
        """
        ...


def exported_file(name: str) -> str:
    """Name of the file or folder that the exporter of a plug-in writes in a slide's folder.

    Raises
    ------
    PluginError
        If the plug-in cannot be used.
    """
    found: ExporterPlugin = load_plugin("exporters", name)
    plugin = plugins("exporters")[name]
    with calling(plugin):
        suffix = found.SUFFIX
    if SUFFIX.fullmatch(suffix) is None:
        raise PluginError(f"{plugin} writes files that end in {suffix!r}, which is no ending")
    if name in _TAKEN:
        raise PluginError(f"{plugin} has the name of a file of wsiseg's own")
    return f"{name}{suffix}"


def write_plugged(path: Path, source: CellSource, name: str) -> dict[str, int]:
    """Write the export of a plug-in, whole or not at all.

    Returns
    -------
    What it has to say.

    Raises
    ------
    PluginError
        If the plug-in fails, or writes nothing.
    """
    found: ExporterPlugin = load_plugin("exporters", name)
    plugin = plugins("exporters")[name]
    with writing(path) as temporary, calling(plugin):
        notes = found.write(temporary, source)
        if not temporary.exists():
            raise PluginError(f"{plugin} wrote nothing")
        return {str(key): int(value) for key, value in (notes or {}).items()}
