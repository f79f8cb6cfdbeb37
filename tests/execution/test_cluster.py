"""The choice of where the work is done, and who is taken on there."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import Any

import pytest

import wsiseg
from runs import FAST_MODEL, wsiseg_command
from wsiseg.errors import ConfigurationError, MemoryPlanError
from wsiseg.execution import crew as crew_module
from wsiseg.execution.cluster import (
    Inline,
    Joined,
    Local,
    Need,
    Slurm,
    choose_cluster,
    read_cluster,
    visible_gpus,
)
from wsiseg.execution.crew import plan_crew, threads
from wsiseg.execution.dask_clusters import Ward, local_workers
from wsiseg.execution.deaths import cause_of_death, oom_kills
from wsiseg.execution.driver import Order
from wsiseg.execution.joining import introduce, objection
from wsiseg.job import Job
from wsiseg.store.folders import RunFolder
from wsiseg.store.lock import locked

GIB = 1 << 30


def order(**settings: Any) -> Order:
    job = Job.checked({"slides": ["slide.svs"], "model": FAST_MODEL, **settings})
    return Order(job.slides[0], job)


def test_plain_settings_stand_for_a_choice() -> None:
    assert choose_cluster() == Local()
    assert choose_cluster(workers=3) == Local(workers=3)
    assert choose_cluster(inline=True) == Inline()
    assert choose_cluster(scheduler="tcp://a:1") == Joined(address="tcp://a:1")


@pytest.mark.parametrize(
    "settings", [{"workers": 2, "inline": True}, {"workers": 2, "scheduler": "tcp://a:1"}]
)
def test_contradictions_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        choose_cluster(**settings)


def test_a_file_names_a_cluster(tmp_path: Path) -> None:
    file = tmp_path / "cluster.toml"
    file.write_text(
        'kind = "slurm"\njobs = 4\ncores = 8\nmemory = "32GiB"\nworkers = 4\nqueue = "long"\n'
        'directives = ["--exclusive"]\n'
    )
    choice = read_cluster(file)
    assert choice == Slurm(
        kind="slurm",
        jobs=4,
        cores=8,
        memory="32GiB",
        workers=4,
        queue="long",
        directives=("--exclusive",),
    )
    assert isinstance(choice, Slurm)
    assert choice.worker_bytes == 8 * GIB
    file.write_text('kind = "scheduler"\naddress = "tcp://a:1"\n')
    assert read_cluster(file) == Joined(address="tcp://a:1")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "kind"),
        ('kind = "pbs"', "pbs"),
        ('kind = "slurm"\njobs = 1\ncores = 1', "memory"),
        ('kind = "slurm"\njobs = 1\ncores = 1\nmemory = "2GB"\nqueu = "x"', "queu"),
        ('kind = "slurm"\njobs = 1\ncores = 1\nmemory = "2GB"\nqueue = "x\\nrm -rf"', "queue"),
        ('kind = "slurm"\njobs = 1\ncores = 1\nmemory = "2GB"\nname = "a; b"', "name"),
        ('kind = "slurm"\njobs = 1\ncores = 1\nmemory = "lots"', "memory"),
        ("kind = ", "cannot read"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(tmp_path: Path, content: str, told: str) -> None:
    file = tmp_path / "cluster.toml"
    file.write_text(content)
    with pytest.raises(ConfigurationError, match=told):
        read_cluster(file)


def test_the_command_line_refuses_a_cluster_with_workers(tmp_path: Path) -> None:
    file = tmp_path / "cluster.toml"
    file.write_text('kind = "local"')
    done = wsiseg_command("export", tmp_path, "--cluster", file, "--workers", "2")
    assert done.returncode == 1
    assert "--cluster says where" in done.stderr


def test_graphics_cards_are_those_that_may_be_seen(tmp_path: Path) -> None:
    for name in ("nvidia0", "nvidia1", "nvidia10", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    assert visible_gpus({}, tmp_path) == ("0", "1", "10")
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": "1, MIG-7"}, tmp_path) == ("1", "MIG-7")
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": ""}, tmp_path) == ()


def test_the_crew_without_graphics_cards() -> None:
    crew = plan_crew([order()], Local(workers=1))
    assert (crew.cpu, crew.cards, crew.gpu) == (1, (), False)
    assert crew.planned_bytes > crew.worker_bytes > GIB // 2
    assert plan_crew([order()], Inline()).processes == 0
    assert plan_crew([order()], Joined(address="tcp://a:1")).processes == 0


def test_the_crew_shares_out_the_graphics_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    class Spec:
        core, halo = 512, 64

    monkeypatch.setattr(crew_module, "load_segmenter", lambda *_: type("S", (), {"spec": Spec})())
    monkeypatch.setattr(crew_module, "choose_workers", lambda *_: 3)
    monkeypatch.setattr(
        crew_module,
        "plan_memory",
        lambda *_: type("Plan", (), {"worker": GIB, "total": 5 * GIB})(),
    )
    monkeypatch.setattr(crew_module, "visible_gpus", lambda: ("0", "1"))
    crew = plan_crew([order(model="nuclei-he", device="cuda")], Local())
    assert (crew.cpu, crew.cards, crew.gpu) == (1, ("0", "1", "0"), True)
    crew = plan_crew([order(model="nuclei-he", device="cuda:1")], Local())
    assert crew.cards == ("", "", "")


def test_each_worker_sees_its_own_card_and_the_others_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    run = RunFolder(tmp_path)
    with locked(run) as lock:
        workers = local_workers(Need(run, lock, 2, ("0", "MIG-7"), True, GIB), Ward())
        seen = {name: w["options"]["env"]["CUDA_VISIBLE_DEVICES"] for name, w in workers.items()}
        assert seen == {"cpu-0": "", "cpu-1": "", "gpu-0": "0", "gpu-1": "MIG-7"}
        cards = [n for n, w in workers.items() if w["options"].get("resources") == {"GPU": 1}]
        assert cards == ["gpu-0", "gpu-1"]
        plain = local_workers(Need(run, lock, 1, (), False, GIB), Ward())
        assert "CUDA_VISIBLE_DEVICES" not in plain["cpu-0"]["options"]["env"]


def test_jobs_with_too_little_memory_are_refused_before_they_are_submitted() -> None:
    small = Slurm(kind="slurm", jobs=1, cores=4, memory="1GB")
    with pytest.raises(MemoryPlanError, match="4 workers"):
        plan_crew([order()], small)


def test_a_worker_that_fits_is_taken(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    with locked(run) as lock:
        facts = introduce(str(tmp_path), lock.epoch)
        assert objection(facts, tmp_path, 4 * GIB, GIB) == ""
        assert objection(facts, tmp_path, 0, GIB) == ""


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"wsiseg": "0.0.1"}, rf"has wsiseg 0\.0\.1.*this is wsiseg {wsiseg.__version__}"),
        ({"python": "3.9"}, r"Python 3\.9"),
        ({"holds": False}, "does not see"),
        ({"refusal": "Read-only file system"}, "Read-only"),
    ],
)
def test_a_worker_that_does_not_fit_is_told_why(
    tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    run = RunFolder(tmp_path)
    with locked(run) as lock:
        facts = {**introduce(str(tmp_path), lock.epoch), **change}
        assert re.search(told, objection(facts, tmp_path, 0, GIB))


def test_a_worker_of_another_run_directory_does_not_see_the_lock(tmp_path: Path) -> None:
    with locked(RunFolder(tmp_path / "a")) as lock:
        assert not introduce(str(tmp_path / "b"), lock.epoch)["holds"]
        assert not introduce(str(tmp_path / "a"), "another")["holds"]


def test_a_worker_with_too_little_memory_or_no_wsiseg_is_refused(tmp_path: Path) -> None:
    with locked(RunFolder(tmp_path)) as lock:
        facts = introduce(str(tmp_path), lock.epoch)
        assert "0.5 GiB" in objection(facts, tmp_path, GIB // 2, GIB)
    assert "no wsiseg" in objection(ModuleNotFoundError("wsiseg"), tmp_path, 0, GIB)


@pytest.mark.parametrize(
    ("code", "memory", "resident", "told"),
    [
        (-signal.SIGSEGV, False, 0, "SIGSEGV"),
        (-signal.SIGKILL, True, 0, "out of memory"),
        (-signal.SIGKILL, False, 0, "killed from outside"),
        (None, False, 0, "loss of its machine"),
        (None, False, 15 * GIB, "15.0 of 16.0 GiB"),
        (3, False, 0, "status 3"),
    ],
)
def test_what_a_worker_died_of(code: int | None, memory: bool, resident: int, told: str) -> None:
    cause = cause_of_death(
        code, killed_for_memory=memory, resident=resident, limit=16 * GIB if resident else 0
    )
    assert told in cause


def test_the_kernel_counts_what_it_kills(tmp_path: Path) -> None:
    counters = tmp_path / "vmstat"
    counters.write_text("nr_free_pages 7\noom_kill 3\n")
    assert oom_kills(counters) == 3
    assert oom_kills(tmp_path / "none") == 0


def test_threads_are_stated_or_a_share_of_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(8)))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert threads(Local(), 3) == 2
    assert threads(Local(), 8) == threads(Local(), 20) == 1
    assert threads(Local(threads=5), 8) == 5
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert threads(Local(), 8) == 4
    assert threads(Local(threads=5), 8) == 5
    with pytest.raises(ConfigurationError, match="OMP_NUM_THREADS"):
        choose_cluster(threads=2, inline=True)
