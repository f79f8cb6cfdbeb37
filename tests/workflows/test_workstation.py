"""The batch for one workstation, on slides one of which is bad."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import wsiseg
from archives import tissue_pixels, write_slide

SCRIPT = Path(__file__).parents[2] / "workflows" / "workstation.sh"


def batch(*arguments: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(SCRIPT), *map(str, arguments)],
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=580,
    )


def events(out: Path, slide: str) -> list[str]:
    lines = (out / "slides" / slide / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["event"] for line in lines]


def test_a_batch_checks_runs_retries_and_writes_the_script(tmp_path: Path) -> None:
    archive, out = tmp_path / "an archive", tmp_path / "out"
    write_slide(archive / "good one.tif", tissue_pixels(500, 400, 1))
    (archive / "bad.tif").write_bytes(b"II*\0 and no more")
    job = tmp_path / "job.toml"
    job.write_text("model = 'classical-he'\nexports = ['geojson', 'tissue']\n")
    result = batch(archive, out, job)
    assert result.returncode == 1, result.stderr
    assert "bad.tif,fails" in (out / "check.csv").read_text()
    assert wsiseg.open_run(out).complete == ("good_one.tif",)
    assert "good one.tif" in (out / "import.groovy").read_text()
    # The bad one was tried once more, and the good one left alone the second time.
    assert events(out, "bad.tif").count("failed") == 2
    assert events(out, "good_one.tif").count("whole") == 1
    (archive / "bad.tif").unlink()
    assert batch(archive, out, job).returncode == 0


def test_without_arguments_it_says_what_it_is(tmp_path: Path) -> None:
    result = batch()
    assert result.returncode == 2
    assert "workflows/workstation.sh ARCHIVE OUT [JOB.toml]" in result.stderr
