"""``wsiseg.open_run``: a run directory, read-only and lazy, for notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from wsiseg.errors import ConfigurationError, StoreError
from wsiseg.features.registry import dictionary
from wsiseg.files import read_json
from wsiseg.job import Export
from wsiseg.pipeline.exports import FILES, SPLIT_FOLDER, file_of
from wsiseg.pipeline.plan import read_plan
from wsiseg.plugins import plugins
from wsiseg.store.cells import StoredCells
from wsiseg.store.features import MeasuredCells
from wsiseg.store.folders import RunFolder, SlideFolder, read_manifest
from wsiseg.store.tissue import read_tissue
from wsiseg.tissue import TissueMask


class Run:
    """The results in a run directory. Nothing is read before it is asked for.

    Slides are named as their folders are; :attr:`slides` lists them.
    """

    def __init__(self, path: str | Path) -> None:
        self._folder = RunFolder(Path(path))
        self._manifest = read_manifest(self._folder)

    @property
    def path(self) -> Path:
        """The run directory."""
        return self._folder.root

    @property
    def manifest(self) -> dict[str, Any]:
        """Job, versions and the state of every slide."""
        return self._manifest

    @property
    def slides(self) -> tuple[str, ...]:
        """Names of all slides."""
        return tuple(self._manifest["slides"])

    @property
    def complete(self) -> tuple[str, ...]:
        """Names of the slides that are whole."""
        return tuple(name for name in self.slides if self._folder.slide(name).report.exists())

    def report(self, slide: str) -> dict[str, Any]:
        """Counts, areas, times, seams, versions and warnings of a slide."""
        value: Any = read_json(self._slide(slide).report)
        return dict(value)

    def file(self, slide: str, export: Export) -> Path:
        """Path of an export; the folder of the split GeoJSON where that is what there is.

        Raises
        ------
        ConfigurationError
            If there is no such slide or export.
        StoreError
            If it was not written.
        """
        known = (*FILES, *plugins("exporters"))
        if export not in known:
            raise ConfigurationError(f"there is no export {export!r}; there are {', '.join(known)}")
        folder = self._slide(slide).root
        single = file_of(export)
        names = (single, SPLIT_FOLDER) if export == "geojson" else (single,)
        for name in names:
            if (folder / name).exists():
                return folder / name
        raise StoreError(
            f"{folder / names[0]} was not written; make it with: wsiseg export {self.path} "
            f"--export {export}"
        )

    def cells(self, slide: str, columns: Sequence[str] | None = None) -> pa.Table:
        """The table of a slide's cells, or some of its columns, as Arrow.

        Raises
        ------
        ConfigurationError
            If there is no such slide or column.
        """
        file = self.file(slide, "table")
        unknown = sorted(set(columns or ()) - set(pq.read_schema(file).names))
        if unknown:
            names = ", ".join(pq.read_schema(file).names)
            raise ConfigurationError(f"{slide} has no column {', '.join(unknown)}; it has {names}")
        return pq.read_table(file, columns=columns and list(columns))

    def source(self, slide: str) -> StoredCells:
        """The stitched cells part by part, polygons included, for slides that do not fit."""
        return StoredCells(self._slide(slide).cells)

    def measured(self, slide: str) -> MeasuredCells:
        """The cells part by part as :meth:`source` gives them, with all their features.

        Raises
        ------
        StoreError
            If none were measured besides the shapes.
        """
        return MeasuredCells(self._slide(slide))

    def dictionary(self, slide: str) -> list[dict[str, str]]:
        """What the feature columns of :meth:`cells` mean: name, set, unit, definition, source."""
        return dictionary(pq.read_schema(self.file(slide, "table")).names)

    def tissue(self, slide: str) -> TissueMask:
        """The tissue mask with reason codes."""
        folder = self._slide(slide)
        return read_tissue(folder.tissue, read_plan(folder.plan).segment_key)

    def _slide(self, name: str) -> SlideFolder:
        if name not in self._manifest["slides"]:
            raise ConfigurationError(
                f"{self.path} has no slide {name!r}; it has {', '.join(self.slides) or 'none'}"
            )
        return self._folder.slide(name)

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, {len(self.complete)} of {len(self.slides)} slides whole)"


def open_run(path: str | Path) -> Run:
    """Open a run directory to read its results.

    Raises
    ------
    StoreError
        If the folder is not a run directory.
    """
    return Run(path)
