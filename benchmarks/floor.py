"""What this machine could do at best, and how much of it a run reaches.

    python -m benchmarks.floor SLIDE [--model nuclei-he] [--run OUT]

Three things cannot be left out: decoding every JPEG tile that the windows of the tissue touch,
once, at the scale used; the multiply-adds of the network on those windows; writing the exports. The
floor is the time that they would take at the speeds measured here, with nothing else to do and all
cores busy all the time:

- tiles of the slide itself through libjpeg-turbo (simplejpeg), nothing checked and nothing copied;
- a matrix product of 2,048 x 2,048 x 2,048 through OpenVINO in bfloat16 and float32 (and in torch
  where it is installed), which no convolution reaches;
- a file of 256 MB, flushed to the disk.

Beside it stands prediction alone: the network on the same windows, in the order of a run, as
OpenVINO runs it, by the clock. The pixels are random and lie in memory and the model is compiled
beforehand, but each shape of window is met for the first time, as in a run.

All but writing is measured in as many processes at once as there are cores, the rest by processor
time, each with one thread. With ``--run`` an earlier run of the slide is taken, else one is made.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import platform
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
import tifffile

import wsiseg
from benchmarks.processes import watch
from wsiseg.errors import ModelError
from wsiseg.execution.heap import keep_freed_memory
from wsiseg.geometry import Box
from wsiseg.models.network.files import GRAPH, GRAPH_WEIGHTS, ModelFolder
from wsiseg.models.network.runtime import OpenVinoRuntime, import_openvino
from wsiseg.models.zoo import find_folder, load_segmenter
from wsiseg.pipeline.plan import SlidePlan, read_plan
from wsiseg.pipeline.session import fitted_tile
from wsiseg.slides.jpeg import START_OF_IMAGE, table_segments
from wsiseg.store.folders import RunFolder
from wsiseg.store.tissue import read_tissue

SAMPLE = 400
SIDE = 2048
LEAST_SECONDS = 2.0
WRITTEN = 256 << 20

Tiles = list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Work:
    """What must be done for a slide.

    Attributes
    ----------
    windows
        Boxes of the frame that are predicted.
    tiles
        Offset and length of every encoded tile that they touch.
    multiply_adds
        Of the network on the windows; 0 without one.
    core_share
        Part of the windows' pixels that lies in tiles' cores.
    export_bytes
        Of the exports as they lie on the disk.
    """

    windows: list[Box]
    tiles: Tiles
    multiply_adds: float
    core_share: float
    export_bytes: int


def main() -> None:
    """Count, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("slide", type=Path)
    parser.add_argument("--model", default="nuclei-he")
    parser.add_argument("--run", type=Path)
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as name:
        out = options.run or Path(name) / "run"
        if options.run is None:
            command = ["run", options.slide, "-o", out, "--model", options.model]
            told = watch([Path(sys.executable).with_name("wsiseg"), *command])
            if told.code:
                sys.exit(told.errors)
        run = wsiseg.open_run(out)
        report = run.report(options.slide.name)
        folder = RunFolder(out).slide(options.slide.name)
        plan = read_plan(folder.plan)
        work = count(plan, read_tissue(folder.tissue, plan.segment_key), report)
        writing = written_bytes_a_second(Path(name))
    print(f"{options.slide.name}, {plan.model}, wsiseg {wsiseg.__version__}")
    print(f"{platform.machine()}, {cores} cores, {datetime.now(UTC):%Y-%m-%d}\n")
    os.environ["OMP_NUM_THREADS"] = "1"
    with multiprocessing.get_context("spawn").Pool(cores) as pool:
        decoding = _mean(pool.starmap(seconds_a_tile, [(plan, work.tiles)] * cores, 1))
        shares = [(plan.model, work.windows[part::cores]) for part in range(cores)]
        alone = max(pool.starmap(prediction_seconds, shares, 1))
        speeds = {
            kind: _mean(pool.starmap(matrix_speed, [kind] * cores, 1))
            for kind in (("openvino", "bf16"), ("openvino", "f32"), ("torch", "bf16"))
        }
    measured = {"decode": decoding, "write": writing, "network": alone}
    _show(work, report, measured, speeds, cores)


