"""All that a training learns from."""

from __future__ import annotations

from typing import Literal

from wsiseg.errors import ConfigurationError
from wsiseg.slides.reader import Illumination
from wsiseg.training.annotated import load_areas
from wsiseg.training.config import Data
from wsiseg.training.tiles import LabelledTile, load_tiles


def load_part(
    data: Data, part: Literal["train", "val"], illumination: Illumination = "brightfield"
) -> list[LabelledTile]:
    """The tiles of the sets and the areas of the slides of one part.

    Raises
    ------
    ConfigurationError
        If there are none, or some cannot be used.
    """
    found = load_tiles(data, part, illumination)
    for described in data.slides:
        if described.part == part:
            found += load_areas(described, illumination)
    if not found:
        raise ConfigurationError(f"no tile and no annotated area belongs to the part {part!r}")
    return found
