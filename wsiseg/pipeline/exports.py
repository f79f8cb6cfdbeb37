"""Write what a finished segmentation is asked to be shown as."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from wsiseg.cells.batch import CellSource
from wsiseg.classify.classified import ClassifiedCells
from wsiseg.classify.forest import load_forest
from wsiseg.errors import MissingExtraError
from wsiseg.export.annotation_store import write_annotation_store
from wsiseg.export.geojson import write_cells_geojson, write_cells_geojson_split
from wsiseg.export.labels import TissueLabels, write_labels
from wsiseg.export.overview import OverviewInput, write_overview
from wsiseg.export.plugged import exported_file, write_plugged
from wsiseg.export.regions import ClassRegions, write_classes_geojson, write_tissue_geojson
from wsiseg.export.scverse import write_anndata, write_spatialdata
from wsiseg.export.tables import write_cells_parquet
from wsiseg.export.text_table import write_csv
from wsiseg.export.tissue_table import write_tissue_table
from wsiseg.features.registry import measurements
from wsiseg.files import stored_bytes
from wsiseg.job import Export
from wsiseg.pipeline.measuring import MeasureSettings
from wsiseg.pipeline.plan import SlidePlan, key_of
from wsiseg.pipeline.stitching import MEASURES
from wsiseg.plugins import origins
from wsiseg.slides.slide import open_slide
from wsiseg.store.cells import StoredCells
from wsiseg.store.features import MeasuredCells
from wsiseg.store.folders import SlideFolder
from wsiseg.store.tissue import read_tissue
from wsiseg.tissue import TissueCode, TissueMask
from wsiseg.tissue.labels import ClassCodes, class_values
from wsiseg.tissue.outlines import outline_classes

FILES: Mapping[Export, str] = {
    "table": "cells.parquet",
    "geojson": "cells.geojson.gz",
    "tissue": "tissue.geojson",
    "labels": "labels.zarr",
    "overview": "overview.png",
    "csv": "cells.csv.gz",
    "anndata": "cells.h5ad",
    "anndata-zarr": "cells.anndata.zarr",
    "spatialdata": "cells.spatialdata.zarr",
    "annotations": "cells.db",
    "tissue-table": "tissue_table.csv",
}
"""Name of every export in a slide's folder."""

_BY_LENGTH: tuple[Export, ...] = (
    "csv",
    "spatialdata",
    "annotations",
    "anndata-zarr",
    "anndata",
    "geojson",
    "labels",
    "overview",
    "table",
    "tissue-table",
    "tissue",
)
"""Exports by the time they take on slides of a hundred thousand nuclei, the longest first."""

_TABLES: tuple[Export, ...] = (
    "table",
    "csv",
    "anndata",
    "anndata-zarr",
    "spatialdata",
    "annotations",
    "tissue-table",
)
"""Exports that carry what the user told of the slide."""

SPLIT_FOLDER = "cells-geojson"
"""Name of the folder that the split GeoJSON lies in."""

_TISSUE_COLORS: Mapping[TissueCode, tuple[int, int, int, int]] = {
    TissueCode.BACKGROUND: (255, 255, 255, 0),
    TissueCode.TISSUE: (120, 90, 160, 90),
    TissueCode.TOO_SMALL: (230, 159, 0, 120),
    TissueCode.PEN: (0, 114, 178, 120),
    TissueCode.EDGE: (90, 90, 90, 120),
    TissueCode.EXCLUDED: (213, 94, 0, 120),
    TissueCode.BLURRED: (0, 158, 115, 120),
    TissueCode.FOLDED: (204, 121, 167, 120),
    TissueCode.GREY: (150, 150, 150, 120),
    TissueCode.ODD_STAIN: (240, 228, 66, 120),
}


