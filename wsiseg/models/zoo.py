"""Models by name or by path: those that come with the package, and every format it can read."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from wsiseg.errors import ModelError
from wsiseg.models.device import AUTO, choose_device, is_cuda
from wsiseg.models.segmenter import Segmenter

if TYPE_CHECKING:
    from wsiseg.models.network.files import ModelFolder
    from wsiseg.models.normalised import Method

_BUNDLED = ("nuclei-he", "nuclei-he-nc", "nuclei-fluo")
_WEIGHTS = Path(__file__).parent / "weights"

_WEIGHTLESS = {
    "classical-he": ("wsiseg.models.classical.brightfield", "BrightfieldSegmenter"),
    "classical-fluo": ("wsiseg.models.classical.fluorescence", "FluorescenceSegmenter"),
}
"""Module and class of the models that need no weights, by name; they run on the processor."""

MODELS: tuple[str, ...] = (*_BUNDLED, *_WEIGHTLESS)
"""Names of the models that come with the package."""

NORMALISATIONS: tuple[str, ...] = ("macenko", "vahadane", "reinhard")
"""What may follow a name after a ``+``: the colours of every slide are brought to a reference's
before the model sees them (:mod:`wsiseg.models.normalised`)."""

_FORMATS = ("wsiseg.models.network.opening",)
"""Modules that satisfy :class:`Format`, asked in this order whether a path is theirs."""


class Format(Protocol):
    """A module that opens one format of models on disk; importing it loads nothing heavy."""

    NAME: str
    """For people."""
    TORCH: bool
    """Whether torch runs it, on a graphics card where there is one."""

    def recognises(self, path: Path) -> bool:
        """Whether the file or folder looks like this format, without reading its weights."""
        ...

    def load(self, path: Path, device: str) -> Segmenter:
        """The model, ready to use; ``device`` is settled. Raises :class:`ModelError`."""
        ...


def load_segmenter(name: str, device: str = AUTO) -> Segmenter:
    """The segmenter of that name, or of a file or folder in a known format, ready to use.

    ``nuclei-he+macenko`` is the same with the stains normalised, see ``NORMALISATIONS``.

    ``device`` as :func:`wsiseg.models.device.choose_device` takes it. A graphics card that is
    asked for is first needed when pixels come; :func:`wsiseg.models.device.require_device` tells
    beforehand whether it is there.

    Raises
    ------
    ModelError
        If there is none of that name (the message lists those there are), what runs it is not
        installed, or it cannot run on such a device.
    """
    device = settle_device(name, device)
    inner, plus, method = name.rpartition("+")
    if plus and method in NORMALISATIONS:
        # Imported on demand: reading the list of models must not compile or load any.
        from wsiseg.models.normalised import NormalisedSegmenter

        return NormalisedSegmenter(load_segmenter(inner, device), cast("Method", method))
    if name in _WEIGHTLESS:
        module, made = _WEIGHTLESS[name]
        segmenter: Segmenter = getattr(importlib.import_module(module), made)()
        return segmenter
    path = find_model(name)
    return _opened(path, _stamp(path), device)


def find_model(name: str) -> Path:
    """The file or folder of a model with weights, by name or by path.

    Raises
    ------
    ModelError
        If there is none.
    """
    path = _WEIGHTS / name if name in _BUNDLED else Path(name)
    if path.exists():
        return path.resolve()
    raise ModelError(
        f"there is no model {name!r}; there are {', '.join(MODELS)}, or give the file or folder "
        "of a model"
    )


def settle_device(name: str, device: str) -> str:
    """What the segmenter of that name runs on, ``auto`` settled.

    Raises
    ------
    ModelError
        If it cannot run on such a device.
    """
    inner, plus, method = name.rpartition("+")
    if plus and method in NORMALISATIONS:
        return settle_device(inner, device)
    torch = name not in _WEIGHTLESS and _format_of(find_model(name)).TORCH
    if not torch and is_cuda(device):
        raise ModelError(f"{name} runs on the processor only: leave out --device {device}")
    return choose_device(device, torch_weights=torch)


def find_folder(name: str) -> ModelFolder:
    """The folder of a trained network, by the name of one that comes with the package or by path.

    Raises
    ------
    ModelError
        If there is none.
    """
    from wsiseg.models.network.files import ModelFolder

    return ModelFolder.open(find_model(name))


def _formats() -> Iterator[Format]:
    for module in _FORMATS:
        yield cast("Format", importlib.import_module(module))


def _format_of(path: Path) -> Format:
    for format_ in _formats():
        if format_.recognises(path):
            return format_
    known = ", ".join(format_.NAME for format_ in _formats())
    raise ModelError(f"{path} is no model in a format known here ({known})")


# A graph is compiled once a process, whichever slide it is for, and again when its files changed.
@lru_cache(maxsize=8)
def _opened(path: Path, stamp: tuple[int, ...], device: str) -> Segmenter:
    return _format_of(path).load(path, device)


def _stamp(path: Path) -> tuple[int, ...]:
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return tuple(file.stat().st_mtime_ns for file in files)
