"""The process that the workers of this machine are forked from.

It imports what every worker needs, once for all of them and while the command that leads the run
is still importing what it needs itself. It has no threads of Python's own, opens nothing and
performs nothing.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker

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
