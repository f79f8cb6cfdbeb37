"""The batch for one workstation, on slides one of which is bad."""

from __future__ import annotations

import subprocess
from pathlib import Path

from archives import tissue_pixels, write_slide

import wsiseg

SCRIPT = Path(__file__).parents[2] / "workflows" / "workstation.sh"


def batch(*arguments: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(SCRIPT), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )


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
    # Failed and tried once more: the good one was left alone the second time.
    assert result.stdout.count("1 failed") == 2
    (archive / "bad.tif").unlink()
    assert batch(archive, out, job).returncode == 0


def test_without_arguments_it_says_what_it_is(tmp_path: Path) -> None:
    result = batch()
    assert result.returncode == 2
    assert "workflows/workstation.sh ARCHIVE OUT [JOB.toml]" in result.stderr
