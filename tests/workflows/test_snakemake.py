"""The Snakemake workflow, run on generated slides."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import wsiseg
from archives import tissue_pixels, write_slide

SNAKEFILE = Path(__file__).parents[2] / "workflows" / "Snakefile"


@pytest.fixture
def snakemake() -> Path:
    """The program, beside the interpreter or on the path."""
    found = shutil.which("snakemake", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail("Snakemake is absent: continuous integration must run the workflow")
        pytest.skip("needs Snakemake (pip install snakemake) to run the workflow")
    return Path(found)


def test_the_workflow_runs_and_then_has_nothing_to_do(snakemake: Path, tmp_path: Path) -> None:
    archive, out = tmp_path / "an archive", tmp_path / "out"
    for number, name in enumerate(["one [a].tif", "it's two.tif"]):
        write_slide(archive / name, tissue_pixels(500, 400, number))
    (archive / "bad.tif").write_bytes(b"II*\0 and no more")
    job = tmp_path / "job.toml"
    job.write_text("model = 'classical-he'\nexports = ['geojson', 'tissue']\n")

    def call() -> str:
        result = subprocess.run(
            [
                str(snakemake),
                *("-s", str(SNAKEFILE), "--cores", "1", "--keep-going", "--config"),
                *(f"archive={archive}", f"out={out}", f"job={job}", "threads=1"),
            ],
            cwd=tmp_path,
            env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=False,
            timeout=580,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout + result.stderr

    call()
    runs = sorted(path for path in out.iterdir() if path.is_dir())
    assert [len(wsiseg.open_run(run).complete) for run in runs] == [1, 1]
    script = (out / "import.groovy").read_text()
    assert "one [a].tif" in script
    assert "it\\'s two.tif" in script
    assert "bad.tif,fails" in (out / "check.csv").read_text()
    assert "Nothing to be done" in call()