@dataclass(frozen=True, slots=True)
class ExportSettings:
    """How exports are written, besides which.

    ``about`` is what the user told of the slide, see :attr:`wsiseg.job.SlideEntry.about`;
    ``classifier`` a file of :mod:`wsiseg.classify.forest`.
    """

    ngff: Literal["0.5", "0.4"] = "0.5"
    split_um: float | None = None
    about: Mapping[str, object] = field(default_factory=dict, hash=False)
    measure: MeasureSettings = field(default_factory=MeasureSettings)
    classifier: str | None = None

    def file(self, name: Export) -> str:
        """File or folder of an export in a slide's folder."""
        return SPLIT_FOLDER if name == "geojson" and self.split_um else file_of(name)

    def key(self, name: Export, segment_key: str) -> str:
        """Hash of what an export depends on."""
        features = self.measure.key(segment_key)
        # Of the features, it shows those of the stains alone.
        stains = self.measure.only("stain").key(segment_key)
        plugged = origins("exporters", [name] if name not in FILES else [])
        deciding: Mapping[str, object] = {
            **{n: [dict(self.about), features, origin] for n, origin in plugged.items()},
            "labels": self.ngff,
            "geojson": [self.split_um, stains],
            **{table: [dict(self.about), features] for table in _TABLES},
        }
        own = deciding.get(name)
        if self.classifier is not None and name in (*_TABLES, "geojson", "overview", *plugged):
            own = [own, load_forest(Path(self.classifier))[1]]
        return key_of({"segment": segment_key, "measures": MEASURES, name: own})


@dataclass(frozen=True, slots=True)
class Exported:
    """An export that was written.

    Attributes
    ----------
    name, file
        Which, and where in the slide's folder.
    key
        Hash of what it depends on.
    stored_bytes
        Its size, to tell later whether it is still whole.
    seconds
        Time taken.
    notes
        What it has to say.
    """

    name: Export
    file: str
    key: str
    stored_bytes: int
    seconds: float
    notes: Mapping[str, int]

    def whole(self, folder: SlideFolder, how: ExportSettings, segment_key: str) -> bool:
        """Whether it is what is asked for, and lies there in full."""
        same = self.key == how.key(self.name, segment_key)
        return same and stored_bytes(folder.root / self.file) == self.stored_bytes


def file_of(name: Export) -> str:
    """Name of an export in a slide's folder, the single form of the GeoJSON.

    Raises
    ------
    PluginError
        If it is of a plug-in that cannot be used.
    """
    return FILES[name] if name in FILES else exported_file(name)


def longest_first(names: Iterable[Export]) -> list[Export]:
    """Exports in the order to begin them in, so that the last ones of all workers end together.

    Those of plug-ins come first: nobody knows how long they take.
    """
    place = {name: number for number, name in enumerate(_BY_LENGTH)}
    return sorted(names, key=lambda name: place.get(name, -1))


def require_exports(names: Collection[Export]) -> None:
    """Refuse, before any work, exports whose libraries are not installed, or whose plug-ins
    cannot be used.

    Raises
    ------
    MissingExtraError
        If a library is not installed.
    PluginError
        If a plug-in cannot be used.
    """
    for name in set(names) - set(FILES):
        exported_file(name)
    asked = sorted({"anndata", "anndata-zarr", "spatialdata"} & set(names))
    if asked and find_spec("anndata") is None:
        raise MissingExtraError(f"--export {asked[0]}", "tables")


def write_export(
    folder: SlideFolder, plan: SlidePlan, name: Export, how: ExportSettings
) -> Exported:
    """Write one export of a stitched slide, replacing what lies there."""
    begin = time.perf_counter()
    writers: dict[str, Callable[[SlideFolder, SlidePlan, ExportSettings], Any]] = {
        "table": _table,
        "geojson": _geojson,
        "tissue": _tissue,
        "labels": _labels,
        "overview": _overview,
        "csv": _csv,
        "anndata": partial(_anndata, container="h5ad"),
        "anndata-zarr": partial(_anndata, container="zarr"),
        "spatialdata": _spatialdata,
        "annotations": _annotations,
        "tissue-table": _tissue_table,
    }
    file = how.file(name)
    if name in writers:
        notes = writers[name](folder, plan, how)
    else:
        notes = write_plugged(folder.root / file, _cells(folder, how), name)
    return Exported(
        name=name,
        file=file,
        key=how.key(name, plan.segment_key),
        stored_bytes=stored_bytes(folder.root / file),
        seconds=time.perf_counter() - begin,
        notes=notes or {},
    )


def tissue_labels(mask: TissueMask) -> TissueLabels:
    """The mask with a meaning and a colour for each of its codes, or the classes it was made
    from with theirs."""
    if mask.classes is not None:
        values = class_values(mask.classes, _TISSUE_COLORS)
        return TissueLabels(ClassCodes(mask.classes, mask), mask.classes.frame, values)
    return TissueLabels(
        mask.codes,
        mask.frame,
        tuple(
            (int(code), code.name.lower().replace("_", " "), _TISSUE_COLORS[code])
            for code in TissueCode
        ),
    )


