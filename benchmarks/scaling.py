"""Cost a mm² from 1 to 100 times the tissue: real tiles repeated into larger slides.

    python -m benchmarks.scaling SLIDE [--largest 100] [--models nuclei-he classical-he]
                                       [--workers 2] [--json FILE]

SLIDE as ``benchmarks/repeated.py`` needs it. Its fullest square of 4,096 px (of the giardia slide
1.2 mm² of tissue) is repeated 1, 4, 16, ... times, as long as four times as much is not more than
the largest, then that. Every slide is run whole, all default outputs written. The smallest is run
once before, uncounted, so that what is compiled once is.

The fixed cost of a run (starting Python and the workers, loading the model) is measured on the
smallest slide with a spot of its tissue. ``to the smallest`` is the cost a mm² without it, over
that of the smallest slide: by the clock, and by the processor time of all processes, which other
programs on the machine change little. What takes a few seconds is run several times, and the
fastest counts. Stages of blocks are sums over workers.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import wsiseg
from benchmarks.processes import watch
from benchmarks.repeated import SQUARE_PX, write_repeated
from wsiseg.files import write_json

MODELS = ("nuclei-he", "classical-he")

SPOT_PX = 512
SHORT, REPEATS = 4, 3
"""Slides of so many squares and fewer are run so many times."""


@dataclass(frozen=True, slots=True)
class Size:
    """What a slide of some size took.

    Attributes
    ----------
    times
        How many times the square is there.
    area
        Of tissue in mm².
    nuclei
        Found.
    seconds, busy_seconds
        Of the whole command, by the clock and of processor time.
    stages
        Seconds by stage, as the report has them.
    peak_mib
        Resident memory of all processes together, and the most of each kind of process.
    """

    times: int
    area: float
    nuclei: int
    seconds: float
    busy_seconds: float
    stages: dict[str, float]
    peak_mib: dict[str, int]


def main() -> None:
    """Make the slides, run them, print tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("slide", type=Path)
    parser.add_argument("--largest", type=int, default=100)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, {datetime.now(UTC):%Y-%m-%d}, ", end="")
    print(f"wsiseg {wsiseg.__version__}, {options.workers} workers")
    found: dict[str, list[Size]] = {model: [] for model in options.models}
    spots: dict[str, Size] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for times in steps(options.largest):
            slide = folder / f"{times}.tif"
            # One square of glass on every side.
            side = (math.ceil(math.sqrt(times)) + 2) * SQUARE_PX
            write_repeated(options.slide, slide, side, times, kinds=1)
            for model, sizes in found.items():
                settings = ["--model", model, "--workers", str(options.workers)]
                if not sizes:
                    run(slide, folder / "run", times, settings)
                    spots[model] = fastest(
                        slide, folder / "run", 0, [*settings, "--tissue", str(spot(folder, side))]
                    )
                sizes.append(fastest(slide, folder / "run", times, settings))
                print(f"{model}, {times} times: {sizes[-1].seconds:.1f} s", file=sys.stderr)
            slide.unlink()
    for model, sizes in found.items():
        show(model, sizes, spots[model])
    if options.json is not None:
        plain = {
            model: [asdict(size) for size in (spots[model], *sizes)]
            for model, sizes in found.items()
        }
        options.json.write_text(json.dumps(plain, indent=2) + "\n", "utf-8")


def steps(largest: int) -> Iterator[int]:
    """1, 4, 16, ..., and the largest."""
    times = 1
    while 4 * times <= largest:
        yield times
        times *= 4
    yield largest


def spot(folder: Path, side: int) -> Path:
    """A file that says that only a spot in the middle of a slide is tissue."""
    low, high = (side - SPOT_PX) // 2, (side + SPOT_PX) // 2
    ring = [[low, low], [high, low], [high, high], [low, high], [low, low]]
    geometry = {"type": "Polygon", "coordinates": [ring]}
    path = folder / "spot.geojson"
    write_json(path, {"type": "Feature", "geometry": geometry, "properties": {}})
    return path


def fastest(slide: Path, out: Path, times: int, settings: Sequence[str]) -> Size:
    """The fastest of some runs of a small slide, the only one of a larger."""
    repeats = REPEATS if times <= SHORT else 1
    return min((run(slide, out, times, settings) for _ in range(repeats)), key=lambda s: s.seconds)


def run(slide: Path, out: Path, times: int, settings: Sequence[str]) -> Size:
    """Run a slide from the command line."""
    command = ["-m", "wsiseg.cli.main", "run", str(slide), "-o", str(out), *settings]
    watched = watch([sys.executable, *command])
    if watched.code:
        sys.exit(watched.errors)
    report = wsiseg.open_run(out).report(slide.name)
    shutil.rmtree(out)
    seconds = report["seconds"]
    stages = {"prepare": sum(seconds["prepare"].values()), **seconds["blocks"]}
    stages |= {"stitch": seconds["stitch"], "measure": seconds["measure"]}
    stages["export"] = sum(export["seconds"] for export in report["exports"].values())
    peaks = {"together": watched.peak_bytes}
    for process in watched.processes:
        peaks[process.role] = max(peaks.get(process.role, 0), process.peak_bytes)
    return Size(
        times,
        report["area_mm2"]["tissue"],
        report["counts"]["nuclei"],
        watched.seconds,
        watched.busy_seconds,
        stages,
        {role: round(peak / 2**20) for role, peak in peaks.items()},
    )


def show(model: str, sizes: Sequence[Size], start: Size) -> None:
    """Print a table of a model; ``start`` is the run of a spot."""
    print(
        f"\n{model}: {start.seconds:.1f} s of start-up ({start.busy_seconds:.1f} s of processor "
        f"time, {start.area:.3f} mm²)\n"
    )
    stages = list(sizes[0].stages)
    roles = list(dict.fromkeys(role for size in sizes for role in size.peak_mib))
    heads = [
        *(
            "times",
            "mm²",
            "nuclei",
            "s",
            "CPU s",
            "s/mm²",
            "without start-up",
            "to the smallest",
            "CPU",
        ),
        *(f"{stage} s/mm²" for stage in stages),
        *(f"{role} MiB" for role in roles),
    ]
    print("| " + " | ".join(heads) + " |\n" + "|---" * len(heads) + "|")
    for size in sizes:
        clock = _cost(size, start, "seconds") / _cost(sizes[0], start, "seconds")
        busy = _cost(size, start, "busy_seconds") / _cost(sizes[0], start, "busy_seconds")
        cells = [
            str(size.times),
            f"{size.area:.2f}",
            f"{size.nuclei:,}",
            f"{size.seconds:.1f}",
            f"{size.busy_seconds:.1f}",
            f"{size.seconds / size.area:.2f}",
            f"{_cost(size, start, 'seconds'):.2f}",
            f"{clock:.2f}",
            f"{busy:.2f}",
            *(f"{size.stages[stage] / size.area:.3f}" for stage in stages),
            *(f"{size.peak_mib.get(role, 0):,}" for role in roles),
        ]
        print("| " + " | ".join(cells) + " |")


def _cost(size: Size, start: Size, which: Literal["seconds", "busy_seconds"]) -> float:
    """Seconds a mm² beyond the start-up."""
    more: float = getattr(size, which) - getattr(start, which)
    return more / (size.area - start.area)


if __name__ == "__main__":
    main()
