"""From a trained network to a folder that :class:`NetworkSegmenter` runs."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save

from wsiseg.files import write_json, writing
from wsiseg.models.network.architecture import GRID, PixelNetwork, StarNetwork, measure_reach
from wsiseg.models.network.files import (
    DESCRIPTION,
    GRAPH,
    GRAPH_WEIGHTS,
    WEIGHTS,
    Decoding,
    ModelFile,
    NetworkShape,
)
from wsiseg.models.network.runtime import import_openvino
from wsiseg.models.network.stars import StarRule
from wsiseg.training.config import Model, TrainingConfig

CORE = 1024

ROOM_PX = 48
"""Beyond its core a tile shows this much more than the network's reach: a nucleus of 8 µm that
only touches the core, and whatever may overlap it."""


def write_model(network: StarNetwork, config: TrainingConfig, rule: StarRule, out: Path) -> None:
    """Write weights, graph and description; existing files are replaced.

    Parameters
    ----------
    network
        On any device; left in evaluation mode.
    config
        Of its training.
    rule
        How its outputs are decoded.
    out
        An existing folder.
    """
    network = network.cpu().eval()
    state = {name: value.contiguous() for name, value in network.state_dict().items()}
    with writing(out / WEIGHTS) as temporary:
        temporary.write_bytes(save(state, metadata={"name": config.model.name}))
    _write_graph(network, out)
    names = (WEIGHTS, GRAPH, GRAPH_WEIGHTS)
    described = _description(network, config, rule, {name: _sha256(out / name) for name in names})
    write_json(out / DESCRIPTION, described.model_dump(mode="json"))


def _write_graph(network: StarNetwork, out: Path) -> None:
    openvino = import_openvino()
    example = torch.zeros(1, 8 * network.stride, 8 * network.stride, 3, dtype=torch.uint8)
    graph = openvino.convert_model(
        PixelNetwork(network).eval(), example_input=example, input=[1, -1, -1, 3]
    )
    with writing(out / "graph") as temporary:
        temporary.mkdir()
        openvino.save_model(graph, temporary / GRAPH, compress_to_fp16=False)
        for name in (GRAPH, GRAPH_WEIGHTS):
            (temporary / name).replace(out / name)
    (out / "graph").rmdir()


def _description(
    network: StarNetwork, config: TrainingConfig, rule: StarRule, sha256: Mapping[str, str]
) -> ModelFile:
    model, reach = config.model, measure_reach(network)
    used = [entry for entry in config.data.sources if entry.weight > 0]
    return ModelFile(
        format=1,
        name=model.name,
        mpp=model.mpp,
        mpp_range=(0.9 * model.mpp, 1.1 * model.mpp),
        core=CORE,
        halo=math.ceil((reach + ROOM_PX) / network.stride) * network.stride,
        licence=model.licence,
        data_licence=" AND ".join(sorted({entry.licence for entry in used})),
        trained_on=tuple(entry.name for entry in used),
        network=shape_of(model, network.stride, reach),
        decoding=Decoding(**asdict(rule)),
        sha256=dict(sha256),
    )


def shape_of(model: Model, stride: int, reach: int) -> NetworkShape:
    """The network as ``model.json`` describes it."""
    return NetworkShape(
        encoder=model.encoder,
        stages=model.stages,
        widths=model.widths,
        head=model.head,
        rays=model.rays,
        grid=GRID,
        stride=stride,
        reach_px=reach,
    )


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
