"""What the commands do: train and score all, time all."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.decodings.fit import fit, make
from benchmarks.decodings.scoring import ceiling, cross_scores, look
from benchmarks.decodings.trunk import Run, Trunk
from benchmarks.decodings.variants import VARIANTS
from wsiseg.files import write_json
from wsiseg.training.config import read_config
from wsiseg.training.sources import load_part

Results = dict[str, Any]


def train_all(
    config_path: Path, out: Path, steps: int, only: Sequence[str] | None, known: Results
) -> None:
    """Train and score what has no scores yet."""
    torch.set_num_threads(1)
    out.mkdir(parents=True, exist_ok=True)
    config = read_config(config_path)
    training, held = load_part(config.data, "train"), load_part(config.data, "val")
    known["steps"] = steps
    known["ceiling"] = ceiling(held).tolist()
    known["tiles"] = [tile.key for tile in held]
    variants = known.setdefault("variants", {})
    for name in only or VARIANTS:
        if "scores" in variants.get(name, {}):
            continue
        print(name, flush=True)
        variant = VARIANTS[name]
        network, seconds = fit(variant, config, training, steps, weights_path(out, name))
        scores, rules = cross_scores(
            variant, look(variant, runner(network), held, config.augmentation)
        )
        variants[name] = {
            "scores": scores.tolist(),
            "rules": [list(rule) for rule in rules],
            "cpu_s_a_step": seconds,
            "bounded": variant.way.bounded,
        }
        write_json(out / "results.json", known)
        print(f"  {np.nanmean(scores, axis=(0, 1)).round(3)}", flush=True)


def cost_all(config_path: Path, out: Path, place: tuple[str, int, int], known: Results) -> None:
    """Time the trained networks on a place of a slide (x, y in level-0 pixels)."""
    from benchmarks.decodings.cost import time_variant

    config = read_config(config_path)
    for name, entry in known["variants"].items():
        variant = VARIANTS[name]
        network = make(variant, config)
        state = torch.load(weights_path(out, name), weights_only=True)
        network.load_state_dict(state["average"])
        entry["cost"] = time_variant(variant, network.eval(), tuple(entry["rules"][0]), place)
        print(name, entry["cost"], flush=True)
        write_json(out / "results.json", known)


def runner(network: Trunk) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """The network on one window, in float32."""
    whole = Run(network).eval()

    def run(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.inference_mode():
            found: NDArray[np.float32] = whole(torch.from_numpy(pixels[np.newaxis]))[0].numpy()
        return found

    return run


def weights_path(out: Path, name: str) -> Path:
    """Where the checkpoint of a variant lies."""
    return out / f"{re.sub(r'[^a-z0-9.]+', '-', name)}.pt"