def count(plan: SlidePlan, tissue: Any, report: dict[str, Any]) -> Work:
    """What the plan of a slide and its finished exports say there is to do."""
    spec = load_segmenter(plan.model, plan.device).spec
    cut = [fitted_tile(plan.grid.tile(c, r), plan, tissue, spec) for c, r in plan.tiles]
    pixels = sum(tile.window.area for tile in cut)
    return Work(
        windows=[tile.window for tile in cut],
        tiles=_tiles(plan, [tile.window for tile in cut]),
        multiply_adds=_multiply_adds(plan.model, [tile.window for tile in cut]),
        core_share=sum(tile.core.area for tile in cut) / pixels,
        export_bytes=sum(export["stored_bytes"] for export in report["exports"].values()),
    )


def _tiles(plan: SlidePlan, windows: list[Box]) -> Tiles:
    """Extents of the tiles of the plan's level that windows of the frame touch, each once."""
    with tifffile.TiffFile(plan.path) as file:
        page = file.series[0].levels[plan.level].pages[0]
        width, height = page.tilewidth, page.tilelength
        across, down = -(-page.imagewidth // width), -(-page.imagelength // height)
        fx = page.imagewidth / plan.grid.frame.size.width
        fy = page.imagelength / plan.grid.frame.size.height
        touched = np.zeros((down, across), np.bool_)
        for box in windows:
            rows = slice(max(int(box.y0 * fy // height), 0), math.ceil(box.y1 * fy / height))
            columns = slice(max(int(box.x0 * fx // width), 0), math.ceil(box.x1 * fx / width))
            touched[rows, columns] = True
        return [
            (page.dataoffsets[index], page.databytecounts[index])
            for index in np.flatnonzero(touched)
        ]


def _multiply_adds(model: str, windows: list[Box]) -> float:
    """Of the model's graph on all windows; 0 for a model without one."""
    try:
        folder = ModelFolder.open(find_folder(model).root)
    except ModelError:
        return 0.0
    graph = (
        import_openvino().Core().read_model(folder.checked(GRAPH), folder.checked(GRAPH_WEIGHTS))
    )
    shapes = Counter((box.height, box.width) for box in windows)
    total = 0.0
    for (height, width), times in shapes.items():
        graph.reshape([1, height, width, graph.input(0).partial_shape[3].get_length()])
        total += times * sum(map(_multiply_adds_of, graph.get_ordered_ops()))
    return total


def _multiply_adds_of(operation: Any) -> float:
    """A convolution takes, for every output, as many as its kernel has weights for that output."""
    kind = operation.get_type_name()
    if kind == "Convolution":
        kernel = list(operation.input(1).get_shape())
        return math.prod(operation.output(0).get_shape()) * math.prod(kernel[1:])
    if kind == "GroupConvolution":
        kernel = list(operation.input(1).get_shape())
        return math.prod(operation.output(0).get_shape()) * math.prod(kernel[2:])
    if kind == "ConvolutionBackpropData":
        kernel = list(operation.input(1).get_shape())
        return math.prod(operation.input(0).get_shape()) * math.prod(kernel[1:])
    if kind == "MatMul":
        return math.prod(operation.output(0).get_shape()) * operation.input(0).get_shape()[-1]
    return 0.0


def seconds_a_tile(plan: SlidePlan, tiles: Tiles) -> float:
    """Of processor time to decode a tile at the plan's scale, the mean over tiles of the slide."""
    with tifffile.TiffFile(plan.path) as file, plan.path.open("rb") as stored:
        page = file.series[0].levels[plan.level].pages[0]
        tables = table_segments(page.jpegtables) if page.jpegtables else b""
        least = page.tilelength // plan.reduction, page.tilewidth // plan.reduction
        streams = []
        for offset, length in tiles[:: max(1, len(tiles) // SAMPLE)]:
            stored.seek(offset)
            streams.append(START_OF_IMAGE + tables + stored.read(length)[2:])

    def decode_all() -> None:
        for stream in streams:
            simplejpeg.decode_jpeg(stream, "RGB", min_height=least[0], min_width=least[1])

    return _seconds(decode_all) / len(streams)


def prediction_seconds(model: str, windows: list[Box]) -> float:
    """By the clock, for the model's network on windows of random pixels; 0 without one."""
    try:
        runtime = OpenVinoRuntime(ModelFolder.open(find_folder(model).root))
    except ModelError:
        return 0.0
    keep_freed_memory()
    channels = load_segmenter(model, "cpu").spec.channels
    sides = max(box.height for box in windows), max(box.width for box in windows)
    pixels = np.random.default_rng(0).integers(0, 256, (1, *sides, channels), np.uint8)
    # A shape that no window has.
    runtime.run(pixels[:, : sides[0] // 2, : sides[1] // 2 // 32 * 32].copy())
    seconds = 0.0
    for box in windows:
        window = pixels[:, : box.height, : box.width].copy()
        begin = time.perf_counter()
        runtime.run(window)
        seconds += time.perf_counter() - begin
    return seconds


def matrix_speed(library: str, precision: str) -> float:
    """Operations a second of one thread, two for each multiply-add; 0 without the library."""
    try:
        product = _in_openvino(precision) if library == "openvino" else _in_torch()
    except ImportError:
        return 0.0
    return 2 * SIDE**3 / _seconds(product)


def _in_openvino(precision: str) -> Callable[[], object]:
    ov = import_openvino()
    ops = ov.opset13
    given = ops.parameter([SIDE, SIDE], np.float32)
    weights = np.random.default_rng(0).normal(size=(SIDE, SIDE)).astype(np.float32)
    model = ov.Model([ops.matmul(given, ops.constant(weights), False, True)], [given])
    settings = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": 1}
    request = ov.Core().compile_model(model, "CPU", settings).create_infer_request()
    return lambda: request.infer({0: weights}, share_inputs=True)


def _in_torch() -> Callable[[], object]:
    import torch

    torch.set_num_threads(1)
    matrix = torch.randn(SIDE, SIDE).bfloat16()
    return lambda: matrix @ matrix


def _seconds(work: Callable[[], object]) -> float:
    """Least processor time that a piece of work takes in some seconds of trying."""
    work()
    best, until = math.inf, time.perf_counter() + LEAST_SECONDS
    while time.perf_counter() < until:
        begin = time.process_time()
        work()
        best = min(best, time.process_time() - begin)
    return best


def written_bytes_a_second(folder: Path) -> float:
    """Of a file that is flushed to the disk."""
    piece = np.random.default_rng(0).bytes(8 << 20)
    begin = time.perf_counter()
    with (folder / "written").open("wb") as file:
        for _ in range(WRITTEN // len(piece)):
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    return WRITTEN / (time.perf_counter() - begin)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _show(
    work: Work,
    report: dict[str, Any],
    measured: dict[str, float],
    speeds: dict[tuple[str, str], float],
    cores: int,
) -> None:
    area, pixels = report["area_mm2"]["tissue"], sum(box.area for box in work.windows)
    encoded = sum(length for _, length in work.tiles)
    precision = report["model"]["runtime"].rpartition("-")[2]
    print(f"{area:.2f} mm² of tissue, {report['counts']['nuclei']:,} nuclei")
    print(
        f"{len(work.windows)} windows, {pixels / 1e6:.1f} megapixels, {work.core_share:.0%} of "
        f"them in cores\n{len(work.tiles):,} tiles, {encoded / 1e6:.1f} MB encoded, "
        f"{1e6 * measured['decode']:.0f} µs each"
    )
    if work.multiply_adds:
        print(f"{2e-9 * work.multiply_adds / (pixels / 1e6):.1f} GFLOP a megapixel")
    for (library, kind), speed in speeds.items():
        if speed:
            print(f"matrix product, {library} {kind}: {speed / 1e9:.0f} GFLOP/s a core")
    print(f"{work.export_bytes / 1e6:.0f} MB of exports, {measured['write'] / 1e6:.0f} MB/s\n")
    best = max(speed for (_, kind), speed in speeds.items() if kind in (precision, "f32"))
    rows = {
        "decode": len(work.tiles) * measured["decode"] / cores,
        "network": 2 * work.multiply_adds / best / cores,
        "write": work.export_bytes / measured["write"],
    }
    # The disk works while the cores do.
    floor = max(rows["decode"] + rows["network"], rows["write"])
    alone = measured["network"]
    rows |= {"floor": floor, "prediction alone": alone, "the run": report["wall_seconds"]}
    print("| | seconds | seconds a mm² |\n|---|---|---|")
    for name, seconds in rows.items():
        print(f"| {name} | {seconds:.2f} | {seconds / area:.3f} |")
    print(
        f"\nThe run reaches {floor / report['wall_seconds']:.1%} of the floor's speed and "
        f"{alone / report['wall_seconds']:.1%} of that of prediction alone."
    )


if __name__ == "__main__":
    main()
