"""Many slides in one run: which are taken up, what is redone, what is carried along."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import tifffile

import wsiseg
from runs import FAST_MODEL, plain, wsiseg_command
from wsiseg.demo import write_demo_slide
from wsiseg.errors import ConfigurationError, ResultMismatchError
from wsiseg.execution.choice import Choice, slide_names
from wsiseg.execution.driver import Order
from wsiseg.execution.progress import Progress
from wsiseg.execution.survey import described, survey
from wsiseg.job import Job, SlideEntry
from wsiseg.store.folders import RunFolder

COUNT = 6


class Heard(Progress):
    """Remembers what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def message(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six good slides, three bad ones and a list of them with metadata."""
    folder = tmp_path_factory.mktemp("archive")
    demo = write_demo_slide(folder / "source" / "demo.tiff", side_px=1024)
    pixels = tifffile.imread(demo, level=0)
    rows = []
    for number in range(COUNT):
        name = f"{number}.tif"
        tifffile.imwrite(
            folder / name,
            pixels[number * 30 : number * 30 + 700, :700],
            tile=(256, 256),
            photometric="rgb",
            compression="jpeg",
            resolution=(2e4, 2e4),
            resolutionunit=3,
        )
        rows.append(f"{name},,patient {number // 2},scanner A")
    (folder / "bad.svs").write_bytes(b"no slide at all" * 50)
    rows += ["bad.svs,,,", "gone.svs,,,", f"sub/0.tif,{folder}/gone.geojson,,"]
    (folder / "sub").mkdir()
    shutil.copy(folder / "0.tif", folder / "sub")
    (folder / "list.csv").write_text("path,tissue,group,scanner\n" + "\n".join(rows) + "\n")
    return folder


def job(archive: Path, **settings: Any) -> Job:
    return Job.of(archive / "list.csv", **{"model": FAST_MODEL, "exports": ("table",), **settings})


def written(out: Path) -> dict[Path, int]:
    """When every file of the slides was written, journals apart."""
    return {
        path: path.stat().st_mtime_ns
        for path in (out / "slides").rglob("*")
        if path.is_file() and path.suffix != ".jsonl" and path.name != "failure.json"
    }


def run(job: Job, out: Path, **how: Any) -> tuple[wsiseg.RunResult, str]:
    """The result of a run in this process, and what it says of slides beforehand."""
    heard = Heard()
    result = wsiseg.run(job, out, inline=True, progress=heard, **how)
    return result, next((text for text in heard.said if " slides: " in text), "")


@pytest.fixture(scope="module")
def finished(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("finished")
    result, said = run(job(archive), out)
    assert said == "9 slides: 9 to segment"
    assert len(result.failed) == 3
    return out


@pytest.fixture
def out(finished: Path, tmp_path: Path) -> Path:
    """A finished run to go on with."""
    shutil.copytree(finished, tmp_path / "out")
    return tmp_path / "out"


def test_bad_slides_fail_with_their_reasons_and_the_rest_is_whole(finished: Path) -> None:
    there = wsiseg.open_run(finished)
    assert len(there.complete) == COUNT
    slides = there.manifest["slides"]
    reasons = {n: s["reason"] for n, s in slides.items() if s["state"] == "failed"}
    assert "no reader can open it" in reasons["bad.svs"]
    assert "No such file" in reasons["gone.svs"]
    (second,) = (name for name in reasons if name.startswith("0.tif-"))
    assert "tissue file" in reasons[second]
    assert "gone.geojson" in reasons[second]


def test_what_the_list_says_is_carried_into_report_and_table(finished: Path) -> None:
    about = {"group": "patient 1", "metadata": {"scanner": "scanner A"}}
    (name,) = (n for n in wsiseg.open_run(finished).slides if n.startswith("3.tif"))
    assert wsiseg.open_run(finished).report(name)["about"] == about
    table = wsiseg.open_run(finished).file(name, "table")
    described = json.loads(pq.read_schema(table).metadata[b"wsiseg"])
    assert {key: described[key] for key in about} == about
    entry = wsiseg.open_run(finished).manifest["slides"][name]["entry"]
    assert (entry["group"], entry["metadata"]) == ("patient 1", {"scanner": "scanner A"})


def test_the_second_time_nothing_is_done(archive: Path, out: Path) -> None:
    before = written(out)
    result, said = run(job(archive), out)
    assert said == f"9 slides: {COUNT} whole already, 3 to segment"
    assert len(result.failed) == 3
    assert written(out) == before


def test_other_metadata_write_the_tables_anew_and_nothing_else(archive: Path, out: Path) -> None:
    text = (archive / "list.csv").read_text().replace("scanner A", "scanner B", 2)
    changed = archive / "changed.csv"
    changed.write_text(text)
    before = written(out)
    job = Job.of(changed, model=FAST_MODEL, exports=("table",))
    _, said = run(job, out)
    assert "4 whole already, 2 exports to write only, 3 to segment" in said
    touched = {path.name for path, at in written(out).items() if before.get(path) != at}
    assert touched <= {"cells.parquet", "report.json"}
    name = next(n for n in wsiseg.open_run(out).complete if n.startswith("0.tif"))
    report = wsiseg.open_run(out).report(name)
    assert report["about"]["metadata"] == {"scanner": "scanner B"}


def test_another_export_is_written_without_segmenting(archive: Path, out: Path) -> None:
    before = written(out)
    _, said = run(job(archive, exports=("table", "geojson")), out)
    assert f"{COUNT} exports to write only" in said
    touched = {path.name for path, at in written(out).items() if before.get(path) != at}
    assert touched == {"cells.geojson.gz", "report.json"}


def test_begun_slides_are_gone_on_with(archive: Path, out: Path) -> None:
    name = wsiseg.open_run(out).complete[0]
    folder = RunFolder(out).slide(name)
    folder.report.unlink()
    blocks = {p: at for p, at in written(out).items() if p.parent == folder.blocks}
    _, said = run(job(archive), out)
    assert "5 whole already, 1 begun, to go on with" in said
    assert blocks.items() <= written(out).items()
    assert len(wsiseg.open_run(out).complete) == COUNT


def test_other_settings_are_refused_once_for_all_before_anything_is_done(
    archive: Path, out: Path
) -> None:
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    other = job(archive, tissue="none")
    with pytest.raises(ResultMismatchError, match=r"\(tissue\) of 6 of 9 slides.*--new"):
        run(other, out)
    after = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    assert before == after
    result, said = run(other, out, new=True, choice=Choice(("1.tif*", "2.tif*")))
    assert "2 slides: 2 to segment again, with the other settings" in said
    assert not result.failed
    # The others are left as they were.
    with pytest.raises(ResultMismatchError, match="of 4 of 9 slides"):
        run(other, out)


def test_a_slide_whose_file_changed_fails_alone(archive: Path, out: Path) -> None:
    place = archive / "5.tif"
    content = place.read_bytes()
    try:
        place.write_bytes((archive / "4.tif").read_bytes())
        result, said = run(job(archive), out)
    finally:
        place.write_bytes(content)
    assert "1 segmented from another state of their file" in said
    (failed,) = (o for o in result.failed if o.name.startswith("5.tif"))
    assert "--new" in failed.reason


def test_failed_ones_are_tried_again(archive: Path, out: Path) -> None:
    shutil.copy(archive / "1.tif", archive / "gone.svs")
    try:
        result, said = run(job(archive), out, choice=Choice(retry_failed=True))
        assert said == "3 slides: 3 to segment"
        assert {o.name[:5] for o in result.failed} == {"bad.s", "0.tif"}
        assert len(wsiseg.open_run(out).complete) == COUNT + 1
        result, _ = run(job(archive), out, choice=Choice(("gone.svs",), retry_failed=True))
        assert result.slides == {}
    finally:
        (archive / "gone.svs").unlink()


def test_a_part_of_the_slides(archive: Path, tmp_path: Path) -> None:
    result, _ = run(job(archive), tmp_path, choice=Choice(("[0-3].tif*",), limit=2))
    assert [name[:5] for name in result.slides] == ["0.tif", "1.tif"]
    assert not (tmp_path / "slides" / "2.tif").exists()
    with pytest.raises(ConfigurationError, match=r"no slide is called 9\.tif; there are 0\.tif"):
        run(job(archive), tmp_path, choice=Choice(("9.tif",)))
    with pytest.raises(ConfigurationError, match="limit"):
        run(job(archive), tmp_path, choice=Choice(limit=0))


def test_names_stay_whatever_part_is_run(archive: Path) -> None:
    whole = slide_names(job(archive))
    names = [name for name, entry in whole.items() if entry.path.name == "0.tif"]
    assert len(set(names)) == 2
    assert all(name.startswith("0.tif-") for name in names)
    known = {"0.tif": (archive / "0.tif").resolve()}
    again = slide_names(job(archive), known)
    assert again["0.tif"].path == archive / "0.tif"
    with pytest.raises(ConfigurationError, match="named twice"):
        slide_names(Job.of(archive / "0.tif", archive / "sub" / ".." / "0.tif"))


def test_stated_stains_are_taken_and_asked_for(archive: Path, tmp_path: Path) -> None:
    """The demonstration slide is DAB; told that it is not, another segmentation comes out."""
    path = archive / "0.tif"

    def stated(stain: str | None) -> Job:
        entry = SlideEntry(path=path, stain=stain)  # type: ignore[arg-type]
        return Job(slides=(entry,), model=FAST_MODEL, exports=("table",))

    assert not run(stated(None), tmp_path / "a")[0].failed
    assert not run(stated("HDAB"), tmp_path / "b")[0].failed
    assert not run(stated("HE"), tmp_path / "c")[0].failed
    brown = {
        place: wsiseg.open_run(tmp_path / place).report("0.tif")["statistics"]["brown"]
        for place in "abc"
    }
    assert brown == {"a": [1.0], "b": [1.0], "c": [0.0]}
    with pytest.raises(ResultMismatchError, match="stain"):
        run(stated("HE"), tmp_path / "b")
    with pytest.raises(ResultMismatchError, match="stain"):
        run(stated(None), tmp_path / "b")


def test_what_is_left_of_unusable_slides(archive: Path, out: Path) -> None:
    folder = RunFolder(out)
    asked = job(archive, channel="red")
    orders = {
        name: Order(asked.settled(entry), asked.alone(entry))
        for name, entry in slide_names(asked).items()
    }
    found = survey(folder, orders)
    assert "6 segmented, but their file cannot be used now" in described(found)


def test_the_command(archive: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    common = ("-o", out, "--inline", "--model", FAST_MODEL, "--export", "table")
    done = wsiseg_command(
        "run", f"{archive}/?.tif", *common, "--limit", "2", "--only", "*.tif",
        "--scratch", tmp_path / "scratch", "--scratch-gb", "1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "2 slides: 2 to segment" in done.stderr
    assert sorted(p.name for p in (out / "slides").iterdir()) == ["0.tif", "1.tif"]
    assert list((tmp_path / "scratch").rglob("0.tif"))
    done = wsiseg_command("run", f"{archive}/?.tif", *common, "--tissue", "none")
    assert done.returncode == 1
    assert "2 of 6 slides" in plain(done.stderr)
    assert "Traceback" not in done.stderr
    done = wsiseg_command("run", f"{archive}/?.tif", *common, "--retry-failed")
    assert done.returncode == 0, done.stderr
    assert "nothing to do" in done.stderr
    assert not out.joinpath("staging.json").exists()
