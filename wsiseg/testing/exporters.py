"""The contract of exporters as a test, for authors of plug-ins."""

from __future__ import annotations

import re
from pathlib import Path

from wsiseg.cells.batch import CellBatch, CellsInfo, CellSource
from wsiseg.export.plugged import SUFFIX, ExporterPlugin
from wsiseg.geometry import Box
from wsiseg.testing.sources import synthetic_cells

_MANY = 5000
"""More than one part of cells."""


def check_exporter(exporter: ExporterPlugin, folder: Path) -> None:
    """Check an exporter against the contract, on synthetic nuclei: many, few, and none.

    Parameters
    ----------
    exporter
        What the entry point names.
    folder
        An empty folder to write in.

    Raises
    ------
    AssertionError
        If a promise is broken; the message says which.
    """
    assert re.fullmatch(SUFFIX, exporter.SUFFIX), f"SUFFIX {exporter.SUFFIX!r} is no ending"
    assert not list(folder.iterdir()), f"{folder} is not empty"
    for count in (_MANY, 3, 0):
        source = _Watched(synthetic_cells(count, holed=0.1))
        path = folder / f"cells-{count}{exporter.SUFFIX}"
        notes = exporter.write(path, source)
        assert path.exists(), f"write wrote nothing to {path.name} for {count} cells"
        left = [p.name for p in folder.iterdir() if not p.name.startswith("cells-")]
        assert not left, f"write left files beside its own: {left}"
        assert source.parts_read == set(range(len(source.extents))), "write left out some cells"
        for name, value in (notes or {}).items():
            assert isinstance(name, str), f"the note {name!r} has no name"
            assert isinstance(value, int), f"the note {name} is no whole number"


class _Watched:
    """Cells that cannot be written to."""

    def __init__(self, source: CellSource) -> None:
        self._source = source
        self.parts_read: set[int] = set()

    @property
    def info(self) -> CellsInfo:
        return self._source.info

    @property
    def count(self) -> int:
        return self._source.count

    @property
    def extents(self) -> tuple[Box, ...]:
        return self._source.extents

    def read(self, part: int) -> CellBatch:
        self.parts_read.add(part)
        batch = self._source.read(part)
        batch.centroids.setflags(write=False)
        for values in (batch.ids, batch.class_index, batch.probabilities):
            values.setflags(write=False)
        for column in batch.features.values():
            column.setflags(write=False)
        return batch
