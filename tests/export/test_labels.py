"""Label pyramids: true to OME-Zarr, and equal to painting the cells at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from wsiseg.cells.batch import CellBatch, CellsInfo
from wsiseg.cells.polygons import Polygons
from wsiseg.cells.rasterize import paint_order, rasterize
from wsiseg.cells.vectorize import vectorize
from wsiseg.errors import DiskFullError
from wsiseg.export import _painting
from wsiseg.export.labels import TissueLabels, write_labels
from wsiseg.geometry import MPP, Frame, Size
from wsiseg.testing.sources import CLASSES, MemorySource

VALUES = (
    (0, "background", (0, 0, 0, 0)),
    (1, "tissue", (0, 200, 0, 120)),
    (2, "pen", (200, 0, 0, 120)),
)


def frames(width: int, height: int) -> tuple[Frame, Frame]:
    """Level 0 at 0.263018 µm/px and a frame of the given size at 0.5 µm/px."""
    level0 = Frame(Size(round(width * 1.90104), round(height * 1.90104)), MPP.square(0.263018))
    return level0, Frame(Size(width, height), MPP.square(0.5))


def cells_at(info: CellsInfo, centres: NDArray[np.float64], first: int, seed: int = 0) -> CellBatch:
    """Overlapping ten-sided cells around frame positions."""
    rng = np.random.default_rng((seed, first))
    n, fx = len(centres), info.frame.scale_to(info.level0)[0]
    angles = np.linspace(0, 2 * np.pi, 10, endpoint=False)
    radii = rng.uniform(2, 14, (n, 1, 1))
    points = centres[:, None] + radii * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return CellBatch(
        ids=np.arange(first, first + n, dtype=np.uint32),
        uuids=np.zeros((n, 16), np.uint8),
        polygons=Polygons(
            np.rint(points * fx * 100).astype(np.int32).reshape(-1, 2),
            np.arange(n + 1) * 10,
            np.arange(n + 1),
        ),
        centroids=centres * fx,
        class_index=np.zeros(n, np.uint8),
        probabilities=rng.choice([0.5, 0.75, 1.0], n).astype(np.float32),
        truncated=np.zeros(n, np.bool_),
        features={},
    )


def scattered(width: int, height: int, count: int, parts: int, seed: int = 0) -> MemorySource:
    """Cells all over a frame and a little beyond, in parts that overlap."""
    level0, frame = frames(width, height)
    info = CellsInfo("scattered", level0, frame, CLASSES)
    centres = np.random.default_rng(seed).uniform(-5, (width + 5, height + 5), (count, 2))
    batches, first = [], 1
    for chunk in np.array_split(centres, parts):
        batches.append(cells_at(info, chunk, first, seed))
        first += len(chunk)
    return MemorySource(info, batches)


def tissue_of(source: MemorySource, mpp: float = 8.0) -> TissueLabels:
    frame = source.info.level0.at(MPP.square(mpp))
    codes = np.zeros(frame.box.shape, np.uint8)
    codes[2:-2, 2:-2] = 1
    codes[3:5, 3:5] = 2
    return TissueLabels(codes, frame, VALUES)


def painted_at_once(source: MemorySource) -> NDArray[np.uint32]:
    batches = [source.read(part) for part in range(len(source.extents))]
    order = paint_order(
        np.concatenate([b.probabilities for b in batches]),
        np.concatenate([b.centroids for b in batches]),
    )
    return rasterize(
        Polygons.concatenate([b.polygons for b in batches]),
        np.concatenate([b.ids for b in batches]),
        order,
        source.info.frame.box,
        source.info.frame.scale_to(source.info.level0),
    )


def ome(group: zarr.Group) -> dict[str, Any]:
    attributes = group.attrs.asdict()
    return attributes.get("ome", attributes)


@pytest.mark.parametrize("ngff", ["0.5", "0.4"])
@pytest.mark.parametrize(("width", "height"), [(4500, 2100), (2049, 4097), (64, 64), (5, 3)])
def test_levels_are_every_second_pixel_of_the_cells_painted_at_once(tmp_path, ngff, width, height):
    source = scattered(width, height, 3000, 7)
    write_labels(tmp_path / "labels.zarr", source, tissue_of(source, 4.0), ngff=ngff)
    nuclei = zarr.open_group(tmp_path / "labels.zarr" / "nuclei", mode="r")
    expected = painted_at_once(source)
    datasets = ome(nuclei)["multiscales"][0]["datasets"]
    for dataset in datasets:
        np.testing.assert_array_equal(nuclei[dataset["path"]][:], expected)
        expected = expected[::2, ::2]
    assert max(nuclei[datasets[-1]["path"]].shape) <= 256
    assert nuclei["0"].dtype == np.uint32


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 9))
def test_the_mask_does_not_depend_on_how_cells_lie_in_parts(tmp_path_factory, seed, parts):
    path = tmp_path_factory.mktemp("labels") / "labels.zarr"
    source = scattered(300, 200, 60, parts, seed)
    write_labels(path, source, tissue_of(source))
    whole = scattered(300, 200, 60, 1, seed)
    one = MemorySource(whole.info, [join(source)])
    np.testing.assert_array_equal(zarr.open_array(path / "nuclei" / "0")[:], painted_at_once(one))


def join(source: MemorySource) -> CellBatch:
    batches = [source.read(part) for part in range(len(source.extents))]
    fields = ("ids", "uuids", "centroids", "class_index", "probabilities", "truncated")
    arrays = {name: np.concatenate([getattr(b, name) for b in batches]) for name in fields}
    polygons = Polygons.concatenate([b.polygons for b in batches])
    return CellBatch(polygons=polygons, features={}, **arrays)


def test_traced_labels_come_back_pixel_for_pixel(tmp_path):
    level0, frame = frames(160, 120)
    noise = ndimage.gaussian_filter(np.random.default_rng(3).normal(size=(120, 160)), 1.5)
    expected, n = ndimage.label(noise > 0)
    traced = vectorize(expected.astype(np.int32), n, (0, 0), frame.scale_to(level0))
    batch = CellBatch(
        (traced.index + 1).astype(np.uint32),
        np.zeros((n, 16), np.uint8),
        traced.polygons,
        np.stack([traced.sum_x, traced.sum_y], axis=1) / traced.area_px[:, None],
        np.zeros(n, np.uint8),
        np.ones(n, np.float32),
        np.zeros(n, np.bool_),
        {},
    )
    source = MemorySource(CellsInfo("traced", level0, frame, CLASSES), [batch])
    write_labels(tmp_path / "labels.zarr", source, tissue_of(source))
    np.testing.assert_array_equal(
        zarr.open_array(tmp_path / "labels.zarr" / "nuclei" / "0")[:], expected
    )


@pytest.mark.parametrize("ngff", ["0.5", "0.4"])
def test_metadata_are_those_of_the_specification(tmp_path, ngff):
    source = scattered(900, 500, 300, 3)
    write_labels(tmp_path / "labels.zarr", source, tissue_of(source), ngff=ngff)
    root = zarr.open_group(tmp_path / "labels.zarr", mode="r")
    assert root.metadata.zarr_format == (3 if ngff == "0.5" else 2)
    assert ome(root)["labels"] == ["nuclei", "tissue"]
    assert sorted(root.group_keys()) == ["nuclei", "tissue"]
    counts = set()
    for name, mpp in (("nuclei", 0.5), ("tissue", 8.0)):
        group = root[name]
        attributes = ome(group)
        assert ("ome" in group.attrs.asdict()) == (ngff == "0.5")
        (multiscale,) = attributes["multiscales"]
        assert multiscale["axes"] == [
            {"name": axis, "type": "space", "unit": "micrometer"} for axis in "yx"
        ]
        assert multiscale["type"] == "nearest"
        assert multiscale["name"] == name
        assert attributes["image-label"]["version"] == ngff
        assert "source" not in attributes["image-label"]
        if ngff == "0.4":
            assert multiscale["version"] == "0.4"
        else:
            assert attributes["version"] == "0.5"
            assert "version" not in multiscale
        counts.add(len(multiscale["datasets"]))
        for level, dataset in enumerate(multiscale["datasets"]):
            (scale,) = dataset["coordinateTransformations"]
            assert scale == {"type": "scale", "scale": [mpp * 2**level] * 2}
            array = group[dataset["path"]]
            assert array.dtype.kind == "u"
            assert array.fill_value == 0
            if ngff == "0.5":
                assert array.metadata.dimension_names == ("y", "x")
                assert array.shards == (2048, 2048)
            assert array.chunks == ((512, 512) if ngff == "0.5" else (1024, 1024))
    assert len(counts) == 1
    assert counts.pop() > 1


@pytest.mark.parametrize("ngff", ["0.5", "0.4"])
def test_tissue_keeps_its_codes_colours_and_meanings(tmp_path, ngff):
    source = scattered(900, 500, 10, 1)
    tissue = tissue_of(source)
    write_labels(tmp_path / "labels.zarr", source, tissue, ngff=ngff)
    group = zarr.open_group(tmp_path / "labels.zarr" / "tissue", mode="r")
    np.testing.assert_array_equal(group["0"][:], tissue.codes)
    np.testing.assert_array_equal(group["2"][:], tissue.codes[::4, ::4])
    label = ome(group)["image-label"]
    assert label["colors"][1] == {"label-value": 1, "rgba": [0, 200, 0, 120]}
    assert {p["label-value"]: p["name"] for p in label["properties"]} == {
        code: name for code, name, _ in VALUES
    }


@pytest.mark.parametrize(("ngff", "place"), [("0.5", "c/0/0"), ("0.4", "0/0")])
def test_background_is_not_written(tmp_path, ngff, place):
    level0, frame = frames(6000, 5000)
    info = CellsInfo("corner", level0, frame, CLASSES)
    source = MemorySource(info, [cells_at(info, np.array([[30.0, 40.0], [300.0, 20.0]]), 1)])
    write_labels(tmp_path / "labels.zarr", source, tissue_of(source), ngff=ngff)
    level = tmp_path / "labels.zarr" / "nuclei" / "0"
    written = [
        str(path.relative_to(level))
        for path in level.rglob("*")
        if path.is_file() and path.suffix != ".json" and not path.name.startswith(".")
    ]
    assert written == [place]


def test_a_part_is_read_only_where_its_extent_lies(tmp_path):
    source = scattered(700, 500, 50, 2)
    read: list[int] = []

    class Counting(MemorySource):
        def read(self, part: int) -> CellBatch:
            read.append(part)
            return super().read(part)

    info = source.info
    far = cells_at(info, np.array([[90_000.0, 90_000.0]]), 51)
    counting = Counting(info, [source.read(0), source.read(1), far])
    write_labels(tmp_path / "labels.zarr", counting, tissue_of(source))
    assert read == [0, 1]


def test_every_part_is_read_once(tmp_path):
    source = scattered(4500, 4300, 400, 9)
    read: list[int] = []

    class Counting(MemorySource):
        def read(self, part: int) -> CellBatch:
            read.append(part)
            return super().read(part)

    counting = Counting(source.info, [source.read(part) for part in range(9)])
    write_labels(tmp_path / "labels.zarr", counting, tissue_of(source))
    assert sorted(read) == list(range(9))


def test_what_waits_too_long_is_read_again(tmp_path, monkeypatch):
    source = scattered(4500, 4300, 900, 9)
    write_labels(tmp_path / "once.zarr", source, tissue_of(source))
    read: list[int] = []

    class Counting(MemorySource):
        def read(self, part: int) -> CellBatch:
            read.append(part)
            return super().read(part)

    monkeypatch.setattr(_painting, "_PARTS_IN_MEMORY", 2)
    monkeypatch.setattr(_painting, "_FEW", 3)
    counting = Counting(source.info, [source.read(part) for part in range(9)])
    write_labels(tmp_path / "again.zarr", counting, tissue_of(source))
    assert len(read) > 9
    assert files_of(tmp_path / "again.zarr") == files_of(tmp_path / "once.zarr")


def test_shards_hold_the_chunks_that_zarr_would_write(tmp_path):
    source = scattered(2600, 700, 30, 3)
    write_labels(tmp_path / "labels.zarr", source, tissue_of(source))
    ours = tmp_path / "labels.zarr" / "nuclei" / "0"
    array = zarr.open_array(ours)
    theirs = zarr.create_array(
        tmp_path / "theirs",
        shape=array.shape,
        dtype=array.dtype,
        chunks=array.chunks,
        shards=array.shards,
        compressors=array.compressors,
        fill_value=0,
    )
    theirs[:] = array[:]
    for place in ("c/0/0", "c/0/1"):
        present = [chunks_of(folder / place) for folder in (ours, tmp_path / "theirs")]
        assert present[0].any()
        np.testing.assert_array_equal(*present)


def chunks_of(shard: Path) -> NDArray[np.bool_]:
    """Which chunks a shard of 4 x 4 holds, by the index at its end."""
    index = np.frombuffer(shard.read_bytes()[-260:-4], "<u8").reshape(4, 4, 2)
    return np.asarray(index[..., 0] != np.iinfo(np.uint64).max)


def test_a_slide_without_cells_has_empty_labels(tmp_path):
    level0, frame = frames(600, 600)
    source = MemorySource(CellsInfo("empty", level0, frame, CLASSES), [])
    write_labels(tmp_path / "labels.zarr", source, tissue_of(source))
    assert not zarr.open_array(tmp_path / "labels.zarr" / "nuclei" / "0")[:].any()


def test_a_failure_leaves_what_stood_there(tmp_path):
    source = scattered(300, 300, 20, 2)
    path = tmp_path / "labels.zarr"
    write_labels(path, source, tissue_of(source))

    class Full(MemorySource):
        def read(self, part: int) -> CellBatch:
            if part:
                raise OSError(28, "No space left on device")
            return super().read(part)

    full = Full(source.info, [source.read(0), source.read(1)])
    with pytest.raises(DiskFullError):
        write_labels(path, full, tissue_of(source))
    assert [p.name for p in tmp_path.iterdir()] == ["labels.zarr"]
    np.testing.assert_array_equal(
        zarr.open_array(path / "nuclei" / "0")[:], painted_at_once(source)
    )


def test_writing_twice_gives_the_same_bytes(tmp_path):
    source = scattered(900, 700, 200, 3)
    for name in ("a", "b"):
        write_labels(tmp_path / name, source, tissue_of(source))
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")
    assert json.loads((tmp_path / "a" / "zarr.json").read_text())["zarr_format"] == 3


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_codes_fill_their_frame():
    frame = Frame(Size(10, 20), MPP.square(8.0))
    with pytest.raises(ValueError, match="do not fill"):
        TissueLabels(np.zeros((10, 20), np.uint8), frame, VALUES)


def test_overlaps_in_the_mask_go_to_the_likelier(tmp_path):
    level0, frame = frames(100, 100)
    info = CellsInfo("pair", level0, frame, CLASSES)
    corners = np.array([[10, 10], [60, 10], [60, 60], [10, 60]])
    batches = []
    for number, (shift, probability) in enumerate([(0, 0.9), (20, 0.6)], start=1):
        points = np.rint((corners + shift) * frame.scale_to(level0)[0] * 100).astype(np.int32)
        batches.append(
            CellBatch(
                np.array([number], np.uint32),
                np.zeros((1, 16), np.uint8),
                Polygons(points, np.array([0, 4]), np.array([0, 1])),
                points.mean(axis=0, keepdims=True) / 100,
                np.zeros(1, np.uint8),
                np.array([probability], np.float32),
                np.zeros(1, np.bool_),
                {},
            )
        )
    source = MemorySource(info, batches)
    write_labels(tmp_path / "labels.zarr", source, tissue_of(source))
    mask = zarr.open_array(tmp_path / "labels.zarr" / "nuclei" / "0")[:]
    assert (np.count_nonzero(mask == 1), np.count_nonzero(mask == 2)) == (2500, 2500 - 900)
