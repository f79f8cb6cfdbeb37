"""Opens TorchScript networks that a TOML file describes (see :mod:`wsiseg.models.zoo`)."""

from __future__ import annotations

from pathlib import Path

from wsiseg.models.described.folder import looks_described, names_onnx
from wsiseg.models.segmenter import Segmenter

NAME = "a TorchScript network with a model.toml"
TORCH = True
NEEDS_TRUST = True


def recognises(path: Path) -> bool:
    """Whether a description lies there that names no ONNX file: all others are opened, or refused
    with the reason, here."""
    return looks_described(path) and not names_onnx(path)


def load(path: Path, device: str) -> Segmenter:
    """The segmenter of the network, run by torch.

    Raises
    ------
    MissingExtraError
        If torch is not installed.
    ModelError
        If the description or the network's file cannot be used.
    """
    from wsiseg.models.described.segmenter import open_described

    return open_described(path, device)
