"""``cohort.html``: slides of a run side by side, from small files only."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import wsiseg
from finished import FinishedRun, report, wobbling, write_plainly
from pages import Page
from wsiseg.reporting import write_cohort
from wsiseg.reporting.cohort import MOST_LANES, OTHERS, Cohort, CohortSlide, middle_half
from wsiseg.statistics import Estimate, Measure, Score
from wsiseg.store.parquet import write_table
from wsiseg.summary.outliers import compare
from wsiseg.summary.page import Summary
from wsiseg.summary.rows import read_rows

EVIL = '<script>alert("1")</script>'


def scores(value: float, key: str = "k") -> dict[str, Any]:
    """``scores.json`` of a slide."""
    estimate = Estimate(value, value - 2, value + 2, 0.95, "spatial block bootstrap", 30)
    score = Score(
        "ki67",
        "a source",
        "formula verified, clinically unvalidated",
        {"cells": 100},
        (Measure("labelling_index", "%", estimate, f"definition {EVIL}"),),
        {"labelling_index": f"low {EVIL}"},
    )
    scope: dict[str, Any] = {
        "scope": "slide", "name": "s", "region_class": None, "area_mm2": 2.0, "tissue_mm2": 1.0,
        "cells": 100, "cells_by_class": {}, "overview": [], "scores": [score.to_dict()],
    }  # fmt: skip
    return {"slide": "s", "segment_key": key, "warnings": [f"warned {EVIL}"], "scopes": [scope]}


@pytest.fixture
def cohort(tmp_path: Path) -> FinishedRun:
    """Twelve slides of three groups, one odd, two scored, one of those in another segmentation;
    one failed."""
    run, rng = FinishedRun(tmp_path / f"a cohort {EVIL[:8]}"), np.random.default_rng(5)
    for number in range(12):
        told = wobbling(rng, segment_key="k")
        if number == 4:
            told["nuclear_area_um2"] = 150.0
        group = {"group": f"{EVIL if number % 3 == 0 else number % 3}"}
        run.whole(f"s{number}.svs", told, **group, metadata={"site": EVIL if number else "colon"})
    run.failed("bad.svs", "broken")
    for number, key in ((0, "k"), (1, "k"), (2, "another")):
        file = run.folder.slide(f"s{number}.svs").root / "scores.json"
        write_plainly(file, scores(10.0 + number, key))
    return run


def test_the_page_is_sound_and_escapes_what_comes_from_outside(cohort: FinishedRun) -> None:
    path = write_cohort(wsiseg.open_run(cohort.folder.root))
    assert path == cohort.folder.root / "cohort.html"
    text = path.read_text()
    page = Page(text)
    assert page.scripts == 1
    assert "<script>alert" not in text
    assert page.links == []
    assert not re.search(r"https?://", text)
    assert str(cohort.folder.root.parent) not in text


def test_the_numbers_are_those_of_the_reports(cohort: FinishedRun) -> None:
    run = wsiseg.open_run(cohort.folder.root)
    text = write_cohort(run).read_text()
    (body,) = re.findall(r"<h2>Slides</h2>.*?<tbody>(.*?)</tbody>", text, re.DOTALL)
    rows = re.findall(r"<tr>(.*?)</tr>", body)
    assert len(rows) == 13
    for row in rows:
        (name,) = re.findall(r'<td class="name" data-v="([^"]*)"', row)
        if name == "bad.svs":
            continue
        told, values = run.report(name), re.findall(r'<td class="n" data-v="([^"]*)"', row)
        assert values[0] == str(told["counts"]["nuclei"])
        assert float(values[1]) == pytest.approx(told["area_mm2"]["tissue"])
        assert float(values[2]) == pytest.approx(told["nuclei_per_mm2"])
        assert float(values[3]) == pytest.approx(told["nuclear_area_um2"])
    assert 'data-v="10"' in rows[0]
    assert "large nuclei: nuclear size 150 µm²" in text
    assert text.count('fill="#b3261e"') == 1
    assert "s2.svs: its scores are out of date" in text
    assert "clinically unvalidated" in text
    assert "8.00 to 12.0" in text


def test_reports_beside_the_page_are_linked(cohort: FinishedRun, tmp_path: Path) -> None:
    away = tmp_path / "away"
    (away / "slides" / "s3.svs").mkdir(parents=True)
    (away / "slides" / "s3.svs" / "report.html").write_text("")
    path = write_cohort(wsiseg.open_run(cohort.folder.root), away)
    assert path == away / "cohort.html"
    assert set(Page(path.read_text()).links) == {"slides/s3.svs/report.html"}


def test_damaged_files_are_told_not_raised(cohort: FinishedRun) -> None:
    (cohort.folder.slide("s0.svs").root / "scores.json").write_text("{")
    write_plainly(cohort.folder.slide("s1.svs").root / "scores.json", {"scopes": [{"a": 1}]})
    cohort.folder.slide("s5.svs").quality.write_bytes(b"none")
    text = write_cohort(wsiseg.open_run(cohort.folder.root)).read_text()
    for name in ("s0.svs: ", "s1.svs: ", "s5.svs: "):
        assert f"<li>{name}" in text
    assert "Ki-67" not in text


def test_a_single_slide_without_anything_is_a_page(tmp_path: Path) -> None:
    run = FinishedRun(tmp_path / "one")
    run.whole("a.svs", report(appearance={}, counts={"nuclei": 0}, nuclei_per_mm2=None))
    text = write_cohort(wsiseg.open_run(run.folder.root)).read_text()
    Page(text)
    assert "Measures" not in text


def test_flagged_fields_are_a_share(cohort: FinishedRun) -> None:
    import pyarrow as pa

    flags = {name: [False] * 4 for name in ("blurred", "folded", "grey", "odd_stain")}
    flags["blurred"] = flags["grey"] = [True, False, False, False]
    corners = {name: [0.0, 1.0, 2.0, 3.0] for name in ("x0_px", "y0_px", "x1_px", "y1_px")}
    write_table(cohort.folder.slide("s7.svs").quality, pa.table({**corners, **flags}))
    text = write_cohort(wsiseg.open_run(cohort.folder.root)).read_text()
    (row,) = re.findall(r'<tr><td class="name" data-v="s7\.svs">.*?</tr>', text)
    assert 'data-v="25"' in row


def test_the_smallest_of_many_groups_are_taken_together(tmp_path: Path) -> None:
    run = FinishedRun(tmp_path / "many")
    for number in range(60):
        run.slides[f"{number}.svs"] = {
            "path": "x", "state": "complete", "entry": {"group": f"g{min(number, 40)}"},
            "job": {"model": "nuclei-he"},
        }  # fmt: skip
        write_plainly(run.folder.slide(f"{number}.svs").report, report())
    run.folder.manifest.write_text(json.dumps({"format": 1, "slides": run.slides}))
    rows = read_rows(run.folder)
    summary = Summary("t", "d", "v", rows, compare(rows), frozenset())
    groups = Cohort(summary, (CohortSlide(None, None),) * 60, frozenset()).groups()
    assert len(groups) == MOST_LANES
    assert len(groups["g40"]) == 20
    assert list(groups)[-1] == OTHERS
    assert sorted(i for of in groups.values() for i in of) == list(range(60))


def test_the_middle_half_ignores_what_is_not_known() -> None:
    values = np.array([1.0, 2.0, 3.0, 4.0, 5.0, np.nan])
    assert middle_half(values, range(6)) == (5, 3.0, 2.0, 4.0)
    assert middle_half(values, [5])[0] == 0
