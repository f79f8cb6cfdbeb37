"""Which device a network runs on."""

from __future__ import annotations

import ctypes
import importlib.util
import re

from wsiseg.errors import MissingExtraError, ModelError

AUTO = "auto"
CPU = "cpu"

_CUDA = re.compile(r"cuda(?::(\d{1,3}))?")
_DRIVER = "libcuda.so.1"


def is_device(text: str) -> bool:
    """Whether a text names a device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``."""
    return text in (AUTO, CPU) or is_cuda(text)


def is_cuda(device: str) -> bool:
    """Whether a device is a graphics card."""
    return _CUDA.fullmatch(device) is not None


def choose_device(asked: str, *, torch_weights: bool) -> str:
    """The device that a model runs on, ``auto`` settled.

    Parameters
    ----------
    asked
        ``auto``: the first graphics card where there is one, torch is installed and the model has
        weights for it, else the processor. Any other device is taken as it is; whether it is there
        shows :func:`require_device`.
    torch_weights
        Whether the model can run in torch.
    """
    if asked != AUTO:
        return asked
    return "cuda" if torch_weights and count_cuda() > 0 else CPU


def require_device(device: str) -> None:
    """Refuse a graphics card that is not there.

    Raises
    ------
    MissingExtraError
        If torch is not installed.
    ModelError
        If torch sees no such graphics card.
    """
    match = _CUDA.fullmatch(device)
    if match is None:
        return
    if importlib.util.find_spec("torch") is None:
        raise MissingExtraError(f"running a network on {device}", "train")
    found = count_cuda()
    if found == 0:
        raise ModelError(
            f"{device} cannot be used: torch sees no graphics card here (no driver, or a torch "
            "built for the processor alone); --device cpu runs on the processor, but slides that "
            "were begun on a graphics card then need another output folder, or --new"
        )
    if int(match[1] or 0) >= found:
        raise ModelError(
            f"{device} cannot be used: the graphics cards here are numbered 0 to {found - 1}"
        )


def count_cuda() -> int:
    """How many graphics cards torch can use in this process; 0 without torch."""
    # Importing torch takes seconds: not where the driver is missing.
    if importlib.util.find_spec("torch") is None or not _driver_there():
        return 0
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _driver_there() -> bool:
    try:
        ctypes.CDLL(_DRIVER)
    except OSError:
        return False
    return True
