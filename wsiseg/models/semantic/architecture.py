"""The network: a timm encoder, a U-Net or FPN decoder, one logit a class and pixel.

Input ``[n, 3, y, x]``; output ``[n, classes, y / grid, x / grid]``. The decoders are convolutions
without statistics of the window, so where the encoder is too, an answer depends on the pixels
within a fixed reach and not on where the window lies, provided windows are shifted by multiples of
the stride.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn

from wsiseg.errors import ModelError
from wsiseg.models.semantic.encoders import Encoder, convolution
from wsiseg.models.semantic.files import SemanticShape

_WIDEST_PX = 1024
"""Side of the largest window that the reach is looked for in."""

_ACTIVATIONS = (
    nn.ReLU,
    nn.ReLU6,
    nn.SiLU,
    nn.GELU,
    nn.Hardswish,
    nn.LeakyReLU,
    nn.ELU,
    nn.Mish,
    nn.PReLU,
)


class UNetDecoder(nn.Module):
    """From the coarsest map up, each finer one joined on the way."""

    def __init__(self, channels: list[int], widths: tuple[int, ...]) -> None:
        super().__init__()
        if len(widths) != len(channels) - 1:
            raise ModelError(
                f"a U-Net of {len(channels)} feature maps needs {len(channels) - 1} widths, not "
                f"{len(widths)}"
            )
        self.reduce, self.merge = nn.ModuleList(), nn.ModuleList()
        coarse = channels[-1]
        for skip, width in zip(channels[-2::-1], widths, strict=True):
            self.reduce.append(convolution(coarse, width, 1))
            self.merge.append(convolution(width + skip, width, 3))
            coarse = width
        self.channels = coarse

    def forward(self, maps: list[Tensor]) -> Tensor:
        """The finest map's grid."""
        *skips, found = maps
        for reduce, merge, skip in zip(self.reduce, self.merge, reversed(skips), strict=True):
            found = nn.functional.interpolate(reduce(found), scale_factor=2.0, mode="nearest")
            found = merge(torch.cat([found, skip], 1))
        return found


class FPNDecoder(nn.Module):
    """A feature pyramid (Lin et al., 2017): added from the top, smoothed, summed at the finest."""

    def __init__(self, channels: list[int], widths: tuple[int, ...]) -> None:
        super().__init__()
        if len(widths) != 1:
            raise ModelError(f"an FPN needs one width, not {len(widths)}")
        (self.channels,) = widths
        self.lateral = nn.ModuleList([nn.Conv2d(c, self.channels, 1) for c in channels])
        self.smooth = nn.ModuleList(
            [convolution(self.channels, self.channels, 3) for _ in channels]
        )

    def forward(self, maps: list[Tensor]) -> Tensor:
        """The finest map's grid."""
        levels = [lateral(found) for lateral, found in zip(self.lateral, maps, strict=True)]
        for k in range(len(levels) - 1, 0, -1):
            up = nn.functional.interpolate(levels[k], scale_factor=2.0, mode="nearest")
            levels[k - 1] = levels[k - 1] + up
        whole = self.smooth[0](levels[0])
        for k in range(1, len(levels)):
            found = self.smooth[k](levels[k])
            whole = whole + nn.functional.interpolate(found, scale_factor=2.0**k, mode="nearest")
        result: Tensor = whole
        return result


