"""A slide from file to all default outputs, by stage, with peak memory beside the plan.

python benchmarks/end_to_end.py SLIDE [--workers N] [--model NAME] [--mpp X]
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import tempfile
from pathlib import Path

import wsiseg
from wsiseg.execution.api import RunResult


def main() -> None:
    """Run the job in a temporary folder and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("slide", type=Path)
    parser.add_argument("--workers", type=int, default=None)
    parser.add_argument("--model", default=None)
    parser.add_argument("--mpp", type=float, default=None)
    options = parser.parse_args()
    settings = {k: v for k, v in {"model": options.model, "mpp": options.mpp}.items() if v}
    job = wsiseg.Job.of(options.slide, **settings)
    with tempfile.TemporaryDirectory() as folder:
        result = wsiseg.run(job, folder, workers=options.workers)
        show(result)


def show(result: RunResult) -> None:
    """Print the stages of the only slide of a run."""
    run = wsiseg.open_run(result.out)
    (name,) = run.complete
    report = run.report(name)
    print(f"{name}, {report['model']['name']}, wsiseg {wsiseg.__version__}")
    print(f"{platform.machine()}, {os.cpu_count()} cores, {datetime.date.today()}")
    area, nuclei = report["area_mm2"]["tissue"], report["counts"]["nuclei"]
    print(f"{nuclei:,} nuclei, {area:.2f} mm² of tissue, {report['counts']['tiles']} tiles")
    workers = run.manifest["last_run"]["workers"]
    seconds = report["seconds"]
    rows = [(f"prepare: {k}", v) for k, v in seconds["prepare"].items()]
    rows += [(f"blocks: {k} (all workers)", v) for k, v in seconds["blocks"].items()]
    rows += [("stitch and measure", seconds["stitch"])]
    rows += [(f"export: {k}", v["seconds"]) for k, v in report["exports"].items()]
    for label, value in rows:
        print(f"  {label:32s} {value:8.2f} s")
    wall = report["wall_seconds"]
    print(f"  {'wall, without starting workers':32s} {wall:8.2f} s")
    print(f"  {'wall':32s} {result.seconds:8.2f} s with {workers} workers")
    print(f"{area / wall:.2f} mm² of tissue a second, {nuclei / wall:,.0f} nuclei a second")
    peak, planned = result.peak_bytes / 2**30, result.planned_bytes / 2**30
    print(f"peak memory of all processes {peak:.2f} GiB, planned {planned:.2f} GiB")


if __name__ == "__main__":
    main()
