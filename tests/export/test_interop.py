"""AnnData, SpatialData, AnnotationStore and CSV, read back by other people's libraries."""

from __future__ import annotations

import gzip
import json
import sqlite3
import zlib
from pathlib import Path

import anndata
import geopandas
import numpy as np
import pandas as pd
import psutil
import pytest
import shapely
import zarr

from wsiseg.errors import MissingExtraError, StoreError
from wsiseg.export import scverse
from wsiseg.export.annotation_store import write_annotation_store
from wsiseg.export.scverse import write_anndata, write_spatialdata
from wsiseg.export.text_table import write_csv
from wsiseg.testing.sources import MemorySource, synthetic_cells

COUNT = 5000


@pytest.fixture(scope="module")
def source() -> MemorySource:
    made = synthetic_cells(COUNT, seed=7, holed=0.2, origin_px=(100, 200))
    return MemorySource(made.info, [made.read(part) for part in range(len(made.extents))])


def column(source: MemorySource, name: str) -> np.ndarray:
    return np.concatenate([getattr(source.read(p), name) for p in range(len(source.extents))])


def feature(source: MemorySource, name: str) -> np.ndarray:
    return np.concatenate([source.read(p).features[name] for p in range(len(source.extents))])


def read_anndata(path: Path) -> anndata.AnnData:
    return anndata.read_h5ad(path) if path.suffix == ".h5ad" else anndata.read_zarr(path)


@pytest.mark.parametrize("container", ["h5ad", "zarr"])
def test_anndata_holds_the_features_their_units_and_the_places(
    source: MemorySource, tmp_path: Path, container: str
) -> None:
    path = tmp_path / f"cells.{container}"
    write_anndata(path, source, container=container)
    table = read_anndata(path)
    assert table.shape == (COUNT, len(source.read(0).features))
    for name in source.read(0).features:
        np.testing.assert_array_equal(table[:, name].X.ravel(), feature(source, name))
    assert table.var.loc["area_um2", "unit"] == "µm^2"
    assert table.var.loc["solidity", "unit"] == ""
    np.testing.assert_array_equal(table.obsm["spatial"], column(source, "centroids"))
    np.testing.assert_array_equal(table.obs["instance_id"], column(source, "ids"))
    names = np.array([kind.name for kind in source.info.classes])
    assert (table.obs["class"].astype(str) == names[column(source, "class_index")]).all()
    assert table.obs_names.is_unique
    told = json.loads(table.uns["wsiseg"])
    assert told["slide"] == source.info.slide
    assert told["level0"]["mpp"] == [0.25, 0.25]


def test_spatialdata_ties_outlines_labels_and_table_together(
    source: MemorySource, tmp_path: Path
) -> None:
    path = tmp_path / "cells.zarr"
    write_spatialdata(path, source)
    root = zarr.open_group(str(path), mode="r")
    table = anndata.read_zarr(path / "tables" / scverse.TABLE)
    shapes = geopandas.read_parquet(path / "shapes" / scverse.SHAPES / "shapes.parquet")
    keys = table.uns["spatialdata_attrs"]
    assert keys["region"] in root["shapes"]
    assert (table.obs[keys["region_key"]] == keys["region"]).all()
    assert set(table.obs[keys["instance_key"]]) == set(shapes.index)
    assert shapes.crs is None
    assert shapes.geometry.is_valid.all()

    labels = root["labels"][scverse.LABELS]
    image = labels.attrs["ome"]["multiscales"][0]
    pixels = labels[image["datasets"][0]["path"]][:]
    assert set(np.unique(pixels)) - {0} <= set(shapes.index)
    steps = {t["output"]["name"]: t["scale"] for t in image["coordinateTransformations"]}
    assert steps["microns"] == [0.5, 0.5]
    # A label's pixels, brought into the common system, lie in the outline of that number.
    places = (np.argwhere(pixels == 17) + 0.5) * steps["global"]
    assert len(places) > 50
    assert shapely.contains_xy(shapes.geometry.loc[17], places[:, 1], places[:, 0]).all()


