"""How fast nuclei are measured, and in how much memory, by set of features.

    python benchmarks/features.py [--counts 100000 1000000] [--run OUT]

Synthetic nuclei at 1,275 a megapixel of a 0.5 µm/px frame over a made-up stained picture: the
making of the nuclei is part of what is measured, reading a slide is not. With ``--run`` the cells
of a finished run directory are measured, reading and writing included; the run is left as it is.
One process, one thread; on a machine that others use too, look at the CPU time. The shapes are
measured while stitching: their row is the cost of that alone.
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
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

import numpy as np

from wsiseg.cells.batch import CellSource
from wsiseg.features.definitions import DEFAULT_SETS, FeatureSet
from wsiseg.features.measure import Recipe, Surroundings, measure_cells
from wsiseg.features.position import region_outlines
from wsiseg.features.shape import measure_shapes
from wsiseg.geometry import Box
from wsiseg.pipeline.measuring import (
    MeasureSettings,
    farther_cells,
    measure_part,
    neighbourhood,
    survey_features,
)
from wsiseg.stain import default_stains
from wsiseg.store.folders import RunFolder, SlideFolder
from wsiseg.testing.sources import synthetic_cells
from wsiseg.tissue.mask import mask_frame, whole_slide

_WARM_UP = 2000
_PICTURE = 1024

_CHOICES: dict[str, tuple[FeatureSet, ...]] = {
    "none": (),
    "shape": ("shape",),
    "stain": ("stain",),
    "neighbours": ("neighbours",),
    "position": ("position",),
    "default": DEFAULT_SETS,
    "texture": ("texture",),
    "graph": ("graph",),
    "contour": ("contour",),
}


def _picture() -> Callable[[Box], np.ndarray]:
    """A picture in haematoxylin's and eosin's colours that repeats itself."""
    rng = np.random.default_rng(0)
    amounts = rng.gamma(2.0, 0.25, (_PICTURE, _PICTURE, 2)) @ np.array(
        [default_stains().haematoxylin, default_stains().counterstain]
    )
    picture = np.clip(255 * 10**-amounts, 0, 255).astype(np.uint8)

    def read(box: Box) -> np.ndarray:
        rows = np.arange(box.y0, box.y1) % _PICTURE
        columns = np.arange(box.x0, box.x1) % _PICTURE
        return picture[rows][:, columns]

    return read


class _Kept:
    """A source that keeps the parts it gave last, as the system keeps files that were read."""

    def __init__(self, source: CellSource) -> None:
        self.info, self.count, self.extents = source.info, source.count, source.extents
        self.read = lru_cache(maxsize=64)(source.read)


def _synthetic(sets: tuple[FeatureSet, ...], count: int) -> None:
    source = _Kept(synthetic_cells(count))
    info = source.info
    tissue = whole_slide(mask_frame(info.level0))
    outlines = region_outlines(tissue.polygons(info.level0), info.level0.mpp)
    place = Surroundings(info, _picture(), outlines)
    more = tuple(name for name in sets if name != "shape")
    recipe = Recipe(more, len(info.classes), default_stains())
    for part in range(len(source.extents)):
        around = neighbourhood(source, part, recipe.margin_um)
        if "shape" in sets:
            own = around.cells.polygons.take(np.arange(around.own.start, around.own.stop))
            measure_shapes(own, info.frame, info.level0)
        measure_cells(around, recipe, place, farther_cells(source, part))


def _of_run(sets: tuple[FeatureSet, ...], original: SlideFolder) -> int:
    """Measure the cells of a run in a folder of their own; their number."""
    with tempfile.TemporaryDirectory() as scratch:
        copy = SlideFolder(Path(scratch) / original.name)
        copy.root.mkdir()
        for name in ("plan.json", "tissue.npz", "cells"):
            (copy.root / name).symlink_to(original.root / name)
        surveyed = survey_features(copy, MeasureSettings(sets))
        return sum(measure_part(copy, surveyed.key, part).cells for part in surveyed.missing)


def _child(name: str, count: int, run: Path | None) -> dict[str, float]:
    _synthetic(_CHOICES[name], _WARM_UP)
    start, cpu = time.perf_counter(), time.process_time()
    if run is None:
        _synthetic(_CHOICES[name], count)
    else:
        folders = sorted((RunFolder(run).root / "slides").iterdir())
        count = sum(_of_run(_CHOICES[name], SlideFolder(path.resolve())) for path in folders)
    return {
        "count": count,
        "seconds": time.perf_counter() - start,
        "cpu": time.process_time() - cpu,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def _start(name: str, count: int, run: Path | None) -> dict[str, float]:
    command = [sys.executable, __file__, "--child", name, "--counts", str(count)]
    if run is not None:
        command += ["--run", str(run)]
    alone = {**os.environ, "NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=alone, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _report(names: Sequence[str], counts: Sequence[int], run: Path | None) -> None:
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, ", end="")
    print(f"Python {platform.python_version()}, {datetime.now(UTC):%Y-%m-%d}\n")
    print(f"{'set':12}{'nuclei':>10}{'s':>8}{'CPU s':>8}{'nuclei/CPU s':>14}{'peak MB':>9}")
    for count in counts:
        for name in names:
            if run is not None and name in ("none", "shape"):
                continue
            found = _start(name, count, run)
            print(
                f"{name:12}{found['count']:10,.0f}{found['seconds']:8.1f}{found['cpu']:8.1f}"
                f"{found['count'] / found['cpu']:14,.0f}{found['peak'] / 1e6:9.0f}",
                flush=True,
            )


def main() -> None:
    """Run the benchmark, or be one of its processes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--counts", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--sets", nargs="+", choices=[*_CHOICES], default=[*_CHOICES])
    parser.add_argument("--run", type=Path, help="a finished run directory, in place of --counts")
    parser.add_argument("--child", choices=[*_CHOICES], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    run = arguments.run.resolve() if arguments.run else None
    if arguments.child:
        print(json.dumps(_child(arguments.child, arguments.counts[0], run)))
    else:
        counts = [0] if run is not None else sorted(arguments.counts)
        _report(arguments.sets, counts, run)


if __name__ == "__main__":
    main()
