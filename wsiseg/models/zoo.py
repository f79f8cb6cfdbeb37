"""Models by name or by path: those that come with the package, those that the user added, those
of plug-ins, and every format that can be read.

A name stands for a model of the package, else for one that was added
(:mod:`wsiseg.models.added`), else for one of a plug-in (:mod:`wsiseg.plugins`), else for a file or
folder.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from wsiseg.errors import ModelError
from wsiseg.models.added import added_model, added_models
from wsiseg.models.cellpose.weights import named_weights
from wsiseg.models.contents import model_files
from wsiseg.models.device import AUTO, choose_device, is_cuda
from wsiseg.models.segmenter import Segmenter
from wsiseg.plugins import calling, load_plugin, plugins

if TYPE_CHECKING:
    from wsiseg.models.network.files import ModelFolder
    from wsiseg.models.normalised import Method

_BUNDLED = ("nuclei-he", "nuclei-he-nc", "nuclei-fluo")
_WEIGHTS = Path(__file__).parent / "weights"

_SEMIAUTOMATIC = tuple(
    f"{tool}-{kind}"
    for tool in ("otsu", "local-threshold", "watershed", "region-growing", "active-contours")
    for kind in ("he", "fluo")
)

_WEIGHTLESS = {
    "classical-he": ("wsiseg.models.classical.brightfield", "BrightfieldSegmenter"),
    "classical-fluo": ("wsiseg.models.classical.fluorescence", "FluorescenceSegmenter"),
    **{
        name: ("wsiseg.models.semiautomatic.named", name.replace("-", "_"))
        for name in _SEMIAUTOMATIC
    },
}
"""Module and class of the models that need no weights, by name; they run on the processor."""

MODELS: tuple[str, ...] = (*_BUNDLED, *_WEIGHTLESS)
"""Names of the models that come with the package."""

NORMALISATIONS: tuple[str, ...] = ("macenko", "vahadane", "reinhard")
"""What may follow a name after a ``+``: the colours of every slide are brought to a reference's
before the model sees them (:mod:`wsiseg.models.normalised`)."""

_FORMATS = (
    "wsiseg.models.stardist.opening",
    "wsiseg.models.semantic.opening",
    "wsiseg.models.network.opening",
    "wsiseg.models.cellpose.opening",
    "wsiseg.models.described.opening",
    "wsiseg.models.described.opening_onnx",
)
"""Modules that satisfy :class:`Format`, asked in this order whether a path is theirs."""


class Format(Protocol):
    """A module that opens one format of models on disk; importing it loads nothing heavy.

    A module whose ``NEEDS_TRUST`` is true opens files that can run code of their maker's
    (:mod:`wsiseg.models.trust`).
    """

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
    inner, method = without_normalisation(name)
    if method is not None:
        # Imported on demand: reading the list of models must not compile or load any.
        from wsiseg.models.normalised import NormalisedSegmenter

        return NormalisedSegmenter(load_segmenter(inner, device), method)
    if name in _WEIGHTLESS:
        module, made = _WEIGHTLESS[name]
        segmenter: Segmenter = getattr(importlib.import_module(module), made)()
        return segmenter
    if is_plugged(name):
        return _plugged(name, device)
    path = find_model(name)
    return _opened(path, _stamp(path), device)


def find_model(name: str) -> Path:
    """The file or folder of a model with weights, by name or by path.

    Raises
    ------
    ModelError
        If there is none.
    """
    if name in _BUNDLED:
        path = _WEIGHTS / name
    else:
        path = added_model(name) or named_weights(name) or Path(name)
    if path.exists():
        return path.resolve()
    raise ModelError(
        f"there is no model {name!r}; there are {', '.join(names())}, or give the file or folder "
        "of a model"
    )


def names() -> tuple[str, ...]:
    """Names of all models: of the package, of those that were added and of plug-ins."""
    return tuple(dict.fromkeys((*MODELS, *added_models(), *plugins("segmenters"))))


def is_plugged(name: str) -> bool:
    """Whether a name, without a normalisation, stands for the segmenter of a plug-in."""
    taken = name in MODELS or added_model(name) is not None
    return not taken and name in plugins("segmenters")


def settle_name(name: str, base: Path | None = None) -> str:
    """A model as every process finds it, whichever folder it works in: paths made absolute.

    ``base`` is the folder that paths count from; by default this process's own.
    """
    inner, method = without_normalisation(name)
    if inner in MODELS or added_model(inner) is not None or is_plugged(inner):
        return name
    path = Path(inner) if base is None else base / inner
    if not inner or not path.exists():
        return name
    return str(path.resolve()) + (f"+{method}" if method is not None else "")


def weights_of(name: str) -> Path | None:
    """The file or folder of a model's weights; ``None`` for those that have none, and for
    plug-ins, which keep them themselves.

    Raises
    ------
    ModelError
        If there is no such model.
    """
    inner, _ = without_normalisation(name)
    return None if inner in _WEIGHTLESS or is_plugged(inner) else find_model(inner)


def without_normalisation(name: str) -> tuple[str, Method | None]:
    """The name of a model, and the normalisation behind it, if any."""
    inner, plus, method = name.rpartition("+")
    if plus and method in NORMALISATIONS:
        return inner, cast("Method", method)
    return name, None


def settle_device(name: str, device: str) -> str:
    """What the segmenter of that name runs on, ``auto`` settled.

    Raises
    ------
    ModelError
        If it cannot run on such a device.
    """
    inner, method = without_normalisation(name)
    if method is not None:
        return settle_device(inner, device)
    if is_plugged(name):
        torch = bool(getattr(load_plugin("segmenters", name), "TORCH", False))
    else:
        torch = name not in _WEIGHTLESS and format_of(find_model(name)).TORCH
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


def format_of(path: Path) -> Format:
    """The format of a file or folder.

    Raises
    ------
    ModelError
        If it is in none that is known; the message lists those.
    """
    for format_ in _formats():
        if format_.recognises(path):
            return format_
    known = ", ".join(format_.NAME for format_ in _formats())
    raise ModelError(f"{path} is no model in a format known here ({known})")


# A graph is compiled once a process, whichever slide it is for, and again when its files changed.
@lru_cache(maxsize=8)
def _opened(path: Path, stamp: tuple[int, ...], device: str) -> Segmenter:
    return format_of(path).load(path, device)


@lru_cache(maxsize=8)
def _plugged(name: str, device: str) -> Segmenter:
    made = load_plugin("segmenters", name)
    with calling(plugins("segmenters")[name]):
        segmenter = made(device)
        if not isinstance(segmenter, Segmenter):
            raise TypeError(f"it gave {type(segmenter).__name__}, which is no Segmenter")
    return segmenter


def _stamp(path: Path) -> tuple[int, ...]:
    return tuple(file.stat().st_mtime_ns for file in model_files(path))
