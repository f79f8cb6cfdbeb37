"""Whole runs on a slide made on the spot: what comes out belongs together."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely
import zarr
from shapely.geometry import shape

import wsiseg
from runs import (
    assert_equal_results,
    committed,
    job_of,
    leave_lock_of_dead_process,
    read_features,
    slide_folder,
    wsiseg_command,
)
from wsiseg.demo import write_demo_slide
from wsiseg.errors import (
    ConfigurationError,
    ResultMismatchError,
    RunLockedError,
    StoreError,
)
from wsiseg.geometry import MPP, Box
from wsiseg.slides.array_reader import ArrayReader
from wsiseg.slides.slide import Slide, open_slide
from wsiseg.store.folders import RunFolder
from wsiseg.store.lock import lock_epoch, locked


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_demo_slide(tmp_path_factory.mktemp("slide") / "demo.tiff", side_px=2560)


@pytest.fixture(scope="module")
def finished(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("finished")
    result = wsiseg.run(job_of(demo), out, inline=True)
    assert not result.failed
    return out


def test_everything_is_there_and_agrees(finished: Path) -> None:
    run = wsiseg.open_run(finished)
    (name,) = run.complete
    report = run.report(name)
    cells = run.cells(name)
    assert report["counts"]["nuclei"] == cells.num_rows > 500
    assert report["seams"]["kept"] == cells.num_rows
    assert report["seams"]["identical_copies"] > 0
    assert report["counts"]["blocks"] == len(committed(finished)) > 1
    assert run.source(name).count == cells.num_rows
    ids = cells["id"].to_numpy()
    assert np.array_equal(ids, np.arange(1, len(ids) + 1))
    for export in ("table", "geojson", "tissue", "labels", "overview"):
        assert run.file(name, export).exists()


def test_id_uuid_and_label_lead_to_each_other(finished: Path) -> None:
    run = wsiseg.open_run(finished)
    (name,) = run.complete
    cells = run.cells(name)
    features = read_features(run.file(name, "geojson"))
    uuids = cells["uuid"].to_pylist()
    assert [f["id"] for f in features] == uuids
    assert len(set(uuids)) == len(uuids)
    assert all(uuid.UUID(u).version == 8 for u in uuids)
    mask = zarr.open_group(run.file(name, "labels"), mode="r")["nuclei"]["0"][:]
    frame = run.source(name).info.frame
    assert mask.shape == frame.box.shape
    x, y = cells["centroid_x_px"].to_numpy(), cells["centroid_y_px"].to_numpy()
    under = mask[y.astype(int), x.astype(int)]
    ids = cells["id"].to_numpy()
    assert (under == ids).mean() > 0.98, (
        "a centroid lies in its own nucleus unless it is a crescent"
    )
    areas = np.bincount(mask.ravel(), minlength=len(ids) + 1)[1:] * frame.mpp.pixel_area_um2
    assert np.allclose(areas, cells["area_um2"].to_numpy(), rtol=1e-5)


@pytest.mark.parametrize("mpp", [None, 0.3])
def test_overlay_drawn_again_is_the_mask(demo: Path, tmp_path: Path, mpp: float | None) -> None:
    """Pixel for pixel, where frame pixels are level-0 pixels and where they are not."""
    job = job_of(demo, mpp=mpp, exports=("geojson", "labels", "table"))
    wsiseg.run(job, tmp_path, inline=True)
    run = wsiseg.open_run(tmp_path)
    (name,) = run.complete
    info = run.source(name).info
    fx, fy = info.frame.scale_to(info.level0)
    assert fx == (1.0 if mpp is None else pytest.approx(0.5 / 0.3))
    mask = zarr.open_group(run.file(name, "labels"), mode="r")["nuclei"]["0"][:]
    drawn = np.zeros_like(mask)
    ids = dict(
        zip(run.cells(name)["uuid"].to_pylist(), run.cells(name)["id"].to_pylist(), strict=True)
    )
    for feature in read_features(run.file(name, "geojson")):
        polygon = shape(feature["geometry"])
        assert polygon.is_valid
        x0, y0, x1, y1 = polygon.bounds
        xs = np.arange(int(x0 / fx), min(int(x1 / fx) + 2, mask.shape[1]))
        ys = np.arange(int(y0 / fy), min(int(y1 / fy) + 2, mask.shape[0]))
        gx, gy = np.meshgrid((xs + 0.5) * fx, (ys + 0.5) * fy)
        inside = shapely.contains_xy(polygon, gx, gy)
        view = drawn[ys[0] : ys[-1] + 1, xs[0] : xs[-1] + 1]
        assert not view[inside].any(), "nuclei of a label image do not overlap"
        view[inside] = ids[feature["id"]]
    assert np.array_equal(drawn, mask)


@pytest.mark.parametrize(("core", "workers"), [(512, 0), (896, 4), (2048, 0), (1024, 2)])
def test_same_results_for_every_tile_and_worker(
    demo: Path, finished: Path, tmp_path: Path, core: int, workers: int
) -> None:
    job = job_of(demo, core=core)
    result = wsiseg.run(job, tmp_path, inline=workers == 0, workers=workers or None)
    assert not result.failed
    assert_equal_results(finished, tmp_path)


def test_running_again_does_nothing(demo: Path, finished: Path) -> None:
    def results() -> dict[Path, int]:
        paths = slide_folder(finished).root.rglob("*")
        return {p: p.stat().st_mtime_ns for p in paths if p.name != "log.jsonl"}

    before = results()
    result = wsiseg.run(job_of(demo), finished, inline=True)
    assert not result.failed
    assert before == results()


def test_lost_outputs_are_written_again_without_segmenting(demo: Path, tmp_path: Path) -> None:
    wsiseg.run(job_of(demo), tmp_path, inline=True)
    blocks = committed(tmp_path)
    table = slide_folder(tmp_path).root / "cells.parquet"
    content = pq.read_table(table)
    table.unlink()
    wsiseg.run(job_of(demo), tmp_path, inline=True)
    assert pq.read_table(table).equals(content)
    assert committed(tmp_path) == blocks


def test_damaged_block_is_done_again(demo: Path, finished: Path, tmp_path: Path) -> None:
    wsiseg.run(job_of(demo), tmp_path, inline=True)
    folder = slide_folder(tmp_path)
    block = sorted(folder.blocks.iterdir())[0]
    content = bytearray(block.read_bytes())
    content[len(content) // 3] ^= 0xFF
    block.write_bytes(content)
    other = sorted(folder.blocks.iterdir())[1].stat().st_mtime_ns
    folder.report.unlink()
    (folder.root / "stitch.json").unlink()
    wsiseg.run(job_of(demo), tmp_path, inline=True)
    assert_equal_results(finished, tmp_path)
    assert sorted(folder.blocks.iterdir())[1].stat().st_mtime_ns == other


def test_other_settings_ask_for_another_place(demo: Path, tmp_path: Path) -> None:
    wsiseg.run(job_of(demo, exports=("table",)), tmp_path, inline=True)
    other = job_of(demo, exports=("table",), tissue="none")
    with pytest.raises(ResultMismatchError, match=r"tissue.*nothing was begun.*--new"):
        wsiseg.run(other, tmp_path, inline=True)
    result = wsiseg.run(other, tmp_path, inline=True, new=True)
    assert not result.failed


def test_another_core_goes_on_with_the_lattice_begun(
    demo: Path, finished: Path, tmp_path: Path
) -> None:
    wsiseg.run(job_of(demo), tmp_path, inline=True)
    blocks = committed(tmp_path)
    slide_folder(tmp_path).report.unlink()
    wsiseg.run(job_of(demo, core=512), tmp_path, inline=True)
    assert committed(tmp_path) == blocks


def test_two_drivers_do_not_share_a_run(demo: Path, tmp_path: Path) -> None:
    with locked(RunFolder(tmp_path)), pytest.raises(RunLockedError, match="another run"):
        wsiseg.run(job_of(demo), tmp_path, inline=True)


def test_a_bad_slide_does_not_stop_the_others(demo: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.svs"
    bad.write_bytes(b"not a slide at all" * 50)
    out = tmp_path / "out"
    result = wsiseg.run(job_of(bad, demo, exports=("table",)), out, inline=True)
    (failed,) = result.failed
    assert failed.name == "bad.svs"
    run = wsiseg.open_run(out)
    assert run.complete == ("demo.tiff",)
    assert run.manifest["slides"]["bad.svs"]["state"] == "failed"
    assert "bad.svs" in run.manifest["slides"]["bad.svs"]["reason"]


def test_overlays_lie_in_the_frame_qupath_shows(
    demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slide whose reader reports bounds: QuPath crops to them, so GeoJSON counts from there."""
    with open_slide(demo) as slide:
        pixels = slide.read(Box(500, 500, 1500, 1500), slide.level0)
    bounds = Box(120, 80, 1000, 1000)

    def opened(path: Path, **_: Any) -> Slide:
        reader = ArrayReader(pixels, 0.5, bounds=bounds, name="bounded.tiff")
        return Slide(reader)

    for module in ("prepare", "session", "measuring", "exports"):
        monkeypatch.setattr(f"wsiseg.pipeline.{module}.open_slide", opened)
    path = tmp_path / "bounded.tiff"
    path.write_bytes(b"pixels come from the array")
    out = tmp_path / "out"
    result = wsiseg.run(job_of(path), out, inline=True)
    assert not result.failed
    run = wsiseg.open_run(out)
    features = read_features(run.file("bounded.tiff", "geojson"))
    table = run.cells("bounded.tiff")
    assert len(features) == table.num_rows > 20
    inner = shapely.from_wkb(table["geometry"].to_numpy(zero_copy_only=False))
    for polygon, feature in zip(inner, features, strict=True):
        moved = shapely.transform(polygon, lambda p: p - np.array([bounds.x0, bounds.y0]))
        assert shape(feature["geometry"]).equals_exact(moved, 0.006)
    assert run.report("bounded.tiff")["resolution"]["origin_px"] == [bounds.x0, bounds.y0]


