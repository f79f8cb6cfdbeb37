"""Let timm and cellpose import where the installed torchvision was built for another torch.

Both import torchvision unconditionally and use none of its operators here. A torchvision wheel
built for CUDA beside a CPU build of torch fails to import because two operators are not
registered; declaring them, without an implementation, is enough for the import. They stay
unusable. With a matching pair the plain import succeeds and nothing is declared.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from typing import Any

_OPERATORS = ("nms", "qnms")
_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_declared: list[Any] = []


def import_timm() -> Any:
    """The module ``timm``, whether or not torchvision fits torch."""
    return import_fitted("timm")


def import_fitted(name: str) -> Any:
    """A module that imports torchvision, whether or not that fits torch."""
    if name not in sys.modules:
        try:
            importlib.import_module("torchvision")
        except (ImportError, RuntimeError):
            _declare_operators()
    return importlib.import_module(name)


def _declare_operators() -> None:
    torch = importlib.import_module("torch")
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    # Declarations vanish with the object that made them, so it is kept.
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in _OPERATORS:
        with contextlib.suppress(RuntimeError):
            library.define(name + _SIGNATURE)
    _declared.append(library)
