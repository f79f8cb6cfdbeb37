"""The example package: installed, held to the contracts, and used for a whole job."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import orjson
import pyarrow.parquet as pq
import pytest

import plugged
import wsiseg
from runs import slide_folder, wsiseg_command
from wsiseg.errors import ConfigurationError
from wsiseg.features.registry import describe
from wsiseg.plugins import KINDS, load_plugin, plugins
from wsiseg.testing.exporters import check_exporter
from wsiseg.testing.features import check_feature_set
from wsiseg.testing.readers import check_reader_plugin
from wsiseg.testing.segmenters import check_segmenter

ALL_FOUR = (
    "--model", "example-threshold", "--features", "shape", "--features", "example",
    "--export", "table", "--export", "example-centroids", "--tissue", "none",
)  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = plugged.install_example(tmp_path_factory.mktemp("example"))
    with plugged.installed(folder):
        yield folder


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("slides") / "spots.npz"
    plugged.write_spots(path)
    return path


@pytest.fixture(scope="module")
def out(site: Path, slide: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "out"
    # By its folder: the reader's ending tells which files are slides.
    done = wsiseg_command("run", slide.parent, "--out", out, *ALL_FOUR, "--workers", "1")
    assert done.returncode == 0, done.stderr
    return out


def test_all_are_found_by_name(site: Path) -> None:
    assert {kind: list(plugins(kind)) for kind in KINDS} == {
        "readers": ["example-npz"],
        "segmenters": ["example-threshold"],
        "features": ["example"],
        "exporters": ["example-centroids"],
    }
    assert {one.origin for kind in KINDS for one in plugins(kind).values()} == {
        "wsiseg-example 1.2.3"
    }


def test_it_keeps_the_contracts(site: Path, slide: Path, tmp_path: Path) -> None:
    text = tmp_path / "other.txt"
    text.write_text("no slide")
    check_reader_plugin("example-npz", load_plugin("readers", "example-npz"), slide, text)
    pixels = np.load(slide)["pixels"]
    segmenter = load_plugin("segmenters", "example-threshold")("cpu")
    check_segmenter(segmenter, [pixels[:256, :256], pixels[100:356, 200:456]])
    check_feature_set("example", load_plugin("features", "example"))
    (tmp_path / "out").mkdir()
    check_exporter(load_plugin("exporters", "example-centroids"), tmp_path / "out")


def test_a_whole_job_with_all_four(out: Path, slide: Path) -> None:
    folder = slide_folder(out)
    report = wsiseg.open_run(out).report("spots.npz")
    assert report["counts"]["nuclei"] == 40
    table = pq.read_table(folder.root / "cells.parquet")
    assert min(table["example_darkness"].to_pylist()) > 100
    assert min(table["example_corners"].to_pylist()) > 10
    meaning = orjson.loads(table.schema.metadata[b"wsiseg"])["features"]
    assert "example_darkness" in {feature["name"] for feature in meaning}
    lines = wsiseg.open_run(out).file("spots.npz", "example-centroids").read_text().splitlines()
    assert len(lines) == 41
    centroids = {line.split("\t")[0]: line.split("\t")[1] for line in lines[1:]}
    assert centroids["1"] == f"{table['centroid_x_px'][0].as_py():.2f}"


def test_the_report_names_package_and_version(out: Path) -> None:
    report = wsiseg.open_run(out).report("spots.npz")
    origin = "wsiseg-example 1.2.3"
    assert report["plugins"] == {
        "segmenter": origin,
        "reader": origin,
        "features example": origin,
        "exporter example-centroids": origin,
    }
    assert report["versions"]["wsiseg-example"] == "1.2.3"
    assert report["resolution"]["reader"] == "example-npz"
    assert report["exports"]["example-centroids"]["notes"] == {"rows": 40}


def test_what_is_whole_is_not_done_again(out: Path, slide: Path) -> None:
    written = slide_folder(out).root / "example-centroids.tsv"
    before = written.stat().st_mtime_ns
    reader = ("--reader", "example-npz")
    done = wsiseg_command("run", slide, "--out", out, *ALL_FOUR, *reader, "--workers", "1")
    assert done.returncode == 0, done.stderr
    assert written.stat().st_mtime_ns == before


def test_another_version_is_another_setting(
    site: Path, slide: Path, out: Path, tmp_path: Path
) -> None:
    newer = tmp_path / "newer"
    for path in site.rglob("*"):
        target = newer / path.relative_to(site).as_posix().replace("-1.2.3", "-1.3.0")
        if path.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            content = path.read_bytes()
            metadata = path.name == "METADATA"
            target.write_bytes(content.replace(b"1.2.3", b"1.3.0") if metadata else content)
    with plugged.installed(newer):
        assert plugins("exporters")["example-centroids"].version == "1.3.0"
        done = wsiseg_command("run", slide, "--out", out, *ALL_FOUR, "--inline")
    assert done.returncode == 1
    assert "made with other settings (plugins)" in done.stderr


def test_measuring_and_exporting_again(out: Path) -> None:
    done = wsiseg_command("measure", out, "--features", "example", "--inline")
    assert done.returncode == 0, done.stderr
    done = wsiseg_command("export", out, "--export", "example-centroids", "--inline")
    assert done.returncode == 0, done.stderr


def test_results_can_be_read_where_it_is_not_installed(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wsiseg.plugins._found", lambda: {kind: {} for kind in KINDS})
    measured = wsiseg.open_run(out).measured("spots.npz")
    assert "example_darkness" in measured.read(0).features
    assert describe("example_darkness") is None
    with pytest.raises(ConfigurationError, match="there is no export 'example-centroids'"):
        wsiseg.open_run(out).file("spots.npz", "example-centroids")


def test_it_is_listed(site: Path) -> None:
    shown = wsiseg_command("plugins")
    assert shown.returncode == 0
    assert shown.stdout.count("wsiseg-example 1.2.3") == 4
    listed = wsiseg_command("models", "list")
    assert "plug-in: wsiseg-example 1.2.3" in listed.stdout
    told = wsiseg_command("features", "example")
    assert "example_darkness" in told.stdout


def test_its_modules_are_not_imported_to_list_its_names(site: Path) -> None:
    code = "import sys; from wsiseg.plugins import *; print([plugins(k) for k in KINDS] and "
    code += "[m for m in sys.modules if m.startswith('wsiseg_example')])"
    import subprocess
    import sys

    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
    assert importlib.util.find_spec("wsiseg_example") is not None
