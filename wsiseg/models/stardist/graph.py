"""The network as a graph of OpenVINO's, made from the weights without any other framework."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from wsiseg.models.network.runtime import import_openvino
from wsiseg.models.stardist.config import Pair
from wsiseg.models.stardist.network import Layer, Network, forward


def build_graph(network: Network) -> Any:
    """An OpenVINO model from float32 ``[1, y, x, c]``, sides multiples of the stride, to float32
    ``[1, outputs, y / step, x / step]``.

    Raises
    ------
    ModelError
        If openvino is not installed.
    """
    openvino = import_openvino()
    nodes = importlib.import_module("openvino.opset13")
    channels = network.config.n_channel_in
    pixels = nodes.parameter(
        openvino.PartialShape([1, -1, -1, channels]), openvino.Type.f32, name="pixels"
    )
    image = nodes.transpose(pixels, np.array([0, 3, 1, 2], np.int64))
    outputs = forward(network, _Nodes(nodes), image)
    return openvino.Model([nodes.result(outputs)], [pixels], "stardist")


class _Nodes:
    """Performs operations by adding nodes to a graph."""

    def __init__(self, nodes: Any) -> None:
        self._nodes = nodes

    def convolve(self, image: Any, name: str, layer: Layer) -> Any:
        """A convolution, its bias and its activation."""
        kernel = np.ascontiguousarray(layer.kernel.transpose(3, 2, 0, 1))
        found = self._nodes.convolution(
            image, kernel, [1, 1], list(layer.before), list(layer.after), [1, 1], name=name
        )
        found = self._nodes.add(found, layer.bias[np.newaxis, :, np.newaxis, np.newaxis])
        if layer.activation == "linear":
            return found
        if layer.activation == "elu":
            return self._nodes.elu(found, 1.0)
        return getattr(self._nodes, layer.activation)(found)

    def pool(self, image: Any, by: Pair) -> Any:
        """Greatest values."""
        none, side = [0, 0], list(by)
        pooled = self._nodes.max_pool(image, side, [1, 1], none, none, side)
        return pooled.output(0)

    def enlarge(self, image: Any, by: Pair) -> Any:
        """Repeated pixels."""
        return self._nodes.interpolate(
            image,
            np.array(by, np.float32),
            "nearest",
            "scales",
            axes=np.array([2, 3], np.int64),
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )

    def join(self, first: Any, second: Any) -> Any:
        """Concatenation."""
        return self._nodes.concat([first, second], 1)
