"""Whole slides: runs against runs and against annotations."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shapely.geometry import box as shapely_box
from shapely.geometry import mapping

from wsiseg.cells.batch import CellBatch, CellsInfo
from wsiseg.cells.rasterize import paint_order, rasterize
from wsiseg.errors import ConfigurationError, StoreError
from wsiseg.evaluation.evaluate import Evaluation, Options, evaluate_run
from wsiseg.evaluation.groups import Selection
from wsiseg.evaluation.matching import match
from wsiseg.evaluation.metrics import THRESHOLDS, image_counts
from wsiseg.evaluation.runs import seam_distance_um
from wsiseg.export.geojson import write_cells_geojson
from wsiseg.files import write_json
from wsiseg.geometry import MPP, Frame, Size
from wsiseg.store.cells import write_cells
from wsiseg.store.folders import RunFolder
from wsiseg.testing.sources import MemorySource, synthetic_cells

OPTIONS = Options(resamples=100)
CORE = 700
ORIGIN = (40, 24)


def cells(count: int = 700) -> tuple[CellsInfo, CellBatch]:
    source = synthetic_cells(count, seed=1, origin_px=ORIGIN)
    info = replace(source.info, provenance={"slide_fingerprint": "f", "model": "m"})
    return info, source.read(0)


def write_run(folder: Path, slides: dict[str, tuple[CellsInfo, list[CellBatch]]]) -> Path:
    run = RunFolder(folder)
    states = {name: {"state": "complete"} for name in slides}
    write_json(run.manifest, {"slides": states})
    for name, (info, batches) in slides.items():
        with ThreadPoolExecutor(1) as pool:
            write_cells(run.slide(name).cells, info, batches.__getitem__, range(len(batches)), pool)
        write_json(run.slide(name).report, {"lattice": {"core_px": CORE}})
    return folder


def perturbed(batch: CellBatch, info: CellsInfo) -> CellBatch:
    """The cells, some missing, the others moved by up to 6 level-0 px."""
    rng = np.random.default_rng(7)
    kept = batch.take(np.flatnonzero(rng.random(len(batch)) < 0.9))
    owner = np.repeat(
        np.arange(len(kept)), np.diff(kept.polygons.ring_offsets[kept.polygons.polygon_offsets])
    )
    moves = rng.integers(-600, 600, (len(kept), 2))
    vertices = (kept.polygons.vertices + moves[owner]).astype(np.int32)
    return replace(
        kept,
        polygons=replace(kept.polygons, vertices=vertices),
        centroids=kept.centroids + moves / 100,
        ids=np.arange(1, len(kept) + 1, dtype=np.uint32),
    )


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    info, batch = cells()
    other = perturbed(batch, info)
    halves = [batch.take(np.arange(300)), batch.take(np.arange(300, len(batch)))]
    return (
        write_run(tmp_path / "one", {"s.svs": (info, halves)}),
        write_run(tmp_path / "two", {"s.svs": (info, [other])}),
    )


def test_region_by_region_equals_the_slide_in_one_piece(runs: tuple[Path, Path]) -> None:
    info, batch = cells()
    other = perturbed(batch, info)
    scale = info.frame.scale_to(info.level0)
    painted = [
        rasterize(
            b.polygons, b.ids, paint_order(b.probabilities, b.centroids), info.frame.box, scale
        )
        for b in (other, batch)
    ]
    expected = image_counts(match(*painted), THRESHOLDS)
    found = evaluate_run(*runs, OPTIONS)
    np.testing.assert_allclose(found.cases[0].counts, expected)
    assert 0.2 < found.all.mean["f1@0.50"].value < 1


def test_a_run_against_itself_is_perfect(runs: tuple[Path, Path]) -> None:
    found = evaluate_run(runs[0], runs[0], OPTIONS)
    assert {estimate.value for estimate in found.all.mean.values()} == {1.0}
    assert found.classes["mpq"]["value"] == 1
    near, inner = found.seams["near"], found.seams["inner"]
    assert near["truth"] > 0
    assert near["truth"] + inner["truth"] == found.all.truth == 700


def test_the_finer_frame_of_the_two_is_compared(tmp_path: Path) -> None:
    info, batch = cells(60)
    fine = replace(info, frame=info.level0)
    one = write_run(tmp_path / "one", {"s": (info, [batch])})
    two = write_run(tmp_path / "two", {"s": (fine, [batch])})
    for pair in ((one, two), (two, one)):
        assert evaluate_run(*pair, OPTIONS).cases[0].facts["mpp"] == 0.25


def test_seam_distances_by_hand() -> None:
    level0 = Frame(Size(400, 200), MPP.square(0.25))
    frame = Frame(Size(200, 100), MPP.square(0.5))
    points = np.array([[0.0, 0.0], [100.0, 10.0], [150.0, 100.0], [398.0, 198.0]])
    # Cores of 60: seams at x 60, 120, 180 and y 60 of the frame, half of level 0.
    told = seam_distance_um(points, level0, frame, 60)
    assert told.tolist() == pytest.approx([30, 5, 5, 9.5])
    assert np.isinf(seam_distance_um(points, level0, frame, 200)).all()


def square(x: float, y: float, side: float = 20, **properties: Any) -> dict[str, Any]:
    geometry = mapping(shapely_box(x, y, x + side, y + side))
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def write_features(path: Path, features: list[dict[str, Any]]) -> Path:
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def test_own_export_read_back_is_perfect(runs: tuple[Path, Path], tmp_path: Path) -> None:
    info, batch = cells()
    apart = synthetic_apart(info, batch)
    run = write_run(tmp_path / "apart", {"s": (info, [apart])})
    path = tmp_path / "cells.geojson.gz"
    write_cells_geojson(path, MemorySource(info, [apart]))
    found = evaluate_run(run, path, OPTIONS)
    assert {estimate.value for estimate in found.all.mean.values()} == {1.0}
    assert found.classes["mpq_plus"]["value"] == 1


def synthetic_apart(info: CellsInfo, batch: CellBatch) -> CellBatch:
    """The cells inside QuPath's frame."""
    low = batch.polygons.bounds()[:, :2].min(axis=1)
    return batch.take(np.flatnonzero(low > 100 * max(ORIGIN)))


