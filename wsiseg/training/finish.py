"""From the averaged network to a model that can be used: thresholds, files, card."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from wsiseg.models.network.architecture import PixelNetwork, StarNetwork
from wsiseg.models.network.files import CARD, ModelFolder
from wsiseg.training.appearance import training_appearance
from wsiseg.training.card import Account, write_card
from wsiseg.training.config import TrainingConfig
from wsiseg.training.export import write_model
from wsiseg.training.tiles import LabelledTile
from wsiseg.training.validation import Network, answer, choose_rule, score

CHANGES = 3
"""How often each held-out tile is looked at with its colours and sharpness changed."""


def choose(
    network: StarNetwork,
    config: TrainingConfig,
    tiles: tuple[list[LabelledTile], list[LabelledTile]],
) -> Account:
    """Choose the thresholds on the held-out tiles, as they are and changed, counted alike."""
    run = _runner(network)
    stride, rays = network.stride, config.model.rays
    plain = answer(tiles[1], run, stride, config)
    changed = [
        entry for seed in range(CHANGES) for entry in answer(tiles[1], run, stride, config, seed)
    ]
    rule = choose_rule((plain, changed), rays)
    return Account(tiles[0], tiles[1], rule, score(plain, rays, rule), score(changed, rays, rule))


def write(network: StarNetwork, config: TrainingConfig, account: Account, out: Path) -> None:
    """Write the model and its card."""
    appearance = training_appearance(account.training, config.model.mpp)
    write_model(network, config, account.rule, out, appearance)
    write_card(out / CARD, ModelFolder.open(out).described, config, account)


def _runner(network: StarNetwork) -> Network:
    whole = PixelNetwork(network).cpu().eval()

    def run(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.inference_mode():
            found: NDArray[np.float32] = whole(torch.from_numpy(pixels[np.newaxis]))[0].numpy()
        return found

    return run