class SemanticNetwork(nn.Module):
    """Encoder, decoder and head.

    Parameters
    ----------
    shape
        What it is; ``stride`` and ``reach_px`` are not looked at.
    classes
        Number of classes.
    weights
        Of the encoder at the beginning, see :class:`~wsiseg.models.semantic.encoders.Encoder`.

    Raises
    ------
    ModelError
        If there is no such network.
    """

    def __init__(
        self, shape: SemanticShape, classes: int, weights: Mapping[str, Tensor] | None = None
    ) -> None:
        super().__init__()
        self.encoder = Encoder(
            shape.encoder, shape.encoder_options, shape.levels, shape.window, weights
        )
        strides = self.encoder.strides
        if any(b != 2 * a for a, b in pairwise(strides)):
            raise ModelError(f"{shape.encoder} has maps of strides {strides}; each must be twice")
        if strides[0] % shape.grid:
            raise ModelError(
                f"the finest map of {shape.encoder} has stride {strides[0]}: grid {shape.grid} "
                "does not divide it"
            )
        self.stride, self.grid, self.classes = strides[-1], shape.grid, classes
        decoder = UNetDecoder if shape.decoder == "unet" else FPNDecoder
        self.decoder = decoder(self.encoder.channels, shape.widths)
        fine = strides[0] // shape.grid
        self.head = convolution(self.decoder.channels, shape.head, 3)
        self.out = nn.Conv2d(shape.head, classes * fine * fine, 1)
        self.spread = nn.PixelShuffle(fine)
        scale, shift = torch.tensor(shape.std) * 255, torch.tensor(shape.mean) * 255
        self.register_buffer("scale", (1 / scale).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("shift", shift.reshape(1, 3, 1, 1), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalised ``[n, 3, y, x]`` to logits ``[n, classes, y / grid, x / grid]``."""
        found = self.out(self.head(self.decoder(self.encoder(pixels))))
        logits: Tensor = self.spread(found)
        return logits

    def normalised(self, pixels: Tensor) -> Tensor:
        """Values of 0 to 255 ``[n, 3, y, x]`` as the network wants them."""
        scale, shift = self.get_buffer("scale"), self.get_buffer("shift")
        return (pixels - shift) * scale


class ClassNetwork(nn.Module):
    """The network as it is run: 8-bit pixels in, logits in float32 out."""

    def __init__(self, network: SemanticNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> Tensor:
        """uint8 ``[n, y, x, 3]`` to logits float32 ``[n, classes, y / grid, x / grid]``."""
        plain = pixels.permute(0, 3, 1, 2).float()
        logits: Tensor = self.network(self.network.normalised(plain))
        return logits.float()


def measure_reach(network: SemanticNetwork) -> int | None:
    """How far from a pixel its answer depends on the input, at most, in pixels.

    ``None`` where that is more than about 500 px or hangs on the window, as with attention and with
    statistics of the window. By gradient, on a copy whose weights are positive and whose
    activations let everything through, so that no path is hidden; rounded up by one stride, for
    the answers of one stride are looked at together.
    """
    probe = copy.deepcopy(network).cpu().double().eval()
    random = torch.Generator().manual_seed(0)
    _open_paths(probe, random)
    side = 8 * network.stride
    while side <= _WIDEST_PX:
        reach = _reach_within(probe, side, random)
        if reach < side // 2 - network.stride:
            return reach + network.stride
        side *= 2
    return None


def _reach_within(probe: SemanticNetwork, side: int, random: torch.Generator) -> int:
    pixels = torch.rand(1, 3, side, side, dtype=torch.float64, generator=random)
    pixels.requires_grad_()
    middle = side // 2 // probe.stride * probe.stride
    cells = slice(middle // probe.grid, (middle + probe.stride) // probe.grid)
    (gradient,) = torch.autograd.grad(probe(pixels)[0, :, cells, cells].sum(), pixels)
    touched = gradient[0].abs().sum(0).nonzero()
    low, high = int(touched.min()), int(touched.max())
    return max(middle - low, high - (middle + probe.stride - 1))


def _open_paths(module: nn.Module, random: torch.Generator) -> None:
    for name, child in module.named_children():
        if isinstance(child, _ACTIVATIONS):
            setattr(module, name, nn.Identity())
        else:
            _open_paths(child, random)
    with torch.no_grad():
        for parameter in module.parameters(recurse=False):
            parameter.copy_(
                0.005 + 0.01 * torch.rand(parameter.shape, dtype=torch.float64, generator=random)
            )
