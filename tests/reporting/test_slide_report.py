"""``report.html`` of a slide: a small finished run, and what can be amiss with one."""

from __future__ import annotations

import base64
import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tifffile
import typer
from numpy.typing import NDArray
from PIL import Image

import wsiseg
from pages import Page
from runs import job_of, slide_folder
from wsiseg.cli.report_command import report as report_command
from wsiseg.demo import write_demo_slide
from wsiseg.errors import ConfigurationError, StoreError
from wsiseg.export import overview
from wsiseg.export.density import Place
from wsiseg.files import read_json, write_json
from wsiseg.geometry import MPP
from wsiseg.quality.fields import FAULTS
from wsiseg.reporting import pictures, write_slide_report
from wsiseg.reporting.cells import class_shares, distributions
from wsiseg.reporting.fields import (
    FAULT_COLORS,
    SOUND,
    SlideFields,
    fault_map,
    places_to_see,
    read_fields,
)
from wsiseg.reporting.pictures import MOST_CROP_BYTES, draw_pictures, jpeg
from wsiseg.scoring import ScoreOptions, score_slide, write_slide_scores
from wsiseg.statistics import Resampling
from wsiseg.summary.numbers import short

EVIL = '<script>alert("1")</script>'
LARGEST = 3_000_000


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one slide of two classes, with an overview and scores."""
    folder = tmp_path_factory.mktemp("run")
    slide = write_demo_slide(folder / "demo.tiff", side_px=1024)
    out = folder / "out"
    wsiseg.run(job_of(slide, exports=("table", "overview")), out, inline=True)
    table = slide_folder(out).root / "cells.parquet"
    cells = pq.read_table(table)
    names = np.where(cells["centroid_x_px"].to_numpy() < 400, "Tumour", EVIL)
    place = cells.column_names.index("class")
    pq.write_table(cells.set_column(place, "class", pa.array(names).dictionary_encode()), table)
    run = wsiseg.open_run(out)
    options = ScoreOptions(
        ("ki67", "h-score", "grading"), resampling=Resampling(block_um=80, resamples=200)
    )
    write_slide_scores(run, score_slide(run, "demo.tiff", options))
    return out


@pytest.fixture
def out(finished: Path, tmp_path: Path) -> Path:
    """A copy of that run, to be changed."""
    return Path(shutil.copytree(finished, tmp_path / "out"))


def written(out: Path) -> str:
    return write_slide_report(wsiseg.open_run(out), "demo.tiff").read_text()


def change(file: Path, **members: Any) -> None:
    value = read_json(file)
    assert isinstance(value, dict)
    write_json(file, value | members)


def test_the_page_is_one_sound_file_that_loads_and_runs_nothing(finished: Path) -> None:
    path = write_slide_report(wsiseg.open_run(finished), "demo.tiff")
    assert path == slide_folder(finished).root / "report.html"
    text = path.read_text()
    page = Page(text)
    assert page.scripts == 0
    assert page.links == []
    assert all(re.match(r"data:image/(png|jpeg);base64,", source) for source in page.sources)
    # the slide, its density, the colours of that, crops, fields
    assert len(page.sources) >= 6
    assert not re.search(r"https?://", text)
    assert str(finished.parent) not in text
    assert "<script>alert" not in text
    assert len(text) < LARGEST


def test_the_numbers_are_those_of_the_table(finished: Path) -> None:
    text = Page(written(finished)).text
    run = wsiseg.open_run(finished)
    cells, told = run.cells("demo.tiff"), run.report("demo.tiff")
    assert f"{cells.num_rows:,} nuclei" in text
    assert f"{short(told['area_mm2']['tissue'])} mm²" in text
    assert f"{short(told['nuclei_per_mm2'])} nuclei per mm²" in text
    for name in ("area_um2", "circularity", "nucleus_haematoxylin_od_mean"):
        values = cells[name].to_numpy()
        values = values[np.isfinite(values)].astype(np.float64)
        low, middle, high = np.percentile(values, [25, 50, 75])
        assert f"median {short(middle)}" in text
        assert f"middle half {short(low)} to {short(high)}" in text
    tumour = int((cells["centroid_x_px"].to_numpy() < 400).sum())
    assert f"Tumour {tumour:,} {tumour / cells.num_rows:.1%}" in text
    assert told["segment_key"] in text
    assert told["model"]["sha256"] in text
    assert told["versions"]["numpy"] in text


def test_scores_stand_there_with_intervals_and_reservations(finished: Path) -> None:
    text = Page(written(finished)).text
    scored = json.loads((slide_folder(finished).root / "scores.json").read_text())
    for score in scored["scopes"][0]["scores"]:
        assert score["source"] in text
        for measure in score["measures"]:
            if measure["value"] is not None:
                assert short(measure["value"]) in text
            if measure["low"] is not None:
                assert f"{short(measure['low'])} to {short(measure['high'])}" in text
    assert text.count("clinically unvalidated") >= 3
    assert "research use only" in text
    for warning in scored["warnings"]:
        assert warning in text


def test_scores_of_another_segmentation_are_not_shown(out: Path) -> None:
    change(slide_folder(out).root / "scores.json", segment_key="another")
    text = Page(written(out)).text
    assert "Labelling" not in text
    assert "score it again" in text


def test_damaged_scores_are_an_error_that_names_the_file(out: Path) -> None:
    change(slide_folder(out).root / "scores.json", scopes=[{"scope": "slide"}])
    with pytest.raises(StoreError, match=r"scores\.json is damaged"):
        written(out)


def test_what_users_and_files_say_is_escaped(out: Path) -> None:
    manifest = read_json(out / "manifest.json")
    assert isinstance(manifest, dict)
    manifest["slides"]["demo.tiff"]["entry"] |= {"group": EVIL, "metadata": {EVIL: EVIL}}
    write_json(out / "manifest.json", manifest)
    report = slide_folder(out).report
    told = read_json(report)
    assert isinstance(told, dict)
    told["warnings"] = [EVIL]
    told["model"] |= {"name": EVIL, "licence": EVIL, "trained_on": [EVIL]}
    told["versions"] |= {EVIL: EVIL}
    told["resolution"]["mpp_source"] = EVIL
    write_json(report, told)
    text = written(out)
    page = Page(text)
    assert page.scripts == 0
    assert page.text.count(EVIL) >= 9
    assert '"1")</script>' not in text


def test_without_scores_quality_and_the_slide_it_is_still_a_page(out: Path) -> None:
    root = slide_folder(out).root
    for name in ("scores.json", "quality.parquet", "overview.png"):
        (root / name).unlink()
    change(root / "plan.json", path=str(out / "gone.tiff"))
    text = written(out)
    page = Page(text)
    assert "None were scored" in page.text
    assert "not looked at" in page.text
    assert "No places at full resolution are shown" in page.text
    # the map of density needs the cells alone
    assert len(page.sources) == 2


def test_another_file_in_the_slides_place_is_not_shown(out: Path, tmp_path: Path) -> None:
    other = write_demo_slide(tmp_path / "other.tiff", side_px=1024, seed=3)
    change(slide_folder(out).root / "plan.json", path=str(other))
    found = draw_pictures(wsiseg.open_run(out), "demo.tiff", None)
    assert "not the file any more" in found.problem
    assert found.crops == ()
    assert found.slide is not None
    assert found.slide.caption == "Overview"


def test_the_places_are_those_that_the_overview_marks(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (slide_folder(out).root / "overview.png").unlink()
    chosen: dict[str, Sequence[Place]] = {}
    for module in (overview, pictures):

        def noted(*given: Any, by: str = module.__name__, rule: Any = module.choose_places) -> Any:
            chosen[by] = rule(*given)
            return chosen[by]

        monkeypatch.setattr(module, "choose_places", noted)
    found = draw_pictures(wsiseg.open_run(out), "demo.tiff", None)
    marked, shown = chosen[overview.__name__], chosen[pictures.__name__]
    assert len(shown) >= 2
    assert list(marked[: len(shown)]) == list(shown)
    assert len(found.crops) == len(shown)
    assert found.slide is not None


def test_outlines_have_the_colours_of_the_tables_classes(out: Path) -> None:
    table = slide_folder(out).root / "cells.parquet"
    cells = pq.read_table(table)
    classes = [{"name": "Tumour", "color": [255, 0, 255]}, {"name": EVIL, "color": [0, 255, 0]}]
    described = {b"wsiseg": json.dumps({"classes": classes}).encode()}
    pq.write_table(cells.replace_schema_metadata(described), table)
    run = wsiseg.open_run(out)
    assert {one.name: one.color for one in class_shares(run, "demo.tiff")} == {
        "Tumour": (255, 0, 255), EVIL: (0, 255, 0),
    }  # fmt: skip
    crop = draw_pictures(run, "demo.tiff", None).crops[0]
    data = base64.b64decode(crop.uri.split(",")[1])
    path = out / "crop.jpg"
    path.write_bytes(data)
    pixels = np.asarray(Image.open(path), np.int16)
    strong = np.abs(pixels[..., 0] - pixels[..., 1]) > 120
    assert strong.sum() > 50
    assert (out / "crop.jpg").stat().st_size <= MOST_CROP_BYTES


def test_a_slide_of_one_cell(out: Path) -> None:
    table = slide_folder(out).root / "cells.parquet"
    pq.write_table(pq.read_table(table).slice(0, 1), table)
    (slide_folder(out).root / "scores.json").unlink()
    run = wsiseg.open_run(out)
    found = {one.column: one for one in distributions(run, "demo.tiff")}
    area = float(run.cells("demo.tiff")["area_um2"][0].as_py())
    assert found["area_um2"].quantiles == pytest.approx((area,) * 5)
    assert found["area_um2"].bins.counts.tolist() == [1]
    text = Page(written(out)).text
    assert f"median {short(area)}" in text
    assert "1 nucleus" in text


def test_a_slide_without_nuclei(tmp_path: Path) -> None:
    path = tmp_path / f"empty {EVIL[:7]}.tiff"
    scale = 1e4 / MPP.square(0.5).mean
    tifffile.imwrite(
        path, np.full((1200, 1200, 3), 243, np.uint8), tile=(256, 256), photometric="rgb",
        resolution=(scale, scale), resolutionunit=3,
    )  # fmt: skip
    wsiseg.run(job_of(path, exports=("table",)), tmp_path / "out", inline=True)
    run = wsiseg.open_run(tmp_path / "out")
    (name,) = run.slides
    page = Page(write_slide_report(run, name).read_text())
    assert "no nuclei were found" in page.text
    assert "What the nuclei are like" not in page.text
    assert "No nucleus found" in page.text


def test_a_missing_table_is_an_error_that_says_how_to_mend_it(out: Path) -> None:
    (slide_folder(out).root / "cells.parquet").unlink()
    with pytest.raises(StoreError, match=r"wsiseg export .* --export table"):
        written(out)


def fields(boxes: Any, **flagged: list[int]) -> SlideFields:
    count = len(boxes)
    flags = {fault: np.zeros(count, np.bool_) for fault in FAULTS}
    for fault in FAULTS:
        flags[fault][flagged.get(fault, [])] = True
    measures: dict[str, NDArray[np.float64]] = {
        "haematoxylin_od": np.linspace(0.9, 0.1, count),
        "sharpness": np.arange(count, dtype=np.float64),
    }
    return SlideFields(np.array(boxes, np.float64), flags, measures)


def test_the_map_has_a_pixel_a_field_in_the_colour_of_its_fault() -> None:
    # the last column is narrower, one field is missing
    boxes = [(100, 100, 200, 200), (200, 100, 250, 200), (100, 200, 200, 300)]
    found = fault_map(fields(boxes, blurred=[1], grey=[1, 2]))
    assert found is not None
    assert np.asarray(found).tolist() == [
        [list(SOUND), list(FAULT_COLORS["blurred"])],
        [list(FAULT_COLORS["grey"]), [255, 255, 255]],
    ]
    assert fault_map(fields(np.empty((0, 4)))) is None


def test_the_palest_and_the_worst_field_are_to_be_seen() -> None:
    boxes = [(0, 0, 10, 10), (10, 0, 20, 10), (20, 0, 30, 10), (30, 0, 40, 10)]
    assert places_to_see(fields(boxes, blurred=[1, 2])) == [
        ("Palest field", (35.0, 5.0)),
        ("Flagged as blurred", (15.0, 5.0)),
    ]
    assert places_to_see(fields(boxes)) == [("Palest field", (35.0, 5.0))]
    assert places_to_see(fields(np.empty((0, 4)))) == []


def test_fields_are_read_as_they_were_written(finished: Path) -> None:
    found = read_fields(slide_folder(finished))
    table = pq.read_table(slide_folder(finished).quality)
    assert found is not None
    assert len(found) == table.num_rows > 0
    for fault in FAULTS:
        assert found.count(fault) == sum(table[fault].to_pylist())


def test_a_picture_keeps_within_its_bytes() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (546, 546, 3), np.uint8)
    made = jpeg(Image.fromarray(noise), MOST_CROP_BYTES, "noise")
    assert len(base64.b64decode(made.uri.split(",")[1])) <= MOST_CROP_BYTES


def test_the_command_writes_what_is_asked_for(out: Path, tmp_path: Path) -> None:
    report_command(out)
    assert (out / "cohort.html").exists()
    assert "slides/demo.tiff/report.html" in (out / "cohort.html").read_text()
    away = tmp_path / "away"
    report_command(out, slide=["demo.tiff"], folder=away)
    assert {p.relative_to(away).as_posix() for p in away.rglob("*.html")} == {
        "slides/demo.tiff/report.html"
    }
    report_command(out, folder=tmp_path / "cohort", cohort=True)
    assert [p.name for p in (tmp_path / "cohort").rglob("*.html")] == ["cohort.html"]


def test_the_command_refuses_what_is_not_there_and_tells_what_failed(out: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"it has demo\.tiff"):
        report_command(out, slide=["other"])
    slide_folder(out).quality.write_bytes(b"none")
    with pytest.raises(typer.Exit):
        report_command(out)
    assert (out / "cohort.html").exists()
    slide_folder(out).report.unlink()
    with pytest.raises(ConfigurationError, match="finish the run first"):
        report_command(out)
