"""Tells folders of tissue networks from those of nuclei (see :mod:`wsiseg.models.zoo`)."""

from __future__ import annotations

import json
from pathlib import Path

from wsiseg.errors import ModelError
from wsiseg.models.network.files import DESCRIPTION
from wsiseg.models.segmenter import Segmenter
from wsiseg.models.semantic.files import KIND, MAX_DESCRIPTION_BYTES, SemanticFolder

NAME = "a tissue network, for --tissue"
TORCH = True


def recognises(path: Path) -> bool:
    """Whether the folder describes a tissue network."""
    place = path / DESCRIPTION
    try:
        if place.stat().st_size > MAX_DESCRIPTION_BYTES:
            return False
        described = json.loads(place.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(described, dict) and described.get("kind") == KIND


def load(path: Path, device: str) -> Segmenter:
    """Refuses: a tissue network finds no nuclei.

    Raises
    ------
    ModelError
        Always; the message says how it is used.
    """
    classes = ", ".join(entry.name for entry in SemanticFolder.open(path).described.classes)
    raise ModelError(
        f"{path} is a tissue network (classes {classes}): it finds no nuclei; give it with "
        "--tissue, and a model of nuclei with --model"
    )
