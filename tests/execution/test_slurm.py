"""Jobs of SLURM: what is submitted, and where SLURM stands, a run in such jobs."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

import wsiseg
from runs import FAST_MODEL, assert_same_files, job_of, wsiseg_command
from wsiseg.demo import write_demo_slide
from wsiseg.errors import ConfigurationError, MissingExtraError
from wsiseg.execution import dask_clusters
from wsiseg.execution.cluster import Need, Slurm
from wsiseg.execution.dask_clusters import LOGS, require_slurm, slurm_cluster
from wsiseg.store.folders import RunFolder
from wsiseg.store.lock import locked

GIB = 1 << 30


def settings(**more: Any) -> Slurm:
    return Slurm(kind="slurm", **{"jobs": 2, "cores": 8, "memory": "32GB", **more})


def job_script(choice: Slurm, root: Path) -> list[str]:
    pytest.importorskip("dask_jobqueue", reason="needs the extra cluster")

    async def make() -> str:
        return str(slurm_cluster(choice, need).job_script())

    run = RunFolder(root)
    with locked(run) as lock:
        need = Need(run, lock, 0, (), choice.gpu, GIB)
        require_slurm(choice, need)
        return asyncio.run(make()).splitlines()


def test_the_script_asks_for_what_the_settings_say(tmp_path: Path) -> None:
    choice = settings(
        workers=4,
        queue="long",
        account="pathology",
        walltime="1-12:00:00",
        python="/shared/env/bin/python",
        scratch=Path("/local"),
        directives=("--exclusive",),
        prologue=("module load vips",),
        encrypted=False,
    )
    lines = job_script(choice, tmp_path)
    for line in (
        "#SBATCH -J wsiseg",
        "#SBATCH -p long",
        "#SBATCH -A pathology",
        "#SBATCH --cpus-per-task=8",
        "#SBATCH --mem=30G",
        "#SBATCH -t 1-12:00:00",
        "#SBATCH --exclusive",
        "module load vips",
        f"#SBATCH -o {tmp_path}/{LOGS}/wsiseg-%J.out",
    ):
        assert line in lines
    command = lines[-1].split()
    assert command[:3] == ["/shared/env/bin/python", "-m", "distributed.cli.dask_worker"]
    assert command[command.index("--nworkers") + 1] == "4"
    assert command[-2:] == ["--nthreads", "1"]
    assert command[command.index("--memory-limit") + 1] == "7.45GiB"
    assert command[command.index("--local-directory") + 1] == "/local"
    assert lines.index("module load vips") < len(lines) - 1


def test_a_job_with_a_graphics_card_has_one_worker_that_says_so(tmp_path: Path) -> None:
    lines = job_script(settings(gpu=True, encrypted=False), tmp_path)
    assert "#SBATCH --gres=gpu:1" in lines
    assert lines[-1].endswith("--nthreads 1 --resources GPU=1")
    assert "--nworkers" not in lines[-1]


def test_certificates_are_for_their_owner_alone(tmp_path: Path) -> None:
    pytest.importorskip("cryptography", reason="needs the extra cluster")
    command = job_script(settings(), tmp_path)[-1].split()
    key = Path(command[command.index("--tls-key") + 1])
    assert key.parent == tmp_path / LOGS
    assert key.parent.stat().st_mode & 0o077 == 0


def test_ctrl_c_stays_what_it_was(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    job_script(settings(encrypted=False), tmp_path)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_path_with_spaces_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="spaces"):
        job_script(settings(), tmp_path / "my results")


def test_without_the_extra_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_clusters.importlib.util, "find_spec", lambda name: None)
    run = RunFolder(tmp_path)
    with locked(run) as lock, pytest.raises(MissingExtraError, match=r"wsiseg\[cluster\]"):
        require_slurm(settings(), Need(run, lock, 0, (), False, GIB))


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


@pytest.mark.usefixtures("slurm")
def test_a_run_in_jobs_gives_the_same_and_leaves_nothing_behind(tmp_path: Path) -> None:
    pytest.importorskip("dask_jobqueue", reason="needs the extra cluster")
    demo = write_demo_slide(tmp_path / "demo.tiff", side_px=1536)
    file = tmp_path / "cluster.toml"
    file.write_text(
        'kind = "slurm"\njobs = 1\ncores = 1\nmemory = "3GB"\nwalltime = "00:30:00"\n'
        'name = "wsiseg-test"\n'
    )
    out = tmp_path / "out"
    done = wsiseg_command("run", demo, "--model", FAST_MODEL, "-o", out, "--cluster", file)
    assert done.returncode == 0, done.stderr
    undisturbed = tmp_path / "undisturbed"
    assert not wsiseg.run(job_of(demo), undisturbed, inline=True).failed
    assert_same_files(undisturbed, out)
    queue = subprocess.run(
        ["squeue", "-h", "-n", "wsiseg-test", "-t", "pending,running"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert queue.stdout == ""
    assert not list((out / LOGS).glob(".dask*"))
    assert list((out / LOGS).glob("wsiseg-test-*.err"))
