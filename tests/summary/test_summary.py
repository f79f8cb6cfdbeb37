"""The summary of a run directory."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from finished import FinishedRun, report, wobbling
from wsiseg.errors import StoreError
from wsiseg.export.overview import THUMBNAIL_PX
from wsiseg.summary import write as writing_summary
from wsiseg.summary.measured import thumbnail
from wsiseg.summary.write import write_summary

EVIL = '<script>alert("1")</script>'
VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """Fails on tags that do not match; collects what is loaded from where."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.links: list[str] = []
        self.scripts = 0
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.sources += [values["src"] or ""] if "src" in values else []
        self.links += [values["href"] or ""] if "href" in values else []
        self.scripts += tag == "script"
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag == "line"

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def table(root: Path) -> dict[str, dict[str, str]]:
    with (root / "summary.csv").open(newline="", encoding="utf-8") as file:
        return {row["slide"]: row for row in csv.DictReader(file)}


def picture() -> Image.Image:
    noise = np.random.default_rng(1).integers(0, 255, (300, 400, 3), np.uint8)
    return Image.fromarray(noise)


@pytest.fixture
def archive(tmp_path: Path) -> FinishedRun:
    """Twelve slides that are whole, one of them odd, one failed, one begun, one waiting."""
    run, rng = FinishedRun(tmp_path / "an <archive>"), np.random.default_rng(3)
    for number in range(12):
        told = wobbling(rng)
        if number == 4:
            told["nuclear_area_um2"] = 120.0
            told["warnings"] = [f"odd {EVIL}"]
        run.whole(
            f"slide-{number}.svs",
            told,
            group=f"patient {number % 3}",
            metadata={"site": "colon" if number else EVIL, "nuclei": "many"},
        )
    run.overview("slide-4.svs", picture())
    run.failed("bad.svs", f"bad.svs: truncated {EVIL}")
    begun = run.add("begun.svs")
    begun.mkdir(parents=True)
    (begun / "plan.json").write_text("{}")
    run.add("waiting.svs")
    return run


def test_the_table_has_every_slide_and_what_the_list_said(archive: FinishedRun) -> None:
    write_summary(archive.folder)
    rows = table(archive.folder.root)
    assert len(rows) == 15
    states = [row["state"] for row in rows.values()]
    assert {state: states.count(state) for state in states} == {
        "whole": 12, "failed": 1, "begun": 1, "waiting": 1,
    }  # fmt: skip
    odd = rows["slide-4.svs"]
    assert odd["nuclear_area_um2"] == "120"
    assert odd["stands_out"].startswith("large nuclei: nuclear size 120 µm²")
    assert float(odd["z_nuclear_area_um2"]) > 3.5
    assert odd["mpp"] == "0.25"
    assert odd["mpp_source"] == "aperio.MPP"
    assert odd["group"] == "patient 1"
    # of the list, beside the column of that name that is ours
    assert odd["metadata_nuclei"] == "many"
    assert odd["nuclei"].isdigit()
    assert rows["slide-0.svs"]["site"] == EVIL
    assert float(odd["busy_seconds"]) == 1 + 60 + 3 + 2 + 4
    assert rows["bad.svs"]["reason"].startswith("bad.svs: truncated")
    assert rows["waiting.svs"]["nuclei"] == ""


def test_the_json_has_the_numbers_and_the_rule(archive: FinishedRun) -> None:
    write_summary(archive.folder)
    value = json.loads((archive.folder.root / "summary.json").read_text())
    assert value["slides_by_state"] == {"begun": 1, "failed": 1, "waiting": 1, "whole": 12}
    assert "0.6745" in value["rule"]
    slides = {slide["name"]: slide for slide in value["slides"]}
    (oddity,) = slides["slide-4.svs"]["stands_out"]
    assert oddity["measure"] == "nuclear_area_um2"
    assert oddity["value"] == 120
    assert value["measures"]["nuclear_area_um2"]["unit"] == "µm²"
    assert value["nuclei"] == sum(slide["nuclei"] or 0 for slide in value["slides"])


def test_the_page_is_one_sound_file_that_loads_and_runs_nothing_else(
    archive: FinishedRun,
) -> None:
    text = write_summary(archive.folder).read_text()
    page = Page(text)
    assert page.scripts == 1
    assert "alert" not in text.replace("&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;", "")
    assert page.sources
    assert all(source.startswith("data:image/jpeg;base64,") for source in page.sources)
    assert set(page.links) == {"slides/slide-4.svs/overview.png"}
    assert "default-src 'none'" in text
    assert not re.search(r"https?://", text)
    assert str(archive.folder.root.parent) not in text


