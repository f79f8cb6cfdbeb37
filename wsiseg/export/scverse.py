"""Nuclei as AnnData and as SpatialData, the tables of the scverse.

AnnData: https://anndata.readthedocs.io (on-disk format 0.1.0). SpatialData: the Zarr layout that
spatialdata 0.7 reads, shapes 0.3, labels 0.3, tables 0.2
(https://spatialdata.scverse.org/en/stable/design_doc.html). The store is written without that
library, whose versions would bind Dask's.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import zarr

from wsiseg.cells.batch import CellsInfo, CellSource
from wsiseg.errors import MissingExtraError, StoreError
from wsiseg.export._text import uuid_text
from wsiseg.export.labels import write_nuclei_pyramid
from wsiseg.export.tables import cell_tables, geo_metadata, slide_description
from wsiseg.export.units import unit_of
from wsiseg.files import writing
from wsiseg.geometry import Frame

SHAPES = "nuclei"
LABELS = "nuclei_labels"
TABLE = "table"
"""Names of the elements of a SpatialData store."""

LEFT_OUT = {
    "anndata": ("outlines", "colours of classes"),
    "spatialdata": ("colours of classes", "the tissue mask"),
}
"""What the format has no place for; it is in the GeoParquet table and in the label pyramid."""

_AS_GIVEN = {"convert_strings_to_categoricals": False}
"""Else pandas 3 makes strings of its own of them, which not every anndata can write."""

_BYTES_PER_CELL = 600
"""Of a table in memory besides its features: names of rows, text, the copies of writing."""


def write_anndata(
    path: Path, source: CellSource, *, container: Literal["h5ad", "zarr"] = "h5ad"
) -> None:
    """Write the table of nuclei as AnnData, whole or not at all.

    ``X`` float32 ``[n, features]``, ``var["unit"]`` the unit of each (``""`` for bare numbers);
    ``obs``: ``instance_id`` (the label value), ``class``, ``probability``, ``truncated``; rows are
    named by UUID. ``obsm["spatial"]``: centroids ``(x, y)`` in level-0 pixels. ``uns["wsiseg"]``:
    slide, pixel sizes, units and provenance as JSON text. Outlines and colours have no place.

    Raises
    ------
    MissingExtraError
        If anndata is not installed.
    StoreError
        If the table does not fit the memory, or the file cannot be written.
    """
    table = _collect(source)
    with writing(path) as temporary:
        if container == "zarr":
            table.write_zarr(temporary, **_AS_GIVEN)
        else:
            table.write_h5ad(temporary, compression="gzip", compression_opts=1, **_AS_GIVEN)


def write_spatialdata(path: Path, source: CellSource) -> None:
    """Write nuclei as a SpatialData store, whole or not at all.

    Elements: shapes ``nuclei`` (outlines, indexed by the label value), labels ``nuclei_labels``
    (uint32 pyramid) and the table ``table``, which annotates the shapes. Two coordinate systems:
    ``global``, level-0 pixels of the slide, and ``microns``. Colours and tissue have no place.

    Raises
    ------
    MissingExtraError
        If anndata is not installed.
    StoreError
        If the table does not fit the memory, or the folder cannot be written.
    """
    table = _collect(source)
    table.obs["region"] = _categorical([SHAPES], np.zeros(len(table.obs), np.int8))
    # spatialdata compares the numbers with the shapes' index, which pandas reads as int64.
    table.obs["instance_id"] = table.obs["instance_id"].astype(np.int64)
    keys = {"region": SHAPES, "region_key": "region", "instance_key": "instance_id"}
    table.uns["spatialdata_attrs"] = keys
    info = source.info
    with writing(path) as temporary:
        root = zarr.open_group(str(temporary), mode="w", zarr_format=3)
        software = "wsiseg"
        root.attrs["spatialdata_attrs"] = {
            "version": "0.2",
            "spatialdata_software_version": software,
        }
        tables = root.create_group("tables")
        _import_anndata().io.write_elem(tables, TABLE, table)
        tables[TABLE].attrs.update(
            {"spatialdata-encoding-type": "ngff:regions_table", "version": "0.2", **keys}
        )
        shapes = root.create_group("shapes").create_group(SHAPES)
        shapes.attrs.put(
            {
                "encoding-type": "ngff:shapes",
                "axes": ["x", "y"],
                "coordinateTransformations": _transformations(info, info.level0, ("x", "y")),
                "spatialdata_attrs": {"version": "0.3"},
            }
        )
        _write_shapes(temporary / "shapes" / SHAPES / "shapes.parquet", source)
        labels = root.create_group("labels")
        labels.attrs["ome"] = {"labels": [LABELS]}
        group = labels.create_group(LABELS)
        datasets = write_nuclei_pyramid(group, source)
        group.attrs.put(_labels_metadata(info, datasets))


def _import_anndata() -> Any:
    try:
        import anndata
    except ImportError as error:
        raise MissingExtraError("writing AnnData and SpatialData", "tables") from error
    return anndata


def _categorical(names: list[str], codes: Any) -> Any:
    import pandas as pd

    # Of plain objects: not every anndata writes pandas' own strings.
    return pd.Categorical.from_codes(codes, categories=pd.Index(names, dtype="object"))


def _collect(source: CellSource) -> Any:
    """The whole table in memory as ``AnnData``."""
    anndata = _import_anndata()
    import pandas as pd

    count = source.count
    features = list(source.read(0).features) if source.extents else []
    _require_memory(count, len(features))
    values = np.empty((count, len(features)), np.float32)
    spatial = np.empty((count, 2), np.float64)
    columns: dict[str, list[Any]] = {k: [] for k in ("ids", "names", "class", "likely", "cut")}
    row = 0
    for part in range(len(source.extents)):
        batch = source.read(part)
        rows = slice(row, row + len(batch))
        for place, name in enumerate(features):
            values[rows, place] = batch.features[name]
        spatial[rows] = batch.centroids
        columns["ids"].append(batch.ids)
        columns["names"].append(uuid_text(batch.uuids).reshape(-1, 36).view("S36").ravel())
        columns["class"].append(batch.class_index)
        columns["likely"].append(batch.probabilities)
        columns["cut"].append(batch.truncated)
        row = rows.stop

    def joined(name: str, dtype: str) -> Any:
        return np.concatenate(columns[name]) if columns[name] else np.empty(0, dtype)

    names = pd.Index(joined("names", "S36").astype("U36"), dtype="object")
    obs = pd.DataFrame(
        {
            "instance_id": joined("ids", "uint32"),
            "class": _categorical(
                [kind.name for kind in source.info.classes], joined("class", "uint8")
            ),
            "probability": joined("likely", "float32"),
            "truncated": joined("cut", "bool"),
        },
        index=names,
    )
    index = pd.Index(features, dtype="object")
    units = pd.Series([unit_of(name) for name in features], index=index, dtype="object")
    var = pd.DataFrame({"unit": units}, index=index)
    return anndata.AnnData(
        X=values,
        obs=obs,
        var=var,
        obsm={"spatial": spatial},
        uns={"wsiseg": json.dumps(slide_description(source.info, features))},
    )


def _require_memory(count: int, features: int) -> None:
    # The table and the copy that writing makes of it.
    needed = 2 * count * (4 * features + _BYTES_PER_CELL)
    free = psutil.virtual_memory().available
    if needed > free:
        raise StoreError(
            f"a table of {count:,} nuclei and {features} features takes {needed / 2**30:.1f} GiB "
            f"of memory, and {free / 2**30:.1f} GiB are free; use the GeoParquet table "
            "(--export table), which is read in parts"
        )


def _write_shapes(path: Path, source: CellSource) -> None:
    """GeoParquet with the label value as pandas' index, streamed."""
    schema = pa.schema([("id", pa.int64()), ("geometry", pa.binary())])
    with pq.ParquetWriter(path, schema, compression="zstd", store_schema=False) as writer:
        for piece in cell_tables(source):
            # An outline that cannot be mended has no shape; its row in the table remains.
            table = piece.filter(piece["geometry"].is_valid())
            ids = table["id"].cast(pa.int64())
            writer.write_table(pa.table([ids, table["geometry"]], schema))
        pandas = {
            "index_columns": ["id"],
            "column_indexes": [],
            "columns": [
                {
                    "name": "id",
                    "field_name": "id",
                    "pandas_type": "int64",
                    "numpy_type": "int64",
                    "metadata": None,
                }
            ],
        }
        writer.add_key_value_metadata(
            {"geo": json.dumps(geo_metadata()), "pandas": json.dumps(pandas)}
        )


