"""Starting Dask clusters: processes of this machine, jobs of SLURM."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import logging
import os
import re
import signal
import weakref
from contextlib import suppress
from typing import Any

import dask
import distributed.utils
import psutil
from distributed import Nanny, Scheduler, SpecCluster
from distributed.nanny import WorkerProcess
from tornado.web import Application

from wsiseg.errors import ConfigurationError, MissingExtraError
from wsiseg.execution import nursery
from wsiseg.execution.cluster import Local, Need, Slurm
from wsiseg.files import named_disk

SETTINGS = {
    # Every death of a worker is told at once; who was to blame is found out here.
    "distributed.scheduler.allowed-failures": 0,
    # Memory is planned before the start; pausing and spilling would only hide a wrong plan.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": False,
    "distributed.comm.timeouts.connect": "60s",
    # A sample of every thread's stack a hundred times a second; benchmarks/profiling.py sees more.
    "distributed.worker.profile.enabled": False,
    # Whether event loops are late is asked fifty times a second, in every process and for every
    # one of them here once more: a twentieth of a core.
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.tick.cycle": "10s",
    "distributed.admin.system-monitor.interval": "2s",
    # Tasks are placed here, and results are not kept: nothing is to be moved.
    "distributed.scheduler.work-stealing": False,
    "distributed.scheduler.active-memory-manager.start": False,
}

LOGS = "cluster"
"""Folder in the run directory for what jobs print."""

REPLACE_SECONDS = 30.0
"""How often jobs that have ended are replaced."""

_READY_SECONDS = 0.005
"""How often a process that was started is asked whether it is ready; Dask's own habit is every
twentieth of a second, which is as long as they take."""

_KILL_AGAIN_SECONDS = 0.05


class Ward:
    """The worker processes started here: how they ended, and a way to end them all."""

    def __init__(self) -> None:
        self.exit_codes: dict[str, int] = {}
        self._nannies: weakref.WeakSet[_Nanny] = weakref.WeakSet()

    def add(self, nanny: _Nanny) -> None:
        """A process more."""
        self._nannies.add(nanny)

    async def end(self) -> None:
        """End every worker process, whatever it is doing, and see that none is started again."""
        closing = asyncio.gather(
            *(nanny.close() for nanny in self._nannies), return_exceptions=True
        )
        while not closing.done():
            # A nanny would wait for its process to start, to hear of it and to end by itself.
            self.kill()
            await asyncio.wait([closing], timeout=_KILL_AGAIN_SECONDS)

    def kill(self) -> None:
        """End every worker process, whatever it is doing."""
        for nanny in list(self._nannies):
            pid = nanny.pid
            if pid is not None:
                with suppress(psutil.NoSuchProcess):
                    psutil.Process(pid).kill()


class _Nanny(Nanny):  # type: ignore[misc]
    """Starts a worker process again when it dies, and tells the ward of what it died."""

    def __init__(self, *args: Any, ward: Ward, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._ward = ward
        ward.add(self)

    def _on_worker_exit_sync(self, exitcode: int) -> None:
        if self.worker_address is not None:
            self._ward.exit_codes[self.worker_address] = exitcode
        super()._on_worker_exit_sync(exitcode)


class _Scheduler(Scheduler):  # type: ignore[misc]
    """Builds its dashboard when somebody looks at it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, dashboard=False, **kwargs)
        if importlib.util.find_spec("bokeh") is not None:
            self.http_application.add_application(_Dashboard(self))


class _Dashboard(Application):
    """Stands in for the dashboard, which takes half a second to import, until it is asked for."""

    def __init__(self, scheduler: _Scheduler) -> None:
        super().__init__()
        self._scheduler: _Scheduler | None = scheduler

    def find_handler(self, request: Any, **kwargs: Any) -> Any:
        """Nothing here; but the real one is asked after this."""
        scheduler, self._scheduler = self._scheduler, None
        if scheduler is not None:
            dashboard = importlib.import_module("distributed.dashboard.scheduler")
            dashboard.connect(scheduler.http_application, scheduler.http_server, scheduler)
        return None


def local_cluster(need: Need, ward: Ward) -> Any:
    """Processes of this machine, as the run needs them."""
    dask.config.set({**SETTINGS, "distributed.worker.multiprocessing-method": nursery.method()})
    # What is imported in front of the workers is settled; distributed would have more imported,
    # here too.
    distributed.utils._forkserver_preload_set = True
    WorkerProcess._init_msg_interval = _READY_SECONDS
    nursery.begin()
    scheduler = {
        "host": "127.0.0.1",
        "port": 0,
        "protocol": "tcp://",
        "dashboard_address": "127.0.0.1:0",
    }
    return SpecCluster(
        workers=local_workers(need, ward),
        scheduler={"cls": _Scheduler, "options": scheduler},
        asynchronous=True,
    )


