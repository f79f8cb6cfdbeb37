"""The card of a semantic network: what it is, for people."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

from wsiseg.files import writing
from wsiseg.models.semantic.files import SemanticFile
from wsiseg.training.semantic.config import SemanticConfig
from wsiseg.training.semantic.scores import ClassScores
from wsiseg.training.semantic.tiles import ClassTile


def write_card(
    path: Path,
    described: SemanticFile,
    config: SemanticConfig,
    scores: ClassScores,
    tiles: tuple[list[ClassTile], list[ClassTile]],
) -> None:
    """Write the card as Markdown."""
    network, schedule = described.network, config.schedule
    reach = f"{network.reach_px} px" if network.reach_px is not None else "the whole window"
    weights = config.model.encoder_weights
    origin = weights if isinstance(weights, str) else weights.name
    counted = {
        part: Counter(t.key.partition("/")[0] for t in own)
        for part, own in zip(("train", "val"), tiles, strict=True)
    }
    lines = [
        f"# {described.name}",
        "",
        f"Classes of tissue on brightfield slides at {described.mpp} µm/px. Weights: "
        f"{described.licence}. Training data: {described.data_licence}.",
        "",
        "## Network",
        "",
        f"timm `{network.encoder}`, {network.levels} feature maps (stride {network.stride}), "
        f"{network.decoder} of widths {', '.join(map(str, network.widths))}, one answer for "
        f"{network.grid} x {network.grid} pixels. Reach {reach}. Encoder weights at the start: "
        f"{origin}.",
        "",
        "| class | counts as | colour |",
        "|---|---|---|",
        *(f"| {c.name} | {c.counts} | {c.color} |" for c in described.classes),
        "",
        "## Data",
        "",
        "| set | part | images | licence |",
        "|---|---|---|---|",
        *(
            f"| {entry.name} | {entry.part} | {counted[entry.part][entry.name]} | {entry.licence} |"
            for entry in config.data.sources
        ),
        "",
        "## Training",
        "",
        f"{schedule.steps} steps of {schedule.batch} crops of {schedule.crop_px} px, AdamW (rate "
        f"{schedule.rate}, encoder x {schedule.encoder_rate}, decay {schedule.weight_decay}), "
        f"{schedule.warmup} steps of warm-up, then a cosine; averaged weights; "
        f"{schedule.precision}; seed {schedule.seed}. Pixels without a label count for nothing.",
        "",
        "## Scores on the images not trained on",
        "",
        "| class | IoU | Dice |",
        "|---|---|---|",
        *(
            f"| {name} | {_text(scores.iou[name])} | {_text(scores.dice[name])} |"
            for name in scores.names
        ),
        "",
    ]
    with writing(path) as temporary:
        temporary.write_text("\n".join(lines))


def _text(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "not there"
