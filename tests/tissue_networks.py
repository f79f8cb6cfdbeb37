"""Small tissue networks of random weights, and pictures to show them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from wsiseg.models.semantic.architecture import SemanticNetwork
from wsiseg.models.semantic.files import SemanticClass, SemanticFolder, SemanticShape, Tidying
from wsiseg.training.semantic.export import Described, write_semantic

CLASSES = (
    SemanticClass(name="Glass", color=(255, 255, 255), counts="background"),
    SemanticClass(name="Tumour", color=(200, 0, 0)),
    SemanticClass(name="Stroma", color=(0, 160, 0)),
    SemanticClass(name="Ink", color=(0, 0, 200), counts="other"),
)


def shape_of(**changes: Any) -> SemanticShape:
    """A light network, random but for what is changed."""
    plain: dict[str, Any] = {
        "encoder": "efficientnet_lite0",
        "levels": 3,
        "decoder": "unet",
        "widths": (24, 16),
        "head": 16,
        "grid": 2,
        "mean": (0.5, 0.5, 0.5),
        "std": (0.5, 0.5, 0.5),
        "stride": 1,
        "reach_px": None,
    }
    return SemanticShape(**{**plain, **changes})


def random_network(
    folder: Path, *, mpp: float = 1.0, seed: int = 0, **changes: Any
) -> SemanticFolder:
    """A folder with a network of random weights whose classes all come up."""
    torch.manual_seed(seed)
    shape = shape_of(**changes)
    network = SemanticNetwork(shape, len(CLASSES)).eval()
    with torch.no_grad():
        for part in network.modules():
            if isinstance(part, torch.nn.BatchNorm2d):
                part.reset_running_stats()
        network.out.weight.mul_(60.0)
        network.out.bias = torch.nn.Parameter(torch.zeros_like(network.out.bias))
    folder.mkdir(parents=True, exist_ok=True)
    said = Described("random", mpp, CLASSES, "Apache-2.0", "CC0-1.0", ("made up",), Tidying())
    write_semantic(network, shape, said, folder)
    return SemanticFolder.open(folder)


def noise(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """Coloured patches of all sizes, uint8 ``[y, x, 3]``."""
    random = np.random.default_rng(seed)
    whole = np.zeros((height, width, 3), np.float32)
    for side in (4, 16, 64):
        coarse = random.random((height // side + 1, width // side + 1, 3), np.float32)
        whole += np.kron(coarse, np.ones((side, side, 1), np.float32))[:height, :width]
    return (whole / 3 * 255).astype(np.uint8)