def local_workers(need: Need, ward: Ward) -> dict[str, dict[str, Any]]:
    """What each worker process is started with, by name.

    The worker of a graphics card sees that one alone, the others see none.
    """
    common = {
        "host": "127.0.0.1",
        "nthreads": 1,
        "memory_limit": 0,
        "dashboard": False,
        "silence_logs": logging.CRITICAL,
        "ward": ward,
    }
    # The process they are forked from may have been started in another environment.
    here = {k: v for k, v in os.environ.items() if k not in nursery.ENVIRONMENT}
    here |= {"OMP_NUM_THREADS": str(need.threads)}
    cpu = {**common, "env": {**here, **({"CUDA_VISIBLE_DEVICES": ""} if need.gpu else {})}}
    workers = {f"cpu-{i}": {"cls": _Nanny, "options": cpu} for i in range(need.cpu)}
    for i, card in enumerate(need.cards):
        env = {**here, **({"CUDA_VISIBLE_DEVICES": card} if card else {})}
        options = {**common, "env": env, "resources": {"GPU": 1}}
        workers[f"gpu-{i}"] = {"cls": _Nanny, "options": options}
    return workers


def require_slurm(choice: Slurm, need: Need) -> None:
    """Return if a cluster of SLURM jobs can be made. To be called in the main thread.

    Raises
    ------
    MissingExtraError
        If dask-jobqueue, or what encryption needs, is not installed.
    ConfigurationError
        If the run directory has a name that SLURM's scripts cannot hold.
    """
    if importlib.util.find_spec("dask_jobqueue") is None:
        raise MissingExtraError("SLURM", "cluster")
    if choice.encrypted and importlib.util.find_spec("cryptography") is None:
        raise MissingExtraError("an encrypted cluster", "cluster")
    if re.search(r"\s", str(need.run.root)):
        raise ConfigurationError(
            f"{need.run.root}: job scripts of SLURM cannot hold a path with spaces; choose another "
            "output folder"
        )
    # It takes over Ctrl-C when it is imported.
    before = signal.getsignal(signal.SIGINT)
    importlib.import_module("dask_jobqueue")
    signal.signal(signal.SIGINT, before)


def slurm_cluster(choice: Slurm, need: Need) -> Any:
    """A cluster of SLURM jobs, none of them submitted yet."""
    from dask_jobqueue import SLURMCluster

    logs = need.run.root / LOGS
    with named_disk(logs):
        # The certificates of an encrypted cluster lie there too, for their owner alone.
        logs.mkdir(mode=0o700, exist_ok=True)
    dask.config.set(SETTINGS)
    return SLURMCluster(
        cores=choice.cores,
        memory=choice.memory,
        processes=choice.processes,
        walltime=choice.walltime,
        queue=choice.queue,
        account=choice.account,
        job_name=choice.name,
        python=choice.python,
        interface=choice.interface,
        local_directory=str(choice.scratch) if choice.scratch else None,
        job_extra_directives=[*(["--gres=gpu:1"] if choice.gpu else []), *choice.directives],
        job_script_prologue=list(choice.prologue),
        worker_extra_args=[
            "--nthreads",
            "1",
            *(["--resources", "GPU=1"] if choice.gpu else []),
        ],
        log_directory=str(logs),
        shared_temp_directory=str(logs),
        security=True if choice.encrypted else None,
        scheduler_options={"dashboard": True, "dashboard_address": ":0"},
        asynchronous=True,
    )


def forget_certificates(need: Need) -> None:
    """Remove the certificates that an encrypted cluster has left in the run directory."""
    for path in (need.run.root / LOGS).glob(".dask-jobqueue.*"):
        path.unlink(missing_ok=True)


async def keep_jobs(cluster: Any, jobs: int) -> None:
    """Keep so many jobs queued or running until cancelled: those that end are replaced."""
    while True:
        cluster.scale(jobs=jobs)
        await asyncio.sleep(REPLACE_SECONDS)


def make_cluster(choice: Local | Slurm, need: Need, ward: Ward) -> Any:
    """The cluster of a choice, not started yet. To be called on the loop that is to run it."""
    if isinstance(choice, Local):
        return local_cluster(need, ward)
    return slurm_cluster(choice, need)
