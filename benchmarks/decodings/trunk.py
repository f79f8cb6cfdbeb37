"""The network that all ways share: the package's encoder and decoder, any outputs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from wsiseg.models.network.architecture import Encoder


class Trunk(nn.Module):
    """Encoder, decoder down to ``grid`` input pixels an output pixel, head, as many outputs as
    ``start`` has biases.

    Layer for layer :class:`wsiseg.models.network.architecture.StarNetwork`, whose grid and
    outputs are fixed.
    """

    def __init__(
        self,
        encoder: Encoder,
        widths: tuple[int, ...],
        head: int,
        start: tuple[float, ...],
        grid: int,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.stride = encoder.strides[-1]
        levels = [k for k, stride in enumerate(encoder.strides[:-1]) if stride >= grid][::-1]
        self._skips = levels
        self.reduce, self.merge = nn.ModuleList(), nn.ModuleList()
        coarse = encoder.channels[-1]
        for level, width in zip(levels, widths, strict=False):
            self.reduce.append(_convolution(coarse, width, 1))
            self.merge.append(_convolution(width + encoder.channels[level], width, 3))
            coarse = width
        self.head = _convolution(coarse, head, 3)
        self.out = nn.Conv2d(head, len(start), 1)
        with torch.no_grad():
            self.out.weight.mul_(0.1)
            self.out.bias = nn.Parameter(torch.tensor(start))

    def forward(self, pixels: Tensor) -> Tensor:
        """``[n, 3, y, x]`` to ``[n, outputs, y / grid, x / grid]``."""
        features = self.encoder(pixels)
        found = features[-1]
        for reduce, merge, level in zip(self.reduce, self.merge, self._skips, strict=True):
            found = nn.functional.interpolate(reduce(found), scale_factor=2.0, mode="nearest")
            found = merge(torch.cat([found, features[level]], 1))
        outputs: Tensor = self.out(self.head(found))
        return outputs


class Run(nn.Module):
    """The network on 8-bit pixels, as a slide is read."""

    def __init__(self, trunk: Trunk) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(self, pixels: Tensor) -> Tensor:
        """uint8 ``[n, y, x, 3]`` to float32 ``[n, outputs, y / grid, x / grid]``."""
        scaled = (pixels.permute(0, 3, 1, 2).float() - 127.5) * (1 / 127.5)
        outputs: Tensor = self.trunk(scaled)
        return outputs.float()


def measure_reach(trunk: Trunk, grid: int) -> int:
    """How far an output pixel looks beyond itself, in input pixels, over all phases of the stride.

    All weights are made small and positive in place, so that no path is hidden.
    """
    trunk = trunk.double().eval()
    side, reach = 20 * trunk.stride, 0
    with torch.no_grad():
        for parameter in trunk.parameters():
            parameter.fill_(0.01)
    for phase in range(trunk.stride // grid):
        place = side // (2 * grid) + phase
        pixels = torch.zeros(1, 3, side, side, dtype=torch.float64, requires_grad=True)
        (slope,) = torch.autograd.grad(trunk(pixels)[0, :, place, place].sum(), pixels)
        touched = slope[0].abs().sum(0).nonzero()
        low, high = int(touched.min()), int(touched.max())
        reach = max(reach, place * grid + grid - 1 - low, high - place * grid)
    return reach


def _convolution(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )
