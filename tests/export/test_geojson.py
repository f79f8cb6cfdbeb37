"""What QuPath's reader asks of a file, and that no nucleus is lost or written twice."""

from __future__ import annotations

import dataclasses
import gzip
import json
import math
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import shape

from wsiseg.cells.batch import CellBatch, CellClass, CellsInfo, CellSource
from wsiseg.cells.polygons import Polygons
from wsiseg.errors import ConfigurationError
from wsiseg.export._text import Texts, Written, features_text
from wsiseg.export.geojson import (
    GeojsonReport,
    write_cells_geojson,
    write_cells_geojson_split,
)
from wsiseg.export.regions import read_regions, write_tissue_geojson
from wsiseg.export.units import measurement_name, unit_of
from wsiseg.geometry import MPP, Frame, Size
from wsiseg.testing.sources import MemorySource, synthetic_cells

SQUARE = [(0, 0), (1000, 0), (1000, 1000), (0, 1000)]
BOW_TIE = [(0, 0), (1000, 1000), (1000, 0), (0, 800)]
SPIKE = [(0, 0), (1000, 0), (3000, 0), (1000, 0), (1000, 1000), (0, 1000)]
LINE = [(0, 0), (500, 500), (1000, 1000)]

Ring = list[tuple[int, int]]


def info(**changes: Any) -> CellsInfo:
    frame = Frame(Size(4000, 3000), MPP.square(0.25))
    classes = (CellClass("Neoplastic", (200, 0, 0)), CellClass('Say "é"', (0, 1, 2)))
    return dataclasses.replace(CellsInfo("a.svs", frame, frame.reduced(2), classes), **changes)


def outlines(polygons: list[list[Ring]]) -> Polygons:
    rings = [ring for polygon in polygons for ring in polygon]
    points = [point for ring in rings for point in ring]
    return Polygons(
        np.array(points, np.int32).reshape(-1, 2),
        np.concatenate([[0], np.cumsum([len(ring) for ring in rings], dtype=np.int64)]),
        np.concatenate([[0], np.cumsum([len(polygon) for polygon in polygons], dtype=np.int64)]),
    )


def batch(polygons: list[list[Ring]], **changes: Any) -> CellBatch:
    n = len(polygons)
    uuids = np.arange(16 * n, dtype=np.uint8).reshape(n, 16)
    plain = CellBatch(
        ids=np.arange(1, n + 1, dtype=np.uint32),
        uuids=uuids,
        polygons=outlines(polygons),
        centroids=np.full((n, 2), 5.0),
        class_index=np.zeros(n, np.uint8),
        probabilities=np.full(n, 0.93, np.float32),
        truncated=np.zeros(n, bool),
        features={},
    )
    return dataclasses.replace(plain, **changes)


def parsed(path: Path) -> list[dict[str, Any]]:
    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    document = json.loads(gzip.decompress(path.read_bytes()), parse_constant=refuse)
    assert document["type"] == "FeatureCollection"
    assert set(document) == {"type", "features"}
    features: list[dict[str, Any]] = document["features"]
    return features


def written(tmp_path: Path, source: CellSource) -> tuple[list[dict[str, Any]], GeojsonReport]:
    path = tmp_path / "cells.geojson.gz"
    report = write_cells_geojson(path, source)
    return parsed(path), report


def assert_qupath_accepts(features: list[dict[str, Any]], classes: dict[str, list[int]]) -> None:
    """Every trap of QuPath's reader that a file of detections can fall into."""
    assert len({uuid.UUID(feature["id"]) for feature in features}) == len(features)
    for feature in features:
        assert set(feature) == {"type", "id", "geometry", "properties"}
        assert feature["type"] == "Feature"
        assert set(feature["geometry"]) == {"type", "coordinates"}
        assert feature["geometry"]["type"] == "Polygon"
        for ring in feature["geometry"]["coordinates"]:
            assert len(ring) >= 4
            assert ring[0] == ring[-1]
        properties = feature["properties"]
        assert set(properties) == {"objectType", "classification", "measurements"}
        assert properties["objectType"] == "detection"
        name, color = properties["classification"]["name"], properties["classification"]["color"]
        assert classes[name] == color
        assert all(math.isfinite(value) for value in properties["measurements"].values())
    assert shapely.is_valid([shape(feature["geometry"]) for feature in features]).all()


def test_text_of_a_nucleus_by_hand(tmp_path: Path) -> None:
    shell = [(10000, 20000), (10050, 20000), (10005, 20123)]
    cells = batch(
        [[shell]],
        features={
            "area_um2": np.array([12.25], np.float32),
            "eccentricity": np.array([np.nan], np.float32),
        },
    )
    path = tmp_path / "cells.geojson.gz"
    report = write_cells_geojson(path, MemorySource(info(origin_px=(100, 201)), [cells]))
    assert report == GeojsonReport(written=1)
    assert gzip.decompress(path.read_bytes()).decode() == (
        '{"type":"FeatureCollection","features":[\n'
        '{"type":"Feature","id":"00010203-0405-0607-0809-0a0b0c0d0e0f",'
        '"geometry":{"type":"Polygon","coordinates":'
        "[[[0,-1],[0.5,-1],[0.05,0.23],[0,-1]]]},"
        '"properties":{"objectType":"detection",'
        '"classification":{"name":"Neoplastic","color":[200,0,0]},'
        '"measurements":{"Nucleus: Area µm^2":12.25,"Probability":0.93}}}\n]}'
    )


def test_many_nuclei_as_qupath_reads_them(tmp_path: Path) -> None:
    source = synthetic_cells(9000, seed=3, holed=0.2, origin_px=(1234, 567))
    features, report = written(tmp_path, source)
    assert_qupath_accepts(features, {c.name: list(c.color) for c in source.info.classes})
    assert report == GeojsonReport(written=9000)
    read = [source.read(part) for part in range(len(source.extents))]
    assert len(read) > 1
    polygons = Polygons.concatenate([cells.polygons for cells in read])
    assert np.diff(polygons.polygon_offsets).max() == 2
    assert [uuid.UUID(f["id"]).bytes for f in features] == [
        row.tobytes() for cells in read for row in cells.uuids
    ]
    back = [np.array(ring) for f in features for ring in f["geometry"]["coordinates"]]
    hundredths = np.rint(np.add(np.concatenate([r[:-1] for r in back]), (1234, 567)) * 100)
    np.testing.assert_array_equal(hundredths, polygons.vertices)
    np.testing.assert_array_equal([len(r) - 1 for r in back], np.diff(polygons.ring_offsets))
    for column in ("area_um2", "hematoxylin_od_mean"):
        values = np.concatenate([cells.features[column] for cells in read])
        name = measurement_name(column)
        said = [f["properties"]["measurements"][name] for f in features]
        np.testing.assert_array_equal(np.array(said, np.float32), values)


@pytest.mark.parametrize(
    ("broken", "area_px2"),
    [
        ([BOW_TIE], shapely.Polygon([(10, 10), (10, 0), (40 / 9, 40 / 9)]).area),
        ([SPIKE], 100.0),
        ([SQUARE, [(2000, 2000), (2500, 2000), (2500, 2500)]], 100.0),
        ([SQUARE, [(200, 200), (300, 200)]], 100.0),
        ([LINE], None),
        ([[(0, 0), (1000, 1000)]], None),
        ([], None),
        ([[(0, 0), (0, 0), (0, 0)]], None),
    ],
    ids=["bow-tie", "spike", "hole outside", "stub of a hole", "line", "two", "no ring", "point"],
)
def test_a_broken_polygon_spoils_nothing(
    tmp_path: Path, broken: list[Ring], area_px2: float | None
) -> None:
    source = MemorySource(info(), [batch([[SQUARE], broken, [SQUARE]])])
    features, report = written(tmp_path, source)
    assert_qupath_accepts(features, {"Neoplastic": [200, 0, 0]})
    if area_px2 is None:
        assert report == GeojsonReport(written=2, left_out=1)
        kept = source.read(0).uuids[[0, 2]]
    else:
        assert report == GeojsonReport(written=3, mended=1)
        kept = source.read(0).uuids
        assert shape(features[1]["geometry"]).area == pytest.approx(area_px2, rel=0.01)
    assert [uuid.UUID(f["id"]).bytes for f in features] == [row.tobytes() for row in kept]
    for sane in (features[0], features[-1]):
        assert shape(sane["geometry"]).area == 100.0


