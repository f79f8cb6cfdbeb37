"""Train a network that tells classes of tissue apart, from its configuration to its card."""

from __future__ import annotations

import json
from pathlib import Path

from wsiseg.errors import ConfigurationError
from wsiseg.files import named_disk, write_json
from wsiseg.models.network.files import CARD
from wsiseg.training.loop import LOG
from wsiseg.training.progress import Progress
from wsiseg.training.semantic.card import write_card
from wsiseg.training.semantic.config import SemanticConfig
from wsiseg.training.semantic.export import Described, write_semantic
from wsiseg.training.semantic.loop import fit, held_out_scores, shape_of
from wsiseg.training.semantic.tiles import load_class_tiles

SETTINGS = "training.json"


def train_semantic(config: SemanticConfig, out: Path, progress: Progress) -> Path:
    """Train, or go on with what ``out`` holds, and write the finished model there.

    Returns the log of the training.

    Raises
    ------
    ConfigurationError
        If the data cannot be used, or ``out`` holds another training.
    """
    with named_disk(out):
        out.mkdir(parents=True, exist_ok=True)
        _claim(config, out)
        tiles = load_class_tiles(config, "train"), load_class_tiles(config, "val")
        network = fit(config, tiles, out, progress)
        scores = held_out_scores(network.cpu(), tiles[1], config)
        used = [entry for entry in config.data.sources if entry.weight > 0]
        said = Described(
            name=config.model.name,
            mpp=config.model.mpp,
            classes=config.described,
            licence=config.model.licence,
            data_licence=" AND ".join(sorted({entry.licence for entry in used})),
            trained_on=[entry.name for entry in used if entry.part == "train"],
            tidying=config.model.tidying,
        )
        described = write_semantic(network, shape_of(config), said, out)
        write_card(out / CARD, described, config, scores, tiles)
    return out / LOG


def _claim(config: SemanticConfig, out: Path) -> None:
    path = out / SETTINGS
    settings = config.model_dump(mode="json")
    if path.exists():
        before = json.loads(path.read_text())
        schedule = {**before.get("schedule", {}), "steps": config.schedule.steps}
        if {**before, "schedule": schedule} != settings:
            raise ConfigurationError(
                f"{out} holds a training with other settings ({SETTINGS}); give another folder"
            )
    write_json(path, settings)
