"""The network: a timm encoder cut early, a light decoder, star-convex outputs.

Input ``[n, c, y, x]`` in -1..1 at 0.5 µm/px; output ``[n, outputs, y / 2, x / 2]``, see
:class:`StarNetwork`. All convolutions, no statistics of the window, so the output for a place
depends on the pixels within a fixed reach of it and not on where the window lies, provided
windows are shifted by multiples of ``StarNetwork.stride``.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from wsiseg.models._torchvision import import_timm
from wsiseg.models.network.stars import RAY_SHARPNESS, RAY_UNIT

GRID = 2
"""Input pixels a pixel of the output, along each axis."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """What must be known to build a network that given weights fit.

    Attributes
    ----------
    encoder
        Name of a timm model of the EfficientNet family (stem, then ``blocks``).
    stages
        Stages of ``blocks`` kept; what follows them is cut off.
    widths
        Channels of the decoder, coarse to fine, one a halving of the stride down to ``GRID``.
    head
        Channels before the outputs.
    rays
        Number of directions; ray ``k`` points to the angle ``2 pi k / rays``, from x towards y.
    channels
        Of the input.
    """

    encoder: str = "efficientnet_lite0"
    stages: int = 4
    widths: tuple[int, ...] = (96, 64, 48)
    head: int = 64
    rays: int = 32
    channels: int = 3

    @property
    def outputs(self) -> int:
        """Channels that leave the network: probability, rays, foreground of the 2 x 2 pixels."""
        return 1 + self.rays + GRID * GRID


class Encoder(nn.Module):
    """Stem and first stages of a timm EfficientNet; the last features of every stride."""

    def __init__(self, name: str, stages: int, channels: int) -> None:
        super().__init__()
        model = import_timm().create_model(name, pretrained=False, in_chans=channels)
        self.conv_stem = model.conv_stem
        self.bn1 = model.bn1
        self.blocks = nn.ModuleList(model.blocks[:stages])
        sizes = []
        with torch.no_grad():
            found = torch.zeros(1, channels, 64, 64)
            for layer in (nn.Sequential(self.conv_stem, self.bn1), *self.blocks):
                found = layer.eval()(found)
                sizes.append((found.shape[1], 64 // found.shape[2]))
        self.train()
        strides = [stride for _, stride in sizes[1:]]
        self._kept = [k for k, s in enumerate(strides) if s not in strides[k + 1 :]]
        self.channels = [sizes[k + 1][0] for k in self._kept]
        self.strides = [strides[k] for k in self._kept]

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Features, fine to coarse, of strides ``self.strides``."""
        features = []
        found = self.bn1(self.conv_stem(pixels))
        for number, block in enumerate(self.blocks):
            found = block(found)
            if number in self._kept:
                features.append(found)
        return features


class StarNetwork(nn.Module):
    """Encoder and decoder.

    Output channels: 0 the logit of the probability that a star-convex outline fits here; then
    ``rays`` numbers for :func:`ray_lengths`, measured from the middle of the ``GRID`` x ``GRID``
    pixels; then the foreground logits of those pixels, row by row.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.channels = architecture.channels
        self.encoder = Encoder(architecture.encoder, architecture.stages, architecture.channels)
        self.stride = self.encoder.strides[-1]
        if (
            self.encoder.strides[0] != GRID
            or len(architecture.widths) != len(self.encoder.strides) - 1
        ):
            raise ValueError(
                f"{architecture.encoder} cut after {architecture.stages} stages has strides "
                f"{self.encoder.strides}; it needs one decoder width for each but the last"
            )
        skips = self.encoder.channels[-2::-1]
        coarse = self.encoder.channels[-1]
        self.reduce, self.merge = nn.ModuleList(), nn.ModuleList()
        for skip, width in zip(skips, architecture.widths, strict=True):
            self.reduce.append(_convolution(coarse, width, 1))
            self.merge.append(_convolution(width + skip, width, 3))
            coarse = width
        self.head = _convolution(coarse, architecture.head, 3)
        self.out = nn.Conv2d(architecture.head, architecture.outputs, 1)
        bias = torch.full((architecture.outputs,), -1.0)
        bias[0] = -2.0
        bias[1 : 1 + architecture.rays] = 0.6
        with torch.no_grad():
            self.out.weight.mul_(0.1)
            self.out.bias = nn.Parameter(bias)

    def forward(self, pixels: Tensor, crop: int = 0, outputs: int | None = None) -> Tensor:
        """``[n, c, y, x]`` to ``[n, outputs, y / GRID, x / GRID]``.

        Only the first ``outputs`` of them, and none for the outer ``crop`` pixels (a multiple of
        the stride), where that many are given: see :meth:`idle_px`.
        """
        *skips, found = (
            features if crop == 0 else _without_edge(features, crop // stride)
            for features, stride in zip(self.encoder(pixels), self.encoder.strides, strict=True)
        )
        for reduce, merge, skip in zip(self.reduce, self.merge, reversed(skips), strict=True):
            found = nn.functional.interpolate(reduce(found), scale_factor=2.0, mode="nearest")
            found = merge(torch.cat([found, skip], 1))
        weight, bias = self.out.weight, self.out.bias
        if outputs is not None and bias is not None:
            weight, bias = weight[:outputs], bias[:outputs]
        answer: Tensor = nn.functional.conv2d(self.head(found), weight, bias)
        return answer

    def idle_px(self, reach: int) -> int:
        """How many pixels along a window's edge the decoder may leave out: all that the edge
        spoils anyway, less what the decoder's own edge spoils further in."""
        spoilt = sum(self.encoder.strides[:-1]) + GRID
        idle: int = max(reach - spoilt, 0) // self.stride * self.stride
        return idle


