"""The U-Net of StarDist, written down once for whoever calculates it.

:func:`forward` is the network in terms of four operations. OpenVINO's graph, the torch module and
the arithmetic of what an answer depends on are three ways to perform them, so none of them can
be of another network than the others.

The layers and their names are those of csbdeep's ``unet_block`` and of StarDist's ``_build``:
convolutions that reduce the image to the grid, a U-Net, one more convolution (``features``), and
convolutions of 1 x 1 px for probability, rays and classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from wsiseg.errors import ModelError
from wsiseg.models.stardist.config import Activation, Config, Pair

T = TypeVar("T")

Tensors = Mapping[str, NDArray[np.float32]]
"""Of one layer, by Keras's names: ``kernel`` and ``bias``, or ``gamma``, ``beta``,
``moving_mean`` and ``moving_variance``."""

NORMALISATION_EPSILON = 1e-3
"""That of Keras's ``BatchNormalization``, which StarDist leaves as it is."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A convolution whose result is as large as its input, zero beyond its border.

    Attributes
    ----------
    kernel
        float32 ``[y, x, inputs, outputs]``.
    bias
        float32 ``[outputs]``.
    activation
        What its results pass through.
    """

    kernel: NDArray[np.float32]
    bias: NDArray[np.float32]
    activation: Activation

    @property
    def before(self) -> Pair:
        """Zeros before the first row and column, as Keras's ``same`` has them."""
        return (self.kernel.shape[0] - 1) // 2, (self.kernel.shape[1] - 1) // 2

    @property
    def after(self) -> Pair:
        """Zeros behind the last row and column."""
        return self.kernel.shape[0] // 2, self.kernel.shape[1] // 2


class Operations(Protocol[T]):
    """Something that can perform the network's operations on its own kind of images."""

    def convolve(self, image: T, name: str, layer: Layer) -> T:
        """The layer of that name."""
        ...

    def pool(self, image: T, by: Pair) -> T:
        """The greatest values of blocks of ``by`` (y, x) pixels."""
        ...

    def enlarge(self, image: T, by: Pair) -> T:
        """Every pixel repeated ``by`` (y, x) times."""
        ...

    def join(self, first: T, second: T) -> T:
        """The channels of both."""
        ...


@dataclass(frozen=True, slots=True)
class Network:
    """A network with its weights.

    Its outputs ``[channels, y / step, x / step]`` are the logit of the probability, the rays in
    input pixels, and the logits of background and every class where it tells any.

    Attributes
    ----------
    config
        What it is.
    layers
        By name; normalisation lies in them, and ``HEAD`` stands for ``prob`` and ``dist``.
    """

    config: Config
    layers: Mapping[str, Layer]

    @property
    def outputs(self) -> int:
        """Channels that leave it."""
        classes = self.config.n_classes
        return 1 + self.config.n_rays + (0 if classes is None else classes + 1)


HEAD = "prob+dist"
"""Both are convolved from the same features, so as one layer they are as good."""


def forward(network: Network, operations: Operations[T], image: T) -> T:
    """What the network makes of an image, see :class:`Network`."""
    config, layers = network.config, network.layers
    prefix = config.unet_prefix

    def convolve(image: T, name: str) -> T:
        return operations.convolve(image, name, layers[name])

    number = 0
    for by in reductions(config.grid):
        for _ in range(config.unet_n_conv_per_depth):
            image = convolve(image, _numbered("conv2d", number))
            number += 1
        image = operations.pool(image, by)
    skips = []
    for level in range(config.unet_n_depth):
        for k in range(config.unet_n_conv_per_depth):
            image = convolve(image, f"{prefix}down_level_{level}_no_{k}")
        skips.append(image)
        image = operations.pool(image, config.unet_pool)
    for k in (*range(config.unet_n_conv_per_depth - 1), config.unet_n_conv_per_depth):
        image = convolve(image, f"{prefix}middle_{k}")
    for level in reversed(range(config.unet_n_depth)):
        image = operations.join(operations.enlarge(image, config.unet_pool), skips[level])
        for k in (*range(config.unet_n_conv_per_depth - 1), config.unet_n_conv_per_depth):
            image = convolve(image, f"{prefix}up_level_{level}_no_{k}")
    extra = config.net_conv_after_unet > 0
    found = convolve(convolve(image, "features") if extra else image, HEAD)
    if config.n_classes is None:
        return found
    classes = convolve(convolve(image, "features_class") if extra else image, "prob_class")
    return operations.join(found, classes)


