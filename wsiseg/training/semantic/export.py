"""From a trained network to a folder that ``--tissue`` takes."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save

from wsiseg.errors import ModelError
from wsiseg.files import write_json, writing
from wsiseg.models.network.files import DESCRIPTION, GRAPH, GRAPH_WEIGHTS, WEIGHTS
from wsiseg.models.network.runtime import import_openvino
from wsiseg.models.semantic.architecture import ClassNetwork, SemanticNetwork, measure_reach
from wsiseg.models.semantic.files import (
    SemanticClass,
    SemanticFile,
    SemanticShape,
    Tidying,
)

CORE = 512
"""Side of a window's core at least, in pixels."""

LEAST_OVERLAP = 0.125
"""Halo of a network whose reach is not known, as a share of the window."""


@dataclass(frozen=True, slots=True)
class Described:
    """What is said of a network besides its shape; fields as of
    :class:`~wsiseg.models.semantic.files.SemanticFile`."""

    name: str
    mpp: float
    classes: tuple[SemanticClass, ...]
    licence: str
    data_licence: str
    trained_on: Sequence[str]
    tidying: Tidying = field(default_factory=Tidying)


def write_semantic(
    network: SemanticNetwork, shape: SemanticShape, said: Described, out: Path
) -> SemanticFile:
    """Write weights, graph and description; existing files are replaced.

    The reach is measured. Where OpenVINO cannot take the network over, no graph is written, and
    torch runs it.

    Parameters
    ----------
    network
        On any device; left on the processor and in evaluation mode.
    shape
        It was made of; ``stride`` and ``reach_px`` are put in here.
    said
        What is said of it.
    out
        An existing folder.
    """
    network = network.cpu().eval()
    shape = shape.model_copy(
        update={
            "stride": network.stride,
            "reach_px": None if shape.window is not None else measure_reach(network),
        }
    )
    state = {name: value.contiguous() for name, value in network.state_dict().items()}
    with writing(out / WEIGHTS) as temporary:
        temporary.write_bytes(save(state, metadata={"name": said.name}))
    core, halo = lattice(shape)
    graph = _write_graph(network, core + 2 * halo, out, fixed=shape.window is not None)
    names = (WEIGHTS, GRAPH, GRAPH_WEIGHTS) if graph else (WEIGHTS,)
    described = SemanticFile(
        format=1,
        kind="semantic",
        name=said.name,
        mpp=said.mpp,
        mpp_range=(0.9 * said.mpp, 1.1 * said.mpp),
        core=core,
        halo=halo,
        classes=said.classes,
        network=shape,
        tidying=said.tidying,
        licence=said.licence,
        data_licence=said.data_licence,
        trained_on=tuple(said.trained_on),
        sha256={name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in names},
    )
    write_json(out / DESCRIPTION, described.model_dump(mode="json"))
    return described


def lattice(shape: SemanticShape) -> tuple[int, int]:
    """Core and halo of the windows, multiples of the stride."""
    stride = shape.stride
    if shape.reach_px is not None:
        halo = -(-shape.reach_px // stride) * stride
        return -(-max(CORE, 2 * halo) // stride) * stride, halo
    side = shape.window or -(-CORE // stride) * stride
    halo = math.ceil(LEAST_OVERLAP * side / stride) * stride
    if side % stride or side <= 2 * halo:
        raise ModelError(f"a window of {side} px does not suit a stride of {stride} px")
    return side - 2 * halo, halo


def _write_graph(network: SemanticNetwork, side: int, out: Path, *, fixed: bool) -> bool:
    openvino = import_openvino()
    random = torch.Generator().manual_seed(0)
    example = torch.randint(0, 256, (1, side, side, 3), dtype=torch.uint8, generator=random)
    whole = ClassNetwork(network).eval()
    try:
        sides = [side, side] if fixed else [-1, -1]
        graph = openvino.convert_model(whole, example_input=example, input=[1, *sides, 3])
        compiled = openvino.Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        with torch.inference_mode():
            expected = whole(example).numpy()
        found = compiled(example.numpy())[0]
    except Exception:  # noqa: BLE001 - whatever it cannot convert, torch runs
        return _no_graph(out)
    if found.shape != expected.shape or not _alike(found, expected):
        return _no_graph(out)
    with writing(out / "graph") as temporary:
        temporary.mkdir()
        openvino.save_model(graph, temporary / GRAPH, compress_to_fp16=False)
        for name in (GRAPH, GRAPH_WEIGHTS):
            (temporary / name).replace(out / name)
    (out / "graph").rmdir()
    return True


def _alike(found: NDArray[np.float32], expected: NDArray[np.float32]) -> bool:
    return float(abs(found - expected).max()) <= 1e-2 * max(1.0, float(abs(expected).max()))


def _no_graph(out: Path) -> bool:
    for name in (GRAPH, GRAPH_WEIGHTS):
        (out / name).unlink(missing_ok=True)
    return False
