"""Weights that Keras wrote as HDF5: the layout of Keras 1 and 2 (``*.h5``), which StarDist uses,
and that of Keras 3 (``*.weights.h5``)."""

from __future__ import annotations

import importlib
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsiseg.errors import MissingExtraError, ModelError

_MAX_VALUES = 1 << 28
_MAX_OBJECTS = 20_000
_MAX_DEPTH = 8

_BY_COUNT = {
    2: ("kernel", "bias"),
    4: ("gamma", "beta", "moving_mean", "moving_variance"),
}
"""What a layer's numbered variables are in Keras 3, by how many it has."""


def read_hdf5(content: bytes, origin: str) -> dict[str, dict[str, NDArray[np.float32]]]:
    """The tensors of a file by layer and part, e.g. ``["prob"]["kernel"]``.

    Raises
    ------
    MissingExtraError
        If h5py is not installed.
    ModelError
        If the file is damaged, too large, or refers to other files.
    """
    try:
        h5py: Any = importlib.import_module("h5py")
    except ImportError as error:
        raise MissingExtraError("reading weights in a Keras .h5 file", "stardist") from error
    try:
        with h5py.File(io.BytesIO(content), "r") as file:
            reader = _Reader(h5py, origin)
            whole = "model_weights" in file
            root = reader.child(file, "model_weights") if whole else file
            if "layers" in root and "layer_names" not in root.attrs:
                return reader.numbered(reader.child(root, "layers"))
            return reader.named(root)
    except (OSError, KeyError, ValueError, RuntimeError, TypeError) as error:
        raise ModelError(f"cannot read the weights in {origin}: {error}") from error


class _Reader:
    def __init__(self, h5py: Any, origin: str) -> None:
        self._h5py = h5py
        self._origin = origin
        self._objects = 0

    def named(self, root: Any) -> dict[str, dict[str, NDArray[np.float32]]]:
        """``LAYER/.../PART:0``."""
        found = {}
        for layer in root:
            tensors: dict[str, NDArray[np.float32]] = {}
            self._collect(root, layer, tensors, 0)
            if tensors:
                found[str(layer)] = tensors
        return found

    def numbered(self, layers: Any) -> dict[str, dict[str, NDArray[np.float32]]]:
        """``layers/KIND_N/vars/0``, the layer's own name being an attribute of ``vars``."""
        found = {}
        for kind in layers:
            group = self.child(layers, kind)
            if not isinstance(group, self._h5py.Group) or "vars" not in group:
                continue
            variables = self.child(group, "vars")
            name = variables.attrs.get("name", kind)
            name = name.decode() if isinstance(name, bytes) else str(name)
            parts = _BY_COUNT.get(len(variables), ())
            tensors = {
                part: self._tensor(self.child(variables, str(number)))
                for number, part in enumerate(parts)
            }
            if tensors:
                found[name] = tensors
        return found

    def _collect(
        self, group: Any, name: str, tensors: dict[str, NDArray[np.float32]], depth: int
    ) -> None:
        child = self.child(group, name)
        if isinstance(child, self._h5py.Dataset):
            tensors[str(name).partition(":")[0]] = self._tensor(child)
        elif depth < _MAX_DEPTH:
            for inner in child:
                self._collect(child, inner, tensors, depth + 1)

    def child(self, group: Any, name: str) -> Any:
        """A group or a set of data, if it lies in the file itself."""
        self._objects += 1
        link = group.get(name, getlink=True)
        # A link may lead to any other file of this machine.
        if self._objects > _MAX_OBJECTS or not isinstance(link, self._h5py.HardLink):
            raise ModelError(f"{self._origin} is not a file of weights as Keras writes them")
        return group[name]

    def _tensor(self, data: Any) -> NDArray[np.float32]:
        plain = isinstance(data, self._h5py.Dataset) and not data.external and not data.is_virtual
        if not plain or data.dtype.kind != "f" or data.size > _MAX_VALUES or data.ndim > 4:
            raise ModelError(f"{self._origin} is not a file of weights as Keras writes them")
        found: NDArray[np.float32] = np.asarray(data[()], np.float32)
        return found