def reductions(grid: Pair) -> list[Pair]:
    """The poolings that bring an image to the grid."""
    done, found = (1, 1), []
    while done != grid:
        by = (1 + (grid[0] > done[0]), 1 + (grid[1] > done[1]))
        done = (done[0] * by[0], done[1] * by[1])
        found.append(by)
    return found


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A convolution that a configuration asks for: its channels, and what follows it."""

    name: str
    size: Pair
    inputs: int
    outputs: int
    activation: Activation
    normalised: bool


def build(config: Config, weights: Mapping[str, Tensors], origin: str) -> Network:
    """The network of a configuration with the weights of a file.

    Parameters
    ----------
    config
        What it is.
    weights
        Tensors by layer, named as Keras names layers.
    origin
        The file, for messages.

    Raises
    ------
    ModelError
        If a layer is missing or its tensors have another shape than the configuration asks for.
    """
    # Layers without a name of their own are numbered on and on within a session of Keras.
    plain = _in_order(weights, "conv2d")
    normalisations = _in_order(weights, "batch_normalization")
    layers: dict[str, Layer] = {}
    for wanted in _wanted(config):
        own = wanted.name
        if own.startswith("conv2d"):
            own = plain.pop(0) if plain else own
        kernel, bias = _convolution(weights.get(own), wanted, origin)
        if wanted.normalised:
            name = normalisations.pop(0) if normalisations else "batch_normalization"
            kernel, bias = _normalised(kernel, bias, weights.get(name), wanted, origin)
        layers[wanted.name] = Layer(kernel, bias, wanted.activation)
    if plain or normalisations:
        raise ModelError(
            f"the weights in {origin} are of a larger network than config.json describes: there "
            f"are too many layers {(plain or normalisations)[0]}"
        )
    prob, dist = layers.pop("prob"), layers.pop("dist")
    layers[HEAD] = Layer(
        np.concatenate((prob.kernel, dist.kernel), axis=3),
        np.concatenate((prob.bias, dist.bias)),
        "linear",
    )
    return Network(config, layers)


def _wanted(config: Config) -> list[_Wanted]:
    """The convolutions of a configuration, in the order in which Keras makes them."""
    found: list[_Wanted] = []
    size, count = config.unet_kernel_size, config.unet_n_conv_per_depth
    inputs: int = config.n_channel_in

    def add(name: str, outputs: int, activation: Activation, *, normalised: bool = False) -> None:
        nonlocal inputs
        found.append(_Wanted(name, size, inputs, outputs, activation, normalised))
        inputs = outputs

    def block(name: str, outputs: int, activation: Activation | None = None) -> None:
        chosen = activation or config.unet_activation
        add(config.unet_prefix + name, outputs, chosen, normalised=config.unet_batch_norm)

    for number in range(len(reductions(config.grid)) * count):
        add(_numbered("conv2d", number), config.unet_n_filter_base, config.unet_activation)
    skips = []
    for level in range(config.unet_n_depth):
        for k in range(count):
            block(f"down_level_{level}_no_{k}", config.filters(level))
        skips.append(inputs)
    for k in range(count - 1):
        block(f"middle_{k}", config.filters(config.unet_n_depth))
    block(f"middle_{count}", config.filters(max(0, config.unet_n_depth - 1)))
    for level in reversed(range(config.unet_n_depth)):
        inputs += skips[level]
        for k in range(count - 1):
            block(f"up_level_{level}_no_{k}", config.filters(level))
        last = config.last_activation if level == 0 else None
        block(f"up_level_{level}_no_{count}", config.filters(max(0, level - 1)), last)
    unet = inputs
    if config.net_conv_after_unet:
        add("features", config.net_conv_after_unet, config.unet_activation)
    size, features = (1, 1), inputs
    add("prob", 1, "linear")
    inputs = features
    add("dist", config.n_rays, "linear")
    if config.n_classes is not None:
        inputs, size = unet, config.unet_kernel_size
        if config.net_conv_after_unet:
            add("features_class", config.net_conv_after_unet, config.unet_activation)
        size = (1, 1)
        add("prob_class", config.n_classes + 1, "linear")
    return found


def _numbered(name: str, number: int) -> str:
    return f"{name}_{number}" if number else name


def _in_order(weights: Mapping[str, Tensors], kind: str) -> list[str]:
    """The layers ``kind``, ``kind_1``, ``kind_2``..., in the order of their numbers."""
    numbers = {}
    for name in weights:
        rest = name.removeprefix(kind)
        if name == kind:
            numbers[name] = 0
        elif name.startswith(f"{kind}_") and rest[1:].isdigit() and len(rest) < 10:
            numbers[name] = int(rest[1:])
    return sorted(numbers, key=numbers.__getitem__)


def _convolution(
    tensors: Tensors | None, wanted: _Wanted, origin: str
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    shape = (*wanted.size, wanted.inputs, wanted.outputs)
    kernel = _tensor(tensors, "kernel", shape, wanted.name, origin)
    return kernel, _tensor(tensors, "bias", (wanted.outputs,), wanted.name, origin)


def _normalised(
    kernel: NDArray[np.float32],
    bias: NDArray[np.float32],
    tensors: Tensors | None,
    wanted: _Wanted,
    origin: str,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A convolution that does what it and the batch normalisation behind it did."""
    name, shape = f"the normalisation after {wanted.name}", (wanted.outputs,)
    gamma, beta, mean, variance = (
        _tensor(tensors, part, shape, name, origin).astype(np.float64)
        for part in ("gamma", "beta", "moving_mean", "moving_variance")
    )
    factor = gamma / np.sqrt(np.maximum(variance, 0) + NORMALISATION_EPSILON)
    return (
        (kernel * factor).astype(np.float32),
        ((bias - mean) * factor + beta).astype(np.float32),
    )


