"""Train a network from a configuration file."""

from __future__ import annotations

import json
from pathlib import Path

from wsiseg.errors import ConfigurationError, MissingExtraError
from wsiseg.files import named_disk, write_json
from wsiseg.training.config import TrainingConfig, kind_of, read_config
from wsiseg.training.curves import draw_curves
from wsiseg.training.progress import Progress
from wsiseg.training.semantic.config import read_semantic_config

SETTINGS = "training.json"
CURVES = "curves.png"


def train(config_path: Path, out: Path, progress: Progress) -> None:
    """Train, or go on with what ``out`` holds, and write the finished model there.

    ``out`` then holds what :mod:`wsiseg.models.network.files` describes, and ``training.json``,
    ``log.jsonl``, ``curves.png`` and ``checkpoint.pt``. The folder can be given to
    :func:`wsiseg.models.zoo.load_segmenter`.

    Parameters
    ----------
    config_path
        TOML, see :class:`~wsiseg.training.config.TrainingConfig`; with ``kind = "semantic"`` for
        classes of tissue, see :class:`~wsiseg.training.semantic.config.SemanticConfig`.
    out
        A new folder, or one of an interrupted training with the same settings; its schedule
        may have been given another number of steps.
    progress
        Told every 25 steps how far it is.

    Raises
    ------
    ConfigurationError
        If the configuration or its data cannot be used, or ``out`` holds another training.
    MissingExtraError
        If torch, timm, safetensors or openvino is not installed.
    """
    if kind_of(config_path) == "semantic":
        _train_semantic(config_path, out, progress)
        return
    config = read_config(config_path)
    try:
        from wsiseg.training import finish, loop
        from wsiseg.training.sources import load_part
    except ImportError as error:
        raise MissingExtraError("training a network", "train") from error
    with named_disk(out):
        out.mkdir(parents=True, exist_ok=True)
        _claim(config, out)
        kind = config.model.illumination
        tiles = load_part(config.data, "train", kind), load_part(config.data, "val", kind)
        network = loop.fit(config, tiles, out, progress)
        draw_curves(out / CURVES, read_curves(out / loop.LOG))
        account = finish.choose(network, config, tiles)
        finish.write(network, config, account, out)


def read_curves(log: Path) -> dict[str, tuple[list[float], list[float]]]:
    """The curves of a training's log, by name; of a step logged twice the later counts."""
    entries = {}
    for line in log.read_text().splitlines():
        entry = json.loads(line)
        entries[entry["step"]] = entry
    curves: dict[str, tuple[list[float], list[float]]] = {}
    for step in sorted(entries):
        for name, value in entries[step].items():
            if name not in ("step", "rate"):
                steps, values = curves.setdefault(name, ([], []))
                steps.append(step)
                values.append(value)
    return curves


def _train_semantic(config_path: Path, out: Path, progress: Progress) -> None:
    config = read_semantic_config(config_path)
    try:
        from wsiseg.training.semantic.train import train_semantic
    except ImportError as error:
        raise MissingExtraError("training a network", "train") from error
    log = train_semantic(config, out, progress)
    draw_curves(out / CURVES, read_curves(log))


def _claim(config: TrainingConfig, out: Path) -> None:
    path = out / SETTINGS
    settings = config.model_dump(mode="json")
    if path.exists():
        before = json.loads(path.read_text())
        same = {**before, "schedule": {**before["schedule"], "steps": config.schedule.steps}}
        if same != settings:
            raise ConfigurationError(
                f"{out} holds a training with other settings ({SETTINGS}); give another folder"
            )
    write_json(path, settings)