def test_regions_from_qupath_bound_the_nuclei(demo: Path, tmp_path: Path) -> None:
    include = shapely.box(600, 600, 1900, 1700)
    exclude = shapely.box(1000, 1000, 1300, 1300)
    regions = tmp_path / "regions.geojson"
    features = [
        {
            "type": "Feature",
            "geometry": shapely.geometry.mapping(polygon),
            "properties": {
                "objectType": "annotation",
                "classification": {"name": name, "color": [0, 0, 0]},
            },
        }
        for polygon, name in ((include, "Tumor"), (exclude, "Necrosis"))
    ]
    import json

    regions.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    job = job_of(demo, tissue=str(regions), include=("Tumor",), exclude=("Necrosis",))
    out = tmp_path / "out"
    assert not wsiseg.run(job, out, inline=True).failed
    cells = wsiseg.open_run(out).cells("demo.tiff")
    points = shapely.points(cells["centroid_x_px"].to_numpy(), cells["centroid_y_px"].to_numpy())
    margin = 16 * 1.5
    assert cells.num_rows > 100
    assert shapely.contains(include.buffer(margin), points).all()
    assert not shapely.contains(exclude.buffer(-margin), points).any()


def test_unknown_settings_are_refused(demo: Path) -> None:
    with pytest.raises(ConfigurationError, match="colour"):
        job_of(demo, colour="blue")
    with pytest.raises(ConfigurationError, match="does not exist"):
        job_of(demo.parent / "nowhere.svs")


