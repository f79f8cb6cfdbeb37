"""Helpers for tests of whole runs."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow.parquet as pq
import zarr

import wsiseg
from wsiseg.store.columns import open_columns
from wsiseg.store.folders import RunFolder, SlideFolder

FAST_MODEL = "classical-he"
"""What tests run where any model will do."""


def job_of(*paths: Path, **settings: Any) -> wsiseg.Job:
    """A job, of the fast model unless another is named."""
    return wsiseg.Job.of(*paths, **{"model": FAST_MODEL, **settings})


def slide_folder(out: Path) -> SlideFolder:
    """The folder of the only slide of a run."""
    (name,) = wsiseg.open_run(out).slides
    return RunFolder(out).slide(name)


def assert_equal_results(a: Path, b: Path) -> None:
    """Fail unless the only slides of two runs have equal tables, arrays and overlays."""
    first, second = slide_folder(a).root, slide_folder(b).root
    one, two = pq.read_table(first / "cells.parquet"), pq.read_table(second / "cells.parquet")
    assert one.num_rows > 0
    assert one.equals(two)
    for label in ("nuclei", "tissue"):
        x, y = (zarr.open_group(p / "labels.zarr", mode="r")[label] for p in (first, second))
        levels = sorted(x.array_keys())
        assert levels == sorted(y.array_keys())
        for level in levels:
            assert np.array_equal(x[level][:], y[level][:])
    assert (first / "cells.geojson.gz").read_bytes() == (second / "cells.geojson.gz").read_bytes()
    assert (first / "tissue.geojson").read_bytes() == (second / "tissue.geojson").read_bytes()


def read_features(path: Path) -> list[dict[str, Any]]:
    """Features of a GeoJSON file of ours."""
    document = json.loads(gzip.decompress(path.read_bytes()))
    features: list[dict[str, Any]] = document["features"]
    return features


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    """``wsiseg`` as a user starts it, in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "wsiseg.cli.main", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wsiseg_command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """``wsiseg`` as a user calls it, to its end."""
    return subprocess.run(
        [sys.executable, "-m", "wsiseg.cli.main", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def plain(text: str) -> str:
    """What the terminal shows, without frames and line breaks."""
    return " ".join("".join(c for c in text if c not in "│╭╮╰╯─").split())


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait for something to come true while a process runs; fail if it ends before."""
    for _ in range(6000):
        if condition():
            return
        if process.poll() is not None:
            raise AssertionError(f"ended too early: {process.communicate()}")
        time.sleep(0.02)
    raise AssertionError("waited in vain")


def kill_group(process: subprocess.Popen[str], number: int = signal.SIGKILL) -> None:
    """Send a signal to a process and all it started, and wait for its end."""
    os.killpg(process.pid, number)
    process.communicate(timeout=60)


def committed(out: Path) -> dict[str, int]:
    """Committed blocks of a run and when they were written (ns)."""
    return {p.name: p.stat().st_mtime_ns for p in out.glob("slides/*/blocks/[0-9]*.columns")}


def leave_lock_of_dead_process(run: RunFolder) -> None:
    """Lock a run directory as a driver does that is killed at work."""
    code = (
        "import os, sys; from pathlib import Path; from wsiseg.store.folders import RunFolder;"
        "from wsiseg.store.lock import locked;"
        "lock = locked(RunFolder(Path(sys.argv[1]))); lock.__enter__(); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(run.root)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert run.lock.exists()


TIMED = {"blocks", "stitch.json", "report.json", "log.jsonl", "log.jsonl.1"}
"""Files of a slide that say when or how fast something was done, besides what was found."""


def assert_same_files(a: Path, b: Path) -> None:
    """Fail unless two runs left the same files with the same content, timings excluded."""
    for name in wsiseg.open_run(a).slides:
        first, second = RunFolder(a).slide(name).root, RunFolder(b).slide(name).root
        files = {p.relative_to(first) for p in first.rglob("*") if p.is_file()}
        others = {p.relative_to(second) for p in second.rglob("*") if p.is_file()}
        assert files == others
        for file in sorted(files):
            if not TIMED & set(file.parts):
                assert (first / file).read_bytes() == (second / file).read_bytes(), file
        for block in (f for f in files if f.parts[0] == "blocks"):
            with open_columns(first / block) as one, open_columns(second / block) as other:
                assert one.names == other.names
                assert all(np.array_equal(one[name], other[name]) for name in one.names), block
        reports = [wsiseg.open_run(run).report(name) for run in (a, b)]
        assert reports[0]["counts"] == reports[1]["counts"]


def processes_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The worker processes that a run has started."""
    try:
        # The process that they are forked from is a child itself.
        children = psutil.Process(process.pid).children(recursive=True)
        return [child for child in children if child.ppid() != process.pid]
    except psutil.NoSuchProcess:
        return []
