"""A first look at an archive: what would fail, what is a copy, what is odd."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import tifffile

from runs import plain, wsiseg_command
from wsiseg.archive import compare
from wsiseg.archive.check import Checked, check, write_check
from wsiseg.archive.compare import compared
from wsiseg.archive.look import Kind, Looked
from wsiseg.demo import write_demo_slide
from wsiseg.errors import ConfigurationError
from wsiseg.job import Job, SlideEntry

MODEL = "classical-he"


def write(
    path: Path, pixels: np.ndarray, mpp: float | None = 0.5, *, photometric: str = "rgb"
) -> Path:
    """A tiled JPEG TIFF."""
    stated = {} if mpp is None else {"resolution": (1e4 / mpp,) * 2, "resolutionunit": 3}
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(
        path, pixels, tile=(256, 256), photometric=photometric, compression="jpeg", **stated
    )
    return path


@pytest.fixture(scope="module")
def tissue(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """1,536 x 1,536 pixels of haematoxylin and DAB."""
    demo = write_demo_slide(tmp_path_factory.mktemp("source") / "demo.tiff", side_px=1536)
    return np.asarray(tifffile.imread(demo, level=0))


@pytest.fixture(scope="module")
def archive(tissue: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve good slides and one of everything that is bad or odd, with a list of them all."""
    folder = tmp_path_factory.mktemp("archive")
    for number in range(12):
        window = tissue[number * 40 : number * 40 + 1024, :1024]
        write(folder / "good" / f"{number:02d}.tif", window)
    bad = folder / "bad"
    one = folder / "good" / "00.tif"
    write(bad / "no-mpp.tif", tissue[:700, :700], None)
    write(bad / "wrong-mpp.tif", tissue[:700, :701], 1000.0)
    write(bad / "coarse.tif", tissue[:700, :702], 8.0)
    write(bad / "fluorescence.tif", np.zeros((700, 703, 3), np.uint8))
    (bad / "random.svs").write_bytes(np.random.default_rng(1).bytes(5000))
    (bad / "short.tif").write_bytes(one.read_bytes()[: one.stat().st_size * 2 // 3])
    rotten = bytearray(write(bad / "rotten.tif", tissue[:1500, :1500]).read_bytes())
    rotten[20_000:400_000:5_000] = b"\xff" * len(rotten[20_000:400_000:5_000])
    (bad / "rotten.tif").write_bytes(rotten)
    shutil.copy(one, bad / "copy.tif")
    # As long as its original, and equal to it in most of its bytes.
    other = bytearray((folder / "good" / "01.tif").read_bytes())
    other[len(other) // 2] ^= 1
    (folder / "good" / "nearly a copy.tif").write_bytes(other)
    write(folder / "odd" / "fine.tif", tissue[:1024, :1025], 0.25)
    rows = [
        f"{path.relative_to(folder)},," for path in sorted(folder.rglob("*.*")) if path.is_file()
    ]
    rows += ["bad/gone.tif,,", "good/02.tif,,"]
    rows[rows.index("good/03.tif,,")] = "good/03.tif,gone.geojson,"
    rows[rows.index("good/04.tif,,")] = "good/04.tif,,HE"
    (folder / "list.csv").write_text("path,tissue,stain\n" + "\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="module")
def checked(archive: Path) -> Checked:
    return check(Job.of(archive / "list.csv", model=MODEL))


def found(checked: Checked, kind: Kind) -> list[str]:
    return [slide.entry.path.name for slide, _ in checked.by_kind().get(kind, [])]


def test_everything_bad_is_found_and_called_by_its_name(checked: Checked) -> None:
    assert found(checked, "missing") == ["gone.tif"]
    assert found(checked, "unreadable") == ["random.svs"]
    assert found(checked, "truncated") == ["short.tif"]
    assert found(checked, "damaged") == ["rotten.tif"]
    assert found(checked, "mpp missing") == ["no-mpp.tif"]
    assert found(checked, "mpp wrong") == ["wrong-mpp.tif"]
    assert found(checked, "unsuited") == ["coarse.tif", "fluorescence.tif"]
    assert found(checked, "tissue") == ["03.tif"]
    assert found(checked, "twice") == ["02.tif"]
    assert found(checked, "duplicate") == ["00.tif"], "the list names its copy first"
    names = {slide.entry.path.name for slide in checked.failing}
    assert len(checked.failing) == 11
    assert not names & {"01.tif", "nearly a copy.tif", "fine.tif", "04.tif"}


def test_odd_ones_can_be_run(checked: Checked) -> None:
    assert found(checked, "odd mpp") == ["coarse.tif", "fine.tif"]
    assert found(checked, "odd illumination") == ["fluorescence.tif"]
    assert found(checked, "odd stain") == ["04.tif"]
    assert found(checked, "odd size") == ["coarse.tif"]
    assert {slide.entry.path.name for slide in checked.odd} == {"fine.tif", "04.tif"}


def test_what_a_run_would_accept_is_accepted(archive: Path) -> None:
    """What is stated for all, and what may be filled, fails no longer."""
    paths = [archive / "bad" / name for name in ("no-mpp.tif", "wrong-mpp.tif", "rotten.tif")]
    accepted = check(Job.of(*paths, model=MODEL, mpp=0.5, damaged="fill"))
    assert not accepted.failing
    assert found(accepted, "damaged") == ["rotten.tif"]


def test_no_reader_exists_and_no_such_model(archive: Path) -> None:
    (slide,) = check(Job.of(archive / "good" / "00.tif", model=MODEL, reader="bioformats")).slides
    assert "bioformats" in slide.problems[0].text


def test_files_hold_every_slide(checked: Checked, tmp_path: Path) -> None:
    write_check(tmp_path / "found.csv", checked)
    with (tmp_path / "found.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(checked.slides)
    states = [row["state"] for row in rows]
    assert (states.count("fails"), states.count("odd")) == (11, 2)
    short = next(row for row in rows if row["path"].endswith("short.tif"))
    assert short["problems"].startswith("truncated: ")
    assert "fetch" in short["what_to_do"]
    write_check(tmp_path / "found.json", checked)
    document = json.loads((tmp_path / "found.json").read_text())
    assert (document["slides"], document["failing"]) == (len(rows), 11)
    gone = next(row for row in document["found"] if row["path"].endswith("gone.tif"))
    assert gone["problems"][0]["kind"] == "missing"
    with pytest.raises(ConfigurationError, match=r"\.csv or \.json"):
        write_check(tmp_path / "found.txt", checked)


def test_the_command(archive: Path, tmp_path: Path) -> None:
    out = tmp_path / "found.csv"
    done = wsiseg_command("check", archive / "list.csv", "--model", MODEL, "-o", out)
    assert done.returncode == 1, done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    text = plain(done.stdout)
    for words in ("Truncated or damaged (1)", "bad/short.tif", "11 need you", "gone.geojson"):
        assert words in text
    assert out.exists()
    odd = [archive / "good" / f"{n:02d}.tif" for n in range(5)]
    done = wsiseg_command("check", *odd, archive / "odd", "--model", MODEL)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "fine.tif" in done.stdout
    assert "all can be run; odd among them: 1" in plain(done.stdout)
    assert wsiseg_command("check").returncode == 2
    assert wsiseg_command("check", *odd, "-o", "found.txt").returncode == 1


def test_real_slides(slides: Path) -> None:
    """Every file of a folder of real slides is judged as its maker describes it."""
    judged = check(Job.of(slides))
    assert found(judged, "unreadable") == ["histolab_broken_not_tiff.svs"]
    assert sorted(found(judged, "truncated")) == [
        "CMU-1-Small-Region_truncated_1MB.svs",
        "TCGA-TS1_truncated_3MB.svs",
    ]
    assert found(judged, "damaged") == ["metaplasia_IHC_bitrot.svs"]
    assert found(judged, "mpp missing") == ["TCGA-CR-7395-01A-01-TS1.svs", "kidney-48-5.tif"]
    assert found(judged, "mpp wrong") == ["A_BB_574162_1.svs", "CRC-AI-15_X40_IHC.tif"]
    assert found(judged, "unsuited") == [
        "multi_frame_jpeg2000_camelyon_challenge_image.dcm",
        "test3-DAPI-2-(387).ndpi",
        "test3-TRITC 2 (560).ndpi",
        "test3_DAPI_TRITC_2ch.ome.tiff",
    ]
    fine = {slide.entry.path.name for slide in judged.slides if not slide.fails}
    assert fine == {
        "CMU-1-Small-Region.svs",
        "giardia_HE_GT450_lefthalf.svs",
        "metaplasia_IHC_trypsin_20x.svs",
    }
    stains = {s.entry.path.name: s.stain for s in judged.slides if s.stain is not None}
    assert stains["CMU-1-Small-Region.svs"] == stains["giardia_HE_GT450_lefthalf.svs"] == "HE"
    assert stains["CRC-AI-15_X40_IHC.tif"] == "HDAB"
    assert stains["metaplasia_IHC_trypsin_20x.svs"] == "HDAB"


def of(values: Sequence[float]) -> list[Looked]:
    """Slides that differ in their pixel size alone."""
    return [Looked(SlideEntry(path=Path(f"{i}.svs")), mpp=mpp) for i, mpp in enumerate(values)]


@pytest.mark.parametrize(
    ("values", "odd"),
    [
        ([0.25, 0.25, 0.26, 0.5], [3]),
        ([0.25, 0.25, 0.26, 0.27], []),
        ([0.25, 0.5], []),
        ([], []),
    ],
)
def test_another_magnification_than_most(values: list[float], odd: list[int]) -> None:
    assert [i for i, problems in enumerate(compared(of(values))) if problems] == odd


def test_what_looks_alike_is_read_in_full_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equal in size and in every piece that is tried, and yet no copies."""
    read: list[str] = []
    digest = compare._digest

    def remembered(path: Path) -> str:
        read.append(path.name)
        return digest(path)

    monkeypatch.setattr(compare, "_digest", remembered)
    for name, content in (("a", b"1"), ("b", b"2"), ("c", b"1"), ("d", b"4")):
        (tmp_path / name).write_bytes(content)
    prints = {"a": "same", "b": "same", "c": "same", "d": "other"}
    slides = [Looked(SlideEntry(path=tmp_path / n), fingerprint=p) for n, p in prints.items()]
    problems = [tuple(p.kind for p in found) for found in compared(slides)]
    assert problems == [(), (), ("duplicate",), ()]
    assert read == ["a", "b", "c"]