@given(
    st.lists(
        st.lists(
            st.lists(st.tuples(st.integers(-60, 60), st.integers(-60, 60)), max_size=7),
            max_size=3,
        ),
        max_size=6,
    )
)
@settings(max_examples=60, deadline=None)
def test_any_rings_make_a_file_of_valid_polygons(
    tmp_path_factory: pytest.TempPathFactory, polygons: list[list[Ring]]
) -> None:
    source = MemorySource(info(), [batch(polygons)])
    features, report = written(tmp_path_factory.mktemp("any"), source)
    assert_qupath_accepts(features, {"Neoplastic": [200, 0, 0]})
    assert report.written + report.left_out == len(polygons)
    assert report.written == len(features)


@given(st.lists(st.floats(width=32, allow_nan=True), min_size=1, max_size=40))
@settings(max_examples=200, deadline=None)
def test_measurements_read_back_as_the_same_float32(values: list[float]) -> None:
    given_values = np.array(values, np.float32)
    text = features_text(
        outlines([[SQUARE]]),
        Written(np.zeros((1, 16), np.uint8), np.zeros(1, np.uint8), given_values[None]),
        Texts.of([b']},"properties":{"measurements":{']),
        Texts.of([f'"{k}":'.encode() for k in range(len(values))]),
    ).tobytes()
    said = json.loads(text)["properties"]["measurements"]
    assert list(said) == [str(k) for k, v in enumerate(given_values) if math.isfinite(v)]
    for key, value in said.items():
        assert np.float32(value) == given_values[int(key)]


@pytest.mark.parametrize("value", [0.93, 1e-5, 123456.0, 16777216.0, 3e38, 1e-45, 0.1, -2.5])
def test_measurements_are_as_short_as_they_can_be(value: float) -> None:
    text = features_text(
        outlines([[SQUARE]]),
        Written(
            np.zeros((1, 16), np.uint8), np.zeros(1, np.uint8), np.array([[value]], np.float32)
        ),
        Texts.of([b"<"]),
        Texts.of([b""]),
    ).tobytes()
    shown = text.split(b"<")[1].removesuffix(b"}}}").decode()
    shortest = np.format_float_scientific(np.float32(value), unique=True, trim="-")
    digits = shown.split("e")[0].replace(".", "").replace("-", "").strip("0")
    expected = shortest.split("e")[0].replace(".", "").replace("-", "").strip("0")
    # Below the normal range, and where the last digit is free, up to six digits may be shown.
    assert len(digits) <= max(len(expected), 6)
    assert np.float32(float(shown)) == np.float32(value)


@given(
    st.lists(
        st.tuples(*(st.integers(-(2**31) + 1, 2**31 - 1) for _ in range(2))),
        min_size=3,
        max_size=20,
    )
)
@settings(max_examples=200, deadline=None)
def test_coordinates_are_hundredths_without_trailing_zeros(points: list[tuple[int, int]]) -> None:
    text = features_text(
        outlines([[points]]),
        Written(np.zeros((1, 16), np.uint8), np.zeros(1, np.uint8), np.zeros((1, 0), np.float32)),
        Texts.of([b"<"]),
        Texts.of([]),
    ).tobytes()
    shown = text.split(b'"coordinates":[')[1].split(b"<")[0].decode()
    expected = [[f"{Decimal(v) / 100:f}" for v in point] for point in (*points, points[0])]
    plain = [[v.rstrip("0").rstrip(".") if "." in v else v for v in point] for point in expected]
    assert shown == "[" + ",".join(f"[{x},{y}]" for x, y in plain) + "]"


def test_equal_cells_make_equal_bytes(tmp_path: Path) -> None:
    one, two = tmp_path / "one.geojson.gz", tmp_path / "two.geojson.gz"
    write_cells_geojson(one, synthetic_cells(5000, seed=1))
    write_cells_geojson(two, synthetic_cells(5000, seed=1))
    assert one.read_bytes() == two.read_bytes()
    write_cells_geojson(two, synthetic_cells(5000, seed=2))
    assert one.read_bytes() != two.read_bytes()


