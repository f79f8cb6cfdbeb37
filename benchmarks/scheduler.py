"""What handing out blocks costs: CPU time of driver and scheduler for many tiny blocks.

    python -m benchmarks.scheduler [--blocks 100000] [--workers 2] [--seconds 0]

A run is led as always, but a stand-in takes the place of the work, so that what remains is the
driver, Dask's scheduler (both in this process) and what the workers spend on being handed
blocks. With ``--single`` every block travels alone, as blocks that take seconds do.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from wsiseg.execution import dask_link, roster
from wsiseg.execution.cluster import Local, Need
from wsiseg.execution.dask_executor import DaskExecutor
from wsiseg.execution.driver import Driver, Order
from wsiseg.execution.progress import Progress
from wsiseg.execution.tasks import Failure, PrepareTask, Ready, Result, Task
from wsiseg.job import Job, SlideEntry
from wsiseg.pipeline.block import BlockTask
from wsiseg.store.blocks import BlockRecord
from wsiseg.store.folders import RunFolder
from wsiseg.store.lock import locked

STAGES = ("read", "predict", "decode", "own")
_NOBODY = SlideEntry(path=Path("slide"))
COUNTS = ("kept", "foreign", "reread", "truncated", "outside")


def stand_in(tasks: Sequence[Task]) -> tuple[tuple[Result, ...], float]:
    """In place of the work: results as large as real ones."""
    begin = time.perf_counter()
    results = tuple(_result(task) for task in tasks)
    return results, time.perf_counter() - begin


def _result(task: Task) -> Result:
    if isinstance(task, PrepareTask):
        return _ready(*task.slide.split())
    if not isinstance(task, BlockTask):
        return Failure("only blocks are stood in for")
    time.sleep(float(task.key))
    return BlockRecord(
        key="0123456789abcdef" * 2,
        name=f"{task.column:05d}-{task.row:05d}",
        count=1000,
        extent=(0, 0, 2048, 2048),
        ledger=dict.fromkeys(COUNTS, 1000),
        seconds=dict.fromkeys(STAGES, 0.5),
        damage=(),
    )


class Enough(BaseException):
    """All blocks are done."""


class Counter(Progress):
    """Ends the run after so many blocks."""

    def __init__(self, blocks: int) -> None:
        self.left = blocks

    def block_done(self, *_: object) -> None:
        self.left -= 1
        if not self.left:
            raise Enough


def lead(blocks: int, workers: int, seconds: float) -> tuple[float, float, float]:
    """CPU seconds of driver and scheduler, of the workers, and wall seconds for all blocks."""
    job = Job.model_construct(slides=(), exports=())
    with tempfile.TemporaryDirectory() as place:
        run = RunFolder(Path(place) / "out")
        with locked(run) as lock:
            slide = f"{blocks} {seconds}"
            driver = Driver(run, {slide: Order(_NOBODY, job)}, lock, Counter(blocks))
            executor = DaskExecutor(Local(), Need(run, lock, workers, (), False, 0), print)
            try:
                executor.next(1.0)
                me = psutil.Process()
                before, began = _cpu(me), time.perf_counter()
                with suppress(Enough):
                    driver.lead(executor, print)
                after, ended = _cpu(me), time.perf_counter()
            finally:
                executor.close()
    return after[0] - before[0], after[1] - before[1], ended - began


def _ready(blocks: str, seconds: str) -> Ready:
    places = [(i % 1000, i // 1000) for i in range(int(blocks))]
    return Ready(
        segment_key="segment",
        block_key=seconds,
        blocks=tuple((f"{x:05d}-{y:05d}", x, y) for x, y in places),
        records={},
        tissue_mm2=100.0,
        seconds={},
        exported=(),
        nuclei=None,
        about={},
        measured=None,
    )


def _cpu(process: psutil.Process) -> tuple[float, float]:
    own = process.cpu_times()
    children = [child.cpu_times() for child in process.children(recursive=True)]
    return own.user + own.system, sum(c.user + c.system for c in children)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=0.0, help="sleep of each stand-in")
    parser.add_argument("--single", action="store_true", help="hand out every block alone")
    options = parser.parse_args()
    dask_link.perform_all = stand_in  # type: ignore[assignment]
    if options.single:
        roster.LOAD_TASKS = 1
    own, workers, wall = lead(options.blocks, options.workers, options.seconds)
    each = own / options.blocks
    print(f"{options.blocks:,} blocks, {options.workers} workers, {wall:.1f} s")
    print(f"driver and scheduler: {1e3 * each:.3f} ms of CPU a block, {own / wall:.1%} of a core")
    print(f"workers: {1e3 * workers / options.blocks:.3f} ms of CPU a block")
    for block in (0.5, 2.0, 10.0) if options.single else ():
        print(f"with blocks of {block:g} s: {each / block:.2%} of a core for every worker")


if __name__ == "__main__":
    # Pickled by its module's name, so that the workers import it as they do the real one.
    from benchmarks.scheduler import main as run_main

    run_main()
