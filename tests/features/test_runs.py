"""Runs measure what is asked for, once, and say what they measured."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import zarr
from skimage.measure import regionprops_table

import wsiseg
from runs import committed, job_of, slide_folder, wsiseg_command
from wsiseg.demo import write_demo_slide
from wsiseg.errors import ConfigurationError
from wsiseg.execution.api import export_run, measure_run
from wsiseg.features.intensity import stain_tables
from wsiseg.features.registry import shape_columns
from wsiseg.pipeline import stitching
from wsiseg.pipeline.measuring import forget_slides
from wsiseg.slides.slide import open_slide
from wsiseg.stain import amount
from wsiseg.store.features import FeatureFolder

EVERYTHING = ("shape", "stain", "neighbours", "position", "texture", "graph", "contour")


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Path:
    return write_demo_slide(tmp_path_factory.mktemp("slide") / "demo.tiff", side_px=1536)


@pytest.fixture(scope="module")
def finished(demo, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("finished")
    job = job_of(demo, exports=("table", "geojson", "labels"))
    assert not wsiseg.run(job, out, inline=True).failed
    return out


@pytest.fixture
def again(finished, tmp_path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def table(out):
    run = wsiseg.open_run(out)
    return run.cells(run.slides[0])


def times(out):
    root = slide_folder(out).root
    return {name: (root / name).stat().st_mtime_ns for name in ("cells.parquet", "labels.zarr")}


def test_the_table_holds_what_the_mask_and_the_slide_show(demo, finished):
    run = wsiseg.open_run(finished)
    (name,) = run.slides
    cells, plan = run.cells(name), FeatureFolder(slide_folder(finished)).read_plan()
    mask = zarr.open_group(run.file(name, "labels"), mode="r")["nuclei"]["0"][:].astype(np.int64)
    frame = run.source(name).info.frame
    with open_slide(demo) as slide:
        pixels = slide.read(frame.box, frame)
    tables = stain_tables(plan.recipe.stains)
    picture = np.stack([amount(pixels, table) for table in tables], axis=-1) / 1024
    measured = ("intensity_mean", "intensity_std")
    shown = regionprops_table(mask, picture, properties=("label", *measured))
    rows = shown["label"] - 1
    second = plan.recipe.stain_names[1]
    for plane, stain in enumerate(("haematoxylin", second)):
        for kind, column in zip(measured, ("mean", "std"), strict=True):
            np.testing.assert_allclose(
                cells[f"nucleus_{stain}_od_{column}"].to_numpy()[rows],
                shown[f"{kind}-{plane}"],
                rtol=1e-4,
                atol=1e-5,
            )
    total = cells["nucleus_od_sum_mean"].to_numpy()[rows]
    np.testing.assert_allclose(total, shown["intensity_mean-2"], rtol=1e-5)


def test_the_run_says_what_was_measured(finished):
    run = wsiseg.open_run(finished)
    (name,) = run.slides
    told = run.report(name)["features"]
    assert told["sets"] == ["stain", "neighbours", "position"]
    assert told["stains"]["vectors"] == "measured on the slide"
    assert len(told["stains"]["haematoxylin"]) == 3
    meta = json.loads(pq.read_schema(run.file(name, "table")).metadata[b"wsiseg"])
    assert meta["provenance"]["measure"]["key"] == told["key"]
    described = {feature["name"]: feature for feature in meta["features"]}
    columns = set(run.cells(name).column_names)
    assert set(shape_columns()) < set(described) < columns
    assert described["nearest_1_um"]["unit"] == "µm"
    assert run.dictionary(name) == meta["features"]
    batch = run.measured(name).read(0)
    stored = batch.features["ring_haematoxylin_od_mean"]
    np.testing.assert_array_equal(
        stored, run.cells(name)["ring_haematoxylin_od_mean"].to_numpy()[: len(stored)]
    )


def test_other_features_do_not_segment_again(again):
    blocks, before = committed(again), times(again)
    geojson = slide_folder(again).root / "cells.geojson.gz"
    overlay = geojson.stat().st_mtime_ns
    old = table(again)
    result = measure_run(again, {"features": EVERYTHING}, inline=True)
    assert not result.failed
    new = table(again)
    assert new.select(old.column_names).equals(old)
    assert {"texture_entropy", "graph_degree", "fourier_2"} <= set(new.column_names)
    assert committed(again) == blocks
    after = times(again)
    assert after["labels.zarr"] == before["labels.zarr"]
    assert after["cells.parquet"] != before["cells.parquet"]
    # Of the features it shows those of stains alone, which are as they were.
    assert geojson.stat().st_mtime_ns == overlay
    measure_run(again, {}, inline=True)
    assert times(again) == after
    export_run(again, {"exports": ("table",)}, inline=True)
    assert table(again).equals(new)


def test_a_run_with_other_features_measures_only(demo, again):
    said = []

    class Listener(wsiseg.execution.progress.Progress):
        def message(self, text: str) -> None:
            said.append(text)

    blocks = committed(again)
    job = job_of(demo, exports=("table", "geojson", "labels"), features=("neighbours",))
    wsiseg.run(job, again, inline=True, progress=Listener())
    assert committed(again) == blocks
    assert any("measured anew, the segmentation stays" in text for text in said)
    names = set(table(again).column_names)
    assert "nearest_1_um" in names
    assert not any("haematoxylin" in name for name in names)


def test_none_leaves_the_shapes(again):
    measure_run(again, {"features": ("none",)}, inline=True)
    names = table(again).column_names
    assert tuple(names[names.index("truncated") + 1 : -1]) == shape_columns()
    assert wsiseg.open_run(again).report(slide_folder(again).name)["features"] is None


def test_parts_do_not_show_and_are_kept(demo, finished, tmp_path, monkeypatch):
    monkeypatch.setattr(stitching, "REGION_PX", 300)
    job = job_of(demo, exports=("table",), features=EVERYTHING)
    wsiseg.run(job, tmp_path, inline=True)
    features = FeatureFolder(slide_folder(tmp_path))
    parts = sorted(features.root.glob("part-*.columns"))
    assert len(parts) > 9
    one, other = table(finished), table(tmp_path)
    shared = [name for name in one.column_names if name not in ("id", "bbox", "class")]
    assert one.select(shared).sort_by("uuid").equals(other.select(shared).sort_by("uuid"))
    stamps = {part: part.stat().st_mtime_ns for part in parts}
    parts[3].unlink()
    parts[5].write_bytes(parts[5].read_bytes()[:-200])
    result = measure_run(tmp_path, {}, inline=True)
    assert not result.failed
    changed = {part for part in parts if part.stat().st_mtime_ns != stamps[part]}
    assert changed == {parts[3], parts[5]}
    assert table(tmp_path).equals(other)


def test_without_the_slide_what_needs_no_pixels_is_measured(tmp_path):
    slide = write_demo_slide(tmp_path / "gone.tiff", side_px=1024)
    out = tmp_path / "run"
    wsiseg.run(job_of(slide, exports=("table",)), out, inline=True)
    slide.unlink()
    forget_slides()
    assert not measure_run(out, {"features": ("graph",)}, inline=True).failed
    assert "graph_degree" in table(out).column_names
    result = measure_run(out, {"features": ("texture",)}, inline=True)
    assert "is gone" in result.failed[0].reason
    assert "graph_degree" in table(out).column_names


def test_given_vectors_are_used_and_told(again):
    vectors = ((0.65, 0.7, 0.29), (0.27, 0.57, 0.78))
    before = table(again)
    measure_run(again, {"stain_vectors": vectors}, inline=True)
    told = wsiseg.open_run(again).report(slide_folder(again).name)["features"]["stains"]
    assert told["vectors"] == "given"
    assert np.linalg.norm(told["DAB"]) == pytest.approx(1)
    after = table(again)
    assert "nucleus_dab_od_mean" in after.column_names
    assert after["nearest_1_um"].equals(before["nearest_1_um"])


def test_a_slide_without_nuclei_has_all_columns(tmp_path):
    import tifffile

    white = np.full((700, 700, 3), 250, np.uint8)
    tifffile.imwrite(
        tmp_path / "blank.tiff",
        white,
        tile=(256, 256),
        photometric="rgb",
        resolution=(20000, 20000),
        resolutionunit="CENTIMETER",
    )
    out = tmp_path / "run"
    job = job_of(tmp_path / "blank.tiff", tissue="none", exports=("table", "geojson"))
    assert not wsiseg.run(job, out, inline=True).failed
    found = table(out)
    assert found.num_rows == 0
    assert "nucleus_haematoxylin_od_mean" in found.column_names
    report = wsiseg.open_run(out).report(slide_folder(out).name)
    assert report["features"]["stains"]["vectors"] == "literature"
    assert any("literature's vectors" in warning for warning in report["warnings"])


def test_wrong_settings_are_refused(finished):
    with pytest.raises(ConfigurationError, match="no set of features chromatin; there are shape"):
        measure_run(finished, {"features": ("chromatin",)})
    with pytest.raises(ConfigurationError, match="apart"):
        measure_run(finished, {"stain_vectors": ((1, 1, 1), (1, 1, 1))})


def test_the_command_line_measures_and_explains(again):
    done = wsiseg_command("measure", again, "--features", "contour", "--inline")
    assert done.returncode == 0, done.stderr
    assert "bending_energy" in table(again).column_names
    wrong = wsiseg_command("measure", again, "--stain-vectors", "0.65 0.7")
    assert wrong.returncode == 1
    assert "six numbers" in wrong.stderr
    told = json.loads(wsiseg_command("features", "graph", "--json").stdout)
    assert [feature["set"] for feature in told] == ["graph"] * 5