def _place(folder: SlideFolder, name: Export) -> Path:
    return folder.root / FILES[name]


def _table(folder: SlideFolder, plan: SlidePlan, how: ExportSettings) -> None:
    write_cells_parquet(_place(folder, "table"), _cells(folder, how))


def _geojson(folder: SlideFolder, plan: SlidePlan, how: ExportSettings) -> dict[str, int]:
    source = _cells(folder, how, measurements)
    single, split = _place(folder, "geojson"), folder.root / SPLIT_FOLDER
    # The form that is not asked for goes: importing both would double every nucleus.
    if how.split_um:
        report = write_cells_geojson_split(split, source, side_um=how.split_um)
        single.unlink(missing_ok=True)
    else:
        report = write_cells_geojson(single, source)
        shutil.rmtree(split, ignore_errors=True)
    return {key: int(value) for key, value in asdict(report).items()}


def _tissue(folder: SlideFolder, plan: SlidePlan, how: ExportSettings) -> dict[str, int]:
    mask = read_tissue(folder.tissue, plan.segment_key)
    place, info = _place(folder, "tissue"), StoredCells(folder.cells).info
    if mask.classes is None:
        return {"regions": write_tissue_geojson(place, mask.polygons(plan.level0), info)}
    outlines = outline_classes(mask.classes, plan.level0)
    groups = [
        ClassRegions(entry.name, entry.color, list(outlines.polygons[outlines.classes == number]))
        for number, entry in enumerate(mask.classes.classes)
    ]
    return {
        "regions": write_classes_geojson(place, groups, info),
        "pixel_nm": round(1000 * outlines.pixel_um),
        "tolerance_nm": round(1000 * outlines.tolerance_um),
    }


def _tissue_table(folder: SlideFolder, plan: SlidePlan, how: ExportSettings) -> None:
    mask = read_tissue(folder.tissue, plan.segment_key)
    write_tissue_table(_place(folder, "tissue-table"), _cells(folder, how), mask)


def _labels(folder: SlideFolder, plan: SlidePlan, how: ExportSettings) -> None:
    labels = tissue_labels(read_tissue(folder.tissue, plan.segment_key))
    cells = StoredCells(folder.cells, features=())
    write_labels(_place(folder, "labels"), cells, labels, ngff=how.ngff)


def _overview(folder: SlideFolder, plan: SlidePlan, how: ExportSettings) -> None:
    mask = read_tissue(folder.tissue, plan.segment_key)
    with open_slide(plan.path, reader=plan.reader, mpp=plan.stated_mpp) as slide:
        write_overview(
            _place(folder, "overview"),
            OverviewInput(
                slide=slide,
                channels=plan.channels,
                cells=_cells(folder, how)
                if how.classifier
                else StoredCells(folder.cells, features=()),
                tissue=mask.codes == TissueCode.TISSUE,
                tissue_frame=mask.frame,
                tissue_mm2=mask.area_mm2(),
                tile_core_px=plan.grid.core,
                model=plan.model,
            ),
            folder.thumbnail,
        )


def _csv(folder: SlideFolder, plan: SlidePlan, how: ExportSettings) -> None:
    write_csv(_place(folder, "csv"), _cells(folder, how))


def _anndata(
    folder: SlideFolder,
    plan: SlidePlan,
    how: ExportSettings,
    *,
    container: Literal["h5ad", "zarr"],
) -> None:
    name: Export = "anndata" if container == "h5ad" else "anndata-zarr"
    write_anndata(_place(folder, name), _cells(folder, how), container=container)


def _spatialdata(folder: SlideFolder, plan: SlidePlan, how: ExportSettings) -> None:
    write_spatialdata(_place(folder, "spatialdata"), _cells(folder, how))


def _annotations(folder: SlideFolder, plan: SlidePlan, how: ExportSettings) -> None:
    write_annotation_store(_place(folder, "annotations"), _cells(folder, how))


def _cells(
    folder: SlideFolder,
    how: ExportSettings,
    columns: Callable[[Sequence[str]], Sequence[str]] | None = None,
) -> CellSource:
    """The cells with all their columns or some, classified where that is asked for, and what the
    user told of the slide."""
    measured = bool(how.measure.sets)
    if how.classifier is None:
        return MeasuredCells(folder, how.about, measured=measured, columns=columns)
    forest, digest = load_forest(Path(how.classifier))
    return ClassifiedCells(
        MeasuredCells(folder, how.about, measured=measured), forest, digest, columns
    )
