"""The scripts for SLURM, run as SLURM would run them: a copy, in the folder of submission."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import wsiseg
from archives import tissue_pixels, write_slide
from wsiseg.execution.cluster import Slurm, read_cluster

ROOT = Path(__file__).parents[2]
PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
SCRIPTS = ("slurm-driver.sbatch", "slurm-array.sbatch", "workstation.sh")

RECORD = """\
#!/usr/bin/env bash
printf '%s\\n' "$#" "$@" >> "$RECORD"
"""


def execute(
    script: str, folder: Path, *arguments: str | Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a copy of a script as SLURM does, submitted from the project's folder."""
    spooled = folder / "slurm_script"
    shutil.copy(ROOT / "workflows" / script, spooled)
    return subprocess.run(
        ["bash", str(spooled), *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "PATH": PATH, "SLURM_SUBMIT_DIR": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=580,
    )


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_are_sound_bash(script: str) -> None:
    result = subprocess.run(
        ["bash", "-n", str(ROOT / "workflows" / script)], capture_output=True, check=False
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("script", SCRIPTS[:2])
def test_directives_come_before_the_first_command(script: str) -> None:
    lines = (ROOT / "workflows" / script).read_text().splitlines()
    first = next(n for n, line in enumerate(lines) if line and not line.startswith("#"))
    directives = [n for n, line in enumerate(lines) if line.startswith("#SBATCH")]
    assert len(directives) >= 5
    assert max(directives) < first


def test_the_driver_asks_for_the_cluster(tmp_path: Path) -> None:
    fake = tmp_path / "bin" / "wsiseg"
    fake.parent.mkdir()
    fake.write_text(RECORD)
    fake.chmod(0o755)
    record = tmp_path / "record"
    path = f"{fake.parent}:{PATH}"
    archive = "an archive/*.svs"
    result = execute(
        SCRIPTS[0], tmp_path, archive, tmp_path / "out dir", PATH=path, RECORD=str(record)
    )
    assert result.returncode == 0, result.stderr
    count, *arguments = record.read_text().splitlines()
    workflows = ROOT / "workflows"
    assert int(count) == len(arguments)
    assert arguments == [
        "run",
        archive,
        "--job",
        str(workflows / "nuclei-he.toml"),
        "-o",
        str(tmp_path / "out dir"),
        "--cluster",
        str(workflows / "slurm-cluster.toml"),
    ]


def test_the_cluster_settings_can_be_used() -> None:
    cluster = read_cluster(ROOT / "workflows" / "slurm-cluster.toml")
    assert isinstance(cluster, Slurm)
    assert cluster.jobs > 1


def test_an_array_job_does_its_slide(tmp_path: Path) -> None:
    names = ["first.tif", "the second.tif"]
    archive = tmp_path / "archive"
    for number, name in enumerate(names):
        write_slide(archive / name, tissue_pixels(500, 400, number))
    (tmp_path / "names.txt").write_text("".join(f"{name}\n" for name in names))
    job = tmp_path / "job.toml"
    job.write_text("model = 'classical-he'\nexports = ['tissue']\n")
    result = execute(
        SCRIPTS[1],
        tmp_path,
        archive,
        tmp_path / "names.txt",
        tmp_path / "out",
        job,
        SLURM_ARRAY_TASK_ID="2",
        SLURM_CPUS_PER_TASK="1",
    )
    assert result.returncode == 0, result.stderr
    (out,) = (tmp_path / "out").iterdir()
    assert out.name == "the second.tif"
    assert wsiseg.open_run(out).complete == ("the_second.tif",)


@pytest.fixture
def slurm() -> None:
    """SLURM, where it stands."""
    if shutil.which("sinfo") is None:
        pytest.skip("needs SLURM: apt-get install slurm-wlm munge, and one node")
    said = subprocess.run(
        ["sinfo", "-h", "-t", "idle,mixed,allocated"], capture_output=True, text=True, check=False
    )
    if said.returncode != 0 or not said.stdout.strip():
        pytest.skip("SLURM is installed, but no node of it is up")


def submit(script: str, folder: Path, options: list[str], *arguments: str | Path) -> str:
    """Submit a script from the project's folder, wait for its jobs and return their logs."""
    result = subprocess.run(
        [
            *("sbatch", "--wait", "--cpus-per-task=1", f"--output={folder}/log-%j.txt"),
            *(*options, f"workflows/{script}", *map(str, arguments)),
        ],
        cwd=ROOT,
        env={**os.environ, "PATH": PATH},
        capture_output=True,
        text=True,
        check=False,
    )
    logs = "".join(path.read_text() for path in folder.glob("log-*.txt"))
    assert result.returncode == 0, result.stderr + logs
    return logs


@pytest.mark.timeout(1800)
@pytest.mark.usefixtures("slurm")
def test_slurm_runs_the_array(tmp_path: Path) -> None:
    names = ["first.tif", "second.tif"]
    for number, name in enumerate(names):
        write_slide(tmp_path / "archive" / name, tissue_pixels(500, 400, number))
    (tmp_path / "names.txt").write_text("".join(f"{name}\n" for name in names))
    job = tmp_path / "job.toml"
    job.write_text("model = 'classical-he'\nexports = ['tissue']\n")
    arguments = (tmp_path / "archive", tmp_path / "names.txt", tmp_path / "out", job)
    submit("slurm-array.sbatch", tmp_path, ["--array=1-2", "--mem=3G"], *arguments)
    assert [wsiseg.open_run(tmp_path / "out" / name).complete for name in names] == [
        ("first.tif",),
        ("second.tif",),
    ]


@pytest.mark.timeout(1800)
@pytest.mark.usefixtures("slurm")
def test_slurm_runs_the_driver_and_its_workers(tmp_path: Path) -> None:
    pytest.importorskip("dask_jobqueue", reason="needs the extra cluster")
    write_slide(tmp_path / "archive" / "one.tif", tissue_pixels(500, 400, 1))
    job, cluster = tmp_path / "job.toml", tmp_path / "cluster.toml"
    job.write_text("model = 'classical-he'\nexports = ['tissue']\n")
    cluster.write_text(
        'kind = "slurm"\njobs = 1\ncores = 1\nmemory = "3GB"\nwalltime = "00:30:00"\n'
    )
    arguments = (tmp_path / "archive", tmp_path / "out", job, cluster)
    submit("slurm-driver.sbatch", tmp_path, ["--mem=1G"], *arguments)
    assert wsiseg.open_run(tmp_path / "out").complete == ("one.tif",)
