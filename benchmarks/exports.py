"""How fast nuclei leave, and in how much memory: GeoJSON for QuPath, GeoParquet, OME-Zarr labels.

    python benchmarks/exports.py [--counts 100000 1000000]

Synthetic nuclei of 32 vertices at 1,275 a megapixel of a 0.5 µm/px frame are made as they are
read, as often as an exporter reads them; that time is part of what is measured. On a machine
that others use too, look at the CPU time. Every exporter runs in a process of its own, after a
small export that compiles what is compiled. For the row "together" the labels are written by
one process while another writes GeoJSON and table. Memory a nucleus is the growth of the peak
resident set from the smallest count to the largest.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from wsiseg.cells.batch import CellSource
from wsiseg.export.geojson import write_cells_geojson
from wsiseg.export.labels import TissueLabels, write_labels
from wsiseg.export.tables import write_cells_parquet
from wsiseg.testing.sources import synthetic_cells

_WARM_UP = 2000
_TISSUE_REDUCTION = 16


@dataclass(frozen=True)
class Measured:
    """What one process took."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    written_bytes: int


def _geojson(path: Path, source: CellSource) -> None:
    write_cells_geojson(path.with_suffix(".geojson.gz"), source)


def _parquet(path: Path, source: CellSource) -> None:
    write_cells_parquet(path.with_suffix(".parquet"), source)


def _labels(path: Path, source: CellSource) -> None:
    frame = source.info.frame.reduced(_TISSUE_REDUCTION)
    codes = np.ones(frame.box.shape, np.uint8)
    tissue = TissueLabels(codes, frame, ((1, "tissue", (120, 90, 160, 255)),))
    write_labels(path.with_suffix(".zarr"), source, tissue)


_EXPORTS: dict[str, Callable[[Path, CellSource], None]] = {
    "geojson": _geojson,
    "parquet": _parquet,
    "labels": _labels,
}


def _measure(names: Sequence[str], count: int, folder: Path) -> Measured:
    """Run some exports one after the other in this process."""
    for name in names:
        _EXPORTS[name](folder / "warm", synthetic_cells(_WARM_UP))
    source = synthetic_cells(count)
    start, cpu_start = time.perf_counter(), time.process_time()
    for name in names:
        _EXPORTS[name](folder / f"{name}-{count}", source)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu_start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    files = [file for file in folder.rglob("*") if file.is_file() and "warm" not in str(file)]
    return Measured(seconds, cpu, peak, sum(file.stat().st_size for file in files))


def _start(names: Sequence[str], count: int, folder: Path) -> subprocess.Popen[str]:
    folder.mkdir()
    command = [sys.executable, __file__, "--child", *names, "--counts", str(count)]
    return subprocess.Popen(
        [*command, "--folder", str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "NUMBA_NUM_THREADS": "1"},
    )


def _result(process: subprocess.Popen[str]) -> Measured:
    output, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"the export failed with exit code {process.returncode}")
    return Measured(**json.loads(output))


def _report(counts: Sequence[int]) -> None:
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, ", end="")
    print(f"Python {platform.python_version()}, {datetime.now(UTC):%Y-%m-%d}\n")
    print(f"{'export':10}{'nuclei':>10}{'s':>8}{'CPU s':>8}{'nuclei/s':>10}", end="")
    print(f"{'MB written':>12}{'peak MB':>9}")
    peaks: dict[str, list[int]] = {}
    for count in counts:
        for names in [[name] for name in _EXPORTS] + [["together"]]:
            with tempfile.TemporaryDirectory() as scratch:
                parts = [["labels"], ["geojson", "parquet"]] if names == ["together"] else [names]
                running = [_start(p, count, Path(scratch) / "-".join(p)) for p in parts]
                done = [_result(process) for process in running]
            peaks.setdefault(names[0], []).append(sum(m.peak_bytes for m in done))
            seconds = max(m.seconds for m in done)
            written = sum(m.written_bytes for m in done) / 1e6
            print(
                f"{names[0]:10}{count:10,}{seconds:8.1f}{sum(m.cpu_seconds for m in done):8.1f}"
                f"{count / seconds:10,.0f}"
                f"{written:12.1f}{peaks[names[0]][-1] / 1e6:9.0f}",
                flush=True,
            )
    if len(counts) > 1:
        print()
        for name, values in peaks.items():
            growth = (values[-1] - values[0]) / (counts[-1] - counts[0])
            print(f"{name:10} {growth:6.1f} bytes of memory a nucleus")


def main() -> None:
    """Run the benchmark, or be one of its processes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--counts", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--child", nargs="+", choices=[*_EXPORTS], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        measured = _measure(arguments.child, arguments.counts[0], arguments.folder)
        print(json.dumps(asdict(measured)))
    else:
        _report(sorted(arguments.counts))


if __name__ == "__main__":
    main()
