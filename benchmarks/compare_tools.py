"""wsiseg and other tools on one region of one slide, one after the other on the same machine.

    python -m benchmarks.compare_tools SLIDE [--stardist PYTHON] [--cellpose PYTHON]
                                       [--lazyslide PYTHON] [--tiles N] [--only PART ...]

SLIDE is the giardia slide; the region is 8,192 px a side, 4.64 mm². PYTHON are interpreters of
environments with those tools (and openslide-python). ``seconds`` are those of the work, without
starting Python, importing and (but for wsiseg) loading the model; ``command`` is the whole command
by the clock. Memory is watched from outside in one way for all: the resident memory of all
processes of the command together, and the same with shared pages counted once.

StarDist and wsiseg are also compared with an equal network: one of StarDist's layout whose last
layers are fitted to wsiseg's labels of the region (``others/stardist_model.py``). Both run those
weights in full and do all that follows by themselves. cellpose's network carries random weights;
flows of wsiseg's labels replace what it finds.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import wsiseg
from benchmarks.others.region import SIDE, X, Y
from benchmarks.processes import Watched, watch
from wsiseg.files import write_json

OTHERS = Path(__file__).parent / "others"
PARTS = ("wsiseg", "stardist", "cellpose", "lazyslide", "tiling")
LEAN = ("--export", "geojson", "--features", "none")

Row = dict[str, Any]


class Comparison:
    """Runs tools in a folder of its own and keeps what they tell."""

    def __init__(self, slide: Path, folder: Path) -> None:
        self.slide, self.folder = slide, folder
        self.rows: list[Row] = []
        self.area = 0.0
        self._box = folder / "box.geojson"
        write_json(self._box, _box())

    def wsiseg(self, what: str, *settings: str, counted: bool = True) -> Path:
        """A run of wsiseg; its folder."""
        out = self.folder / f"run-{len(list(self.folder.glob('run-*')))}"
        command: list[str | Path] = ["run", self.slide, "-o", out, "--tissue", self._box, *settings]
        watched = watch([Path(sys.executable).with_name("wsiseg"), *command])
        told = _told_by_run(out, watched, what)
        report = _report(out)
        self.area = SIDE**2 * report["resolution"]["level0"]["mpp_x"] ** 2 * 1e-6
        if counted:
            self._add(f"wsiseg, {what}", told, watched)
        return out

    def other(self, python: Path, program: str, *given: str | Path) -> None:
        """Another tool in its own environment; nothing is tuned for or against it."""
        quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
        watched = watch([python, OTHERS / program, self.slide, *given], quiet)
        if watched.code:
            sys.exit(f"{program} failed:\n{watched.errors[-3000:]}")
        if lines := watched.output.strip().splitlines():
            told = json.loads(lines[-1])
            self._add(told.pop("tool"), told, watched)

    def _add(self, tool: str, told: Row, watched: Watched) -> None:
        row = {
            "tool": tool,
            **told,
            "command": watched.seconds,
            "mib": watched.peak_bytes / 2**20,
            "shared_mib": watched.shared_peak_bytes / 2**20,
        }
        print(json.dumps(row), file=sys.stderr, flush=True)
        self.rows.append(row)


def main() -> None:
    """Run all that is asked for, print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("slide", type=Path)
    parser.add_argument("--stardist", type=Path)
    parser.add_argument("--cellpose", type=Path)
    parser.add_argument("--lazyslide", type=Path)
    parser.add_argument("--tiles", type=int, default=2, help="tiles that cellpose is run on")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = Comparison(options.slide, folder)
        # What the others are to find comes from this; and what is compiled once is compiled now.
        out = run.wsiseg("the first run", "--workers", "2", counted=False)
        labels = folder / "labels.npz"
        np.savez(labels, labels=_labels(out, options.slide))
        if "wsiseg" in options.only:
            run.wsiseg("GeoJSON only, one process (--inline)", *LEAN, "--inline")
            run.wsiseg("GeoJSON only, 1 worker", *LEAN, "--workers", "1")
            run.wsiseg("GeoJSON only, 2 workers", *LEAN, "--workers", "2")
            run.wsiseg("all default outputs and features, 2 workers", "--workers", "2")
        if options.stardist and "stardist" in options.only:
            model = folder / "stars"
            run.other(options.stardist, "stardist_model.py", labels, model)
            run.other(options.stardist, "stardist_region.py", model, folder / "other.geojson")
            same = ("--model", str(model), *LEAN)
            run.wsiseg("StarDist's network, GeoJSON only, one process", *same, "--inline")
            run.wsiseg("StarDist's network, GeoJSON only, 2 workers", *same, "--workers", "2")
        if options.cellpose and "cellpose" in options.only:
            geojson, tiles = folder / "other.geojson", str(options.tiles)
            run.other(options.cellpose, "cellpose_region.py", labels, geojson, tiles)
        if options.lazyslide and "lazyslide" in options.only:
            for workers in ("0", "2"):
                run.other(options.lazyslide, "lazyslide_region.py", workers)
        if "tiling" in options.only:
            run.other(Path(sys.executable), "tiling.py", folder)
    _show(run.rows, run.area)


