"""Helpers: small networks, exported as people export theirs, and their descriptions.

They see nuclei by how little red they let through: that is smoothed, its slopes give the maps.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

REACH = 7
"""Pixels around an output that these networks look at; those of borders, four more."""

STAINED = 0.52
"""Red absorbed, in 0..1, above which a pixel is nucleus."""


class Dark(nn.Module):
    """Absorbed red smoothed, and its slopes along x and y.

    ``valid``: no output where the image ends.
    """

    def __init__(self, valid: bool = False) -> None:
        super().__init__()
        line = torch.tensor([math.comb(12, k) / 2.0**12 for k in range(13)])
        edge = 0 if valid else 6
        self.across = nn.Conv2d(1, 1, (1, 13), padding=(0, edge), bias=False)
        self.down = nn.Conv2d(1, 1, (13, 1), padding=(edge, 0), bias=False)
        self.slopes = nn.Conv2d(1, 2, 3, padding=0 if valid else 1, bias=False)
        slope = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 8
        with torch.no_grad():
            self.across.weight[0, 0, 0], self.down.weight[0, 0, :, 0] = line, line
            self.slopes.weight[:, 0] = torch.stack([slope, slope.T])
        self.valid = valid
        self.stained = STAINED

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        dark = self.down(self.across(1 - pixels[:, :1]))
        slopes = self.slopes(dark)
        if self.valid:
            dark = dark[:, :, 1:-1, 1:-1]
        return dark - self.stained, slopes


class Hover(nn.Module):
    """As HoVer-Net and CellViT give it: logits of types and of nucleus, and the two maps."""

    def __init__(self, valid: bool = False) -> None:
        super().__init__()
        self.dark = Dark(valid)

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        dark, slopes = self.dark(pixels)
        clear = 20 * dark
        nothing = torch.zeros_like(dark)
        return {
            "tp": torch.cat([nothing, clear - 2, 2.5 - clear.abs()], 1),
            "np": torch.cat([nothing, clear], 1),
            "hv": -12 * slopes,
        }


class HoverTuple(nn.Module):
    """The same as a tuple, for ONNX."""

    def __init__(self, valid: bool = False) -> None:
        super().__init__()
        self.hover = Hover(valid)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        given = self.hover(pixels)
        return given["tp"], given["np"], given["hv"]


class Parts(nn.Module):
    """As HoVer-NeXt gives it: two channels of offsets, background, inside, border; then types."""

    def __init__(self) -> None:
        super().__init__()
        self.dark = Dark()

    def forward(self, pixels: Tensor) -> Tensor:
        dark, slopes = self.dark(pixels)
        near = nn.functional.max_pool2d(dark, 9, 1, 4) - dark
        inside = 30 * dark - 400 * near
        nothing = torch.zeros_like(dark)
        border = 30 * dark - torch.relu(inside)
        return torch.cat([slopes, nothing, inside, border, nothing, dark, 0.2 - dark], 1)


class Distance(nn.Module):
    """A distance and a probability."""

    def __init__(self) -> None:
        super().__init__()
        self.dark = Dark()

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        dark = self.dark(pixels)[0]
        return 30 * (dark + 0.3), torch.sigmoid(20 * dark)


class Flows(nn.Module):
    """As cellpose gives it: five times the flow along y and x, and a logit."""

    def __init__(self) -> None:
        super().__init__()
        self.dark = Dark()

    def forward(self, pixels: Tensor) -> Tensor:
        dark, slopes = self.dark(pixels)
        length = (slopes * slopes).sum(1, keepdim=True).sqrt() + 1e-4
        flows = 5 * torch.flip(slopes, [1]) / length
        return torch.cat([flows, 20 * dark], 1)


class Stars(nn.Module):
    """As StarDist gives it, on every second pixel: probability and 32 equal rays."""

    def __init__(self) -> None:
        super().__init__()
        self.dark = Dark()

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        dark, slopes = self.dark(pixels)
        dark, slopes = dark[:, :, ::2, ::2], slopes[:, :, ::2, ::2]
        steep = (slopes * slopes).sum(1, keepdim=True).sqrt()
        flat = 1 - 20 * steep
        probability = torch.sigmoid(20 * (dark - 0.05)) * flat.clamp(0.01, 1)
        return probability, (6 + 14 * dark).repeat(1, 32, 1, 1)


class Numbered(nn.Module):
    """As InstanSeg gives it: nuclei numbered by the network, as float32 ``[n, 2, y, x]``."""

    def __init__(self) -> None:
        super().__init__()
        self.dark = Dark()

    def forward(self, pixels: Tensor) -> Tensor:
        dark = self.dark(pixels)[0]
        mask = (dark > 0).float()
        height, width = mask.shape[2], mask.shape[3]
        peaks = mask * (dark == nn.functional.max_pool2d(dark, 15, 1, 7)).float()
        labels = peaks * torch.arange(1.0, height * width + 1.0).reshape(1, 1, height, width)
        for _turn in range(12):
            spread = mask * nn.functional.max_pool2d(labels, 3, 1, 1)
            labels = torch.where(labels > 0, labels, spread)
        return torch.cat([labels, torch.zeros_like(labels)], 1)


KINDS: dict[str, tuple[type[nn.Module], str]] = {
    "hover": (
        Hover,
        """