def _transformations(info: CellsInfo, frame: Frame, axes: tuple[str, ...]) -> list[dict[str, Any]]:
    """From a frame's pixels to level-0 pixels (``global``) and to µm (``microns``)."""
    to_global = frame.scale_to(info.level0)
    scales = {
        "global": dict(zip("xy", to_global, strict=True)),
        "microns": {"x": frame.mpp.x, "y": frame.mpp.y},
    }
    # The same corner and pixel centres at +0.5 in every frame: a scale is all there is.
    return [
        {
            "type": "scale",
            "scale": [scale[axis] for axis in axes],
            "input": _system("".join(axes), axes),
            "output": _system(name, axes),
        }
        for name, scale in scales.items()
    ]


def _system(name: str, axes: tuple[str, ...]) -> dict[str, Any]:
    return {"name": name, "axes": [{"name": a, "type": "space", "unit": "unit"} for a in axes]}


def _labels_metadata(info: CellsInfo, levels: int) -> dict[str, Any]:
    axes = ("y", "x")
    return {
        "ome": {
            # The name under which spatialdata reads its own extension of OME-NGFF 0.5.
            "version": "0.5-dev-spatialdata",
            "multiscales": [
                {
                    "name": LABELS,
                    "axes": [{"name": axis, "type": "space"} for axis in axes],
                    "datasets": [
                        {
                            "path": str(level),
                            "coordinateTransformations": [
                                {"type": "scale", "scale": [2.0**level, 2.0**level]}
                            ],
                        }
                        for level in range(levels)
                    ],
                    "coordinateTransformations": _transformations(info, info.frame, axes),
                }
            ],
            "image-label": {"version": "0.5"},
        },
        "spatialdata_attrs": {"version": "0.3"},
    }
