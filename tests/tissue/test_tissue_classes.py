"""Classes of tissue from a network to files: map, mask, labels, polygons, table, report."""

from __future__ import annotations

import csv
import json
import shutil
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely
import zarr
from numpy.typing import NDArray
from scipy import ndimage

import wsiseg
from runs import job_of, plain, slide_folder, wsiseg_command
from wsiseg.cells.polygons import Polygons
from wsiseg.cells.rasterize import rasterize
from wsiseg.demo import write_demo_slide
from wsiseg.errors import ConfigurationError, ModelError, ResultMismatchError
from wsiseg.export.regions import read_regions
from wsiseg.export.tissue_table import write_tissue_table
from wsiseg.geometry import HUNDREDTHS, MPP, Box, Frame, Size
from wsiseg.models.semantic.files import SemanticClass, Tidying, find_semantic
from wsiseg.models.semantic.predict import class_frame, class_rows
from wsiseg.pipeline.plan import read_plan
from wsiseg.scoring import ScoreOptions, score_slide
from wsiseg.slides.array_reader import ArrayReader
from wsiseg.slides.slide import Slide
from wsiseg.store.tissue import read_tissue
from wsiseg.tissue import (
    ClassMap,
    TissueCode,
    TissueMask,
    require_commercial_tissue,
    tissue_by_network,
)
from wsiseg.tissue.labels import FIRST_CLASS, ClassCodes
from wsiseg.tissue.network import mask_of
from wsiseg.tissue.outlines import outline_classes

pytest.importorskip("torch")

from tissue_networks import CLASSES, noise, random_network

NAMES = [entry.name for entry in CLASSES]


def blobs(height: int, width: int, sigma: float = 6.0, seed: int = 0) -> NDArray[np.uint8]:
    random = np.random.default_rng(seed)
    fields = [ndimage.gaussian_filter(random.normal(size=(height, width)), sigma) for _ in CLASSES]
    return np.argmax(fields, axis=0).astype(np.uint8)


def mapped(codes: NDArray[np.uint8], mpp: float) -> ClassMap:
    height, width = codes.shape
    rows = np.array_split(codes, 7)
    return ClassMap.collect(rows, Frame(Size(width, height), MPP.square(mpp)), CLASSES, {})


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_network(tmp_path_factory.mktemp("net") / "net", mpp=2.0).root


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_demo_slide(tmp_path_factory.mktemp("slide") / "demo.tiff", side_px=1024)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, slide: Path, network: Path) -> Path:
    """A run whose tissue the network found."""
    out = tmp_path_factory.mktemp("run") / "out"
    exports = ("table", "tissue", "labels", "tissue-table")
    result = wsiseg.run(job_of(slide, tissue=str(network), exports=exports), out, inline=True)
    assert not result.failed
    return out


def classes_of(out: Path) -> tuple[TissueMask, ClassMap]:
    folder = slide_folder(out)
    mask = read_tissue(folder.tissue, read_plan(folder.plan).segment_key)
    assert mask.classes is not None
    return mask, mask.classes


def test_a_map_gives_back_what_went_in() -> None:
    codes = blobs(1300, 700)
    found = mapped(codes, 2.0)
    assert len(found.strips) == 3
    assert np.array_equal(found.read(found.frame.box), codes)
    box = Box(13, 500, 611, 1100)
    assert np.array_equal(found.read(box), codes[box.slices()])
    assert found.counts == tuple(np.bincount(codes.ravel(), minlength=4))
    random = np.random.default_rng(1)
    x, y = random.uniform(-50, 2900, 500), random.uniform(-50, 5300, 500)
    level0 = Frame(Size(2800, 5200), MPP.square(0.5))
    under = found.at(x, y, level0)
    inside = (x >= 0) & (x < 2800) & (y >= 0) & (y < 5200)
    assert (under[~inside] == -1).all()
    assert np.array_equal(
        under[inside], codes[(y[inside] / 4).astype(int), (x[inside] / 4).astype(int)]
    )


