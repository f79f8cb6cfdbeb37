"""The training loop of a semantic network."""

from __future__ import annotations

import copy
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader

from wsiseg.errors import ConfigurationError, ModelError
from wsiseg.models.semantic.architecture import SemanticNetwork
from wsiseg.models.semantic.encoders import by_order, encoder_facts
from wsiseg.models.semantic.files import SemanticShape
from wsiseg.training.loop import (
    CHECKPOINT,
    LOG,
    LOG_EVERY,
    average_into,
    make_optimizer,
    packaged_weights,
    rate_share,
    resume_state,
    save_state,
)
from wsiseg.training.progress import Progress, Step
from wsiseg.training.semantic.config import UNLABELLED, SemanticConfig, SemanticModel
from wsiseg.training.semantic.samples import ClassSamples
from wsiseg.training.semantic.scores import ClassScores, Network, score_tiles
from wsiseg.training.semantic.tiles import ClassTile

PACKAGED = "efficientnet_lite0"
"""The encoder whose weights the training's extra brings along."""


def shape_of(config: SemanticConfig) -> SemanticShape:
    """The network a configuration asks for; the reach is not measured yet.

    Raises
    ------
    ModelError
        If timm has no such encoder.
    """
    model = config.model
    facts = encoder_facts(model.encoder)
    return SemanticShape(
        encoder=model.encoder,
        encoder_options=model.encoder_options,
        levels=model.levels,
        decoder=model.decoder,
        widths=model.widths,
        head=model.head,
        grid=model.grid,
        mean=facts.mean,
        std=facts.std,
        window=config.schedule.crop_px if facts.fixed else None,
        stride=model.grid,
        reach_px=None,
    )


def initial_network(config: SemanticConfig) -> SemanticNetwork:
    """A fresh network, its encoder from the weights that the configuration names.

    Raises
    ------
    ConfigurationError
        If the weights are not there or do not fit, or there is no such network.
    """
    try:
        return SemanticNetwork(shape_of(config), len(config.classes), _weights(config.model))
    except (ImportError, OSError, ValueError, ModelError) as error:
        raise ConfigurationError(f"the network cannot be made: {error}") from error


def fit(
    config: SemanticConfig,
    tiles: tuple[list[ClassTile], list[ClassTile]],
    out: Path,
    progress: Progress,
) -> SemanticNetwork:
    """Train, or go on from the checkpoint in ``out``; the averaged network is returned.

    Writes ``log.jsonl`` (losses every 25 steps, IoU of each class on the held-out images at times)
    and ``checkpoint.pt``.
    """
    schedule = config.schedule
    torch.manual_seed(schedule.seed)
    torch.set_num_threads(schedule.threads)
    network = initial_network(config).to(schedule.device)
    average = copy.deepcopy(network).eval().requires_grad_(False)
    optimizer = make_optimizer(network, schedule)
    done = resume_state(out / CHECKPOINT, network, average, optimizer)
    loader = DataLoader(
        ClassSamples(
            config, tiles[0], done * schedule.batch, (schedule.steps - done) * schedule.batch
        ),
        batch_size=schedule.batch,
        num_workers=schedule.workers,
        prefetch_factor=4 if schedule.workers else None,
    )
    losses: list[float] = []
    began = time.monotonic()
    for step, batch in enumerate(loader, done + 1):
        rate = rate_share(step, schedule.steps, schedule.warmup)
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * rate
        losses.append(_step(network, optimizer, batch, config))
        average_into(average, network, min(schedule.average, (1 + step) / (10 + step)))
        last = step == schedule.steps
        if step % LOG_EVERY == 0 or last:
            mean = sum(losses) / len(losses)
            entry: dict[str, float] = {"step": step, "rate": rate, "loss": mean}
            if step % schedule.validate_every == 0 or last:
                entry |= _held_out(average, tiles[1], config)
            with (out / LOG).open("a") as file:
                file.write(json.dumps(entry) + "\n")
            progress(Step(step, schedule.steps, mean, time.monotonic() - began))
            losses = []
        if step % schedule.checkpoint_every == 0 or last:
            save_state(out / CHECKPOINT, step, network, average, optimizer)
    return average


