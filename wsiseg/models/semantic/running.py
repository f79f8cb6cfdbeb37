"""Running a semantic network: OpenVINO on processors where it can, else torch."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from wsiseg.errors import MissingExtraError, ModelError
from wsiseg.models.device import is_cuda, require_device
from wsiseg.models.network.files import GRAPH, WEIGHTS
from wsiseg.models.network.runtime import OpenVinoRuntime, Outputs
from wsiseg.models.semantic.files import SemanticFolder

if TYPE_CHECKING:
    from wsiseg.models.semantic.architecture import SemanticNetwork

Logits = NDArray[np.float32]


class ClassRuntime(Protocol):
    """Runs one network; safe to use from several threads."""

    @property
    def identity(self) -> str:
        """Name and precision: results of equal identity on one machine are equal."""
        ...

    def run(self, pixels: NDArray[np.uint8]) -> Outputs:
        """uint8 ``[n, y, x, 3]`` to logits ``[n, classes, y / grid, x / grid]``."""
        ...


def open_runtime(folder: SemanticFolder, device: str = "cpu") -> ClassRuntime:
    """What runs the network on a device, ``auto`` settled; loaded when first used.

    Raises
    ------
    ModelError
        If OpenVINO is wanted and not installed.
    """
    if is_cuda(device) or GRAPH not in folder.described.sha256:
        return SemanticTorchRuntime(folder, device)
    # Of the folder, it asks for checked files alone.
    return OpenVinoRuntime(folder)


class SemanticTorchRuntime:
    """The weights in torch: float32 on processors, float16 on graphics cards; a window at a time.

    Parameters
    ----------
    folder
        The model.
    device
        ``cpu``, ``cuda`` or ``cuda:N``.
    """

    def __init__(self, folder: SemanticFolder, device: str) -> None:
        self._folder, self._device = folder, device
        self._lock = threading.Lock()
        self._network: Any = None

    @property
    def identity(self) -> str:
        """Name, kind of device and precision."""
        return "torch-cuda-f16" if is_cuda(self._device) else "torch-cpu-f32"

    def run(self, pixels: NDArray[np.uint8]) -> Logits:
        """uint8 ``[n, y, x, 3]`` to logits ``[n, classes, y / grid, x / grid]``.

        Raises
        ------
        MissingExtraError
            If torch, timm or safetensors is not installed.
        ModelError
            If the weights do not fit, or the device is not there.
        """
        with self._lock:
            if self._network is None:
                require_device(self._device)
                self._network = load_network(self._folder).to(self._device)
                if is_cuda(self._device):
                    self._network.half()
            return self._run(pixels)

    def _run(self, pixels: NDArray[np.uint8]) -> Logits:
        import torch

        network = self._network
        found = []
        # One by one: the bits of a window must not hang on how many there are.
        with torch.inference_mode():
            for window in pixels:
                plain = torch.from_numpy(window[np.newaxis]).to(self._device)
                given = network.normalised(plain.permute(0, 3, 1, 2).float())
                answer = network(given.half() if is_cuda(self._device) else given)
                found.append(answer.float().cpu().numpy())
        logits: Logits = found[0] if len(found) == 1 else np.concatenate(found)
        return logits


def load_network(folder: SemanticFolder) -> SemanticNetwork:
    """The network in torch, on the processor, ready to run.

    Raises
    ------
    MissingExtraError
        If torch, timm or safetensors is not installed.
    ModelError
        If the weights do not fit.
    """
    try:
        from safetensors.torch import load_file

        from wsiseg.models.semantic.architecture import SemanticNetwork
    except ImportError as error:
        raise MissingExtraError("running a tissue network with torch", "train") from error
    described = folder.described
    try:
        network = SemanticNetwork(described.network, len(described.classes))
    except ImportError as error:
        raise MissingExtraError("running a tissue network with torch", "train") from error
    try:
        network.load_state_dict(load_file(folder.checked(WEIGHTS)))
    except (RuntimeError, ValueError) as error:
        raise ModelError(f"cannot use the weights in {folder.root}: {error}") from error
    network.eval()
    return network.requires_grad_(False)
