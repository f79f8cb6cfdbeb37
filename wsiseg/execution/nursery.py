"""The process that the workers of this machine are forked from.

It has imported what every worker needs, once for all of them. The command line imports that itself,
for it needs most of it too, and splits this process off while it has no threads and has opened
nothing. Elsewhere it is a process of its own from the beginning. It performs nothing.
"""

from __future__ import annotations

import gc
import importlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import forkserver, resource_tracker, util
from pathlib import Path
from typing import Any

PRELOADED = "wsiseg.execution.dask_preload"
"""The module that it imports."""

ENVIRONMENT = {
    # One process a core: libraries that start threads of their own would only be in the way.
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
"""What it is started with where the user says nothing else: libraries look at nothing later than
when they are imported."""

_COLLECT = 700, 10, 10
"""How often Python looks for garbage; the command line itself does so less often."""

_STANDARD = 2
"""Up to here files are standard input, output and error."""


def method() -> str:
    """How worker processes are started here, as :mod:`multiprocessing` calls it."""
    return "forkserver" if sys.platform == "linux" else "spawn"


def begin() -> None:
    """Start it if it does not run yet; returns while it is still importing.

    It ends with this process and its workers. Nothing happens where processes are not forked.
    """
    if method() != "forkserver":
        return
    multiprocessing.get_context("forkserver").set_forkserver_preload([PRELOADED])
    with deaf(), _environment():
        forkserver.ensure_running()


def begin_as_copy() -> None:
    """Import here what workers need, and start it as a copy of this process.

    A process that has imported something like that already may have threads, which a copy would
    lack: then this is :func:`begin`, and so where Python starts its server in another way.
    """
    startable = method() == "forkserver" and hasattr(util, "spawnv_passfds")
    if not startable or "numpy" in sys.modules:
        begin()
        return
    # This one is to be a process of its own.
    resource_tracker.ensure_running()
    with _environment():
        importlib.import_module(PRELOADED)
    spawn = util.spawnv_passfds
    # Python has no other way to say how its server of forks is to come into the world.
    util.spawnv_passfds = _copy_passing
    try:
        begin()
    finally:
        util.spawnv_passfds = spawn


def _copy_passing(path: bytes, args: Sequence[object], passfds: Sequence[int]) -> int:
    """Stands in for ``spawnv_passfds`` of :mod:`multiprocessing.util`: the server of forks that a
    new process was to be started for runs in a copy of this one. The copy has the standard streams
    and ``passfds`` open, and nothing else."""
    pid = os.fork()
    if pid:
        return pid
    try:
        gc.set_threshold(*_COLLECT)
        for file in [int(path.name) for path in Path("/proc/self/fd").iterdir()]:
            if file > _STANDARD and file not in passfds:
                # The listing itself was one of them.
                with suppress(OSError):
                    os.close(file)
        listening, alive, *key = passfds
        # From Python 3.14 on, both sides prove that they belong together.
        proof: dict[str, Any] = {"authkey_r": key[0]} if key else {}
        forkserver.main(listening, alive, [], **proof)
    finally:
        os._exit(1)


@contextmanager
def deaf() -> Iterator[None]:
    """Threads and processes that are started meanwhile do not hear Ctrl-C."""
    # Python's tracker lets the signal through again in the thread that starts it.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _environment() -> Iterator[None]:
    missing = {name: value for name, value in ENVIRONMENT.items() if name not in os.environ}
    os.environ.update(missing)
    try:
        yield
    finally:
        for name in missing:
            del os.environ[name]
