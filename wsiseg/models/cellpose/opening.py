"""Opens cellpose's models (see :mod:`wsiseg.models.zoo` and :mod:`wsiseg.models.cellpose`)."""

from __future__ import annotations

from pathlib import Path

from wsiseg.errors import ModelError
from wsiseg.models.cellpose.described import FILE, describe
from wsiseg.models.cellpose.weights import generation_of
from wsiseg.models.segmenter import Segmenter

NAME = "weights of cellpose, or a folder with a cellpose.toml"
TORCH = True


def recognises(path: Path) -> bool:
    """Whether it is a file of weights as cellpose saves them, or a ``cellpose.toml`` or a folder
    with one."""
    if path.is_dir():
        return (path / FILE).is_file()
    return path.name == FILE or generation_of(path) is not None


def load(path: Path, device: str) -> Segmenter:
    """The segmenter of the network.

    Raises
    ------
    ModelError
        If the description or the weights cannot be used, or are not for the installed cellpose.
    MissingExtraError
        If cellpose is not installed.
    """
    from wsiseg.models.cellpose.networks import CellposeNetwork, require_cellpose
    from wsiseg.models.cellpose.segmenter import CellposeSegmenter

    described = describe(path)
    generation = generation_of(described.weights)
    if generation is None:
        raise ModelError(
            f"{described.weights} is no file of weights as cellpose 3 or 4 saves them (a state "
            "dict with cellpose's names)"
        )
    generation = require_cellpose(generation, described.weights)
    network = CellposeNetwork(described.weights, generation, device)
    return CellposeSegmenter(described, generation, network)
