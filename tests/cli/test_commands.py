"""The command line as a user calls it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import wsiseg
from runs import FAST_MODEL, committed, plain, slide_folder, wsiseg_command
from wsiseg.demo import write_demo_slide


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_demo_slide(tmp_path_factory.mktemp("a folder") / "démo slide.tiff", side_px=1536)


def test_help_names_every_command() -> None:
    done = wsiseg_command("--help")
    assert done.returncode == 0
    for command in ("run", "info", "plan", "demo", "export", "evaluate", "train", "version"):
        assert command in done.stdout


def test_version() -> None:
    assert wsiseg_command("version").stdout.strip() == wsiseg.__version__


def test_info_says_where_the_pixel_size_was_read(demo: Path) -> None:
    done = wsiseg_command("info", demo)
    assert done.returncode == 0
    assert "0.5 µm/px" in done.stdout
    assert "XResolution" in done.stdout


def test_info_of_no_slide(tmp_path: Path) -> None:
    nothing = tmp_path / "nothing.svs"
    nothing.write_bytes(b"nothing")
    done = wsiseg_command("info", nothing)
    assert done.returncode == 1
    assert "no reader can open it" in plain(done.stderr)
    assert "Traceback" not in done.stderr


def test_plan_writes_nothing(demo: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = wsiseg_command("plan", demo, "-o", out)
    assert done.returncode == 0, done.stderr
    for row in ("Tissue", "Tiles", "To read", "Memory", "Disk", "Time"):
        assert row in done.stdout
    assert not out.exists()


def test_run_then_export_anew(demo: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = wsiseg_command(
        "run", demo, "-o", out, "--inline", "--model", FAST_MODEL, "--export", "table"
    )
    assert done.returncode == 0, done.stderr
    assert "\r" not in done.stderr, "no animation where there is no terminal"
    folder = slide_folder(out)
    assert (folder.root / "cells.parquet").exists()
    assert not (folder.root / "cells.geojson.gz").exists()
    blocks = committed(out)
    done = wsiseg_command(
        "export", out, "--inline", "--split", "300", "--export", "geojson", "--export", "labels",
        "--ngff", "0.4",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    index = json.loads((folder.root / "cells-geojson" / "index.json").read_text())
    assert len(json.dumps(index)) > 100
    assert (folder.root / "labels.zarr" / ".zgroup").exists()
    assert committed(out) == blocks


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--ngff", "3"), "--ngff: "),
        (("--model", "hovernet"), "nuclei-he"),
        (("--mpp", "0"), "--mpp: "),
        (("--export", "pdf"), "--export: "),
        (("--damaged", "ignore"), "--damaged: "),
        (("--core", "17"), "--core: "),
        (("--split", "-1"), "--split: "),
        (("--reader", "bioformats"), "tiffslide"),
        (("--tissue", "nowhere.geojson"), "nowhere.geojson"),
        (("--channel", "DAPI"), "--channel"),
        (("--workers", "5000"), "--workers"),
    ],
)
def test_wrong_settings_say_what_to_do(
    demo: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    inline = () if "--workers" in arguments else ("--inline",)
    done = wsiseg_command("run", demo, "-o", tmp_path / "out", *inline, *arguments)
    assert done.returncode == 1
    assert message in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    assert "unexpected" not in done.stderr + done.stdout


def test_usage_errors_exit_with_2(tmp_path: Path) -> None:
    assert wsiseg_command("run").returncode == 2
    assert wsiseg_command("run", "slide.svs", "-o", tmp_path, "--nonsense").returncode == 2
    assert wsiseg_command("nonsense").returncode == 2


def test_missing_slide(tmp_path: Path) -> None:
    done = wsiseg_command("run", tmp_path / "gone.svs", "-o", tmp_path / "out", "--inline")
    assert done.returncode == 1
    assert "does not exist" in plain(done.stderr)
