"""Helpers: StarDist networks made without StarDist, written as Keras and TensorFlow.js write them,
and what they answer, calculated plainly.

Nothing of wsiseg's is used here, so that its readers and networks are compared with something
else.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Weights = dict[str, dict[str, Array]]

CONFIG: dict[str, Any] = {
    "n_dim": 2,
    "axes": "YXC",
    "n_channel_in": 3,
    "n_channel_out": 9,
    "n_rays": 8,
    "grid": [2, 2],
    "backbone": "unet",
    "n_classes": None,
    "unet_n_depth": 1,
    "unet_kernel_size": [3, 3],
    "unet_n_filter_base": 4,
    "unet_n_conv_per_depth": 2,
    "unet_pool": [2, 2],
    "unet_activation": "relu",
    "unet_last_activation": "relu",
    "unet_batch_norm": False,
    "unet_dropout": 0.0,
    "unet_expansion": 2,
    "unet_prefix": "",
    "net_conv_after_unet": 6,
    "train_patch_size": [256, 256],
}
"""As StarDist writes it, of a small network."""


class Plain:
    """A StarDist network by its configuration, calculated in float64 with NumPy alone.

    Weights that are not given are drawn; the image that goes through decides their shapes.
    """

    def __init__(self, config: dict[str, Any], weights: Weights | None = None, seed: int = 0):
        self.config = config
        self.weights: Weights = {} if weights is None else weights
        self._rng = np.random.default_rng(seed)
        self._conv = self._norm = 0

    def answer(self, pixels: Array) -> list[Array]:
        """Probability ``[y, x, 1]``, rays ``[y, x, rays]`` and probabilities of classes, if any,
        of pixels ``[y, x, c]``."""
        c = self.config
        self._conv = self._norm = 0
        image, base = pixels.astype(np.float64), c["unet_n_filter_base"]
        width, count = c["unet_kernel_size"], c["unet_n_conv_per_depth"]
        for _ in range(int(np.log2(c["grid"][0]))):
            for _ in range(count):
                name = f"conv2d_{self._conv}" if self._conv else "conv2d"
                self._conv += 1
                image = self._activated(self._convolved(image, name, base, width))
            image = _pooled(image, (2, 2))
        features = self._unet(image)
        extra = c["net_conv_after_unet"]

        def head(name: str, outputs: int, before: str) -> Array:
            found = features
            if extra:
                found = self._activated(self._convolved(features, before, extra, width))
            return self._convolved(found, name, outputs, (1, 1))

        prob = 1 / (1 + np.exp(-head("prob", 1, "features")))
        answers = [prob, head("dist", c["n_rays"], "features")]
        if c["n_classes"]:
            scores = np.exp(head("prob_class", c["n_classes"] + 1, "features_class"))
            answers.append(scores / scores.sum(-1, keepdims=True))
        return answers

    def _unet(self, image: Array) -> Array:
        c = self.config
        depth, count, pool = c["unet_n_depth"], c["unet_n_conv_per_depth"], c["unet_pool"]
        skips = []
        for n in range(depth):
            for i in range(count):
                image = self._block(image, f"down_level_{n}_no_{i}", n)
            skips.append(image)
            image = _pooled(image, pool)
        for i in range(count - 1):
            image = self._block(image, f"middle_{i}", depth)
        image = self._block(image, f"middle_{count}", max(0, depth - 1))
        for n in reversed(range(depth)):
            larger = image.repeat(pool[0], 0).repeat(pool[1], 1)
            image = np.concatenate([larger, skips[n]], 2)
            for i in range(count - 1):
                image = self._block(image, f"up_level_{n}_no_{i}", n)
            last = c["unet_last_activation"] if n == 0 else None
            image = self._block(image, f"up_level_{n}_no_{count}", max(0, n - 1), last)
        return image

    def _block(self, image: Array, name: str, level: int, activation: str | None = None) -> Array:
        c = self.config
        filters = int(c["unet_n_filter_base"] * c["unet_expansion"] ** level)
        found = self._convolved(image, c["unet_prefix"] + name, filters, c["unet_kernel_size"])
        if c["unet_batch_norm"]:
            number = f"_{self._norm}" if self._norm else ""
            self._norm += 1
            w = self.weights.setdefault(f"batch_normalization{number}", self._normal(filters))
            spread = np.sqrt(w["moving_variance"] + 1e-3)
            found = (found - w["moving_mean"]) / spread * w["gamma"] + w["beta"]
        return self._activated(found, activation)

    def _normal(self, outputs: int) -> dict[str, Array]:
        names = ("gamma", "beta", "moving_mean", "moving_variance")
        return {name: self._rng.uniform(0.3, 1.5, outputs) for name in names}

    def _convolved(self, image: Array, name: str, outputs: int, size: list[int]) -> Array:
        shape = (size[0], size[1], image.shape[2], outputs)
        if name not in self.weights:
            spread = (2.5 / np.prod(shape[:3])) ** 0.5
            middle = 5.0 if name == "dist" else 0.1
            self.weights[name] = {
                "kernel": self._rng.normal(0, spread, shape),
                "bias": self._rng.uniform(0.5, 1.5, outputs) * middle,
            }
        kernel, bias = self.weights[name]["kernel"], self.weights[name]["bias"]
        assert kernel.shape == shape
        before = [(side - 1) // 2 for side in size]
        padding = [(b, side - 1 - b) for b, side in zip(before, size, strict=True)]
        padded = np.pad(image, (*padding, (0, 0)))
        views = np.lib.stride_tricks.sliding_window_view(padded, tuple(size), (0, 1))
        return np.einsum("yxcij,ijco->yxo", views, kernel, optimize=True) + bias

    def _activated(self, image: Array, activation: str | None = None) -> Array:
        kind = activation or self.config["unet_activation"]
        return {
            "relu": lambda v: np.maximum(v, 0),
            "linear": lambda v: v,
            "elu": lambda v: np.where(v > 0, v, np.expm1(np.minimum(v, 0))),
            "tanh": np.tanh,
            "sigmoid": lambda v: 1 / (1 + np.exp(-v)),
        }[kind](image)


def _pooled(image: Array, by: Any) -> Array:
    height, width, channels = image.shape
    blocks = image.reshape(height // by[0], by[0], width // by[1], by[1], channels)
    return blocks.max(axis=(1, 3))


def drawn(config: dict[str, Any], seed: int = 0) -> Plain:
    """A network with random weights."""
    network = Plain(config, seed=seed)
    side = 8 * config["grid"][0] * max(config["unet_pool"]) ** config["unet_n_depth"]
    network.answer(np.zeros((side, side, config["n_channel_in"])))
    return network


def blob_finder(config: dict[str, Any] = CONFIG, ray: float = 6.0) -> Plain:
    """A network that finds what is dark on white: 0 where bright, 1 where dark, of pixels that
    were normalised.

    Its first channel carries the darkness from layer to layer, the others what random weights make
    of it; rays are a little longer or shorter with both.
    """
    network = drawn(config, seed=3)
    for name, layer in network.weights.items():
        kernel = layer["kernel"]
        kernel *= 0.15
        layer["bias"] *= 0.05
        kernel[..., 0] = 0
        middle = kernel.shape[0] // 2, kernel.shape[1] // 2
        kernel[(*middle, 0, 0)] = 1
        layer["bias"][0] = 0
        if name == "conv2d":
            kernel[..., 0] = -1 / kernel[..., 0].size
            layer["bias"][0] = 1
        elif name == "prob":
            kernel[..., 0] = np.array([10.0, *(0.4 for _ in range(kernel.shape[2] - 1))])
            layer["bias"][0] = -5
        elif name == "dist":
            kernel[..., 0] = kernel[..., 1]
            layer["bias"][:] = ray
    return network


def write_settings(folder: Path, config: dict[str, Any], about: str = "mpp = 0.5\n") -> Path:
    """``config.json``, ``thresholds.json`` and ``wsiseg.toml`` in a new folder."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "thresholds.json").write_text(json.dumps({"prob": 0.5, "nms": 0.4}))
    names = ", ".join(f'"Class {k + 1}"' for k in range(config["n_classes"] or 0))
    (folder / "wsiseg.toml").write_text(about + (f"classes = [{names}]\n" if names else ""))
    return folder