def test_the_page_shows_first_what_asks_for_a_look(archive: FinishedRun) -> None:
    text = write_summary(archive.folder).read_text()
    first = text[: text.index("Slides side by side")]
    for part in ("truncated", "large nuclei", "begun.svs, waiting.svs", "odd &lt;script"):
        assert part in first
    assert "slide-5.svs" not in first
    assert text.count("<circle") == 12 * 6
    value = json.loads((archive.folder.root / "summary.json").read_text())
    odd = sum(len(slide["stands_out"]) for slide in value["slides"])
    assert text.count('fill="#b3261e"') == odd >= 1
    assert text.index("Failed (1)") < text.index("Not finished (2)") < text.index("All slides")


def test_nothing_odd_is_said_in_a_sentence(tmp_path: Path) -> None:
    run = FinishedRun(tmp_path)
    for number in range(9):
        run.whole(f"{number}.svs")
    text = write_summary(run.folder).read_text()
    assert "Nothing: every slide is whole" in text
    assert "<circle" in text


def test_one_slide_has_a_page_too(tmp_path: Path) -> None:
    run = FinishedRun(tmp_path)
    run.whole("only.svs", report(nuclei_per_mm2=None, warnings=["the slide is nearly empty"]))
    text = write_summary(run.folder).read_text()
    Page(text)
    assert "the slide is nearly empty" in text
    assert "Slides side by side" not in text


def test_a_damaged_report_is_a_failure_with_its_reason(tmp_path: Path) -> None:
    run = FinishedRun(tmp_path)
    run.whole("torn.svs")
    run.folder.slide("torn.svs").report.write_text('{"counts": {"nucl')
    run.whole("old.svs", {"counts": {"nuclei": 5}, "seams": None})
    write_summary(run.folder)
    rows = table(tmp_path)
    assert rows["torn.svs"]["state"] == "failed"
    assert "cannot be read" in rows["torn.svs"]["reason"]
    assert rows["old.svs"]["nuclei"] == "5"
    assert rows["old.svs"]["rereads"] == ""


def test_what_was_written_before_is_replaced_whole(archive: FinishedRun) -> None:
    write_summary(archive.folder)
    archive.whole("waiting.svs")
    write_summary(archive.folder)
    assert table(archive.folder.root)["waiting.svs"]["state"] == "whole"
    assert not list(archive.folder.root.glob(".partial-*"))


def test_no_run_directory(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="not a run directory"):
        write_summary(FinishedRun(tmp_path / "nothing").folder)


def test_thumbnails_show_the_slide_alone_and_are_kept(archive: FinishedRun) -> None:
    folder = archive.folder.slide("slide-4.svs")
    small = thumbnail(folder)
    assert small == folder.thumbnail
    with Image.open(small) as found:
        assert found.format == "JPEG"
        assert found.size == (THUMBNAIL_PX, THUMBNAIL_PX * 300 // 400)
        # The page around the slide is white, the slide is not.
        assert np.asarray(found.convert("L"))[0].mean() < 200
    made = small.stat().st_mtime_ns
    assert thumbnail(folder) == small
    assert small.stat().st_mtime_ns == made
    (folder.root / "overview.png").write_bytes(b"not a picture")
    assert thumbnail(folder) is None


def test_pictures_beyond_the_limit_are_left_out_the_odd_ones_last(
    archive: FinishedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(12):
        archive.overview(f"slide-{number}.svs", picture())
    text = write_summary(archive.folder).read_text()
    sources = Page(text).sources
    assert len(sources) >= 13, "odd slides are shown twice"
    one = len(sources[0])
    monkeypatch.setattr(writing_summary, "MOST_PICTURE_BYTES", 4 * one + 50)
    text = write_summary(archive.folder).read_text()
    shown = Page(text).sources
    assert 2 <= len(shown) <= 5
    first = text[: text.index("Slides side by side")]
    assert shown[0] in first
    decoded = base64.b64decode(shown[0].removeprefix("data:image/jpeg;base64,"))
    assert Image.open(io.BytesIO(decoded)).size[0] == THUMBNAIL_PX