@pytest.mark.parametrize("batches", [[], [batch([])]], ids=["no part", "an empty part"])
def test_no_nuclei_make_an_empty_collection(tmp_path: Path, batches: list[CellBatch]) -> None:
    features, report = written(tmp_path, MemorySource(info(), batches))
    assert features == []
    assert report == GeojsonReport()


def test_a_part_without_a_sound_polygon_leaves_the_file_whole(tmp_path: Path) -> None:
    source = MemorySource(info(), [batch([[LINE]]), batch([[SQUARE]]), batch([[LINE]])])
    features, report = written(tmp_path, source)
    assert len(features) == 1
    assert report == GeojsonReport(written=1, left_out=2)


def test_a_class_in_two_colours_is_refused(tmp_path: Path) -> None:
    classes = (CellClass("A", (1, 2, 3)), CellClass("A", (1, 2, 4)))
    with pytest.raises(ConfigurationError, match="two colours"):
        write_cells_geojson(tmp_path / "c.geojson.gz", MemorySource(info(classes=classes), []))
    assert list(tmp_path.iterdir()) == []


def test_class_names_are_escaped_and_bounded(tmp_path: Path) -> None:
    features, _ = written(
        tmp_path, MemorySource(info(), [batch([[SQUARE]], class_index=np.array([1], np.uint8))])
    )
    assert features[0]["properties"]["classification"] == {"name": 'Say "é"', "color": [0, 1, 2]}
    with pytest.raises(ValueError, match="class 2"):
        written(
            tmp_path, MemorySource(info(), [batch([[SQUARE]], class_index=np.array([2], np.uint8))])
        )


def test_split_puts_every_nucleus_into_one_region(tmp_path: Path) -> None:
    source = synthetic_cells(9000, seed=4)
    folder = tmp_path / "split"
    report = write_cells_geojson_split(folder, source, side_um=300)
    index = json.loads((folder / "index.json").read_text())
    files = {entry["file"] for entry in index["regions"]}
    assert {path.name for path in folder.iterdir()} == files | {"index.json", "import.groovy"}
    centroids = {}
    for part in range(len(source.extents)):
        cells = source.read(part)
        keys = [str(uuid.UUID(bytes=row.tobytes())) for row in cells.uuids]
        centroids.update(zip(keys, cells.centroids.tolist(), strict=True))
    seen: list[str] = []
    for entry in index["regions"]:
        features = parsed(folder / entry["file"])
        assert_qupath_accepts(features, {c.name: list(c.color) for c in source.info.classes})
        assert len(features) == entry["count"]
        x0, y0, x1, y1 = entry["box_px"]
        assert x1 - x0 <= 1200
        assert y1 - y0 <= 1200
        for feature in features:
            x, y = centroids[feature["id"]]
            assert x0 <= x < x1
            assert y0 <= y < y1
        seen += [feature["id"] for feature in features]
    assert len(files) > 4
    assert sorted(seen) == sorted(centroids)
    assert report == GeojsonReport(written=9000)
    assert "importObjectsFromFile" in (folder / "import.groovy").read_text()


def test_split_replaces_the_folder_and_refuses_specks(tmp_path: Path) -> None:
    folder = tmp_path / "split"
    write_cells_geojson_split(folder, synthetic_cells(500), side_um=100)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(ConfigurationError, match="larger side"):
        write_cells_geojson_split(folder, synthetic_cells(500), side_um=0.5)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    write_cells_geojson_split(folder, MemorySource(info(), []), side_um=100)
    assert {path.name for path in folder.iterdir()} == {"index.json", "import.groovy"}


