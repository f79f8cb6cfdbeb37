"""What a real run leaves for whoever watches it, and for the morning after."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

import wsiseg
from runs import job_of, slide_folder
from wsiseg.demo import write_demo_slide
from wsiseg.execution.journal import read_log
from wsiseg.execution.progress import Progress
from wsiseg.execution.status import read_status
from wsiseg.store.folders import RunFolder


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_demo_slide(tmp_path_factory.mktemp("slide") / "demo.tiff", side_px=2560)


def rows(out: Path) -> dict[str, dict[str, str]]:
    with (out / "summary.csv").open(newline="", encoding="utf-8") as file:
        return {row["slide"]: row for row in csv.DictReader(file)}


def events(path: Path) -> list[str]:
    return [str(event["event"]) for event in read_log(path)]


def test_a_run_with_a_failure_is_summed_up(demo: Path, tmp_path: Path) -> None:
    broken, out = tmp_path / "broken.svs", tmp_path / "out"
    broken.write_bytes(b"no slide at all")
    result = wsiseg.run(job_of(demo, broken, exports=("table", "overview")), out, inline=True)
    assert result.summary == out / "summary.html"
    found = rows(out)
    good, bad = found["demo.tiff"], found["broken.svs"]
    assert good["state"] == "whole"
    report: dict[str, Any] = wsiseg.open_run(out).report("demo.tiff")
    areas = wsiseg.open_run(out).cells("demo.tiff", ["area_um2"])["area_um2"].to_numpy()
    assert int(good["nuclei"]) == len(areas) == report["counts"]["nuclei"]
    assert float(good["nuclear_area_um2"]) == pytest.approx(sorted(areas)[len(areas) // 2], rel=0.1)
    for number in ("sharpness", "haematoxylin_od", "tissue_mm2", "mm2_per_second", "mpp"):
        assert float(good[number]) > 0
    assert good["mpp_source"]
    assert bad["state"] == "failed"
    assert "no reader can open it" in bad["reason"]
    page = result.summary.read_text()
    assert "no reader can open it" in page
    assert page.count("data:image/jpeg;base64,") == 1
    told = [event for event in events(out / "log.jsonl") if event != "message"]
    assert told == [
        "run started", "planning", "begun", "whole", "planning", "failed", "run ended",
    ]  # fmt: skip
    log = RunFolder(out).slide("demo.tiff").log
    blocks = [event for event in read_log(log) if event["event"] == "block"]
    assert len(blocks) == report["counts"]["blocks"]
    assert sum(event["mm2"] for event in blocks) == pytest.approx(
        report["area_mm2"]["tissue"], rel=1e-3
    )
    status = read_status(out)
    assert status.driver.state == "none"
    assert status.driver.last == "run ended"
    assert dict(status.slides)["failed"] == 1


class Interrupting(Progress):
    """Presses Ctrl-C after the first block."""

    def block_done(self, name: str, block: str, nuclei: int, mm2: float, seconds: float) -> None:
        raise KeyboardInterrupt


def test_an_interrupted_run_is_summed_up_as_far_as_it_got(demo: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        wsiseg.run(job_of(demo), tmp_path, inline=True, progress=Interrupting())
    assert rows(tmp_path)["demo.tiff"]["state"] == "begun"
    assert "Not finished (1)" in (tmp_path / "summary.html").read_text()
    assert events(tmp_path / "log.jsonl")[-1] == "run interrupted"
    status = read_status(tmp_path)
    assert status.slides["begun"] == 1
    assert status.driver.last == "run interrupted"
    assert "block" in events(slide_folder(tmp_path).log)
    value = json.loads((tmp_path / "summary.json").read_text())
    assert value["slides_by_state"] == {"begun": 1}
