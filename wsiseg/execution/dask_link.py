"""The thread that talks to Dask: it opens the cluster, watches its workers, carries loads.

Everything here runs on an event loop of its own. The driver's thread calls ``open``, ``send``
and ``close``, and hears of everything else through events.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from distributed import Client, Future, KilledWorker

from wsiseg.errors import ClusterError, WsisegError
from wsiseg.execution.cluster import Joined, Local, Need, Slurm
from wsiseg.execution.dask_clusters import (
    Ward,
    forget_certificates,
    keep_jobs,
    make_cluster,
    require_slurm,
)
from wsiseg.execution.deaths import cause_of_death, oom_kills
from wsiseg.execution.joining import introduce, objection
from wsiseg.execution.nursery import deaf
from wsiseg.execution.roster import QUEUE, Load, Worker
from wsiseg.execution.tasks import Failure, Result, perform_all, warm_up

CONNECT_SECONDS = 30
"""How long a scheduler that stands may take to answer."""

LOOK_SECONDS = 2.0
"""How often the list of workers is looked through, besides what the scheduler tells."""

LOST_SECONDS = 120.0
"""A scheduler that does not answer for so long is given up."""

INTRODUCE_SECONDS = 120.0
"""How long a worker may take to introduce itself."""

BATCH_SECONDS = 0.001
"""What is sent within so long goes to the scheduler together. Dask would wait ten times as long,
between any task and one that rests on it."""

_VERDICT_SECONDS = 0.5
_CLOSE_SECONDS = 8.0


@dataclass(frozen=True, slots=True)
class Done:
    """A load was performed, in so many seconds of its worker."""

    load: Load
    results: tuple[Result, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Joins:
    """A worker can be used; ``remark`` is what the user should know of it."""

    worker: Worker
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Leaves:
    """A worker has gone: of what it died, ``None`` if it was asked to leave."""

    address: str
    death: str | None


@dataclass(frozen=True, slots=True)
class Refused:
    """A worker cannot be used."""

    address: str
    why: str


@dataclass(frozen=True, slots=True)
class Lost:
    """The scheduler is gone."""

    why: str


Event = Done | Joins | Leaves | Refused | Lost


class Link:
    """A connection to a cluster, started here or joined.

    Parameters
    ----------
    choice
        The cluster.
    need
        What the run asks of it.
    report
        Takes events; called from another thread.
    """

    def __init__(
        self, choice: Local | Joined | Slurm, need: Need, report: Callable[[Event], None]
    ) -> None:
        self._choice = choice
        self._need = need
        self._report = report
        self._cluster: Any = None
        self._client: Any = None
        self._known: dict[str, Mapping[str, Any]] = {}
        self._judged: set[str] = set()
        self._loads: dict[int, tuple[Load, Future]] = {}
        self._chores: set[asyncio.Task[Any]] = set()
        self._change = asyncio.Event()
        self._oom_kills = oom_kills()
        self._ward = Ward()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="wsiseg-dask", daemon=True)
        self._closing = False

    @property
    def dashboard(self) -> str | None:
        """Address of Dask's dashboard, where the scheduler has one."""
        if self._client is None or importlib.util.find_spec("bokeh") is None:
            return None
        link: str | None = self._client.dashboard_link
        return link

    def open(self) -> None:
        """Start or join the cluster.

        Raises
        ------
        ClusterError
            If it cannot be started or reached, or a worker that is there cannot be used.
        """
        if isinstance(self._choice, Slurm):
            require_slurm(self._choice, self._need)
        _quiet_logs()
        with deaf():
            self._thread.start()
        opening = asyncio.run_coroutine_threadsafe(self._open(), self._loop)
        try:
            opening.result()
        except BaseException:
            opening.cancel()
            self.close()
            raise

    def send(self, load: Load) -> None:
        """Carry a load to its worker."""
        self._loop.call_soon_threadsafe(self._begin, self._carry(load))

    def warm(self, worker: Worker, model: str, device: str) -> None:
        """Have a worker make ready for blocks; loads sent later wait for that."""
        self._loop.call_soon_threadsafe(self._begin, self._warm(worker, model, device))

    def close(self) -> None:
        """End what was started here, whatever it is doing."""
        if self._closing or not self._thread.is_alive():
            return
        self._closing = True
        ending = asyncio.run_coroutine_threadsafe(self._close(), self._loop)
        with suppress(TimeoutError):
            ending.result(timeout=2 * _CLOSE_SECONDS)
        self._ward.kill()
        if isinstance(self._choice, Slurm):
            forget_certificates(self._need)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=2)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _begin(self, chore: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(chore)
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)

    async def _open(self) -> None:
        choice = self._choice
        try:
            if isinstance(choice, Joined):
                target: Any = choice.address
            else:
                self._cluster = target = make_cluster(choice, self._need, self._ward)
                await self._cluster
            self._client = await Client(
                target, asynchronous=True, timeout=CONNECT_SECONDS, set_as_default=False
            )
            if isinstance(choice, Slurm):
                self._begin(keep_jobs(self._cluster, choice.jobs))
        except WsisegError:
            raise
        except (OSError, RuntimeError, ValueError) as error:
            raise ClusterError(_unreachable(choice, error)) from error
        self._client.scheduler_comm.interval = BATCH_SECONDS
        self._client.subscribe_topic("all", self._hear)
        await self._roll_call()
        self._begin(self._watch())

    async def _roll_call(self) -> None:
        """Let the workers that are there introduce themselves; complain if one is unfit."""
        workers = await self._workers()
        verdicts = await asyncio.gather(*(self._judge(a, facts) for a, facts in workers.items()))
        unfit = [f"the worker {a}: {why}" for a, why in zip(workers, verdicts, strict=True) if why]
        if unfit:
            raise ClusterError("; ".join(dict.fromkeys(unfit)))
        for address, facts in workers.items():
            self._judged.add(address)
            self._admit(address, facts)

    async def _watch(self) -> None:
        """Keep the list of workers up to date until the end."""
        answered = time.monotonic()
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._change.wait(), LOOK_SECONDS)
            self._change.clear()
            try:
                workers = await self._workers()
                answered = time.monotonic()
            except (OSError, RuntimeError) as error:
                gone = self._client.status == "closed"
                if gone or time.monotonic() - answered > LOST_SECONDS:
                    self._report(Lost(f"the Dask scheduler is gone ({error})"))
                    return
                continue
            for address in set(self._known) - set(workers):
                self._dismiss(address, expected=False)
            for address, facts in workers.items():
                if address in self._known:
                    self._known[address] = facts
                elif address not in self._judged and facts["status"] == "running":
                    self._judged.add(address)
                    self._begin(self._consider(address, facts))
            self._judged &= set(workers)

    async def _workers(self) -> dict[str, Mapping[str, Any]]:
        identity = await self._client.scheduler.identity()
        return dict(identity["workers"])

    async def _consider(self, address: str, facts: Mapping[str, Any]) -> None:
        why = await self._judge(address, facts)
        if why:
            self._report(Refused(address, why))
        else:
            self._admit(address, facts)

    async def _judge(self, address: str, facts: Mapping[str, Any]) -> str:
        """What speaks against a worker."""
        root = self._need.run.root
        answer: Any
        try:
            answers = await asyncio.wait_for(
                self._client.run(
                    introduce,
                    str(root),
                    self._need.lock.epoch,
                    workers=[address],
                    on_error="return",
                ),
                INTRODUCE_SECONDS,
            )
            answer = answers[address]
        # A worker may answer with any exception of its own installation.
        except Exception as error:  # noqa: BLE001
            answer = error
        return objection(answer, root, facts["memory_limit"], self._need.worker_bytes)

    def _admit(self, address: str, facts: Mapping[str, Any]) -> None:
        self._known[address] = facts
        threads = int(facts["nthreads"])
        remark = ""
        if threads > 1:
            # Memory is planned for one task a process.
            remark = (
                f"the worker {address} has {threads} threads, but is given one task at a time; "
                f"more is done with: dask worker --nthreads 1 --nworkers {threads}"
            )
        gpu = facts["resources"].get("GPU", 0) > 0
        self._report(Joins(Worker(address, gpu, QUEUE if threads == 1 else 1), remark))

    def _hear(self, event: tuple[float, Mapping[str, Any]]) -> None:
        """What the scheduler tells of its workers."""
        _, message = event
        if message.get("action") == "remove-worker":
            self._dismiss(message["worker"], expected=bool(message["expected"]))
        elif message.get("action") == "add-worker":
            self._change.set()

    def _dismiss(self, address: str, *, expected: bool) -> None:
        facts = self._known.pop(address, None)
        if facts is not None:
            self._begin(self._mourn(address, facts, expected=expected))

    async def _mourn(self, address: str, facts: Mapping[str, Any], *, expected: bool) -> None:
        lost = [number for number, (load, _) in self._loads.items() if _to(load, address)]
        await self._drop(lost)
        death = None
        if not expected:
            # Its nanny may be told a little later than the scheduler.
            await asyncio.sleep(_VERDICT_SECONDS)
            kills = oom_kills()
            death = cause_of_death(
                self._ward.exit_codes.pop(address, None),
                killed_for_memory=kills > self._oom_kills,
                resident=int(facts["metrics"].get("memory", 0)),
                limit=int(facts["memory_limit"]),
            )
            self._oom_kills = kills
        self._report(Leaves(address, death))

    async def _drop(self, numbers: list[int]) -> None:
        """Have the scheduler forget loads."""
        futures = [self._loads.pop(number)[1] for number in numbers]
        if futures:
            with suppress(OSError, RuntimeError):
                await self._client.cancel(futures, force=True)

    async def _carry(self, load: Load) -> None:
        # A worker that has gone meanwhile takes this load back with it when that is told.
        if load.worker.address not in self._known:
            return
        future = self._client.submit(
            perform_all,
            tuple(load.tasks),
            pure=False,
            workers=[load.worker.address],
            key=f"{type(load.tasks[0]).__name__}-{load.number}-{self._need.lock.epoch}",
        )
        self._loads[load.number] = load, future
        try:
            results, seconds = await future
        except (KilledWorker, CancelledError, asyncio.CancelledError):
            # That its worker or the scheduler is gone is told elsewhere.
            return
        # Whatever else comes is of Dask, or of a worker's installation.
        except Exception as error:  # noqa: BLE001
            if load.number not in self._loads:
                return
            failure = Failure(f"{type(error).__name__}: {error}")
            results, seconds = tuple(failure for _ in load.tasks), 0.0
        if self._loads.pop(load.number, None) is not None:
            self._report(Done(load, results, seconds))

    async def _warm(self, worker: Worker, model: str, device: str) -> None:
        # If the worker has gone meanwhile, or dies of it, that is told elsewhere.
        with suppress(Exception):
            await self._client.submit(
                warm_up,
                model,
                device,
                pure=False,
                workers=[worker.address],
                key=f"warm_up-{worker.address}-{self._need.lock.epoch}",
            )

    async def _close(self) -> None:
        # What is broken off now, workers that were about to start included, is nobody's worry.
        self._loop.set_exception_handler(lambda *_: None)
        chores = list(self._chores)
        for chore in chores:
            chore.cancel()
        await asyncio.gather(*chores, return_exceptions=True)
        if self._client is not None:
            with suppress(Exception):
                self._client.unsubscribe_topic("all")
        ends = [end.close for end in (self._client, self._cluster) if end is not None]
        for end in (self._ward.end, *ends):
            with suppress(Exception):
                await asyncio.wait_for(end(), _CLOSE_SECONDS)


def _to(load: Load, address: str) -> bool:
    return load.worker.address == address


def _quiet_logs() -> None:
    for name in ("distributed", "distributed.nanny", "distributed.scheduler", "tornado"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def _unreachable(choice: Local | Joined | Slurm, error: Exception) -> str:
    if isinstance(choice, Joined):
        return (
            f"no Dask scheduler answers at {choice.address} ({error}); start one with: "
            "dask scheduler"
        )
    where = (
        "jobs of SLURM cannot be submitted"
        if isinstance(choice, Slurm)
        else ("the worker processes cannot be started")
    )
    return f"{where}: {error}"