def with_annotations(tmp_path: Path, features: list[dict[str, Any]], **options: Any) -> Evaluation:
    info, batch = cells(100)
    run = write_run(tmp_path / "run", {"s": (info, [batch])})
    return evaluate_run(run, write_features(tmp_path / "a.geojson", features), OPTIONS, **options)


def test_annotations_within_areas_are_one_image_each(tmp_path: Path) -> None:
    features = [
        square(0, 0, 200, classification="Area", name="upper"),
        square(300, 0, 200, classification="Area"),
        square(50, 50),
        square(400, 100),
        square(60, 400),
    ]
    found = with_annotations(tmp_path, features, within=["area"])
    assert [case.name for case in found.cases] == ["s/1 upper", "s/2"]
    assert found.all.truth == 2
    assert {case.group for case in found.cases} == {"s"}
    whole = with_annotations(tmp_path, features[2:])
    assert whole.all.truth == 3
    assert whole.all.predicted == 100


def test_objects_are_cut_at_the_border_of_an_area(tmp_path: Path) -> None:
    features = [square(0, 0, 100, name="A"), square(90, 90, 20)]
    found = with_annotations(tmp_path, features, within=["a"])
    # 10 of 20 level-0 px on either axis lie inside: 5 x 5 px of the frame.
    assert found.cases[0].counts[0] == 25


def test_smaller_annotations_lie_over_larger_ones(tmp_path: Path) -> None:
    found = with_annotations(tmp_path, [square(100, 100, 20), square(90, 90, 40)])
    assert found.all.truth == 2
    assert found.cases[0].counts[0] == 20 * 20


def test_annotations_of_another_slide_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="none of its 1 outlines lies on the slide"):
        with_annotations(tmp_path, [square(90_000, 90_000)])


def test_areas_that_are_not_there_are_refused_with_those_that_are(tmp_path: Path) -> None:
    features = [square(0, 0, 200, classification="Box"), square(50, 50)]
    with pytest.raises(ConfigurationError, match="class or name Area; it has Box"):
        with_annotations(tmp_path, features, within=["Area"])
    with pytest.raises(ConfigurationError, match="no outline of a nucleus"):
        with_annotations(tmp_path, features[:1], within=["Box"])


def test_slides_must_be_the_same(runs: tuple[Path, Path], tmp_path: Path) -> None:
    info, batch = cells()
    alien = replace(info, provenance={"slide_fingerprint": "g"})
    other = write_run(tmp_path / "other", {"s.svs": (alien, [batch])})
    with pytest.raises(ConfigurationError, match=r"s\.svs is not the same file"):
        evaluate_run(runs[0], other, OPTIONS)
    empty = write_run(tmp_path / "empty", {"t.svs": (info, [batch])})
    with pytest.raises(ConfigurationError, match=r"has no slide s\.svs; it has t\.svs"):
        evaluate_run(runs[0], empty, OPTIONS)


def test_unfinished_and_missing_runs_are_refused(runs: tuple[Path, Path], tmp_path: Path) -> None:
    RunFolder(runs[1]).slide("s.svs").report.unlink(missing_ok=True)
    with pytest.raises(ConfigurationError, match="is not finished"):
        evaluate_run(*runs, OPTIONS)
    with pytest.raises(StoreError, match="not a run directory"):
        evaluate_run(tmp_path, runs[0], OPTIONS)


def test_annotations_need_one_slide(tmp_path: Path) -> None:
    info, batch = cells(60)
    slides = {"s": (info, [batch]), "t": (info, [batch])}
    run = write_run(tmp_path / "run", slides)
    path = write_features(tmp_path / "a.geojson", [square(100, 100)])
    with pytest.raises(ConfigurationError, match="annotations of one slide"):
        evaluate_run(run, path, OPTIONS)
    one = Options(select=Selection(patterns=["t"]), resamples=100)
    assert evaluate_run(run, path, one).cases[0].name == "t"
    both = evaluate_run(run, run, OPTIONS)
    assert [case.group for case in both.cases] == ["s", "t"]
    with pytest.raises(ConfigurationError, match="no slide is left"):
        evaluate_run(run, run, Options(select=Selection(patterns=["x"])))