def test_rows_must_fill_the_frame() -> None:
    with pytest.raises(ValueError, match="do not fill"):
        ClassMap.collect([np.zeros((3, 5), np.uint8)], Frame(Size(5, 4), MPP(1, 1)), CLASSES, {})


def test_the_mask_follows_the_map(network: Path) -> None:
    described = find_semantic(str(network)).described
    codes = blobs(400, 320)
    level0 = Frame(Size(1280, 1600), MPP.square(0.5))
    mask = mask_of(mapped(codes, 2.0), level0, described)
    assert mask.frame.mpp.x == 8.0
    tissue = np.isin(codes, (1, 2)).reshape(100, 4, 80, 4).mean(axis=(1, 3))
    assert np.array_equal(mask.codes == TissueCode.TISSUE, tissue >= 0.5)
    coarse = mask_of(mapped(codes[::16, ::16], 32.0), level0, described)
    expected = np.isin(codes[::16, ::16], (1, 2)).repeat(4, 0).repeat(4, 1)
    assert np.array_equal(coarse.codes == TissueCode.TISSUE, expected[:100, :80])


def test_tidying_touches_the_mask_alone(network: Path) -> None:
    described = find_semantic(str(network)).described
    codes = np.zeros((200, 200), np.uint8)
    codes[20:150, 20:150] = 1
    codes[60:70, 60:70] = 3
    codes[180:184, 180:184] = 2
    level0 = Frame(Size(3200, 3200), MPP.square(0.5))
    tidying = Tidying(filled_hole_um2=40_000, least_piece_um2=12_000)
    tidied = mask_of(mapped(codes, 8.0), level0, described.model_copy(update={"tidying": tidying}))
    assert (tidied.codes[20:150, 20:150] == TissueCode.TISSUE).all()
    assert (tidied.codes[180:184, 180:184] == TissueCode.TOO_SMALL).all()
    bare = mask_of(mapped(codes, 8.0), level0, described)
    assert (bare.codes[60:70, 60:70] == TissueCode.BACKGROUND).all()
    assert (bare.codes[180:184, 180:184] == TissueCode.TISSUE).all()
    assert tidied.classes is not None
    assert np.array_equal(tidied.classes.read(tidied.classes.frame.box), codes)


def test_labels_show_classes_and_what_was_left_out_over_them() -> None:
    codes = blobs(96, 64)
    found = mapped(codes, 2.0)
    frame = Frame(Size(16, 24), MPP.square(8.0))
    reasons = np.full((24, 16), TissueCode.TISSUE, np.uint8)
    reasons[4:9, 3:7] = TissueCode.BLURRED
    drawn = ClassCodes(found, TissueMask(reasons, frame, "x", (), found))[0:96, 0:64]
    blurred = (reasons == TissueCode.BLURRED).repeat(4, 0).repeat(4, 1)
    assert (drawn[blurred] == TissueCode.BLURRED).all()
    assert np.array_equal(
        drawn[~blurred], np.where(codes == 0, 0, FIRST_CLASS + codes)[~blurred].astype(np.uint8)
    )


@pytest.mark.parametrize("sigma", [1.0, 6.0])
def test_outlines_are_valid_close_and_meet(sigma: float) -> None:
    codes = blobs(220, 260, sigma)
    found = mapped(codes, 2.0)
    level0 = Frame(Size(1040, 880), MPP.square(0.5))
    outlines = outline_classes(found, level0)
    assert shapely.is_valid(outlines.polygons).all()
    assert outlines.tolerance_um == 4.0
    assert set(outlines.classes) == {1, 2, 3}
    points = shapely.get_num_coordinates(outlines.polygons).sum()
    drawn = np.zeros(codes.shape, np.uint8)
    times = np.zeros(codes.shape, np.uint8)
    for polygon, kind in zip(outlines.polygons, outlines.classes, strict=True):
        own = raster(polygon, codes.shape)
        drawn[own] = kind
        times += own
    # A pixel whose middle lies on a line may count in both or neither.
    assert (times <= 1).mean() > 0.999
    wrong = drawn != codes
    # No pixel farther than the tolerance (2 px) from another class changes.
    inner = np.zeros(codes.shape, bool)
    for kind in range(4):
        inner |= ndimage.distance_transform_edt(codes == kind) > 3
    assert not (wrong & inner).any()
    corners = sum(shapely.get_num_coordinates(p).sum() for p in unsimplified(codes))
    assert points < (0.6 if sigma > 2 else 0.9) * corners


