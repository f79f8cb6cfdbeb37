"""The GeoParquet table, as other people's readers see it."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import geopandas
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from wsiseg.cells.batch import CellBatch
from wsiseg.cells.polygons import Polygons
from wsiseg.export.tables import write_cells_parquet
from wsiseg.testing.sources import MemorySource, synthetic_cells


@pytest.fixture(scope="module")
def source() -> MemorySource:
    made = synthetic_cells(9000, seed=5, holed=0.2, origin_px=(100, 200))
    return MemorySource(made.info, [made.read(part) for part in range(len(made.extents))])


@pytest.fixture(scope="module")
def path(source: MemorySource, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("table") / "cells.parquet"
    write_cells_parquet(path, source)
    return path


def all_cells(source: MemorySource) -> list[CellBatch]:
    return [source.read(part) for part in range(len(source.extents))]


def test_every_column_holds_what_the_source_holds(source: MemorySource, path: Path) -> None:
    cells, table = all_cells(source), pq.read_table(path)
    assert table.num_rows == source.count

    def column(name: str) -> np.ndarray:
        return table[name].combine_chunks().to_numpy(zero_copy_only=False)

    def expected(name: str) -> np.ndarray:
        return np.concatenate([getattr(batch, name) for batch in cells])

    assert table.schema.field("id").type == pa.uint32()
    np.testing.assert_array_equal(column("id"), expected("ids"))
    uuids = [uuid.UUID(bytes=row.tobytes()) for row in expected("uuids")]
    assert [uuid.UUID(text) for text in column("uuid")] == uuids
    np.testing.assert_array_equal(column("centroid_x_px"), expected("centroids")[:, 0])
    np.testing.assert_array_equal(column("centroid_y_px"), expected("centroids")[:, 1])
    assert pa.types.is_dictionary(table.schema.field("class").type)
    names = np.array([kind.name for kind in source.info.classes])
    np.testing.assert_array_equal(table["class"].to_pylist(), names[expected("class_index")])
    np.testing.assert_array_equal(column("probability"), expected("probabilities"))
    np.testing.assert_array_equal(column("truncated"), expected("truncated"))
    for name in cells[0].features:
        assert table.schema.field(name).type == pa.float32()
        np.testing.assert_array_equal(
            column(name), np.concatenate([batch.features[name] for batch in cells])
        )


def test_geopandas_reads_pixels_without_a_place_on_earth(source: MemorySource, path: Path) -> None:
    frame = geopandas.read_parquet(path)
    assert frame.crs is None
    polygons = Polygons.concatenate([batch.polygons for batch in all_cells(source)])
    assert shapely.equals_exact(frame.geometry.values, polygons.to_shapely()).all()
    assert frame.geometry.is_valid.all()
    x0, y0, x1, y1 = frame.total_bounds / 2
    part = geopandas.read_parquet(path, bbox=(x0, y0, x1, y1))
    inside = frame.geometry.intersects(shapely.box(x0, y0, x1, y1))
    assert set(frame["id"][inside]) <= set(part["id"])
    assert 0 < len(part) < len(frame)


def test_metadata_of_the_file(source: MemorySource, path: Path) -> None:
    metadata = pq.read_schema(path).metadata
    geo = json.loads(metadata[b"geo"])
    column = geo["columns"][geo["primary_column"]]
    assert geo["version"] == "1.1.0"
    assert column["crs"] is None
    assert column["encoding"] == "WKB"
    assert column["geometry_types"] == ["Polygon"]
    polygons = Polygons.concatenate([batch.polygons for batch in all_cells(source)])
    bounds = shapely.total_bounds(polygons.to_shapely())
    np.testing.assert_array_equal(column["bbox"], bounds)
    said = json.loads(metadata[b"wsiseg"])
    assert said["slide"] == source.info.slide
    assert said["level0"]["mpp"] == [0.25, 0.25]
    assert said["frame"]["mpp"] == [0.5, 0.5]
    assert said["origin_px"] == [100, 200]
    assert said["classes"][0] == {"name": "Neoplastic", "color": [200, 0, 0]}
    assert said["units"]["area_um2"] == "µm^2"
    assert said["units"]["centroid_x_px"] == "px"
    assert said["provenance"] == {"model": "synthetic", "seed": 5}
    # Readers of plain Parquet see the same two keys in the footer, once each.
    footer = pq.read_metadata(path).metadata
    assert footer[b"geo"] == metadata[b"geo"]
    assert footer[b"wsiseg"] == metadata[b"wsiseg"]


def test_covering_is_the_box_of_every_outline(path: Path) -> None:
    table = pq.read_table(path)
    boxes = np.array([list(row.values()) for row in table["bbox"].to_pylist()])
    outlines = shapely.from_wkb(table["geometry"].to_numpy())
    np.testing.assert_array_equal(boxes, shapely.bounds(outlines))


def test_small_parts_are_joined_and_large_ones_cut(
    source: MemorySource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wsiseg.export.tables._ROW_GROUP", 1000)
    large, small = tmp_path / "large.parquet", tmp_path / "small.parquet"
    write_cells_parquet(large, source)
    cells = all_cells(source)
    pieces = [
        batch.take(np.arange(start, min(start + 300, len(batch))))
        for batch in cells
        for start in range(0, len(batch), 300)
    ]
    write_cells_parquet(small, MemorySource(source.info, pieces))
    assert pq.read_table(large).equals(pq.read_table(small), check_metadata=True)
    for file in (large, small):
        groups = pq.read_metadata(file)
        sizes = [groups.row_group(k).num_rows for k in range(groups.num_row_groups)]
        assert len(sizes) > 4
        assert min(sizes[:-1]) >= 1000
        assert max(sizes) < 2000


def test_a_broken_outline_is_mended_or_null_and_its_row_stays(
    source: MemorySource, tmp_path: Path
) -> None:
    batch = source.read(0).take(np.arange(3))
    rings = [
        [(0, 0), (1000, 1000), (1000, 0), (0, 800)],
        [(0, 0), (100, 100), (200, 200)],
        [(0, 0), (1000, 0), (1000, 1000), (0, 1000)],
    ]
    polygons = Polygons(
        np.array([point for ring in rings for point in ring], np.int32),
        np.array([0, 4, 7, 11]),
        np.arange(4),
    )
    broken = CellBatch(
        batch.ids,
        batch.uuids,
        polygons,
        batch.centroids,
        batch.class_index,
        batch.probabilities,
        batch.truncated,
        batch.features,
    )
    path = tmp_path / "cells.parquet"
    write_cells_parquet(path, MemorySource(source.info, [broken]))
    frame = geopandas.read_parquet(path)
    assert frame["id"].tolist() == batch.ids.tolist()
    assert frame.geometry.isna().tolist() == [False, True, False]
    assert frame.geometry.dropna().is_valid.all()
    assert frame.geometry[2].area == 100
    assert pq.read_table(path)["bbox"].null_count == 1


@pytest.mark.parametrize("parts", [0, 1])
def test_no_nuclei_make_a_table_without_rows(
    source: MemorySource, tmp_path: Path, parts: int
) -> None:
    path = tmp_path / "cells.parquet"
    none = source.read(0).take(np.arange(0))
    write_cells_parquet(path, MemorySource(source.info, [none] * parts))
    frame = geopandas.read_parquet(path)
    assert len(frame) == 0
    assert frame.crs is None
    assert ("area_um2" in frame.columns) == (parts == 1)
    geo = json.loads(pq.read_schema(path).metadata[b"geo"])
    assert "bbox" not in geo["columns"]["geometry"]


def test_equal_cells_make_equal_bytes(source: MemorySource, path: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.parquet"
    write_cells_parquet(again, source)
    assert again.read_bytes() == path.read_bytes()


def test_synthetic_cells_keep_the_contract_of_a_source() -> None:
    source = synthetic_cells(5000, seed=9, holed=0.1)
    cells = [source.read(part) for part in range(len(source.extents))]
    assert sum(map(len, cells)) == source.count == 5000
    ids = np.concatenate([batch.ids for batch in cells])
    np.testing.assert_array_equal(ids, np.arange(1, 5001))
    fx, fy = source.info.level0.scale_to(source.info.frame)
    for batch, extent in zip(cells, source.extents, strict=True):
        low = batch.polygons.vertices.min(axis=0) / 100 * (fx, fy)
        high = batch.polygons.vertices.max(axis=0) / 100 * (fx, fy)
        assert extent.x0 <= low[0]
        assert extent.y0 <= low[1]
        assert high[0] <= extent.x1
        assert high[1] <= extent.y1
        assert shapely.is_valid(batch.polygons.to_shapely()).all()
    np.testing.assert_array_equal(
        source.read(1).polygons.vertices,
        synthetic_cells(5000, seed=9, holed=0.1).read(1).polygons.vertices,
    )
    with pytest.raises(IndexError):
        source.read(len(source.extents))
