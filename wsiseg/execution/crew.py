"""How many processes work on a run, on which graphics cards, with how much memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from wsiseg.errors import MemoryPlanError
from wsiseg.execution.cluster import Cluster, Inline, Joined, Local, Slurm, visible_gpus
from wsiseg.execution.driver import Order
from wsiseg.execution.memory import PROCESS_BYTES, choose_workers, plan_memory
from wsiseg.models.device import is_cuda
from wsiseg.models.network.runtime import inference_threads
from wsiseg.models.zoo import load_segmenter

GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Crew:
    """The processes that work on a run.

    Attributes
    ----------
    cpu
        Number of processes started here that have no graphics card.
    cards
        For every process started here that has one: what ``CUDA_VISIBLE_DEVICES`` is for it;
        empty to leave that as it is.
    gpu
        Whether blocks need a process that has a graphics card.
    worker_bytes
        Memory that each process may need.
    planned_bytes
        Of all processes on this machine.
    threads
        Threads that each process started here spreads a prediction over.
    """

    cpu: int
    cards: tuple[str, ...]
    gpu: bool
    worker_bytes: int
    planned_bytes: int
    threads: int = 1

    @property
    def processes(self) -> int:
        """Number of processes started here besides this one."""
        return self.cpu + len(self.cards)


def plan_crew(orders: Iterable[Order], where: Cluster) -> Crew:
    """The processes for these slides.

    On this machine one process a core, or as many as the memory holds. Where blocks are
    segmented on graphics cards the processes share them out among themselves, and one more does
    what needs none: stitching, measuring, exports.

    Raises
    ------
    MemoryPlanError
        If the memory holds not even one, or not as many as were asked for.
    """
    wanted = where.workers if isinstance(where, Local) else None
    counts, plans = [], []
    orders = tuple(orders)
    segments = {(o.job.model, o.job.device, o.job.core) for o in orders}
    for model, device, core in sorted(segments, key=repr):
        spec = load_segmenter(model, device).spec
        window = (core or spec.core) + 2 * spec.halo
        plans.append((spec, window))
        if isinstance(where, Local):
            counts.append(choose_workers(spec, window, wanted))
    # What is segmented already needs no card, whatever it was segmented on.
    devices = {o.job.device for o in orders if is_cuda(o.job.device) and not o.again}
    gpu = bool(devices)
    worker = max(plan_memory(spec, window, 1).worker for spec, window in plans)
    if isinstance(where, Inline):
        return Crew(0, (), gpu, worker, max(plan_memory(s, w, 0).total for s, w in plans))
    if isinstance(where, Joined):
        return Crew(0, (), gpu, worker, PROCESS_BYTES)
    if isinstance(where, Slurm):
        if where.worker_bytes < worker:
            raise MemoryPlanError(
                f"each worker may need {worker / GIB:.1f} GiB, but jobs of {where.memory} with "
                f"{where.processes} workers give it {where.worker_bytes / GIB:.1f} GiB: ask for "
                "more memory or fewer workers"
            )
        return Crew(0, (), gpu, worker, PROCESS_BYTES)
    cards = _cards(devices, min(counts)) if gpu else ()
    cpu = 1 if gpu else min(counts)
    total = max(plan_memory(s, w, cpu + len(cards)).total for s, w in plans)
    return Crew(cpu, cards, gpu, worker, total, threads(where, cpu + len(cards)))


def threads(where: Local, processes: int) -> int:
    """Threads a process: those asked for, else its share, which is more than one where memory
    holds fewer processes than there are cores."""
    return where.threads or inference_threads(processes)


def _cards(devices: set[str], processes: int) -> tuple[str, ...]:
    """The card of every process, card by card in turn, at least one process each."""
    named = sorted(device.partition(":")[2] for device in devices)
    # A card that the job names by number keeps that number only if all of them are seen.
    found = visible_gpus() if named == [""] else ()
    if not found:
        return ("",) * processes
    return tuple(found[i % len(found)] for i in range(max(processes, len(found))))
