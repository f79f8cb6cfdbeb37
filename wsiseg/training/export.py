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
from wsiseg.models.zoo import find_folder
from wsiseg.training.config import Model, TrainingConfig

CORE = 1024

ROOM_PX = 48
"""Beyond its core a tile shows this much more than the network's reach: a nucleus of 8 µm that
only touches the core, and whatever may overlap it."""


def write_model(
    network: StarNetwork,
    config: TrainingConfig,
    rule: StarRule,
    out: Path,
    appearance: Mapping[str, tuple[float, float]] | None = None,
) -> None:
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
    appearance
        What it learnt on looks like, see :mod:`wsiseg.quality.shift`.
    """
    network = network.cpu().eval()
    state = {name: value.contiguous() for name, value in network.state_dict().items()}
    with writing(out / WEIGHTS) as temporary:
        temporary.write_bytes(save(state, metadata={"name": config.model.name}))
    described = _description(network, config, rule)
    _write_graph(network, described, out)
    digests = {name: _sha256(out / name) for name in (WEIGHTS, GRAPH, GRAPH_WEIGHTS)}
    told = {"appearance": dict(appearance or {}), "sha256": digests}
    described = described.model_copy(update=told)
    write_json(out / DESCRIPTION, described.model_dump(mode="json"))


def _write_graph(network: StarNetwork, described: ModelFile, out: Path) -> None:
    openvino = import_openvino()
    channels = network.channels
    side = 2 * described.network.crop + 8 * network.stride
    example = torch.zeros(1, side, side, channels, dtype=torch.uint8)
    graph = openvino.convert_model(
        PixelNetwork(network, described.network.crop, described.outputs).eval(),
        example_input=example,
        input=[1, -1, -1, channels],
    )
    with writing(out / "graph") as temporary:
        temporary.mkdir()
        openvino.save_model(graph, temporary / GRAPH, compress_to_fp16=False)
        for name in (GRAPH, GRAPH_WEIGHTS):
            (temporary / name).replace(out / name)
    (out / "graph").rmdir()


def _description(network: StarNetwork, config: TrainingConfig, rule: StarRule) -> ModelFile:
    model, reach = config.model, measure_reach(network)
    licences, names = _origins(config)
    return ModelFile(
        format=1,
        name=model.name,
        illumination=model.illumination,
        mpp=model.mpp,
        mpp_range=(0.9 * model.mpp, 1.1 * model.mpp),
        core=CORE,
        halo=math.ceil((reach + ROOM_PX) / network.stride) * network.stride,
        licence=model.licence,
        data_licence=" AND ".join(licences),
        trained_on=names,
        network=shape_of(model, network, reach),
        decoding=Decoding(**asdict(rule)),
        sha256={},
    )


def _origins(config: TrainingConfig) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Licences and names of all data that the weights come from, those of the model they were
    started from included."""
    used = [entry for entry in config.data.sources if entry.weight > 0]
    licences, names = {entry.licence for entry in used}, [entry.name for entry in used]
    if config.model.start is not None:
        before = find_folder(config.model.start).described
        licences |= set(before.data_licence.split(" AND "))
        names += [name for name in before.trained_on if name not in names]
    return tuple(sorted(licences)), tuple(names)


def shape_of(model: Model, network: StarNetwork, reach: int) -> NetworkShape:
    """The network as ``model.json`` describes it."""
    return NetworkShape(
        encoder=model.encoder,
        stages=model.stages,
        widths=model.widths,
        head=model.head,
        rays=model.rays,
        channels=1 if network.channels == 1 else 3,
        grid=GRID,
        stride=network.stride,
        reach_px=reach,
        crop=network.idle_px(reach),
    )


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
