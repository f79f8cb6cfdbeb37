"""Opens ONNX networks that a TOML file describes (see :mod:`wsiseg.models.zoo`)."""

from __future__ import annotations

from pathlib import Path

from wsiseg.models.described.folder import looks_described, names_onnx
from wsiseg.models.segmenter import Segmenter

NAME = "an ONNX network with a model.toml"
TORCH = False
NEEDS_TRUST = True


def recognises(path: Path) -> bool:
    """Whether a description lies there that names an ONNX file."""
    return looks_described(path) and names_onnx(path)


def load(path: Path, device: str) -> Segmenter:
    """The segmenter of the network, run by OpenVINO on the processor.

    Raises
    ------
    ModelError
        If the description or the network's file cannot be used, or openvino is not installed.
    """
    from wsiseg.models.described.segmenter import open_described

    return open_described(path, device)
