"""Processor time of prediction and of decoding, which a busy machine hardly changes."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.decodings.decode import Rule
from benchmarks.decodings.fit import LABEL_MPP
from benchmarks.decodings.trunk import Run, Trunk, measure_reach
from benchmarks.decodings.variants import Variant
from wsiseg.cells.vectorize import vectorize
from wsiseg.geometry import Box
from wsiseg.models.network.runtime import import_openvino
from wsiseg.slides.slide import open_slide

CORE = 1024
ROOM_UM = 24.0
"""What a halo shows beyond the reach, as the package's own."""

_REPEATS = 5


def time_variant(
    variant: Variant, network: Trunk, rule: Rule, place: tuple[str, int, int]
) -> dict[str, float]:
    """Reach and halo in input pixels; processor seconds a mm² of tile core, without the halo and
    with it; processor µs a nucleus of decoding and vectorizing."""
    reach = measure_reach(copy.deepcopy(network), variant.grid)
    halo = math.ceil((reach + ROOM_UM / variant.mpp) / network.stride) * network.stride
    side = CORE + 2 * halo
    path, x, y = place
    with open_slide(path) as slide:
        frame = slide.level0.reduced(round(variant.mpp / 0.25))
        left, top = round(x * 0.25 / variant.mpp), round(y * 0.25 / variant.mpp)
        window = np.asarray(slide.read(Box(left, top, left + side, top + side), frame), np.uint8)
    predict = _openvino(network)
    outputs = predict(window)
    predicting = _least(lambda: predict(window))
    labels = variant.way.decode(outputs, rule)
    count = int(labels.max())
    decoding = _least(lambda: variant.way.decode(outputs, rule))
    tracing = _least(lambda: vectorize(labels, count, (0, 0), (1.0, 1.0)))
    mm2 = (CORE * variant.mpp / 1000) ** 2
    return {
        "reach_px": reach,
        "halo_px": halo,
        "s_a_mm2": predicting * (CORE / side) ** 2 / mm2,
        "s_a_mm2_with_halo": predicting / mm2,
        "nuclei": count,
        "nuclei_a_mm2": count / (side * variant.mpp / 1000) ** 2,
        "decode_us": 1e6 * decoding / max(count, 1),
        "vectorize_us": 1e6 * tracing / max(count, 1),
        "label_mpp": LABEL_MPP,
    }


def _least(work: Callable[[], object]) -> float:
    """Least processor time of one thread over some repeats; the first compiles."""
    work()
    spent = []
    for _ in range(_REPEATS):
        begin = time.process_time()
        work()
        spent.append(time.process_time() - begin)
    return min(spent)


def _openvino(network: Trunk) -> Callable[[NDArray[Any]], NDArray[Any]]:
    import torch

    openvino = import_openvino()
    example = torch.zeros(1, 128, 128, 3, dtype=torch.uint8)
    graph = openvino.convert_model(Run(network).eval(), example_input=example, input=[1, -1, -1, 3])
    settings = {
        "INFERENCE_PRECISION_HINT": "bf16",
        "INFERENCE_NUM_THREADS": 1,
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,
    }
    request = openvino.Core().compile_model(graph, "CPU", settings).create_infer_request()

    def run(window: NDArray[Any]) -> NDArray[Any]:
        request.infer({0: window[np.newaxis]}, share_inputs=True)
        found: NDArray[Any] = request.get_output_tensor(0).data[0].copy()
        return found

    return run
