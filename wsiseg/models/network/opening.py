"""Opens the folders that ``wsiseg train`` writes (see :mod:`wsiseg.models.zoo`)."""

from __future__ import annotations

from pathlib import Path

from wsiseg.models.device import is_cuda
from wsiseg.models.segmenter import Segmenter

NAME = "a folder that wsiseg train wrote"
TORCH = True


def recognises(path: Path) -> bool:
    """Whether the folder describes a network."""
    return (path / "model.json").is_file()


def load(path: Path, device: str) -> Segmenter:
    """The segmenter of the network: OpenVINO on the processor, torch on a graphics card.

    Raises
    ------
    ModelError
        If the folder holds no usable network, or what runs it is not installed.
    """
    from wsiseg.models.network.segmenter import NetworkSegmenter

    return NetworkSegmenter(path, runtime="torch" if is_cuda(device) else "openvino", device=device)