def test_an_annotation_store_can_be_asked_for_a_window(
    source: MemorySource, tmp_path: Path
) -> None:
    path = tmp_path / "cells.db"
    write_annotation_store(path, source)
    with sqlite3.connect(path) as store:
        facts = {key: json.loads(value) for key, value in store.execute("SELECT * FROM metadata")}
        rows = store.execute(
            "SELECT a.id, objtype, geometry, properties, area, cx, cy FROM annotations a "
            "JOIN rtree r ON a.id = r.id WHERE max_x >= 0 AND min_x <= 500 AND min_y <= 500"
        ).fetchall()
        (total,) = store.execute("SELECT count(*) FROM annotations").fetchone()
    assert total == COUNT
    assert (facts["version"], facts["compression"]) == ("1.0.1", "zlib")
    places = column(source, "centroids")
    inside = {n + 1 for n, (x, y) in enumerate(places) if x <= 500 and y <= 500}
    assert inside <= {row[0] for row in rows}
    areas, kinds = feature(source, "area_um2"), column(source, "class_index")
    for number, objtype, geometry, properties, area, cx, cy in rows:
        outline = shapely.from_wkb(zlib.decompress(geometry))
        told = json.loads(properties)
        assert objtype == outline.geom_type
        assert outline.area == pytest.approx(area)
        assert (cx, cy) == tuple(places[number - 1])
        assert told["type"] == source.info.classes[kinds[number - 1]].name
        assert told["area_um2"] == pytest.approx(float(areas[number - 1]), abs=1e-4)


def test_csv_has_a_line_a_nucleus_and_empty_fields_for_no_number(
    source: MemorySource, tmp_path: Path
) -> None:
    first = source.read(0)
    areas = first.features["area_um2"].copy()
    areas[3] = np.nan
    changed = type(first)(
        **{name: getattr(first, name) for name in first.__slots__ if name != "features"},
        features={**first.features, "area_um2": areas},
    )
    path = tmp_path / "cells.csv.gz"
    write_csv(path, MemorySource(source.info, [changed]))
    table = pd.read_csv(path)
    assert len(table) == len(first)
    assert "geometry" not in table
    np.testing.assert_allclose(table["area_um2"], areas, rtol=1e-6)
    with gzip.open(path, "rt") as file:
        assert "nan" not in file.read().lower()


def test_a_slide_without_nuclei_gives_empty_tables(source: MemorySource, tmp_path: Path) -> None:
    nothing = MemorySource(source.info, [])
    write_csv(tmp_path / "cells.csv.gz", nothing)
    assert len(pd.read_csv(tmp_path / "cells.csv.gz")) == 0
    write_anndata(tmp_path / "cells.h5ad", nothing)
    assert anndata.read_h5ad(tmp_path / "cells.h5ad").n_obs == 0
    write_spatialdata(tmp_path / "cells.zarr", nothing)
    shapes = tmp_path / "cells.zarr" / "shapes" / scverse.SHAPES / "shapes.parquet"
    assert len(geopandas.read_parquet(shapes)) == 0
    write_annotation_store(tmp_path / "cells.db", nothing)
    with sqlite3.connect(tmp_path / "cells.db") as store:
        assert store.execute("SELECT count(*) FROM annotations").fetchone() == (0,)


def test_a_table_larger_than_the_memory_is_refused(
    source: MemorySource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = psutil.virtual_memory()._replace(available=1 << 20)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: small)
    with pytest.raises(StoreError, match="GeoParquet"):
        write_anndata(tmp_path / "cells.h5ad", source)
    assert not list(tmp_path.iterdir())


def test_without_anndata_the_extra_is_named(
    source: MemorySource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "anndata", None)
    with pytest.raises(MissingExtraError, match="tables"):
        write_spatialdata(tmp_path / "cells.zarr", source)
