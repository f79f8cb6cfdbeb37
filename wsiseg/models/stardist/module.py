"""The network in torch."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from wsiseg.models.stardist.config import Pair
from wsiseg.models.stardist.network import Layer, Network, forward


class StarModule(nn.Module):
    """The network, ready to run: pixels ``[n, y, x, c]`` of any dtype, sides multiples of the
    stride, to float32 ``[n, outputs, y / step, x / step]``.

    It calculates in the dtype and on the device of its weights.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self._network = network
        self._numbers = {name: number for number, name in enumerate(network.layers)}
        layers = network.layers.values()
        self.kernels = nn.ParameterList(
            torch.from_numpy(layer.kernel.transpose(3, 2, 0, 1).copy()).contiguous(
                memory_format=torch.channels_last
            )
            for layer in layers
        )
        self.biases = nn.ParameterList(torch.from_numpy(layer.bias) for layer in layers)
        self.eval().requires_grad_(False)

    def forward(self, pixels: Tensor) -> Tensor:
        """See the class."""
        image = pixels.permute(0, 3, 1, 2).to(self.biases[0].dtype)
        return forward(self._network, self, image).float().contiguous()

    def convolve(self, image: Tensor, name: str, layer: Layer) -> Tensor:
        """A convolution, its bias and its activation."""
        (top, left), (bottom, right) = layer.before, layer.after
        number, padding = self._numbers[name], (top, left)
        if (top, left) != (bottom, right):
            image, padding = functional.pad(image, (left, right, top, bottom)), (0, 0)
        found = functional.conv2d(image, self.kernels[number], self.biases[number], 1, padding)
        if layer.activation == "relu":
            return found.relu_()
        if layer.activation == "elu":
            return functional.elu(found)
        if layer.activation == "tanh":
            return found.tanh_()
        return found.sigmoid_() if layer.activation == "sigmoid" else found

    def pool(self, image: Tensor, by: Pair) -> Tensor:
        """Greatest values."""
        return functional.max_pool2d(image, by)

    def enlarge(self, image: Tensor, by: Pair) -> Tensor:
        """Repeated pixels."""
        return functional.interpolate(image, scale_factor=(float(by[0]), float(by[1])))

    def join(self, first: Tensor, second: Tensor) -> Tensor:
        """Concatenation."""
        return torch.cat([first, second], 1)
