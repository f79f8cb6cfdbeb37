"""A forest of decision trees as plain arrays: no pickle, no library to apply it.

The trees are Breiman's random forest ("Random forests", Machine Learning 45, 2001) as scikit-learn
grows them; a prediction is the mean of the trees' shares, as there.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wsiseg.errors import ModelError
from wsiseg.files import writing

FORMAT = 1
_MAX_BYTES = 256 << 20
_ARRAYS = ("feature", "threshold", "left", "right", "shares", "roots", "medians")


@dataclass(frozen=True, slots=True)
class Forest:
    """A classifier of cells.

    Attributes
    ----------
    features
        Names of the columns it looks at.
    classes
        Names of the classes.
    colors
        ``(r, g, b)`` for each class.
    medians
        float32 ``[features]``: stands in for a value that is not a number.
    feature, threshold, left, right
        ``[nodes]``: at a node with ``feature >= 0``, values up to the threshold go left; a node
        with ``feature < 0`` is a leaf.
    shares
        float32 ``[nodes, classes]``: shares of the classes at a node.
    roots
        ``[trees]``: the first node of every tree.
    about
        What it was trained on and its scores; JSON values only.
    """

    features: tuple[str, ...]
    classes: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]
    medians: NDArray[np.float32]
    feature: NDArray[np.int32]
    threshold: NDArray[np.float64]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    shares: NDArray[np.float32]
    roots: NDArray[np.int32]
    about: dict[str, Any]

    def probabilities(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Shares float32 ``[n, classes]`` for columns ``[n, features]``."""
        found: NDArray[np.float32] = _walk(
            np.ascontiguousarray(values, np.float32),
            self.medians,
            self.feature,
            self.threshold,
            self.left,
            self.right,
            self.shares,
            self.roots,
        )
        return found


def write_forest(path: Path, forest: Forest) -> None:
    """Write a classifier as one ``.npz``, whole or not at all."""
    about = {
        "format": FORMAT,
        "features": forest.features,
        "classes": forest.classes,
        "colors": forest.colors,
        "about": forest.about,
    }
    text = np.frombuffer(json.dumps(about).encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, about=text, **{name: getattr(forest, name) for name in _ARRAYS})
    with writing(path) as temporary:
        temporary.write_bytes(buffer.getvalue())


def read_forest(path: Path) -> Forest:
    """Read a classifier; nothing in the file is executed.

    Raises
    ------
    ModelError
        If the file is missing, too large, or no classifier of ours.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ModelError(f"{path} is larger than any classifier of wsiseg")
        with np.load(path, allow_pickle=False) as file:
            about = json.loads(file["about"].tobytes())
            arrays = {name: file[name] for name in _ARRAYS}
        if about["format"] != FORMAT:
            raise ModelError(f"{path} is a classifier of format {about['format']}, not {FORMAT}")
        forest = Forest(
            features=tuple(map(str, about["features"])),
            classes=tuple(map(str, about["classes"])),
            colors=tuple((int(r), int(g), int(b)) for r, g, b in about["colors"]),
            about=dict(about["about"]),
            **arrays,
        )
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise ModelError(f"{path} is no classifier of wsiseg: {error}") from error
    _require_sound(forest, path)
    return forest


def load_forest(path: Path) -> tuple[Forest, str]:
    """The classifier of a file and the file's sha256; a file that stays the same is read once.

    Raises
    ------
    ModelError
        As for :func:`read_forest`.
    """
    try:
        facts = path.stat()
    except OSError as error:
        raise ModelError(f"there is no classifier {path}: {error.strerror}") from error
    return _loaded(path, facts.st_mtime_ns, facts.st_size)


@lru_cache(maxsize=4)
def _loaded(path: Path, _changed: int, _size: int) -> tuple[Forest, str]:
    forest = read_forest(path)
    return forest, hashlib.sha256(path.read_bytes()).hexdigest()


def _require_sound(forest: Forest, path: Path) -> None:
    """Nodes point forwards and inside, so that every walk ends."""
    nodes, own = len(forest.feature), np.arange(len(forest.feature))
    inner = forest.feature >= 0
    sound = (
        forest.shares.shape == (nodes, len(forest.classes))
        and forest.medians.shape == (len(forest.features),)
        and len(forest.colors) == len(forest.classes)
        and all(len(part) == nodes for part in (forest.threshold, forest.left, forest.right))
        and bool((forest.feature < len(forest.features)).all())
        and bool((forest.left[inner] > own[inner]).all() and (forest.left[inner] < nodes).all())
        and bool((forest.right[inner] > own[inner]).all() and (forest.right[inner] < nodes).all())
        and len(forest.roots) > 0
        and bool(((forest.roots >= 0) & (forest.roots < nodes)).all())
    )
    if not sound:
        raise ModelError(f"{path} is a damaged classifier: train it anew")


@njit(cache=True, nogil=True)
def _walk(
    values: NDArray[np.float32],
    medians: NDArray[np.float32],
    feature: NDArray[np.int32],
    threshold: NDArray[np.float64],
    left: NDArray[np.int32],
    right: NDArray[np.int32],
    shares: NDArray[np.float32],
    roots: NDArray[np.int32],
) -> NDArray[np.float32]:
    count, classes = len(values), shares.shape[1]
    out = np.zeros((count, classes), np.float64)
    for n in range(count):
        for root in roots:
            node = root
            while feature[node] >= 0:
                value = values[n, feature[node]]
                if not np.isfinite(value):
                    value = medians[feature[node]]
                node = left[node] if value <= threshold[node] else right[node]
            for k in range(classes):
                out[n, k] += shares[node, k]
    return (out / len(roots)).astype(np.float32)
