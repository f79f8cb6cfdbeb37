"""One short training, the same for all but targets and loss; goes on where it stopped."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.decodings.trunk import Trunk
from benchmarks.decodings.variants import Variant
from wsiseg.files import writing
from wsiseg.models.network.architecture import channels_last
from wsiseg.training.augment import augment
from wsiseg.training.config import TrainingConfig
from wsiseg.training.loop import initial_network, rate_share
from wsiseg.training.sampling import Placement, crop_labels, crop_pixels
from wsiseg.training.tiles import LabelledTile

LABEL_MPP = 0.5
BATCH = 8
CROP_PX = 160
WARMUP = 50
_SAVE_EVERY = 25


def fit(
    variant: Variant,
    config: TrainingConfig,
    tiles: Sequence[LabelledTile],
    steps: int,
    checkpoint: Path,
) -> tuple[Trunk, float]:
    """The averaged network, and seconds of processor time a step."""
    torch.manual_seed(variant.seed)
    network = make(variant, config)
    average = copy.deepcopy(network).eval().requires_grad_(False)
    optimizer = _optimizer(network, config)
    done, spent = 0, 0.0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        done, spent = state["step"], state["spent"]
    begin = time.process_time()
    for step, (pixels, target) in enumerate(
        _batches(variant, config, tiles, done, steps), done + 1
    ):
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * rate_share(step, steps, WARMUP)
        network.train()
        scaled = (pixels.float() - 127.5) * (1 / 127.5)
        with torch.autocast("cpu", torch.bfloat16):
            outputs = network(scaled.contiguous(memory_format=torch.channels_last))
        loss = variant.way.loss(outputs.float(), target)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        _lean(average, network, (1 + step) / (10 + step))
        if step % _SAVE_EVERY == 0 or step == steps:
            state = {
                "step": step,
                "spent": spent + time.process_time() - begin,
                "network": network.state_dict(),
                "average": average.state_dict(),
                "optimizer": optimizer.state_dict(),
            }
            with writing(checkpoint) as temporary:
                torch.save(state, temporary)
            print(f"  step {step}/{steps}, loss {float(loss.detach()):.3f}", flush=True)
    total = spent + time.process_time() - begin
    return average, total / steps


def make(variant: Variant, config: TrainingConfig) -> Trunk:
    """A network whose encoder starts from ImageNet."""
    encoder = initial_network(config.model).encoder
    network = Trunk(encoder, variant.widths, variant.head, variant.way.start, variant.grid)
    channels_last(network)
    return network


def _batches(
    variant: Variant,
    config: TrainingConfig,
    tiles: Sequence[LabelledTile],
    done: int,
    steps: int,
) -> Iterator[tuple[Tensor, Tensor]]:
    weights = {entry.name: entry.weight for entry in config.data.sources}
    names = [tile.key.partition("/")[0] for tile in tiles]
    shares = np.array([weights[name] / names.count(name) for name in names])
    shares /= shares.sum()
    for step in range(done, steps):
        pairs = [
            _crop(variant, config, tiles, shares, step * BATCH + number) for number in range(BATCH)
        ]
        yield (
            torch.from_numpy(np.stack([pixels for pixels, _ in pairs])),
            torch.from_numpy(np.stack([target for _, target in pairs])),
        )


def _crop(
    variant: Variant,
    config: TrainingConfig,
    tiles: Sequence[LabelledTile],
    shares: NDArray[np.float64],
    number: int,
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Pixels ``[3, s, s]`` and target of the sample of that number: the same draws of tile, zoom,
    place (as a share of the room), angle and augmentation for every variant of a seed."""
    random = np.random.default_rng((variant.seed, number))
    tile = tiles[int(random.choice(len(tiles), p=shares))]
    low, high = config.augmentation.scale
    zoom = float(np.exp(random.uniform(np.log(low), np.log(high))))
    height, width = tile.labels.shape
    step = variant.mpp / tile.mpp / zoom
    margin = 0.35 * step * CROP_PX
    left, top = min(margin, width / 2), min(margin, height / 2)
    center = (random.uniform(left, width - left), random.uniform(top, height - top))
    angle, mirrored = float(random.uniform(0, 2 * np.pi)), bool(random.random() < 0.5)
    fine_step = step * LABEL_MPP / variant.mpp
    size = round(CROP_PX * variant.mpp / LABEL_MPP)
    labels = crop_labels(tile.labels, Placement(center, fine_step, angle, mirrored).matrix(), size)
    picture = crop_pixels(
        tile.pixels,
        Placement(center, step, angle, mirrored).matrix(),
        CROP_PX,
        max(1, min(4, round(step))),
    )
    pixels = augment(picture, config.augmentation, random)
    target = variant.way.target(labels, size)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)), target.astype(np.float32)


def _optimizer(network: Trunk, config: TrainingConfig) -> torch.optim.Optimizer:
    schedule = config.schedule
    groups = []
    for encoder in (True, False):
        for decayed in (True, False):
            chosen = [
                parameter
                for name, parameter in network.named_parameters()
                if name.startswith("encoder.") == encoder and (parameter.ndim > 1) == decayed
            ]
            peak = schedule.rate * (schedule.encoder_rate if encoder else 1.0)
            decay = schedule.weight_decay if decayed else 0.0
            groups.append({"params": chosen, "lr": peak, "peak": peak, "weight_decay": decay})
    return torch.optim.AdamW(groups)


@torch.no_grad()
def _lean(average: Trunk, network: Trunk, keep: float) -> None:
    for mean, value in zip(
        average.state_dict().values(), network.state_dict().values(), strict=True
    ):
        if mean.is_floating_point():
            mean.lerp_(value, 1 - keep)
        else:
            mean.copy_(value)
