"""``wsiseg score``: a small finished run of a DAB slide, scored and written."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
import typer

import wsiseg
from runs import job_of, slide_folder, wsiseg_command
from wsiseg.biomarkers import Thresholds
from wsiseg.cli.score_command import score
from wsiseg.demo import write_demo_slide
from wsiseg.errors import ConfigurationError, StoreError
from wsiseg.execution.results import Run
from wsiseg.export.regions import read_regions
from wsiseg.files import read_json
from wsiseg.regions import HotSpotRule
from wsiseg.scoring import (
    ScoreOptions,
    read_scores,
    score_slide,
    slide_maps,
    write_map,
    write_slide_scores,
    write_table,
)
from wsiseg.scoring.cells import read_cells
from wsiseg.scoring.provenance import stain_warnings
from wsiseg.statistics import Resampling

QUICK = Resampling(block_um=80, resamples=200)
EVERY = ("ki67", "er", "pr", "h-score", "allred", "her2", "grading")


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose cells are of three classes, the left third being ``Tumour``."""
    folder = tmp_path_factory.mktemp("run")
    slide = write_demo_slide(folder / "demo.tiff", side_px=1024)
    wsiseg.run(job_of(slide, exports=("table",)), folder / "out", inline=True)
    table = slide_folder(folder / "out").root / "cells.parquet"
    cells = pq.read_table(table)
    x = cells["centroid_x_px"].to_numpy()
    names = np.where(x < 340, "Tumour", np.where(x < 680, "Lymphocyte", "Stroma"))
    place = cells.column_names.index("class")
    pq.write_table(cells.set_column(place, "class", pa.array(names).dictionary_encode()), table)
    return folder / "out"


@pytest.fixture
def run(out: Path) -> Run:
    return wsiseg.open_run(out)


def name_of(run: Run) -> str:
    (name,) = run.slides
    return name