def hdf5(weights: Weights, offset: int = 0) -> bytes:
    """The weights as Keras 1 and 2 write them; layers without a name counted from ``offset``."""
    import h5py

    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        layers = {_renumbered(name, offset): tensors for name, tensors in weights.items()}
        file.attrs["layer_names"] = [name.encode() for name in ("input", *layers)]
        file.attrs["backend"] = b"tensorflow"
        file.create_group("input").attrs["weight_names"] = np.zeros(0)
        for name, tensors in layers.items():
            group = file.create_group(name)
            group.attrs["weight_names"] = [f"{name}/{part}:0".encode() for part in tensors]
            for part, values in tensors.items():
                group[f"{name}/{part}:0"] = values.astype(np.float32)
    return stream.getvalue()


def keras3(weights: Weights) -> bytes:
    """The weights as Keras 3 writes them."""
    import h5py

    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        counts = {"conv2d": 0, "batch_normalization": 0}
        for name, tensors in weights.items():
            kind = "conv2d" if "kernel" in tensors else "batch_normalization"
            number = f"_{counts[kind]}" if counts[kind] else ""
            counts[kind] += 1
            group = file.create_group(f"layers/{kind}{number}/vars")
            group.attrs["name"] = name
            for k, values in enumerate(tensors.values()):
                group[str(k)] = values.astype(np.float32)
    return stream.getvalue()


def write_tfjs(folder: Path, weights: Weights, shard: int = 3000) -> None:
    """The weights as TensorFlow.js keeps them, in shards of so many bytes."""
    entries, content = [], b""
    for name, tensors in weights.items():
        for part, values in tensors.items():
            entries.append(
                {"name": f"{name}/{part}", "shape": list(values.shape), "dtype": "float32"}
            )
            content += values.astype("<f4").tobytes()
    count = -(-len(content) // shard)
    paths = [f"group1-shard{k + 1}of{count}.bin" for k in range(count)]
    for k, path in enumerate(paths):
        (folder / path).write_bytes(content[k * shard : (k + 1) * shard])
    manifest = [{"paths": paths, "weights": entries}]
    model = {"format": "layers-model", "modelTopology": {}, "weightsManifest": manifest}
    (folder / "model.json").write_text(json.dumps(model))


def write_model(folder: Path, network: Plain, about: str = "mpp = 0.5\n") -> Path:
    """A model as StarDist keeps it."""
    write_settings(folder, network.config, about)
    (folder / "weights_best.h5").write_bytes(hdf5(network.weights))
    return folder


def _renumbered(name: str, offset: int) -> str:
    for kind in ("conv2d", "batch_normalization"):
        if offset and (name == kind or name.startswith(f"{kind}_")):
            return f"{kind}_{int(name[len(kind) + 1 :] or 0) + offset}"
    return name
