"""A StarDist model as its makers publish it: which of its files are what.

Known are the folder that StarDist keeps (``config.json``, ``thresholds.json`` and ``.h5``
weights), the same with a SavedModel (as a folder, or as the ``TF_SavedModel.zip`` that
``export_TF`` writes) or with TensorFlow.js's files in place of the ``.h5``, a zip archive of any of
these, and the packages of bioimage.io (``rdf.yaml``).
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsiseg.errors import ModelError
from wsiseg.models.stardist.bundle import INDEX, read_bundle
from wsiseg.models.stardist.config import Config, config_of, parse_config
from wsiseg.models.stardist.description import (
    ABOUT,
    THRESHOLDS,
    About,
    Description,
    describe,
    parse_about,
    parse_thresholds,
    require_about,
    thresholds_of,
)
from wsiseg.models.stardist.hdf5 import read_hdf5
from wsiseg.models.stardist.network import Network, build
from wsiseg.models.stardist.sources import MAX_TEXT_BYTES, Files, open_files, open_packed
from wsiseg.models.stardist.tfjs import MODEL, is_tfjs, read_tfjs

CONFIG = "config.json"
PACKAGE = "rdf.yaml"

Weights = dict[str, dict[str, NDArray[np.float32]]]


@dataclass(frozen=True, slots=True)
class StarModel:
    """A model, read: what it is, its network, and the sha256 of its weights."""

    description: Description
    network: Network
    sha256: str


def looks_like_stardist(path: Path) -> bool:
    """Whether a folder or zip archive holds a StarDist model, by its configuration alone."""
    if path.is_dir():
        if not ((path / CONFIG).is_file() or (path / PACKAGE).is_file()):
            return False
    elif path.suffix.lower() != ".zip":
        return False
    try:
        files = open_files(path)
        return _settings(files) is not None
    except ModelError:
        return False


def read_model(path: Path) -> StarModel:
    """Read a model.

    Raises
    ------
    MissingExtraError
        If its weights need a library that is not installed.
    ModelError
        If it is no StarDist model, is not supported, or its files do not fit together.
    """
    found = _configured(open_files(path))
    if found is None:
        raise ModelError(f"{path} holds no {CONFIG} of a StarDist model")
    files, said = found
    folder = path.name if path.is_dir() else path.stem
    about = require_about(_about(files, path), folder, str(path))
    description = describe(said.config, about, folder, said.thresholds, str(path))
    digesting = _Digesting(files)
    origin, weights = _read_weights(digesting.files)
    return StarModel(description, build(said.config, weights, origin), digesting.sha256())


@dataclass(frozen=True, slots=True)
class _Said:
    """What a model's own settings say."""

    config: Config
    thresholds: tuple[float, float] | None


def _configured(files: Files) -> tuple[Files, _Said] | None:
    """The folder in which the settings lie, and what they say; ``None`` where there are none.

    Raises
    ------
    ModelError
        If the settings are StarDist's but cannot be used.
    """
    name = _settings(files)
    if name is None:
        return None
    parent, _, file = name.rpartition("/")
    inner = files.below(parent)
    if file == PACKAGE:
        return inner, _package(inner)
    config = parse_config(inner.read(CONFIG, MAX_TEXT_BYTES), f"{inner.origin}/{CONFIG}")
    thresholds = None
    if THRESHOLDS in inner:
        content = inner.read(THRESHOLDS, MAX_TEXT_BYTES)
        thresholds = parse_thresholds(content, f"{inner.origin}/{THRESHOLDS}")
    return inner, _Said(config, thresholds)


def _settings(files: Files) -> str | None:
    """The file of a StarDist model's settings, if there is any."""
    for file, sign in ((CONFIG, b'"n_rays"'), (PACKAGE, b"stardist:")):
        for name in files.ending(file):
            if name.rpartition("/")[2] == file and sign in files.read(name, MAX_TEXT_BYTES):
                return name
    return None


def _package(files: Files) -> _Said:
    """What ``rdf.yaml`` of a bioimage.io package says of StarDist."""
    origin = f"{files.origin}/{PACKAGE}"
    yaml: Any = importlib.import_module("yaml")
    try:
        said = yaml.safe_load(files.read(PACKAGE, MAX_TEXT_BYTES))
        stardist = said["config"]["stardist"]
        settings, thresholds = stardist["config"], stardist.get("thresholds")
    except (yaml.YAMLError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise ModelError(
            f"{origin} does not say what StarDist needs (config: stardist: config): {error}"
        ) from error
    found = None if thresholds is None else thresholds_of(thresholds, origin)
    return _Said(config_of(settings, origin), found)


def _about(files: Files, path: Path) -> About | None:
    beside = path.with_suffix(".toml")
    if ABOUT in files:
        return parse_about(files.read(ABOUT, MAX_TEXT_BYTES), f"{files.origin}/{ABOUT}")
    if path.is_file() and beside.is_file():
        return parse_about(beside.read_bytes()[:MAX_TEXT_BYTES], str(beside))
    return None


def _read_weights(files: Files) -> tuple[str, Weights]:
    """The weights and where they are from: HDF5 before a SavedModel before TensorFlow.js."""
    stored = files.ending(".h5", ".hdf5")
    if stored:
        name = min(stored, key=_preference)
        origin = f"{files.origin}/{name}"
        return origin, read_hdf5(files.read(name), origin)
    for name in files.ending(INDEX):
        folder = files.below(name.removesuffix(INDEX).rstrip("/"))
        return folder.origin, read_bundle(folder)
    for name in files.ending(".zip"):
        packed = open_packed(files, name)
        for index in packed.ending(INDEX):
            folder = packed.below(index.removesuffix(INDEX).rstrip("/"))
            return folder.origin, read_bundle(folder)
    for name in files.ending(MODEL):
        folder = files.below(name.rpartition("/")[0])
        if MODEL in folder and is_tfjs(folder.read(MODEL, MAX_TEXT_BYTES)):
            return folder.origin, read_tfjs(folder)
    raise ModelError(
        f"{files.origin} holds no weights: neither a Keras .h5 file, nor a SavedModel "
        f"({INDEX} or TF_SavedModel.zip), nor files of TensorFlow.js ({MODEL})"
    )


def _preference(name: str) -> tuple[bool, bool, int, str]:
    """StarDist takes the best weights before the last ones."""
    return "best" not in name, "last" not in name, name.count("/"), name


class _Digesting:
    """Files, and the sha256 of all that was read of them."""

    def __init__(self, files: Files) -> None:
        self._seen: dict[str, str] = {}
        self._read: Callable[[str, int], bytes] = files.read_bytes
        self.files = Files(files.origin, files.names, self._digested)

    def sha256(self) -> str:
        """Over names and digests of the files."""
        content: Mapping[str, str] = dict(sorted(self._seen.items()))
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def _digested(self, name: str, most: int) -> bytes:
        content = self._read(name, most)
        self._seen[name] = hashlib.sha256(content).hexdigest()
        return content