def test_list_of_slides(demo: Path, tmp_path: Path) -> None:
    listed = tmp_path / "slides.csv"
    listed.write_text(f"path,mpp\n{demo},0.5\n")
    (entry,) = job_of(listed).slides
    assert entry.mpp == 0.5
    listed.write_text(f"path,mpp\n{demo},0.5\nnowhere.svs,half\n")
    with pytest.raises(ConfigurationError, match=r"line 3: mpp"):
        job_of(listed)


def test_not_a_run_directory(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="not a run directory"):
        wsiseg.open_run(tmp_path)


def test_pixel_size_is_never_guessed(tmp_path: Path) -> None:
    import tifffile

    path = tmp_path / "no-mpp.tiff"
    pixels = np.full((600, 600, 3), 240, np.uint8)
    tifffile.imwrite(path, pixels, tile=(256, 256), photometric="rgb")
    done = wsiseg_command("run", path, "-o", tmp_path / "out", "--inline")
    assert done.returncode == 1
    assert "--mpp" in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


def test_an_almost_empty_slide_is_flagged(tmp_path: Path) -> None:
    import tifffile

    path = tmp_path / "empty.tiff"
    pixels = np.full((1200, 1200, 3), 243, np.uint8)
    scale = 1e4 / MPP.square(0.5).mean
    tifffile.imwrite(
        path,
        pixels,
        tile=(256, 256),
        photometric="rgb",
        resolution=(scale, scale),
        resolutionunit=3,
    )
    out = tmp_path / "out"
    result = wsiseg.run(job_of(path), out, inline=True)
    assert not result.failed
    run = wsiseg.open_run(out)
    report = run.report("empty.tiff")
    assert report["counts"]["nuclei"] == 0
    assert report["warnings"], "a slide without tissue must not pass without a word"
    assert run.cells("empty.tiff").num_rows == 0
    assert read_features(run.file("empty.tiff", "geojson")) == []