def geojson(path: Path, *regions: tuple[Any, str | None, str | None]) -> Path:
    """A file of annotations: geometry, class, name."""
    features = [
        {
            "type": "Feature",
            "geometry": shapely.geometry.mapping(geometry),
            "properties": {
                "objectType": "annotation",
                **({"classification": {"name": kind, "color": [1, 2, 3]}} if kind else {}),
                **({"name": name} if name else {}),
            },
        }
        for geometry, kind, name in regions
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def test_the_slide_is_scored_from_its_table(run: Run) -> None:
    found = score_slide(run, name_of(run), ScoreOptions(("ki67", "h-score"), resampling=QUICK))
    density = run.cells(name_of(run))["nucleus_dab_od_mean"].to_numpy()
    (scope,) = found.scopes
    ki67, h_score = scope.scores
    assert ki67["labelling_index"].value == pytest.approx(100 * (density >= 0.2).mean())
    classes = np.searchsorted([0.2, 0.4, 0.6], density, side="right")
    assert h_score["h_score"].value == pytest.approx(100 * classes.mean())
    assert len(scope.scope.cells) == run.report(name_of(run))["counts"]["nuclei"]
    tissue = run.report(name_of(run))["area_mm2"]["tissue"]
    assert scope.scope.tissue_mm2 == pytest.approx(tissue, abs=1e-5)
    assert scope.overview[0].estimate.value == pytest.approx(len(density) / tissue, rel=1e-4)
    assert any("no class was named as tumour" in w for w in found.warnings)
    assert any("classical-he misses" in w for w in found.warnings)


def test_regions_and_classes_of_regions(run: Run, tmp_path: Path) -> None:
    path = geojson(
        tmp_path / "r.geojson",
        (shapely.box(0, 0, 512, 1024), "Nest", None),
        (shapely.box(400, 0, 1024, 1024), "Nest", "Right"),
        (shapely.box(0, 0, 1024, 300), "Stroma", None),
    )
    options = ScoreOptions(("til",), immune=("lymphocyte",), resampling=QUICK)
    found = score_slide(run, name_of(run), options, read_regions(path))
    kinds = [(s.scope.kind, s.scope.name) for s in found.scopes]
    assert kinds == [
        ("slide", name_of(run)),
        ("region", "Nest 1"),
        ("region", "Right"),
        ("region", "Stroma 1"),
        ("class", "Nest"),
        ("class", "Stroma"),
    ]
    whole, left, right, _, nest, _ = found.scopes
    cells = run.cells(name_of(run))
    x = cells["centroid_x_px"].to_numpy()
    kind = np.array(cells["class"].to_pylist())
    assert len(left.scope.cells) == (x <= 512).sum()
    assert len(nest.scope.cells) == len(x) < len(left.scope.cells) + len(right.scope.cells)
    assert left.by_class["Lymphocyte"] == ((kind == "Lymphocyte") & (x <= 512)).sum()
    share = left.scores[0]["til_share"].value
    assert share == pytest.approx(100 * (kind[x <= 512] == "Lymphocyte").mean())
    assert nest.scope.tissue_mm2 == pytest.approx(whole.scope.tissue_mm2, rel=1e-6)
    assert any("overlap" in w for w in found.warnings)


def test_tumour_cells_are_those_of_the_class(run: Run) -> None:
    options = ScoreOptions(("ki67", "pdl1"), ("TUMOUR",), ("Lymphocyte",), resampling=QUICK)
    ki67, pdl1 = score_slide(run, name_of(run), options).scopes[0].scores
    cells = run.cells(name_of(run))
    tumour = np.array(cells["class"].to_pylist()) == "Tumour"
    assert ki67.counts["cells"] == pdl1.counts["tumour_cells"] == tumour.sum()
    ring = cells["ring_dab_od_mean"].to_numpy()
    known = np.isfinite(ring)
    assert pdl1["tps"].value == pytest.approx(100 * (ring[tumour & known] >= 0.2).mean())


def test_files_hold_every_number(run: Run, tmp_path: Path) -> None:
    path = geojson(tmp_path / "r.geojson", (shapely.box(0, 0, 512, 512), "=cmd()", "@name"))
    rule = HotSpotRule(0.02, least_cells=20)
    options = ScoreOptions(EVERY, ("Tumour", "Stroma"), hot_spot=rule, resampling=QUICK)
    found = score_slide(run, name_of(run), options, read_regions(path))
    write_slide_scores(run, found)
    scores, regions = write_table(run)
    value = read_scores(run, name_of(run))
    assert value["options"]["thresholds_od"] == {"weak": 0.2, "moderate": 0.4, "strong": 0.6}
    assert value["options"]["resampling"]["seed"] == 0
    assert value["model"] == "classical-he"
    assert value["wsiseg"] == wsiseg.__version__
    assert "DAB" in value["stains"]
    assert "clinically unvalidated" in value["disclaimer"]
    rows = list(csv.DictReader(scores.open(encoding="utf-8")))
    measures = sum(len(s.overview) + sum(len(x.measures) for x in s.scores) for s in found.scopes)
    assert len(rows) == measures
    assert {r["biomarker"] for r in rows} == {"", *EVERY}
    assert all(r["validation"] for r in rows if r["biomarker"])
    place = [r for r in csv.DictReader(regions.open(encoding="utf-8")) if r["scope"] == "region"]
    assert place[0]["name"] == "'@name"
    assert place[0]["region_class"] == "'=cmd()"
    assert int(place[0]["cells"]) == sum(
        int(place[0][f"cells: {n}"]) for n in ("Tumour", "Lymphocyte")
    )
    assert float(place[0]["area_mm2"]) == pytest.approx(0.065536)


def test_equal_seeds_give_equal_files(run: Run) -> None:
    options = ScoreOptions(("ki67",), resampling=QUICK)
    path = write_slide_scores(run, score_slide(run, name_of(run), options))
    first = path.read_bytes()
    write_slide_scores(run, score_slide(run, name_of(run), options))
    assert path.read_bytes() == first


def test_a_map_holds_all_cells_and_all_tissue(run: Run) -> None:
    options = ScoreOptions(("ki67",))
    maps = slide_maps(run, name_of(run), options, 100)
    report = run.report(name_of(run))
    assert np.nansum(maps["cells"].values) == report["counts"]["nuclei"]
    assert maps["tissue_mm2"].values.sum() == pytest.approx(report["area_mm2"]["tissue"], rel=0.03)
    path = write_map(run, name_of(run), options, 100)
    rows = list(csv.DictReader(path.open(encoding="utf-8")))
    assert sum(float(r["cells"]) for r in rows) == report["counts"]["nuclei"]
    assert "positive_percent" in rows[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"biomarkers": ("nope",)}, "there is no biomarker 'nope'"),
        ({"biomarkers": ("til",)}, "--immune CLASS"),
        ({"biomarkers": ("pdl1",)}, "--tumour CLASS"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        ScoreOptions(**options)


def test_classes_and_columns_that_are_not_there(run: Run) -> None:
    with pytest.raises(
        ConfigurationError, match=r"no cell has the class tumor.*Lymphocyte, Stroma"
    ):
        score_slide(run, name_of(run), ScoreOptions(("ki67",), ("Tumor",)))
    with pytest.raises(ConfigurationError, match="no column nope"):
        score_slide(run, name_of(run), ScoreOptions(("ki67",), column="nope"))
    for column in ("class", "uuid", "bbox"):
        with pytest.raises(ConfigurationError, match="holds no numbers"):
            score_slide(run, name_of(run), ScoreOptions(("ki67",), column=column))
    with pytest.raises(ConfigurationError, match="no slide"):
        score_slide(run, "other.svs", ScoreOptions())


def test_regions_of_another_slide_are_refused(run: Run, tmp_path: Path) -> None:
    path = geojson(tmp_path / "r.geojson", (shapely.box(5000, 0, 6000, 10), None, None))
    with pytest.raises(ConfigurationError, match="outside the slide"):
        score_slide(run, name_of(run), ScoreOptions(), read_regions(path))


def changed(run: Run, tmp_path: Path, change: Any) -> Run:
    """A copy of the run whose table of cells is another."""
    import shutil

    shutil.copytree(run.path, tmp_path / "copy")
    copy = wsiseg.open_run(tmp_path / "copy")
    table = copy.file(name_of(copy), "table")
    pq.write_table(change(pq.read_table(table)), table)
    return copy


@pytest.mark.parametrize("count", [0, 1])
def test_no_cell_and_one_cell(run: Run, tmp_path: Path, count: int) -> None:
    copy = changed(run, tmp_path, lambda t: t.slice(0, count))
    options = ScoreOptions((*EVERY, "til", "pdl1"), ("Tumour",), ("Lymphocyte",), resampling=QUICK)
    if count:
        options = ScoreOptions(EVERY, resampling=QUICK)
    found = score_slide(copy, name_of(copy), options)
    write_slide_scores(copy, found)
    write_table(copy)
    value: Any = read_json(copy.path / "slides" / name_of(copy) / "scores.json")
    assert value["scopes"][0]["cells"] == count
    assert all(score["warnings"] for score in value["scopes"][0]["scores"] if count == 0)


def test_not_a_number_counts_nowhere(run: Run, tmp_path: Path) -> None:
    def spoil(table: pa.Table) -> pa.Table:
        for name, every in (("nucleus_dab_od_mean", 3), ("area_um2", 4), ("centroid_x_px", 5)):
            values = table[name].to_numpy().copy()
            values[::every] = np.nan
            table = table.set_column(table.column_names.index(name), name, pa.array(values))
        kinds = table["class"].to_pylist()
        kinds[0] = kinds[1] = None
        place = table.column_names.index("class")
        return table.set_column(place, "class", pa.array(kinds, pa.string()))

    copy = changed(run, tmp_path, spoil)
    found = score_slide(copy, name_of(copy), ScoreOptions(EVERY, resampling=QUICK))
    cells = run.report(name_of(run))["counts"]["nuclei"]
    placed = cells - len(range(0, cells, 5))
    assert len(found.scopes[0].scope.cells) == placed
    counts = found.scopes[0].scores[0].counts
    assert counts["cells"] + counts["unmeasured"] == placed
    assert counts["unmeasured"] > 0
    assert found.scopes[0].by_class["(no class)"] == 1
    assert any("without a place" in w for w in found.warnings)


def test_a_threshold_amid_the_crowd_is_told(run: Run) -> None:
    density = run.cells(name_of(run))["nucleus_dab_od_mean"].to_numpy()
    middle = float(np.median(density))
    amid = Thresholds(middle, middle + 0.5, middle + 1)
    found = score_slide(run, name_of(run), ScoreOptions(("ki67",), thresholds=amid))
    (said,) = (w for w in found.warnings if "cuts through a crowd" in w)
    assert f"{100 * (density >= middle + 0.05).mean():.0f} %; check" in said
    beyond = Thresholds(float(density.max()) + 0.2, 9, 10)
    found = score_slide(run, name_of(run), ScoreOptions(("ki67",), thresholds=beyond))
    assert not any("cuts through a crowd" in w for w in found.warnings)


def test_stains_that_do_not_fit_are_told(run: Run) -> None:
    cells = read_cells(run, name_of(run), run.source(name_of(run)).info.level0)
    report = {
        "model": {"name": "other"},
        "appearance": {"brown": [0.0]},
        "features": {"stains": {"problem": "only 3 pixels"}},
    }
    said = " ".join(stain_warnings(report, cells, ScoreOptions(("er",))))
    assert "looks like eosin" in said
    assert "only 3 pixels" in said
    assert "that other finds strongly stained nuclei" in said
    assert not list(stain_warnings(report, cells, ScoreOptions(("grading",))))


def test_eosin_is_no_dab(run: Run, tmp_path: Path) -> None:
    def as_eosin(table: pa.Table) -> pa.Table:
        return table.rename_columns([n.replace("_dab_", "_eosin_") for n in table.column_names])

    copy = changed(run, tmp_path, as_eosin)
    with pytest.raises(ConfigurationError, match="taken for eosin, not DAB"):
        score_slide(copy, name_of(copy), ScoreOptions(("ki67",)))
    bare = pq.read_table(copy.file(name_of(copy), "table")).select(
        ["centroid_x_px", "centroid_y_px", "class"]
    )
    pq.write_table(bare, copy.file(name_of(copy), "table"))
    for biomarker, message in (("ki67", "stains were not measured"), ("grading", "no column area")):
        with pytest.raises(ConfigurationError, match=message):
            score_slide(copy, name_of(copy), ScoreOptions((biomarker,)))  # type: ignore[arg-type]
    assert score_slide(copy, name_of(copy), ScoreOptions()).scopes[0].scores == ()


def test_damaged_scores_are_told(run: Run, tmp_path: Path) -> None:
    copy = changed(run, tmp_path, lambda t: t)
    (copy.path / "slides" / name_of(copy) / "scores.json").write_text("[]")
    with pytest.raises(StoreError, match="score the slide again"):
        write_table(copy)


def test_command(run: Run, tmp_path: Path) -> None:
    path = geojson(tmp_path / "r.geojson", (shapely.box(0, 0, 512, 1024), "Nest", "[red]A"))
    done = wsiseg_command(
        "score", run.path, "--biomarker", "ki67", "--biomarker", "grading", "--regions", path,
        "--tumour", "Tumour", "--threshold", "0.3", "--block-um", "80", "--resamples", "200",
        "--hot-spot-cells", "50", "--map", "100",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for word in ("labelling index %", "[red]A", "all Nest", "whole slide", "Not a diagnosis"):
        assert word in done.stdout
    value = read_scores(run, name_of(run))
    assert value["options"]["thresholds_od"] == {"weak": 0.3, "moderate": 0.6, "strong": 0.9}
    assert (run.path / "scores.csv").exists()
    assert (run.path / "slides" / name_of(run) / "map.csv").exists()


def test_command_refuses_without_a_traceback(run: Run) -> None:
    done = wsiseg_command("score", run.path, "--biomarker", "ki67", "--tumour", "Tumor")
    assert done.returncode == 1
    assert "no cell has the class tumor" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"slide": ["nope"]}, "no slide 'nope'"),
        ({"threshold": [0.2, 0.4]}, "once or three times"),
        ({"threshold": [0.6, 0.4, 0.2]}, "rise"),
        ({"biomarker": ["til"]}, "--immune"),
        ({"block_um": -1.0}, "side of a block"),
        ({"hot_spot_mm2": 0.0}, "hot spot's area"),
    ],
)
def test_options_of_the_command(run: Run, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        score(run.path, **options)


def test_regions_from_a_folder(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit):
        score(run.path, regions=tmp_path)
    assert "has no regions of demo" in " ".join(capsys.readouterr().err.split())
    geojson(tmp_path / "demo.geojson", (shapely.box(0, 0, 512, 512), "Nest", None))
    score(run.path, regions=tmp_path)
    assert "Nest 1" in capsys.readouterr().out
