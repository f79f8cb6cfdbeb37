"""Speed of a network: prediction by runtime, decoding and vectorizing a nucleus.

    python benchmarks/network.py SLIDE X Y [--model nuclei-he] [--core 1024] [--processes 2]
                                           [--runs 9]

Reads one window at the model's pixel size, the corner of its core at X, Y, and works on it in as
many processes at once as are asked for, each with one thread, as a run does; a graphics card, where
torch sees one, is measured from one process. Megapixels count tile cores, not halos. ``CPU`` is by
processor time, which other programs on the machine change little: what the processes would reach if
they had the cores to themselves. Agreement is F1 of the nuclei of the other runtimes against those
of the first, at two thresholds of intersection over union.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

THRESHOLDS = (0.5, 0.9)


@dataclass(frozen=True, slots=True)
class Work:
    """What one process measures."""

    runtime: Literal["openvino", "torch"]
    device: str
    model: str
    slide: str
    x: int
    y: int
    core: int
    runs: int


@dataclass(frozen=True, slots=True)
class Measured:
    """Medians of one process: wall and processor seconds of each step; the labels."""

    identity: str
    predict: tuple[float, float]
    decode: tuple[float, float]
    vectorize: tuple[float, float]
    labels: NDArray[np.int32]


def measure(work: Work) -> Measured:
    """Predict, decode and vectorize one window several times."""
    from wsiseg.cells.vectorize import vectorize
    from wsiseg.geometry import Box
    from wsiseg.models import zoo
    from wsiseg.models.network.segmenter import NetworkSegmenter
    from wsiseg.pipeline.plan import choose_frame
    from wsiseg.slides.slide import open_slide

    segmenter = NetworkSegmenter(
        zoo.find_folder(work.model).root, runtime=work.runtime, device=work.device
    )
    if work.runtime == "torch":
        import torch

        torch.set_num_threads(1)
    halo = segmenter.spec.halo
    with open_slide(work.slide) as slide:
        frame = choose_frame(slide.level0, segmenter.spec, work.slide)
        low, high = (work.x - halo, work.y - halo), work.core + halo
        window = slide.read(Box(*low, work.x + high, work.y + high), frame)[np.newaxis]
    statistics = segmenter.calibrate([window[0]])
    prediction = segmenter.predict(window, statistics)
    (found,) = segmenter.decode(prediction)
    return Measured(
        segmenter.spec.runtime,
        _median(lambda: segmenter.predict(window, statistics), work.runs),
        _median(lambda: segmenter.decode(prediction), work.runs),
        _median(lambda: vectorize(found.labels, len(found), (0, 0), (1.0, 1.0)), work.runs),
        found.labels,
    )


def _median(step: Callable[[], object], runs: int) -> tuple[float, float]:
    step()
    seconds = []
    for _ in range(runs):
        wall, busy = time.perf_counter(), time.process_time()
        step()
        seconds.append((time.perf_counter() - wall, time.process_time() - busy))
    wall, busy = np.median(seconds, axis=0)
    return float(wall), float(busy)


def agreement(one: NDArray[np.int32], two: NDArray[np.int32]) -> str:
    """F1 at both thresholds."""
    from wsiseg.evaluation.matching import match
    from wsiseg.evaluation.metrics import image_counts, image_scores

    scores = image_scores(image_counts(match(one, two), THRESHOLDS), THRESHOLDS)
    return ", ".join(f"{float(scores[f'f1@{t:.2f}']):.4f}" for t in THRESHOLDS)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("slide")
    parser.add_argument("x", type=int)
    parser.add_argument("y", type=int)
    parser.add_argument("--model", default="nuclei-he")
    parser.add_argument("--core", type=int, default=1024)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--runs", type=int, default=9)
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = os.environ["NUMBA_NUM_THREADS"] = "1"
    from wsiseg.models.device import count_cuda

    kinds: list[tuple[Literal["openvino", "torch"], str]] = [("openvino", "cpu"), ("torch", "cpu")]
    if count_cuda():
        kinds.append(("torch", "cuda"))
    print(
        f"{Path(given.slide).name} at {given.x}, {given.y}; core {given.core} px; "
        f"{os.cpu_count()} cores, {platform.machine()}, {datetime.now(UTC):%Y-%m-%d}\n"
    )
    print(
        "| runtime | processes | Mpx/s of core | Mpx/s, CPU | decode, vectorize: µs a nucleus, CPU "
        "| nuclei a Mpx | agreement |\n|---|---|---|---|---|---|---|"
    )
    first: NDArray[np.int32] | None = None
    for runtime, device in kinds:
        work = Work(
            runtime, device, given.model, given.slide, given.x, given.y, given.core, given.runs
        )
        count = given.processes if device == "cpu" else 1
        with multiprocessing.get_context("spawn").Pool(count) as pool:
            found = pool.map(measure, [work] * count, chunksize=1)
        print(_row(found, given.core, first), flush=True)
        first = found[0].labels if first is None else first


def _row(found: list[Measured], core: int, first: NDArray[np.int32] | None) -> str:
    megapixels, labels = core**2 / 1e6, found[0].labels
    nuclei = max(int(labels.max()), 1)
    each = [np.median([getattr(m, s)[1] for m in found]) for s in ("decode", "vectorize")]
    cells: list[Any] = [
        found[0].identity,
        len(found),
        f"{sum(megapixels / m.predict[0] for m in found):.2f}",
        f"{sum(megapixels / m.predict[1] for m in found):.2f}",
        " + ".join(f"{1e6 * seconds / nuclei:.1f}" for seconds in each),
        f"{1e6 * nuclei / labels.size:.0f}",
        agreement(first, labels) if first is not None else "",
    ]
    return "| " + " | ".join(map(str, cells)) + " |"


if __name__ == "__main__":
    main()