def test_another_lattice_in_the_same_process_and_place(demo: Path, tmp_path: Path) -> None:
    """What a process remembers of a slide does not outlive the plan it belongs to."""
    import shutil

    tables = []
    for core in (1024, 512):
        out = tmp_path / "out"
        shutil.rmtree(out, ignore_errors=True)
        job = job_of(demo, core=core, exports=("table",))
        assert not wsiseg.run(job, out, inline=True).failed
        tables.append(wsiseg.open_run(out).cells("demo.tiff"))
        assert wsiseg.open_run(out).report("demo.tiff")["lattice"]["core_px"] == core
    assert tables[0].equals(tables[1])


def test_a_refusal_leaves_what_is_finished(demo: Path, tmp_path: Path) -> None:
    wsiseg.run(job_of(demo, exports=("table",)), tmp_path, inline=True)
    report = slide_folder(tmp_path).report.read_bytes()
    for settings in ({"tissue": "none"}, {"reader": "unknown"}, {"channel": "red"}):
        try:
            assert wsiseg.run(job_of(demo, **settings), tmp_path, inline=True).failed
        except ResultMismatchError:
            assert "tissue" in settings
        run = wsiseg.open_run(tmp_path)
        assert run.complete == ("demo.tiff",)
        assert run.manifest["slides"]["demo.tiff"]["state"] == "complete"
        assert slide_folder(tmp_path).report.read_bytes() == report


def test_another_slide_of_the_same_name_gets_its_own_folder(demo: Path, tmp_path: Path) -> None:
    import shutil

    out = tmp_path / "out"
    wsiseg.run(job_of(demo, exports=("table",)), out, inline=True)
    table = slide_folder(out).root / "cells.parquet"
    before = table.stat().st_mtime_ns
    other = tmp_path / "other" / demo.name
    other.parent.mkdir()
    shutil.copy(demo, other)
    job = job_of(other, exports=("table",))
    assert not wsiseg.run(job, out, inline=True, new=True).failed
    assert len(wsiseg.open_run(out).complete) == 2
    both = job_of(other, demo, exports=("table",))
    assert all(o.seconds == 0 for o in wsiseg.run(both, out, inline=True).slides.values())
    assert table.stat().st_mtime_ns == before


def test_exports_of_slides_run_with_different_settings(demo: Path, tmp_path: Path) -> None:
    import shutil

    from wsiseg.execution.api import export_run

    second = tmp_path / "second.tiff"
    shutil.copy(demo, second)
    out = tmp_path / "out"
    wsiseg.run(job_of(demo, exports=("table",)), out, inline=True)
    stated = job_of(second, mpp=0.4, exports=("table", "labels"), ngff="0.4")
    wsiseg.run(stated, out, inline=True)
    second.unlink()
    result = export_run(out, {"exports": ("geojson",)}, inline=True)
    assert not result.failed, "no slide file is needed to export cells again"
    run = wsiseg.open_run(out)
    assert set(run.report("second.tiff")["exports"]) == {"table", "labels", "geojson"}
    assert run.report("second.tiff")["resolution"]["mpp_stated"] == 0.4
    assert any("stands in for" in w for w in run.report("second.tiff")["warnings"])
    export_run(out, {"exports": ("geojson",), "split_um": 300.0}, inline=True)
    assert run.file("demo.tiff", "geojson").is_dir()
    assert not (out / "slides" / "demo.tiff" / "cells.geojson.gz").exists()
    lost = export_run(out, {"exports": ("overview",)}, slides=["second.tiff"], inline=True)
    assert lost.failed, "the overview shows pixels"
    assert "second.tiff" in wsiseg.open_run(out).complete


