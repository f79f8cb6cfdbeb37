"""A whole archive by the command line, good slides and bad ones, twice in a row."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import wsiseg
from archives import Archive, complaints, results, work_done, write_archive
from groovy import entries, run_groovy
from runs import FAST_MODEL

pytestmark = pytest.mark.timeout(1800)


def call(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """``wsiseg`` as a user calls it."""
    return subprocess.run(
        [sys.executable, "-m", "wsiseg.cli.main", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory, slides: Path) -> Archive:
    """Six generated slides and a real one, seventeen bad ones among them."""
    return write_archive(tmp_path_factory.mktemp("archive"), 6).with_real(slides)


@pytest.fixture(scope="module")
def findings(archive: Archive) -> Path:
    """What the check says of the archive."""
    path = archive.folder / "check.csv"
    listed = archive.write_list(archive.folder / "list.csv")
    result = call("check", listed, "-o", path, "--model", FAST_MODEL)
    assert result.returncode == 1
    return path


@pytest.fixture(scope="module")
def out(archive: Archive, findings: Path) -> Path:
    """The archive, run."""
    folder = archive.folder / "out"
    result = call("run", findings.parent / "list.csv", "-o", folder, "--model", FAST_MODEL)
    assert result.returncode == 1
    assert "Traceback" not in result.stdout + result.stderr
    return folder


def test_good_slides_are_whole_and_bad_ones_told_with_the_reason(
    archive: Archive, findings: Path, out: Path
) -> None:
    assert complaints(archive, out, findings) == []
    assert work_done(out) > 3 * len(archive.good)


def test_nothing_is_computed_the_second_time(archive: Archive, findings: Path, out: Path) -> None:
    before, work = results(out), work_done(out)
    listed = findings.parent / "list.csv"
    again = call("run", listed, "-o", out, "--model", FAST_MODEL)
    assert again.returncode == 1
    assert results(out) == before
    assert work_done(out) == work
    assert complaints(archive, out, findings) == []


def test_qupath_takes_the_whole_archive(archive: Archive, out: Path, tmp_path: Path) -> None:
    result = call("qupath", out)
    assert result.returncode == 0
    assert "1. In QuPath" in result.stdout
    run_groovy(out / "import.groovy", tmp_path / "project")
    images = entries(tmp_path / "project")
    complete = wsiseg.open_run(out).complete
    assert len(images) == len(complete) > len(archive.good)
    nuclei = sum(wsiseg.open_run(out).report(name)["counts"]["nuclei"] for name in complete)
    objects = [name for image in images for name in image["objects"]]
    assert nuclei < len(objects) < nuclei + 20 * len(complete)