def held_out_scores(
    network: SemanticNetwork, tiles: list[ClassTile], config: SemanticConfig
) -> ClassScores:
    """Scores on images not trained on, as they are."""
    return score_tiles(tiles, runner(network, config), _stride(network, config), config)


def runner(network: SemanticNetwork, config: SemanticConfig) -> Network:
    """Runs the network on a whole image, in windows where it is made for one size."""
    device = next(network.parameters()).device

    @torch.no_grad()
    def run(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        plain = torch.from_numpy(pixels[np.newaxis]).to(device).permute(0, 3, 1, 2).float()
        given = network.normalised(plain)
        side = network_window(config)
        if side is None:
            found: NDArray[np.float32] = network(given)[0].float().cpu().numpy()
            return found
        rows = [
            torch.cat([network(part)[0] for part in torch.split(row, side, dim=3)], dim=2)
            for row in torch.split(given, side, dim=2)
        ]
        whole: NDArray[np.float32] = torch.cat(rows, dim=1).float().cpu().numpy()
        return whole

    return run


def network_window(config: SemanticConfig) -> int | None:
    """Side of the only window that the encoder takes; ``None``: any."""
    return config.schedule.crop_px if encoder_facts(config.model.encoder).fixed else None


def class_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Cross entropy, and one minus the Dice of every class that is there, over labelled pixels.

    Parameters
    ----------
    logits
        ``[n, classes, y, x]``.
    truth
        int64 ``[n, y, x]``; ``UNLABELLED`` counts for nothing.
    """
    known = truth != UNLABELLED
    if not known.any():
        return logits.sum() * 0.0
    cross = functional.cross_entropy(logits, truth, ignore_index=UNLABELLED)
    classes = logits.shape[1]
    shares = torch.softmax(logits, 1) * known[:, None]
    plain = torch.where(known, truth, torch.zeros_like(truth))
    wanted = functional.one_hot(plain, classes).permute(0, 3, 1, 2) * known[:, None]
    shared = (shares * wanted).sum((0, 2, 3))
    both = shares.sum((0, 2, 3)) + wanted.sum((0, 2, 3))
    there = wanted.sum((0, 2, 3)) > 0
    dice = 1 - (2 * shared + 1.0) / (both + 1.0)
    return cross + 0.5 * dice[there].mean()


def _weights(model: SemanticModel) -> dict[str, Tensor] | None:
    if model.encoder_weights == "none":
        return None
    if model.encoder_weights == "package":
        if model.encoder != PACKAGED:
            raise ConfigurationError(
                f"the package brings weights for {PACKAGED} only: give a file of weights for "
                f"{model.encoder}, or set encoder_weights = 'none'"
            )
        plain = torch.load(packaged_weights(), map_location="cpu", weights_only=True)
        return by_order(model.encoder, plain)
    if model.encoder_weights.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(model.encoder_weights)
    try:
        found = torch.load(model.encoder_weights, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ConfigurationError(
            f"{model.encoder_weights} holds more than plain tensors, or is damaged, and is not "
            f"read: {str(error).splitlines()[0]}"
        ) from error
    plain = found.get("state_dict", found.get("model", found)) if isinstance(found, dict) else {}
    if not plain or not all(isinstance(value, Tensor) for value in plain.values()):
        raise ConfigurationError(f"{model.encoder_weights} holds no state of a network")
    return dict(plain)


def _step(
    network: SemanticNetwork,
    optimizer: torch.optim.Optimizer,
    batch: list[Tensor],
    config: SemanticConfig,
) -> float:
    network.train()
    device = torch.device(config.schedule.device)
    pixels, truth = (part.to(device) for part in batch)
    low = config.schedule.precision == "bf16"
    with torch.autocast(device.type, torch.bfloat16, enabled=low):
        logits = network(network.normalised(pixels.float()))
    loss: Any = class_loss(logits.float(), truth)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), 5.0)
    optimizer.step()
    return float(loss.detach())


def _held_out(
    network: SemanticNetwork, tiles: list[ClassTile], config: SemanticConfig
) -> dict[str, float]:
    iou = held_out_scores(network, tiles, config).iou
    return {f"held_iou_{name}": value for name, value in iou.items() if math.isfinite(value)}


def _stride(network: SemanticNetwork, config: SemanticConfig) -> int:
    return network_window(config) or network.stride