class PixelNetwork(nn.Module):
    """The network as it is run: 8-bit pixels in; the outputs of :class:`StarNetwork` in float32.

    Sigmoid and softplus are left to the decoding, which needs them in few places and in full
    precision: a softplus within a bfloat16 graph was off by pixels.

    Parameters
    ----------
    network
        The network.
    crop, outputs
        What it leaves out, see :meth:`StarNetwork.forward`.
    """

    def __init__(self, network: StarNetwork, crop: int = 0, outputs: int | None = None) -> None:
        super().__init__()
        self.network = network
        self.crop, self.outputs = crop, outputs

    def forward(self, pixels: Tensor) -> Tensor:
        """uint8 ``[n, y, x, c]`` to float32 ``[n, outputs, y / GRID, x / GRID]``."""
        scaled = (pixels.permute(0, 3, 1, 2).float() - 127.5) * (1 / 127.5)
        answer: Tensor = self.network(
            scaled.to(self.network.out.weight.dtype), self.crop, self.outputs
        )
        return answer.float()


def ray_lengths(outputs: Tensor) -> Tensor:
    """Rays in input pixels, above 0, from what leaves the network.

    The counterpart of :func:`wsiseg.models.network.stars.ray_length`.
    """
    return nn.functional.softplus(outputs, beta=RAY_SHARPNESS) * RAY_UNIT


def _without_edge(features: Tensor, ring: int) -> Tensor:
    return features[:, :, ring:-ring, ring:-ring]


def _convolution(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def channels_last(network: nn.Module) -> None:
    """Lay out the weights of convolutions as the fastest kernels want them."""
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


def measure_reach(network: StarNetwork) -> int:
    """How far from a pixel the output that covers it depends on the input, in pixels.

    By gradient, on a copy whose weights are all positive and whose activations let everything
    through, so that no path is hidden by a weight of zero or a saturated activation. Outputs of
    all phases of the stride are looked at.
    """
    probe = copy.deepcopy(network).cpu().double().eval()
    _open_paths(probe)
    side = 8 * network.stride
    while True:
        side *= 2
        reach = max(_reach_at(probe, side, phase) for phase in range(network.stride // GRID))
        if reach < side // 2 - network.stride:
            return reach


def _reach_at(probe: StarNetwork, side: int, phase: int) -> int:
    place = side // (2 * GRID) + phase
    pixels = torch.zeros(1, probe.channels, side, side, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(probe(pixels)[0, :, place, place].sum(), pixels)
    touched = gradient[0].abs().sum(0).nonzero()
    low, high = int(touched.min()), int(touched.max())
    return max(place * GRID + GRID - 1 - low, high - place * GRID)


def _open_paths(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.ReLU | nn.ReLU6):
            setattr(module, name, nn.Identity())
        else:
            _open_paths(child)
    with torch.no_grad():
        for parameter in module.parameters(recurse=False):
            parameter.fill_(0.01)


def load_imagenet(
    network: StarNetwork, architecture: Architecture, weights: dict[str, Tensor]
) -> None:
    """Start the encoder from weights of the whole classifier, matched by order and shape.

    Other packages name the same layers differently, so names are not compared.

    Raises
    ------
    ValueError
        If number or shapes of the tensors differ from timm's model of that name.
    """
    names = import_timm().create_model(architecture.encoder, pretrained=False).state_dict()
    same = len(names) == len(weights) and all(
        a.shape == b.shape for a, b in zip(names.values(), weights.values(), strict=True)
    )
    if not same:
        raise ValueError(f"the weights do not fit timm's {architecture.encoder}")
    renamed = dict(zip(names, weights.values(), strict=True))
    own = network.encoder.state_dict()
    network.encoder.load_state_dict(
        {name: _for_channels(renamed[name], value) for name, value in own.items()}
    )


def start_from(network: StarNetwork, weights: dict[str, Tensor]) -> int:
    """Take over the weights whose name and shape are the same; how many of them there were.

    A network of one channel takes the sum of another's filters for three.
    """
    own = network.state_dict()
    fitted = {n: _for_channels(w, own[n]) for n, w in weights.items() if n in own}
    same = {n: w for n, w in fitted.items() if own[n].shape == w.shape}
    network.load_state_dict({**own, **same})
    return len(same)


def _for_channels(weights: Tensor, wanted: Tensor) -> Tensor:
    """Filters for grey pixels that answer as the given ones do to equal red, green and blue."""
    if weights.ndim == 4 and weights.shape[1] == 3 and wanted.shape[1] == 1:
        return weights.sum(1, keepdim=True)
    return weights
