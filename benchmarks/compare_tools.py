"""wsiseg and other tools on one region of one slide, one after the other on the same machine.

    python benchmarks/compare_tools.py SLIDE [--stardist PYTHON] [--cellpose PYTHON] [--tiles N]

SLIDE is the giardia slide; the region is 8,192 px a side, 4.64 mm². PYTHON are interpreters of
environments with those tools (and openslide-python). wsiseg's seconds are those of the run without
starting Python, as those of the others; ``command`` is the whole command by the clock. The others'
networks carry random weights and run in full; candidates come from wsiseg's labels of the region.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import wsiseg
from benchmarks.others.region import SIDE, X, Y
from wsiseg.files import write_json

OTHERS = Path(__file__).parent / "others"


def main() -> None:
    """Run all, print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("slide", type=Path)
    parser.add_argument("--stardist", type=Path)
    parser.add_argument("--cellpose", type=Path)
    parser.add_argument("--tiles", type=int, default=2, help="tiles that cellpose is run on")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        box = folder / "box.geojson"
        write_json(box, _box())
        lean = ("--export", "geojson", "--features", "none")
        for told, settings in (("GeoJSON only", lean), ("all default outputs", ())):
            for workers in (1, 2):
                what = f"wsiseg, {told}, {workers} worker{'s'[: workers - 1]}"
                out = folder / f"{told}-{workers}".replace(" ", "-")
                command = [*settings, "--tissue", str(box), "--workers", str(workers)]
                rows.append(_wsiseg(what, options.slide, out, command))
        labels = folder / "labels.npz"
        np.savez(labels, labels=_labels(folder / "all-default-outputs-2", options.slide))
        geojson = str(folder / "other.geojson")
        given = [str(options.slide), str(labels), geojson]
        if options.stardist:
            rows.append(_other(options.stardist, "stardist_region.py", given))
        if options.cellpose:
            rows.append(
                _other(options.cellpose, "cellpose_region.py", [*given, str(options.tiles)])
            )
        rows.append(_other(Path(sys.executable), "tiling.py", [str(options.slide), name]))
        area = _area(folder / "all-default-outputs-2")
    _show(rows, area)


def _box() -> dict[str, Any]:
    ring = [[X, Y], [X + SIDE, Y], [X + SIDE, Y + SIDE], [X, Y + SIDE], [X, Y]]
    geometry = {"type": "Polygon", "coordinates": [ring]}
    feature = {"type": "Feature", "geometry": geometry, "properties": {"objectType": "annotation"}}
    return {"type": "FeatureCollection", "features": [feature]}


def _wsiseg(what: str, slide: Path, out: Path, settings: Sequence[str]) -> dict[str, Any]:
    command = [
        str(Path(sys.executable).with_name("wsiseg")),
        "run",
        str(slide),
        "-o",
        str(out),
        *settings,
    ]
    begin = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    whole = time.perf_counter() - begin
    run = wsiseg.open_run(out)
    (name,) = run.complete
    report = run.report(name)
    seconds = report["seconds"]
    blocks = {"prepare": round(sum(seconds["prepare"].values()), 2)}
    blocks |= {k: round(v, 2) for k, v in seconds["blocks"].items()}
    blocks["stitch"] = round(seconds["stitch"], 2)
    exports = {k: round(v["seconds"], 2) for k, v in report["exports"].items()}
    return {
        "tool": what,
        "seconds": round(report["wall_seconds"], 2),
        "command": round(whole, 2),
        "stages": blocks | exports,
        "peak_mib": round(run.manifest["last_run"]["memory_peak_bytes"] / 2**20),
        "nuclei": report["counts"]["nuclei"],
    }


def _labels(out: Path, slide: Path) -> np.ndarray[Any, np.dtype[np.int32]]:
    """Nuclei of the region at half of level 0, int32 ``[y, x]``."""
    import zarr

    run = wsiseg.open_run(out)
    (name,) = run.complete
    path = out / "slides" / name / run.report(name)["exports"]["labels"]["file"]
    array = zarr.open_group(path, mode="r")["nuclei/0"]
    resolution = run.report(name)["resolution"]
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


def _other(python: Path, program: str, given: Sequence[str]) -> dict[str, Any]:
    # One thread pool a core, as each tool comes; nothing is tuned for or against it.
    done = subprocess.run(
        [str(python), str(OTHERS / program), *given],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""},
    )
    if done.returncode:
        sys.exit(f"{program} failed:\n{done.stderr[-3000:]}")
    told: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return told


def _area(out: Path) -> float:
    run = wsiseg.open_run(out)
    (name,) = run.complete
    level0 = run.report(name)["resolution"]["level0"]
    return float(SIDE * level0["mpp_x"] * SIDE * level0["mpp_y"] * 1e-6)


def _show(rows: Sequence[dict[str, Any]], area: float) -> None:
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, {datetime.date.today()}; {area:.3f} mm²\n"
    )
    print("| tool | seconds | command | mm²/s | peak MiB | nuclei | stages, seconds |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        stages = ", ".join(f"{name} {taken}" for name, taken in row["stages"].items())
        print(
            f"| {row['tool']} | {row['seconds']:.1f} | {row.get('command', '')} "
            f"| {area / row['seconds']:.2f} | {row['peak_mib']} | {row['nuclei']:,} | {stages} |"
        )


if __name__ == "__main__":
    main()