@pytest.mark.parametrize("harm", ["part", "index", "stitch", "plan", "tissue", "table", "labels"])
def test_harmed_files_are_made_again(demo: Path, finished: Path, tmp_path: Path, harm: str) -> None:
    wsiseg.run(job_of(demo), tmp_path, inline=True)
    folder = slide_folder(tmp_path)
    blocks = committed(tmp_path)
    harmed = {
        "part": folder.cells / "part-00000.columns",
        "index": folder.cells / "index.json",
        "stitch": folder.root / "stitch.json",
        "plan": folder.plan,
        "tissue": folder.tissue,
        "table": folder.root / "cells.parquet",
        "labels": folder.root / "labels.zarr" / "nuclei" / "zarr.json",
    }[harm]
    harmed.write_bytes(harmed.read_bytes()[: harmed.stat().st_size // 2])
    if harm in ("part", "index", "stitch", "plan", "tissue"):
        folder.report.unlink()
    assert not wsiseg.run(job_of(demo), tmp_path, inline=True).failed
    assert_equal_results(finished, tmp_path)
    assert committed(tmp_path) == blocks


def test_places_that_cannot_hold_a_run(demo: Path, tmp_path: Path) -> None:
    taken = tmp_path / "file"
    taken.write_text("in the way")
    for place in (taken, Path("/proc/wsiseg")):
        with pytest.raises(StoreError, match="cannot write"):
            wsiseg.run(job_of(demo), place, inline=True)
    out = tmp_path / "out"
    (out / "slides").mkdir(parents=True)
    (out / "slides" / "demo.tiff").write_text("in the way")
    result = wsiseg.run(job_of(demo), out, inline=True)
    assert result.failed
    assert "unexpected" not in result.failed[0].reason
    (out / "manifest.json").write_text("{}")
    with pytest.raises(StoreError, match="not a manifest"):
        wsiseg.run(job_of(demo), out, inline=True)


def test_lock_of_a_dead_process_is_taken_over(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    leave_lock_of_dead_process(run)
    old = lock_epoch(run)
    with locked(run) as lock:
        assert lock_epoch(run) == lock.epoch != old
    assert not run.lock.exists()
    run.lock.write_text("not json")
    with pytest.raises(RunLockedError, match="cannot be read"), locked(run):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["run.lock"]


def test_mistakes_of_a_notebook_user(demo: Path, finished: Path, tmp_path: Path) -> None:
    assert wsiseg.Job(slides=(demo,)).slides[0].path == demo
    with pytest.raises(ConfigurationError, match=r"Job\.of"):
        wsiseg.run(demo, tmp_path)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="takes no workers"):
        wsiseg.run(job_of(demo), tmp_path, inline=True, workers=2)
    run = wsiseg.open_run(finished)
    with pytest.raises(ConfigurationError, match="area_um2"):
        run.cells("demo.tiff", columns=["area"])
    with pytest.raises(ConfigurationError, match=r"demo\.tiff"):
        run.cells("other.tiff")


def test_the_network_gives_the_same_for_every_tile_and_worker(demo: Path, tmp_path: Path) -> None:
    settings = {"model": "nuclei-he", "tissue": "none"}
    for core, workers in ((1024, 0), (512, 0), (896, 2)):
        job = job_of(demo, core=core, **settings)
        out = tmp_path / str(core)
        assert not wsiseg.run(job, out, inline=workers == 0, workers=workers or None).failed
    assert_equal_results(tmp_path / "1024", tmp_path / "512")
    assert_equal_results(tmp_path / "1024", tmp_path / "896")
