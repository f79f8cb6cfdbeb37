"""Cellpose's networks in torch, run over windows of any size.

A network takes squares of one size. They lie on a lattice whose step is the model's stride, so
that windows on that lattice cut the same squares; where squares overlap, their outputs are
averaged with weights that fall off towards the edges, as cellpose does.
"""

from __future__ import annotations

import importlib.metadata
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from wsiseg.errors import MissingExtraError, ModelError
from wsiseg.models._torchvision import import_fitted
from wsiseg.models.cellpose.weights import Generation, read_weights
from wsiseg.models.device import is_cuda, require_device

if TYPE_CHECKING:
    import torch

Outputs = NDArray[np.float32]
Runnable = Literal["3", "4"]

_OUTPUTS = 3
_FALL, _INSET = 7.5, 20.0
_CARD_BATCH = 8
_WIDTHS = (32, 64, 128, 256)
_FIRST = "downsample.down.res_down_0.conv.conv_0.2.weight"
_LAST = {"3": "output.2.weight", "4": "W2"}


@dataclass(frozen=True, slots=True)
class Tiling:
    """Squares that a network takes: their side, and the step from one to the next, in pixels."""

    side: int
    step: int


TILINGS: dict[Runnable, Tiling] = {"3": Tiling(224, 192), "4": Tiling(256, 224)}
"""By generation: the side each was trained with, and an overlap of 32 px, about cellpose's own."""

PRECISIONS: dict[Runnable, str] = {"3": "f32", "4": "bf16"}
"""What each calculates in: cellpose's own choice."""


def require_cellpose(generation: Generation, weights: Path) -> Runnable:
    """The generation of weights, if the installed cellpose can run them.

    Raises
    ------
    MissingExtraError
        If cellpose is not installed.
    ModelError
        If another generation is, or the weights are of a kind that is not supported.
    """
    if generation == "4-dino":
        raise ModelError(
            f"{weights} is a cpdino network, which cannot be run here; use cpsam, or a network of "
            "cellpose 3"
        )
    try:
        installed = importlib.metadata.version("cellpose")
    except importlib.metadata.PackageNotFoundError:
        raise MissingExtraError("running cellpose's networks", "cellpose") from None
    if installed.split(".")[0] != generation:
        needed = "3.1.1.3" if generation == "3" else "4.2.1.1"
        raise ModelError(
            f"{weights} holds a network of cellpose {generation}, but cellpose {installed} is "
            f"installed, which cannot run it: pip install cellpose=={needed} in an environment of "
            "its own, or choose other weights"
        )
    return generation