def test_tissue_goes_out_locked_and_comes_back(tmp_path: Path) -> None:
    ring = shapely.Polygon(
        [(100, 100), (200, 100), (200, 200), (100, 200)],
        [[(120, 120), (140, 120), (140, 140), (120, 140)]],
    )
    pair = shapely.MultiPolygon([shapely.box(300, 0, 310, 10), shapely.box(320, 0, 330.004, 10)])
    bow_tie = shapely.Polygon([(0, 0), (10, 10), (10, 0), (0, 10)])
    for name in ("tissue.geojson", "tissue.geojson.gz"):
        path = tmp_path / name
        count = write_tissue_geojson(
            path, [ring, pair, bow_tie], info(origin_px=(50, 0)), names=["a", "b", "c"]
        )
        regions = read_regions(path)
        assert count == len(regions) == 5
        assert [region.name for region in regions] == ["a", "b", "b", "c", "c"]
        assert {(region.class_name, region.object_type) for region in regions} == {
            ("Tissue", "annotation")
        }
        assert regions[0].geometry.equals(shapely.affinity.translate(ring, -50, 0))
        assert regions[2].geometry.bounds == (270, 0, 280, 10)
    features = json.loads((tmp_path / "tissue.geojson").read_bytes())["features"]
    assert all(feature["properties"]["isLocked"] is True for feature in features)
    assert len({uuid.UUID(feature["id"]) for feature in features}) == 5
    again = tmp_path / "again.geojson"
    write_tissue_geojson(
        again, [ring, pair, bow_tie], info(origin_px=(50, 0)), names=["a", "b", "c"]
    )
    assert again.read_bytes() == (tmp_path / "tissue.geojson").read_bytes()


def test_no_tissue_makes_an_empty_collection(tmp_path: Path) -> None:
    assert write_tissue_geojson(tmp_path / "t.geojson", [], info()) == 0
    assert read_regions(tmp_path / "t.geojson") == []


def polygon_feature(**properties: object) -> dict[str, object]:
    ring = [[0, 0], [10, 0], [10, 10], [0, 10], [0, 0]]
    geometry = {"type": "Polygon", "coordinates": [ring]}
    return {"type": "Feature", "geometry": geometry, "properties": properties}


@pytest.mark.parametrize(
    ("classification", "expected"),
    [
        ("Tumor", "Tumor"),
        (None, None),
        ({"name": "Tumor", "color": [1, 2, 3]}, "Tumor"),
        ({"names": ["Tumor", "Positive"], "color": [1, 2, 3]}, "Tumor: Positive"),
    ],
)
def test_classifications_of_the_user(
    tmp_path: Path, classification: object, expected: str | None
) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps([polygon_feature(classification=classification, name="n")]))
    (region,) = read_regions(path)
    assert (region.class_name, region.name) == (expected, "n")


def test_every_top_level_that_qupath_writes(tmp_path: Path) -> None:
    feature = polygon_feature()
    for document in (
        feature,
        [feature],
        {"type": "FeatureCollection", "features": [feature]},
        feature["geometry"],
    ):
        path = tmp_path / "mine.geojson"
        path.write_text(json.dumps(document))
        (region,) = read_regions(path)
        assert region.geometry.area == 100
        assert region.object_type == "annotation"


def test_an_outline_that_crosses_itself_keeps_all_it_encloses(tmp_path: Path) -> None:
    feature = polygon_feature()
    feature["geometry"] = {
        "type": "Polygon",
        "coordinates": [[[0, 0], [10, 10], [10, 0], [0, 10], [0, 0]]],
    }
    path = tmp_path / "mine.geojson"
    path.write_text(json.dumps(feature))
    (region,) = read_regions(path)
    assert region.geometry.is_valid
    assert region.geometry.area == 50


def read_one(path: Path, kind: str, coordinates: object) -> shapely.Geometry:
    path.write_text(json.dumps({"type": kind, "coordinates": coordinates}))
    (region,) = read_regions(path)
    return region.geometry


def test_what_was_drawn_over_twice_stays_inside(tmp_path: Path) -> None:
    angles = np.linspace(0, 2.2 * np.pi, 60)
    spiral = np.stack([np.cos(angles), np.sin(angles)], axis=1) * np.linspace(95, 105, 60)[:, None]
    drawn = read_one(tmp_path / "mine.json", "Polygon", [[*spiral.tolist(), spiral[0].tolist()]])
    assert drawn.is_valid
    assert shapely.area(drawn) == pytest.approx(np.pi * 100**2, rel=0.05)
    assert all(drawn.contains(shapely.Point(*point)) for point in spiral[1:7] * 0.99)
    squares = [shapely.box(0, 0, 10, 10), shapely.box(5, 0, 15, 10)]
    overlapping = [[np.array(square.exterior.coords).tolist()] for square in squares]
    assert read_one(tmp_path / "mine.json", "MultiPolygon", overlapping).area == 150


