"""Speed of the bundled network: prediction a runtime, and decoding a nucleus.

    python benchmarks/network.py SLIDE X Y [--core 1024] [--processes 2] [--runs 5]

Reads one window at the model's pixel size with its corner at X, Y, and runs it in as many
processes at once as are asked for, each with one thread, as a run does. Megapixels count tile
cores, not halos. Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import time
from pathlib import Path

import numpy as np


def measure(job: tuple[str, str, int, int, int, int]) -> dict[str, float]:
    """Medians of one process."""
    runtime, slide_path, x, y, core, runs = job
    from wsiseg.geometry import Box
    from wsiseg.models import zoo
    from wsiseg.models.network.segmenter import NetworkSegmenter
    from wsiseg.pipeline.plan import choose_frame
    from wsiseg.slides.slide import open_slide

    folder = Path(zoo.__file__).parent / "weights" / "nuclei-he"
    segmenter = NetworkSegmenter(folder, runtime=runtime)
    if runtime == "torch":
        import torch

        torch.set_num_threads(1)
    halo = segmenter.spec.halo
    with open_slide(slide_path) as slide:
        frame = choose_frame(slide.level0, segmenter.spec, slide_path)
        box = Box(x - halo, y - halo, x + core + halo, y + core + halo)
        window = slide.read(box, frame)[np.newaxis]
    (found,) = segmenter.decode(segmenter.predict(window, {}))
    predicting, decoding = [], []
    for _ in range(runs):
        begin = time.perf_counter()
        prediction = segmenter.predict(window, {})
        middle = time.perf_counter()
        segmenter.decode(prediction)
        predicting.append(middle - begin)
        decoding.append(time.perf_counter() - middle)
    return {
        "predict_s": float(np.median(predicting)),
        "decode_s": float(np.median(decoding)),
        "nuclei": len(found),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("slide")
    parser.add_argument("x", type=int)
    parser.add_argument("y", type=int)
    parser.add_argument("--core", type=int, default=1024)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = os.environ["NUMBA_NUM_THREADS"] = "1"
    megapixels = given.core**2 / 1e6
    result: dict[str, object] = {"core_px": given.core, "processes": given.processes}
    for runtime in ("openvino", "torch"):
        job = (runtime, given.slide, given.x, given.y, given.core, given.runs)
        with multiprocessing.get_context("spawn").Pool(given.processes) as pool:
            found = pool.map(measure, [job] * given.processes, chunksize=1)
        result[runtime] = {
            "core_megapixels_per_s": sum(megapixels / one["predict_s"] for one in found),
            "decode_us_per_nucleus": np.mean(
                [1e6 * one["decode_s"] / max(one["nuclei"], 1) for one in found]
            ),
            "nuclei": found[0]["nuclei"],
        }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