def _tensor(
    tensors: Tensors | None, part: str, shape: tuple[int, ...], name: str, origin: str
) -> NDArray[np.float32]:
    if tensors is None or part not in tensors:
        raise ModelError(
            f"the weights in {origin} lack {part} of {name}: they are not of the network that "
            "config.json describes"
        )
    found = tensors[part]
    if found.shape != shape:
        raise ModelError(
            f"the weights in {origin} do not fit config.json: {part} of {name} has the shape "
            f"{list(found.shape)} where {list(shape)} is needed"
        )
    if not np.isfinite(found).all():
        raise ModelError(f"the weights in {origin} are damaged: {part} of {name} is not finite")
    return np.ascontiguousarray(found, np.float32)


def measure_reach(network: Network) -> int:
    """How far from the pixel an output stands for it depends on the input, in pixels.

    Exact: every output's first and last input pixel, for all its places within the stride.
    """
    return max(_reach_along(network, axis) for axis in (0, 1))


@dataclass(frozen=True, slots=True)
class _Spans:
    """First and last input pixel, int64 ``[n]`` each, that the pixels of a line depend on."""

    low: NDArray[np.int64]
    high: NDArray[np.int64]


class _Spanning:
    """What the results of operations depend on along one axis."""

    def __init__(self, axis: int) -> None:
        self._axis = axis

    def convolve(self, image: _Spans, name: str, layer: Layer) -> _Spans:
        """Each pixel on those around it."""
        before, after = layer.before[self._axis], layer.after[self._axis]
        last = len(image.low) - 1
        places = np.arange(last + 1)
        return _Spans(
            image.low[np.maximum(places - before, 0)], image.high[np.minimum(places + after, last)]
        )

    def pool(self, image: _Spans, by: Pair) -> _Spans:
        """Each block on all of it."""
        step = by[self._axis]
        return _Spans(image.low[::step], image.high[step - 1 :: step])

    def enlarge(self, image: _Spans, by: Pair) -> _Spans:
        """Each copy on the same."""
        step = by[self._axis]
        return _Spans(np.repeat(image.low, step), np.repeat(image.high, step))

    def join(self, first: _Spans, second: _Spans) -> _Spans:
        """Each pixel on what both depend on."""
        return _Spans(np.minimum(first.low, second.low), np.maximum(first.high, second.high))


def _reach_along(network: Network, axis: int) -> int:
    step, stride = network.config.step, network.config.stride
    side = 8 * stride
    while True:
        side *= 2
        places = np.arange(side)
        found = forward(network, _Spanning(axis), _Spans(places, places))
        # Places in the middle, one of every phase of the stride.
        middle = np.arange(side // 2, side // 2 + stride, step)
        low, high = found.low[middle // step], found.high[middle // step]
        reach = int(max((middle - low).max(), (high - middle).max()))
        if reach < side // 2 - stride:
            return reach
