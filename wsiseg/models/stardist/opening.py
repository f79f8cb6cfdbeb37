"""Opens StarDist models as their makers publish them (see :mod:`wsiseg.models.zoo`)."""

from __future__ import annotations

from pathlib import Path

from wsiseg.models.segmenter import Segmenter

NAME = "a StarDist 2D model (a folder or zip archive with config.json and weights)"
TORCH = True


def recognises(path: Path) -> bool:
    """Whether a folder or zip archive holds the configuration of a StarDist model."""
    from wsiseg.models.stardist.reading import looks_like_stardist

    return looks_like_stardist(path)


def load(path: Path, device: str) -> Segmenter:
    """The segmenter: OpenVINO on the processor, torch on a graphics card.

    Raises
    ------
    MissingExtraError
        If its weights need a library that is not installed.
    ModelError
        If it holds no usable model, or what runs it is not installed.
    """
    from wsiseg.models.device import is_cuda
    from wsiseg.models.stardist.reading import read_model
    from wsiseg.models.stardist.segmenter import StarDistSegmenter

    model = read_model(path)
    return StarDistSegmenter(
        model, runtime="torch" if is_cuda(device) else "openvino", device=device
    )
