"""Weights as TensorFlow.js keeps them: ``model.json`` and ``group1-shard1of1.bin`` and so on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsiseg.errors import ModelError
from wsiseg.models.stardist.sources import MAX_TEXT_BYTES, Files

MODEL = "model.json"

_MAX_VALUES = 1 << 28
_QUANTISED: dict[str, np.dtype[Any]] = {
    "uint8": np.dtype("<u1"),
    "uint16": np.dtype("<u2"),
    "float16": np.dtype("<f2"),
}


def is_tfjs(content: bytes) -> bool:
    """Whether a ``model.json`` is one of TensorFlow.js."""
    try:
        said = json.loads(content)
    except (ValueError, RecursionError):
        return False
    return isinstance(said, Mapping) and "weightsManifest" in said


def read_tfjs(files: Files) -> dict[str, dict[str, NDArray[np.float32]]]:
    """The tensors of a layers model by layer and part, e.g. ``["prob"]["kernel"]``.

    Weights may be quantised to 16 or 8 bits.

    Raises
    ------
    ModelError
        If the files are damaged, or of a graph model, whose tensors have no layers.
    """
    origin = f"{files.origin}/{MODEL}"
    said: Any = json.loads(files.read(MODEL, MAX_TEXT_BYTES))
    if said.get("format") == "graph-model":
        raise ModelError(
            f"{origin} is a graph model of TensorFlow.js, of which layers cannot be told; convert "
            "the Keras weights instead (tensorflowjs_converter --input_format keras), or give "
            "those to wsiseg as they are"
        )
    found: dict[str, dict[str, NDArray[np.float32]]] = {}
    try:
        for group in said["weightsManifest"]:
            content = b"".join(files.read(str(path)) for path in group["paths"])
            place = 0
            for weight in group["weights"]:
                values, place = _tensor(weight, content, place)
                layer, _, part = str(weight["name"]).rpartition("/")
                found.setdefault(layer.rpartition("/")[2], {})[part] = values
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ModelError(f"{origin} is damaged: {error!r}") from error
    return found


def _tensor(
    weight: Mapping[str, Any], content: bytes, place: int
) -> tuple[NDArray[np.float32], int]:
    shape = tuple(int(side) for side in weight["shape"])
    count = int(np.prod(shape, dtype=np.float64))
    if min(shape, default=1) < 0 or count > _MAX_VALUES:
        raise ValueError(f"{weight['name']} is too large")
    packed = weight.get("quantization")
    if packed is None and weight["dtype"] != "float32":
        raise ValueError(f"{weight['name']} holds {weight['dtype']}, not numbers of 32 bits")
    dtype: np.dtype[Any] = np.dtype("<f4") if packed is None else _QUANTISED[packed["dtype"]]
    end = place + count * dtype.itemsize
    if end > len(content):
        raise ValueError(f"{weight['name']} is cut short")
    values = np.frombuffer(content, dtype, count, place).astype(np.float32)
    if packed is not None and dtype.kind == "u":
        values = values * np.float32(packed["scale"]) + np.float32(packed["min"])
    return values.reshape(shape), end