def _box() -> dict[str, Any]:
    ring = [[X, Y], [X + SIDE, Y], [X + SIDE, Y + SIDE], [X, Y + SIDE], [X, Y]]
    geometry = {"type": "Polygon", "coordinates": [ring]}
    feature = {"type": "Feature", "geometry": geometry, "properties": {"objectType": "annotation"}}
    return {"type": "FeatureCollection", "features": [feature]}


def _report(out: Path) -> dict[str, Any]:
    run = wsiseg.open_run(out)
    (name,) = run.complete
    report: dict[str, Any] = run.report(name)
    return report


def _told_by_run(out: Path, watched: Watched, what: str) -> Row:
    if watched.code:
        sys.exit(f"wsiseg, {what}, failed:\n{watched.errors[-3000:]}")
    report = _report(out)
    seconds = report["seconds"]
    stages = {"prepare": sum(seconds["prepare"].values()), **seconds["blocks"]}
    stages |= {"stitch": seconds["stitch"], "measure": seconds["measure"]}
    stages |= {k: v["seconds"] for k, v in report["exports"].items()}
    return {
        "seconds": report["wall_seconds"],
        "stages": {k: round(v, 2) for k, v in stages.items()},
        "found": f"{report['counts']['nuclei']:,} nuclei",
    }


def _labels(out: Path, slide: Path) -> np.ndarray[Any, np.dtype[np.int32]]:
    """Nuclei of the region at half of level 0, int32 ``[y, x]``."""
    import zarr

    report = _report(out)
    path = out / "slides" / slide.name / report["exports"]["labels"]["file"]
    array = zarr.open_group(path, mode="r")["nuclei/0"]
    resolution = report["resolution"]
    scale = resolution["frame"]["mpp_x"] / (2 * resolution["level0"]["mpp_x"])
    rows = np.rint((np.arange(SIDE // 2) + Y / 2 + 0.5) / scale - 0.5).astype(int)
    columns = np.rint((np.arange(SIDE // 2) + X / 2 + 0.5) / scale - 0.5).astype(int)
    top, left = int(rows[0]), int(columns[0])
    cut = array[..., top : int(rows[-1]) + 1, left : int(columns[-1]) + 1]
    values = np.asarray(cut).squeeze()
    rows, columns = rows - top, columns - left
    rows, columns = rows.clip(0, values.shape[0] - 1), columns.clip(0, values.shape[1] - 1)
    found = values[np.ix_(rows, columns)]
    return np.unique(found, return_inverse=True)[1].reshape(found.shape).astype(np.int32)


def _show(rows: Sequence[Row], area: float) -> None:
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, {datetime.date.today()}; {area:.3f} mm²\n"
    )
    print("| tool | seconds | command | mm²/s | peak MiB (shared pages once) | found | stages |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        stages = ", ".join(f"{name} {taken}" for name, taken in row["stages"].items())
        print(
            f"| {row['tool']} | {row['seconds']:.1f} | {row['command']:.1f} "
            f"| {area / row['seconds']:.2f} | {row['mib']:,.0f} ({row['shared_mib']:,.0f}) "
            f"| {row['found']} | {stages} |"
        )


if __name__ == "__main__":
    main()