def raster(polygon: Any, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    _, points, (rings, polygons) = shapely.to_ragged_array([polygon])
    opened = np.ones(len(points), bool)
    opened[rings[1:] - 1] = False
    drawn = Polygons(
        np.rint(points[opened] * HUNDREDTHS).astype(np.int32),
        rings.astype(np.int64) - np.arange(len(rings)),
        polygons.astype(np.int64),
    )
    one = np.ones(1, np.uint32)
    return rasterize(drawn, one, np.arange(1), Box(0, 0, shape[1], shape[0]), (4.0, 4.0)) > 0


def unsimplified(codes: NDArray[np.uint8]) -> list[NDArray[np.object_]]:
    frame = Frame(Size(codes.shape[1], codes.shape[0]), MPP.square(8.0))
    return [
        TissueMask((codes == kind).astype(np.uint8), frame, "x").polygons(frame)
        for kind in (1, 2, 3)
    ]


def test_large_maps_are_outlined_from_fewer_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsiseg.tissue.outlines.MOST_PIXELS", 200 * 200)
    outlines = outline_classes(mapped(blobs(600, 600), 1.0), Frame(Size(1200, 1200), MPP(0.5, 0.5)))
    assert outlines.pixel_um == 3.0
    assert outlines.tolerance_um == 6.0
    x0, y0, x1, y1 = shapely.total_bounds(outlines.polygons)
    assert (x0, y0, x1, y1) == (0, 0, 1200, 1200)


def test_the_label_pyramid_holds_the_classes(done: Path) -> None:
    _, classes = classes_of(done)
    group = zarr.open_group(slide_folder(done).root / "labels.zarr", mode="r")["tissue"]
    whole = group["0"][:]
    codes = classes.read(classes.frame.box)
    assert np.array_equal(whole, np.where(codes == 0, 0, FIRST_CLASS + codes))
    ome = group.attrs["ome"]
    names = {p["label-value"]: p["name"] for p in ome["image-label"]["properties"]}
    assert {names[FIRST_CLASS + k] for k in (1, 2, 3)} == set(NAMES[1:])
    colours = {c["label-value"]: c["rgba"][:3] for c in ome["image-label"]["colors"]}
    assert colours[FIRST_CLASS + 1] == [200, 0, 0]
    scale = ome["multiscales"][0]["datasets"][0]["coordinateTransformations"][0]["scale"]
    assert scale == pytest.approx([classes.frame.mpp.y, classes.frame.mpp.x])


def test_polygons_are_as_qupath_wants_them(done: Path) -> None:
    folder = slide_folder(done)
    _, classes = classes_of(done)
    document = json.loads((folder.root / "tissue.geojson").read_text())
    colours = {}
    for feature in document["features"]:
        properties = feature["properties"]
        assert properties["objectType"] == "annotation"
        assert properties["isLocked"] is True
        kind = properties["classification"]
        assert colours.setdefault(kind["name"], kind["color"]) == kind["color"]
        for ring in feature["geometry"]["coordinates"]:
            assert ring[0] == ring[-1]
            assert len(ring) >= 4
    assert set(colours) <= set(NAMES[1:])
    regions = read_regions(folder.root / "tissue.geojson")
    assert all(shapely.is_valid(r.geometry) for r in regions)
    mm2 = wsiseg.open_run(done).source("demo.tiff").info.level0.mpp.pixel_area_um2 * 1e-6
    notes = wsiseg.open_run(done).report("demo.tiff")["exports"]["tissue"]["notes"]
    assert notes["tolerance_nm"] == 2 * notes["pixel_nm"]
    assert notes["regions"] == len(regions)
    for number, name in enumerate(NAMES[1:], start=1):
        own = [r.geometry for r in regions if r.class_name == name]
        drawn, length = (
            float(f(own).sum()) * mm2**p for f, p in ((shapely.area, 1), (shapely.length, 0.5))
        )
        slack = length * notes["tolerance_nm"] * 1e-6
        assert abs(drawn - classes.area_mm2(number)) <= slack


def test_the_report_sums_up_the_classes(done: Path) -> None:
    report = wsiseg.open_run(done).report("demo.tiff")
    _, classes = classes_of(done)
    found = report["tissue_classes"]
    assert [entry["name"] for entry in found["classes"]] == NAMES
    for number, entry in enumerate(found["classes"]):
        assert entry["area_mm2"] == pytest.approx(classes.area_mm2(number), abs=1e-6)
    assert found["network"]["licence"] == "Apache-2.0"
    assert report["tissue_method"] == "network random"


def test_the_table_counts_nuclei_by_class(done: Path) -> None:
    folder = slide_folder(done)
    _, classes = classes_of(done)
    cells = pq.read_table(folder.root / "cells.parquet")
    assert cells.num_rows > 0
    level0 = wsiseg.open_run(done).source("demo.tiff").info.level0
    x, y = (cells[name].to_numpy() for name in ("centroid_x_px", "centroid_y_px"))
    under = classes.at(x, y, level0)
    with (folder.root / "tissue_table.csv").open(newline="") as file:
        rows = {row["tissue_class"]: row for row in csv.DictReader(file)}
    assert list(rows) == [*NAMES, "(all tissue)"]
    assert int(rows["(all tissue)"]["nuclei"]) == cells.num_rows
    area = cells["area_um2"].to_numpy()
    for number, name in enumerate(NAMES):
        own = under == number
        assert int(rows[name]["nuclei"]) == own.sum()
        if own.any():
            assert float(rows[name]["mean_area_um2"]) == pytest.approx(area[own].mean(), rel=1e-5)
            assert float(rows[name]["sd_area_um2"]) == pytest.approx(
                area[own].std(), rel=1e-3, abs=1e-3
            )
            density = own.sum() / classes.area_mm2(number)
            assert float(rows[name]["nuclei_per_mm2"]) == pytest.approx(density, rel=1e-4)


def test_classes_are_regions_to_the_scores(done: Path) -> None:
    regions = read_regions(slide_folder(done).root / "tissue.geojson")
    scores = score_slide(wsiseg.open_run(done), "demo.tiff", ScoreOptions(), regions)
    by_class = {s.scope.name: s for s in scores.scopes if s.scope.kind == "class"}
    assert set(by_class) == {r.class_name for r in regions}


def test_a_run_goes_on_with_the_same_network_only(
    done: Path, slide: Path, network: Path, tmp_path: Path
) -> None:
    before = slide_folder(done).tissue.stat().st_mtime_ns
    exports = ("table", "tissue", "labels", "tissue-table")
    again = wsiseg.run(job_of(slide, tissue=str(network), exports=exports), done, inline=True)
    assert not again.failed
    assert slide_folder(done).tissue.stat().st_mtime_ns == before
    other = tmp_path / "other"
    shutil.copytree(network, other)
    values = json.loads((other / "model.json").read_text())
    (other / "model.json").write_text(json.dumps({**values, "tidying": {"margin_um": 16.0}}))
    with pytest.raises(ResultMismatchError, match="tissue"):
        wsiseg.run(job_of(slide, tissue=str(other)), done, inline=True)


def test_classes_may_be_chosen(slide: Path, network: Path) -> None:
    with wsiseg_slide(noise(256, 256)) as opened:
        whole = tissue_by_network(opened, str(network))
        only = tissue_by_network(opened, str(network), include=["tumour"])
        less = tissue_by_network(opened, str(network), exclude=["Tumour"])
        assert only.classes is not None
        assert [c.counts for c in only.classes.classes] == [
            "background",
            "tissue",
            "other",
            "other",
        ]
        assert less.area_mm2() <= whole.area_mm2()
        with pytest.raises(ConfigurationError, match="it has Glass, Tumour, Stroma, Ink"):
            tissue_by_network(opened, str(network), include=["Necrosis"])
        with pytest.raises(ConfigurationError, match="is left"):
            tissue_by_network(opened, str(network), exclude=["Tumour", "Stroma"])


def wsiseg_slide(pixels: NDArray[Any], **about: Any) -> Slide:
    return Slide(ArrayReader(pixels, 2.0, **about))


def test_unsuited_slides(network: Path) -> None:
    dark = np.zeros((256, 256, 1), np.uint8)
    with (
        wsiseg_slide(dark, illumination="fluorescence") as opened,
        pytest.raises(ModelError, match="fluorescence slide"),
    ):
        tissue_by_network(opened, str(network))
    deep = np.full((256, 256, 3), 60_000, np.uint16)
    with (
        wsiseg_slide(deep, illumination="brightfield") as opened,
        pytest.raises(ModelError, match="8-bit colour"),
    ):
        tissue_by_network(opened, str(network))


def test_what_users_get_wrong(slide: Path, network: Path, tmp_path: Path) -> None:
    nuclei = Path(wsiseg.__file__).parent / "models" / "weights" / "nuclei-he"
    for tissue, words in (
        (tmp_path, "nor the folder of a tissue network"),
        (nuclei, "does not find tissue"),
    ):
        found = wsiseg_command(
            "run",
            slide,
            "-o",
            tmp_path / "out",
            "--model",
            "classical-he",
            "--tissue",
            tissue,
            "--inline",
        )
        assert found.returncode == 1
        assert words in plain(found.stdout + found.stderr)
        assert "Traceback" not in found.stderr


def test_class_descriptions() -> None:
    with pytest.raises(ValueError, match="0 to 255"):
        SemanticClass(name="A", color=(0, 0, 300))


def test_memory_hangs_on_the_width_of_a_slide_alone(network: Path) -> None:
    described = find_semantic(str(network)).described

    class Nothing:
        identity = "nothing"

        def run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
            return np.zeros((1, 4, pixels.shape[1] // 2, pixels.shape[2] // 2), np.float32)

    def empty(box: Box, frame: Frame) -> NDArray[np.uint8]:
        return np.zeros((*box.shape, 3), np.uint8)

    frame = Frame(Size(25_000, 3_000), MPP.square(1.0))
    tracemalloc.start()
    rows = class_rows(empty, frame, described, Nothing())
    found = ClassMap.collect(rows, class_frame(frame, described), CLASSES, {})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.counts[0] == 12_500 * 1_500
    # Rows of one window and a strip, as bytes: not the probabilities of either.
    assert peak < 6 * 12_500 * 512


def test_licences_are_looked_at(network: Path, tmp_path: Path) -> None:
    require_commercial_tissue(str(network))
    bound = tmp_path / "bound"
    shutil.copytree(network, bound)
    values = json.loads((bound / "model.json").read_text())
    values["data_licence"] = "CC-BY-NC-SA-4.0"
    (bound / "model.json").write_text(json.dumps(values))
    with pytest.raises(ModelError, match="may not be used commercially"):
        require_commercial_tissue(str(bound))


def test_without_a_network_the_table_has_one_line(done: Path, tmp_path: Path) -> None:
    mask, _ = classes_of(done)
    source = wsiseg.open_run(done).source("demo.tiff")
    write_tissue_table(tmp_path / "t.csv", source, replace(mask, classes=None))
    with (tmp_path / "t.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["tissue_class"] == "(all tissue)"
    assert int(row["nuclei"]) == source.count
    assert float(row["area_mm2"]) == pytest.approx(mask.area_mm2(), abs=1e-6)