nucleus = { output = "np", channels = [0, 1], activation = "softmax" }
directions = { output = "hv", channels = [0, 1] }
types = { output = "tp", channels = [0, 1, 2], background = 0 }
kernel = 11
""",
    ),
    "boundary": (
        Parts,
        """
parts = { channels = [2, 3, 4], activation = "softmax" }
types = { channels = [5, 6, 7], background = 0 }
marker = [0.5, 0.6]
""",
    ),
    "distances": (
        Distance,
        """
distance = { output = 0 }
nucleus = { output = 1 }
marker = 12.0
""",
    ),
    "flows": (
        Flows,
        """
flows = { channels = [0, 1] }
score = { channels = [2] }
flow_error = 0
""",
    ),
    "stars": (
        Stars,
        "probability = { output = 0 }\n"
        f"rays = {{ output = 1, channels = {list(range(32))} }}\n"
        "least_probability = 0.4\nlongest = 24\n",
    ),
    "labels": (Numbered, "labels = { channels = [0] }\n"),
}
"""The network of every kind and what stands under ``[outputs]``."""

CLASSES = """
[[classes]]
name = "Dark"
colour = [120, 0, 120]

[[classes]]
name = "Pale"
colour = [0, 120, 0]
"""


def describe(
    folder: Path, kind: str, file: str, fed: str = "divide = 255.0\nreach = 11\n", **more: Any
) -> Path:
    """Write ``model.toml`` for a network of that kind; ``stride`` 2 fits them all."""
    outputs = KINDS[kind][1]
    settings = {"mpp": 0.5, "licence": "Apache-2.0", **more}
    lines = "".join(f"{k} = {v!r}\n" for k, v in settings.items()).replace("'", '"')
    steps = "step = 2\n" if kind == "stars" else ""
    text = (
        f'name = "dark-{kind}"\nfile = "{file}"\n{lines}\n'
        f'[input]\nstride = 2\n{steps}{fed}\n[outputs]\nkind = "{kind}"\n{outputs}'
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.toml").write_text(text + (CLASSES if "types" in outputs else ""))
    return folder


def script(network: nn.Module, path: Path) -> Path:
    """Save as TorchScript."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.jit.script(network.eval()).save(str(path))
    return path


def export_onnx(network: nn.Module, path: Path, names: list[str], side: int | None = None) -> Path:
    """Save as ONNX, for one side or for any."""
    path.parent.mkdir(parents=True, exist_ok=True)
    free = {name: {2: "y", 3: "x"} for name in ["pixels", *names]} if side is None else None
    torch.onnx.export(
        network.eval(),
        (torch.rand(1, 3, side or 64, side or 64),),
        str(path),
        input_names=["pixels"],
        output_names=names,
        dynamic_axes=free,
        dynamo=False,
    )
    return path
