"""Workers of this machine: what they come from, what they see, what they do while they wait."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import psutil
import pytest
from distributed import Client

from runs import FAST_MODEL
from wsiseg.execution import nursery
from wsiseg.execution.cluster import Need
from wsiseg.execution.dask_clusters import Ward, local_cluster
from wsiseg.execution.roster import Roster, Worker
from wsiseg.execution.tasks import StitchTask, warm_up
from wsiseg.store.folders import RunFolder
from wsiseg.store.lock import locked


def fetch(address: str) -> str:
    with urllib.request.urlopen(address, timeout=60) as answer:  # noqa: S310
        text: str = answer.read().decode()
    return text


async def visit(need: Need) -> tuple[list[object], str, bool]:
    """What a worker sees, the dashboard, and whether it was imported before it was asked for."""
    ward = Ward()
    async with local_cluster(need, ward) as cluster:
        early = "distributed.dashboard.scheduler" in sys.modules
        async with Client(cluster, asynchronous=True, set_as_default=False) as client:
            asked = [(os.getenv, "WSISEG_TOLD_LATER"), (os.getenv, "OMP_NUM_THREADS")]
            answers = [await client.run(*one) for one in (*asked, (gc.get_freeze_count,))]
            seen = [value for answer in answers for value in answer.values()]
        page = await asyncio.to_thread(fetch, cluster.dashboard_link)
        await ward.end()
    return seen, page, early


def test_workers_are_ready_see_this_environment_and_are_shown_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("bokeh")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    nursery.begin()
    assert "OMP_NUM_THREADS" not in os.environ
    monkeypatch.setenv("WSISEG_TOLD_LATER", "yes")
    run = RunFolder(tmp_path)
    for name in [name for name in sys.modules if name.startswith("distributed.dashboard")]:
        monkeypatch.delitem(sys.modules, name)
    with locked(run) as lock:
        seen, page, early = asyncio.run(visit(Need(run, lock, 1, (), False, 1 << 30, threads=3)))
    assert not early
    assert "bokeh" in page
    told, threads, frozen = seen
    assert told == "yes"
    assert threads == "3"
    # What was imported before the fork was put aside there.
    assert isinstance(frozen, int)
    assert frozen > 0


COPIED = """
import multiprocessing, os, sys, time
from wsiseg.execution import nursery

if sys.argv[2] == "late":
    import numpy
kept = open(sys.argv[1], "w")
os.set_inheritable(kept.fileno(), True)
nursery.begin_as_copy()
with multiprocessing.get_context("forkserver").Pool(1) as pool:
    home = pool.apply(os.getppid)
    ready = pool.apply(eval, ("'wsiseg.execution.tasks' in __import__('sys').modules",))
    print(home, "wsiseg.execution.tasks" in sys.modules, ready, flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux")
@pytest.mark.parametrize("when", ["early", "late"])
def test_what_workers_are_forked_from_is_a_copy_of_a_fresh_process_alone(
    when: str, tmp_path: Path
) -> None:
    file = tmp_path / "open"
    command = [sys.executable, "-c", COPIED, str(file), when]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        number, here, there = process.stdout.readline().split()
        home = psutil.Process(int(number))
        assert home.ppid() == process.pid
        assert there == "True"
        assert here == str(when == "early")
        assert (COPIED in home.cmdline()) == (when == "early")
        assert str(file) not in {opened.path for opened in home.open_files()}
        process.kill()
    assert psutil.wait_procs([home], timeout=10)[1] == []


def test_workers_rest_until_they_are_given_something() -> None:
    roster = Roster()
    roster.join(Worker("a"))
    roster.join(Worker("b"))
    roster.add(StitchTask("run", "slide", "epoch"))
    (load,) = roster.to_send()
    assert {worker.address for worker in roster.resting()} == {"a", "b"} - {load.worker.address}
    roster.done(load, 1.0)
    assert {worker.address for worker in roster.resting()} == {"a", "b"}


@pytest.mark.parametrize("model", [FAST_MODEL, "nuclei-he", "no-such-model"])
def test_warming_up_never_fails(model: str) -> None:
    warm_up(model, "cpu")
