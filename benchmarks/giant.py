"""Peak memory of every process on a huge slide, beside what was planned for each.

python -m benchmarks.giant SLIDE [--side 100000] [--nuclei 2000000] [--model NAME] [--out FOLDER]

The huge slide is made of tiles of SLIDE (see ``benchmarks/repeated.py``).
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import wsiseg
from benchmarks.processes import Watched, watch
from benchmarks.repeated import write_repeated
from wsiseg.execution.memory import plan_memory
from wsiseg.job import Job
from wsiseg.models.zoo import load_segmenter

NUCLEI_A_SQUARE = {"nuclei-he": 11_000, "classical-he": 7_500}
"""Found in a square of the giardia slide's tissue, about."""


def main() -> None:
    """Make the slide, run it, print what it took as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("slide", type=Path)
    parser.add_argument("--side", type=int, default=100_000)
    parser.add_argument("--nuclei", type=int, default=2_000_000)
    parser.add_argument("--model", default="nuclei-he")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        out = options.out or Path(folder)
        out.mkdir(parents=True, exist_ok=True)
        slide = out / "giant.tif"
        squares = -(-options.nuclei // NUCLEI_A_SQUARE.get(options.model, 7_500))
        write_repeated(options.slide, slide, options.side, squares)
        watched = run(slide, out / "run", options.model, options.workers)
        if watched.code:
            sys.exit(watched.errors)
        print(json.dumps(summary(slide, out / "run", watched)))


def run(slide: Path, out: Path, model: str, workers: int) -> Watched:
    """Run the job from the command line."""
    command = ["run", str(slide), "-o", str(out), "--model", model, "--workers", str(workers)]
    return watch([sys.executable, "-m", "wsiseg.cli.main", *command])


def summary(slide: Path, out: Path, watched: Watched) -> dict[str, Any]:
    """What was made, planned and used."""
    opened = wsiseg.open_run(out)
    report = opened.report(slide.name)
    job = Job.of(slide)
    spec = load_segmenter(report["model"]["name"]).spec
    lattice = report["lattice"]
    window = lattice["core_px"] + 2 * lattice["halo_px"]
    plan = plan_memory(spec, window, 1)
    planned = {"driver": plan.driver, "worker": plan.worker}
    rows = [
        {
            "role": process.role,
            "peak_mib": round(process.peak_bytes / 2**20),
            "planned_mib": round(planned[process.role] / 2**20),
        }
        for process in watched.processes
        if process.role in planned
    ]
    return {
        "machine": f"{os.cpu_count()} cores, {datetime.datetime.now(datetime.UTC).date()}",
        "slide_px": report["resolution"]["level0"],
        "slide_mb": round(slide.stat().st_size / 1e6, 1),
        "model": report["model"]["name"],
        "nuclei": report["counts"]["nuclei"],
        "tissue_mm2": report["area_mm2"]["tissue"],
        "blocks": report["counts"]["blocks"],
        "processes": rows,
        "within_plan": all(row["peak_mib"] <= row["planned_mib"] for row in rows),
        "all_exports": sorted(report["exports"]) == sorted(job.exports),
        "export_mb": {k: round(v["stored_bytes"] / 1e6) for k, v in report["exports"].items()},
        "export_seconds": {k: round(v["seconds"], 1) for k, v in report["exports"].items()},
        "stitch_seconds": round(report["seconds"]["stitch"], 1),
        "seconds": round(watched.seconds, 1),
    }


if __name__ == "__main__":
    main()