class CellposeNetwork:
    """A network on one device; built when first used, once a process.

    Parameters
    ----------
    weights
        The file.
    generation
        Of which cellpose it is, see :func:`require_cellpose`.
    device
        ``cpu``, ``cuda`` or ``cuda:N``.
    """

    def __init__(self, weights: Path, generation: Runnable, device: str) -> None:
        self._weights = weights
        self._generation = generation
        self._device = device
        self._lock = threading.Lock()
        self._network: Any = None

    @property
    def identity(self) -> str:
        """Device, precision and cellpose's generation."""
        card = "cuda" if is_cuda(self._device) else "cpu"
        return f"torch-{card}-{PRECISIONS[self._generation]}-cellpose{self._generation}"

    def run(self, image: NDArray[np.float32]) -> Outputs:
        """Outputs float32 ``[3, y, x]`` (5 times the flow along y and x, logit) of one window.

        Parameters
        ----------
        image
            float32 ``[c, y, x]``, normalised; with fewer channels than the network takes, the
            others are 0.

        Raises
        ------
        MissingExtraError
            If torch or cellpose is not installed.
        ModelError
            If the weights do not fit, or the device is not there.
        """
        with self._lock:
            if self._network is None:
                require_device(self._device)
                self._network = _build(self._weights, self._generation, self._device)
            batch = _CARD_BATCH if is_cuda(self._device) else 1
            return run_tiled(self._forward, image, TILINGS[self._generation], batch)

    def _forward(self, tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        import torch

        network = self._network
        first = next(network.parameters())
        shape = (len(tiles), network.nchan, *tiles.shape[2:])
        given = torch.zeros(shape, dtype=first.dtype, device=first.device)
        given[:, : tiles.shape[1]] = torch.from_numpy(tiles)
        with torch.inference_mode():
            found: NDArray[np.float32] = network(given)[0].float().cpu().numpy()
        return found


def run_tiled(
    forward: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    image: NDArray[np.float32],
    tiling: Tiling,
    batch: int,
) -> Outputs:
    """Run a network of squares over an image of any size.

    Parameters
    ----------
    forward
        From ``[n, c, side, side]`` to ``[n, 3, side, side]``.
    image
        ``[c, y, x]``; beyond its edges it is mirrored.
    tiling
        Side and step of the squares.
    batch
        Squares run at once.

    Returns
    -------
    float32 ``[3, y, x]``.
    """
    height, width = image.shape[1:]
    side, step = tiling.side, tiling.step
    margin = (side - step) // 2
    rows, columns = -(-height // step), -(-width // step)
    after = (rows * step - height + margin, columns * step - width + margin)
    padded = np.pad(image, ((0, 0), (margin, after[0]), (margin, after[1])), mode="reflect")
    weight = _taper(side)
    total = np.zeros((_OUTPUTS, *padded.shape[1:]), np.float32)
    weights = np.zeros(padded.shape[1:], np.float32)
    corners = [(y * step, x * step) for y in range(rows) for x in range(columns)]
    for start in range(0, len(corners), batch):
        some = corners[start : start + batch]
        tiles = np.stack([padded[:, y : y + side, x : x + side] for y, x in some])
        for (y, x), found in zip(some, forward(tiles), strict=True):
            total[:, y : y + side, x : x + side] += found * weight
            weights[y : y + side, x : x + side] += weight
    inner = (slice(margin, margin + height), slice(margin, margin + width))
    total /= weights
    return np.ascontiguousarray(total[:, *inner])


def _taper(side: int) -> NDArray[np.float32]:
    """Weights ``[side, side]`` that fall off towards the edges by cellpose's logistic curve."""
    far = np.abs(np.arange(side) - (side - 1) / 2)
    fall = 1 / (1 + np.exp((far - (side / 2 - _INSET)) / _FALL))
    weights: NDArray[np.float32] = (fall[:, np.newaxis] * fall).astype(np.float32)
    return weights


def _build(path: Path, generation: Runnable, device: str) -> Any:
    import torch

    weights = read_weights(path)
    outputs = weights[_LAST[generation]].shape
    found = outputs[0] if generation == "3" else outputs[1] if len(outputs) == 4 else 0
    if found != _OUTPUTS:
        raise ModelError(
            f"{path} has {found} outputs; a network of cellpose has 3 (flows along y and x, and "
            "the probability)"
        )
    try:
        network = _small(weights) if generation == "3" else _large()
        missing, _ = network.load_state_dict(weights, strict=False)
    except (RuntimeError, KeyError, IndexError) as error:
        raise ModelError(f"cannot use the weights {path}: {str(error)[:300]}") from error
    lacking = [name for name in missing if not name.startswith("diam_")]
    if lacking:
        raise ModelError(f"{path} lacks {len(lacking)} tensors, {lacking[0]} among them")
    network.eval().requires_grad_(False)
    try:
        return network.to(device, memory_format=torch.channels_last)
    except RuntimeError as error:
        raise ModelError(f"cannot use {path} on {device}: {str(error)[:300]}") from error


def _small(weights: dict[str, torch.Tensor]) -> Any:
    """Cellpose 3's network, for as many channels as the weights have."""
    made: Any = importlib.import_module("cellpose.resnet_torch")
    return made.CPnet([int(weights[_FIRST].shape[1]), *_WIDTHS], _OUTPUTS, sz=3)


def _large() -> Any:
    """Cellpose-SAM, in half precision."""
    import torch

    network: Any = import_fitted("cellpose.vit").CPSAM(dtype=torch.bfloat16)
    network.nchan = 3
    return network.to(torch.bfloat16)