def test_points_and_lines_are_read(tmp_path: Path) -> None:
    for kind, coordinates in (
        ("Point", [1.5, 2, 7]),
        ("MultiPoint", [[1, 2], [3, 4]]),
        ("LineString", [[0, 0], [5, 5]]),
        ("MultiLineString", [[[0, 0], [5, 5]], [[1, 0], [2, 0]]]),
    ):
        read = read_one(tmp_path / "mine.json", kind, coordinates)
        assert (read.geom_type, read.area, read.has_z) == (kind, 0, False)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "not valid JSON"),
        ('"text"', "not GeoJSON"),
        ('{"type":"FeatureCollection"}', "not GeoJSON"),
        ("[3]", "feature 1 is no GeoJSON feature"),
        ('[{"type":"Feature","geometry":null}]', "feature 1 is without a geometry"),
        (
            '[{"type":"Feature","geometry":{"type":"GeometryCollection","geometries":[]}}]',
            "a GeometryCollection",
        ),
        ('[{"type":"Point","coordinates":[]}]', "feature 1 encloses no area|feature 1: its coord"),
        (
            '[{"type":"Point","coordinates":[1,1]},{"type":"Point","coordinates":[1,2e9]}]',
            "feature 2 has coordinates beyond",
        ),
        ('[{"type":"Point","coordinates":[null,1]}]', "feature 1.*coordinates"),
        ('[{"type":"Polygon","coordinates":[[[0,0],[1]]]}]', "feature 1: its coordinates"),
        ('[{"type":"Polygon","coordinates":[["a"]]}]', "feature 1: its coordinates"),
        ('[{"type":"Polygon","coordinates":7}]', "feature 1: its coordinates"),
        ('[{"type":"Polygon"}]', "feature 1: its coordinates"),
        ('[{"type":"Polygon","coordinates":[]}]', "encloses no area"),
        (
            '[{"type":"Polygon","coordinates":[[[0,0],[1e400,0],[1,1],[0,0]]]}]',
            "not valid JSON|not finite",
        ),
        ('[{"type":"Polygon","coordinates":[[[0,0],[1,1],[2,2],[0,0]]]}]', "encloses no area"),
        (
            json.dumps([polygon_feature(), polygon_feature(classification=7)]),
            "feature 2: its classification",
        ),
    ],
)
def test_a_file_that_is_no_set_of_regions_is_refused_by_name(
    tmp_path: Path, text: str, reason: str
) -> None:
    path = tmp_path / "mine.geojson"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=reason) as caught:
        read_regions(path)
    assert str(path) in str(caught.value)


def test_files_that_cannot_be_read_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigurationError, match=r"absent\.geojson"):
        read_regions(tmp_path / "absent.geojson")
    whole = gzip.compress(json.dumps(polygon_feature()).encode())
    for damaged in (whole[:-9], b"no gzip", whole[:12] + b"\xff" * 20):
        (tmp_path / "cut.gz").write_bytes(damaged)
        with pytest.raises(ConfigurationError, match=r"cut\.gz"):
            read_regions(tmp_path / "cut.gz")
    monkeypatch.setattr("wsiseg.export.regions._MAX_BYTES", 1 << 20)
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(b" " * (2 << 20)))
    with pytest.raises(ConfigurationError, match="more than 1 MB"):
        read_regions(tmp_path / "bomb.gz")


@pytest.mark.parametrize(
    ("column", "name", "unit"),
    [
        ("area_um2", "Nucleus: Area µm^2", "µm^2"),
        ("major_axis_um", "Nucleus: Major axis µm", "µm"),
        ("eccentricity", "Nucleus: Eccentricity", ""),
        ("orientation_rad", "Nucleus: Orientation rad", "rad"),
        ("hematoxylin_od_mean", "Nucleus: Hematoxylin OD mean", ""),
        ("density_per_mm2", "Nucleus: Density per mm^2", "per mm^2"),
        ("um", "Nucleus: Um", ""),
    ],
)
def test_measurement_names_carry_the_unit(column: str, name: str, unit: str) -> None:
    assert measurement_name(column) == name
    assert unit_of(column) == unit
