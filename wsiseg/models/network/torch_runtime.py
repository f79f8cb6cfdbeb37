"""Running the network in torch: float32 on processors, float16 on graphics cards.

On a graphics card weights and pixels lie channels last, pixels travel as bytes from pinned memory
and are scaled there, and the work on a window of a shape that comes again is recorded as a CUDA
graph and replayed. Batches that do not fit the card's memory are halved.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from wsiseg.errors import MissingExtraError, ModelError
from wsiseg.models.device import is_cuda, require_device
from wsiseg.models.network.files import WEIGHTS, ModelFolder
from wsiseg.models.network.runtime import Outputs, Windows

if TYPE_CHECKING:
    import torch
    from torch import nn

    from wsiseg.models.network.architecture import PixelNetwork

Engine = Callable[[Windows], Outputs]
"""From ``[n, y, x, c]`` to float32 ``[n, outputs, y / g, x / g]``."""

Dtype = Literal["uint8", "float32"]
"""Of the pixels."""

GRAPHS = 2
"""Recorded shapes kept: that of the tiles, and that of the pieces of larger windows."""


class TorchRuntime:
    """The weights in torch; loaded when first used, once a process.

    Parameters
    ----------
    source
        The model's folder, or what makes the module: on the processor in float32, ready to run, and
        taking pixels of ``dtype`` to float32 outputs whatever the dtype of its weights.
    device
        ``cpu``, ``cuda`` or ``cuda:N``.
    dtype
        Of the pixels.
    """

    def __init__(
        self,
        source: ModelFolder | Callable[[], nn.Module],
        device: str = "cpu",
        dtype: Dtype = "uint8",
    ) -> None:
        self._source = source
        self._device = device
        self._dtype: Dtype = dtype
        self._lock = threading.Lock()
        self._batches: Batches | None = None

    @property
    def identity(self) -> str:
        """Name, kind of device and precision."""
        return "torch-cuda-f16" if is_cuda(self._device) else "torch-cpu-f32"

    @property
    def remarks(self) -> tuple[str, ...]:
        """What the report of a slide should say of how it ran."""
        return self._batches.remarks if self._batches is not None else ()

    def run(self, pixels: Windows) -> Outputs:
        """See :class:`wsiseg.models.network.runtime.Runtime`.

        Raises
        ------
        MissingExtraError
            If torch, timm or safetensors is not installed.
        ModelError
            If the weights do not fit, the device is not there, or a single window does not fit its
            memory.
        """
        with self._lock:
            if self._batches is None:
                require_device(self._device)
                self._batches = Batches(self._engine(), self._device)
            return self._batches.run(pixels)

    def _engine(self) -> Engine:
        named: object = "the network"
        if isinstance(self._source, ModelFolder):
            network: nn.Module = load_network(self._source)
            named = self._source.root
        else:
            network = self._source()
        if not is_cuda(self._device):
            return _on_processor(network)
        try:
            return _on_card(network, self._device, self._dtype)
        except RuntimeError as error:
            raise ModelError(f"cannot use {named} on {self._device}: {error}") from error


class Batches:
    """Runs windows in batches that fit the device's memory; learns how large they may be.

    Parameters
    ----------
    engine
        What runs a batch; raises ``torch.OutOfMemoryError`` where it does not fit.
    device
        For messages.
    """

    def __init__(self, engine: Engine, device: str) -> None:
        self._engine = engine
        self._device = device
        self._most_px: int | None = None

    @property
    def remarks(self) -> tuple[str, ...]:
        """Whether batches had to be made smaller."""
        if self._most_px is None:
            return ()
        return (
            f"batches were made smaller (at most {self._most_px:,} px) because the memory of "
            f"{self._device} is full",
        )

    def run(self, pixels: Windows) -> Outputs:
        """Outputs ``[n, outputs, y / g, x / g]`` of windows uint8 ``[n, y, x, c]``.

        Raises
        ------
        ModelError
            If a single window does not fit.
        """
        import torch

        each = pixels.shape[1] * pixels.shape[2]
        parts: list[Outputs] = []
        done = 0
        while done < len(pixels):
            left = len(pixels) - done
            count = left if self._most_px is None else min(left, max(self._most_px // each, 1))
            try:
                parts.append(self._engine(pixels[done : done + count]))
            except torch.OutOfMemoryError as error:
                if count == 1:
                    raise ModelError(
                        f"a window of {pixels.shape[2]} x {pixels.shape[1]} px does not fit the "
                        f"free memory of {self._device}; use fewer workers (--workers), smaller "
                        "tiles (--core 512) or --device cpu"
                    ) from error
                self._most_px = count // 2 * each
                continue
            done += count
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


class Recorded:
    """Runs each shape plainly when it first comes, and recorded when it comes twice running.

    Windows wider than a tile come in many shapes, once each: recording them would cost more than
    it saves.

    Parameters
    ----------
    plain
        Runs a batch of any shape.
    record
        Makes a function that runs batches of one shape.
    """

    def __init__(
        self, plain: Engine, record: Callable[[tuple[int, ...]], Engine], most: int = GRAPHS
    ) -> None:
        self._plain = plain
        self._record = record
        self._most = most
        self._kept: OrderedDict[tuple[int, ...], Engine] = OrderedDict()
        self._last: tuple[int, ...] = ()

    def __call__(self, pixels: Windows) -> Outputs:
        """Run one batch."""
        shape = pixels.shape
        again, self._last = shape == self._last, shape
        if shape not in self._kept:
            if not again:
                return self._plain(pixels)
            # Room is made before, for the old records and the new one may not fit together.
            while len(self._kept) >= self._most:
                self._kept.popitem(last=False)
            self._kept[shape] = self._record(shape)
        self._kept.move_to_end(shape)
        return self._kept[shape](pixels)

    def forget(self) -> None:
        """Let go of all records and the memory they hold."""
        self._kept.clear()


def load_network(folder: ModelFolder) -> PixelNetwork:
    """The network on the processor in float32, ready to run.

    Raises
    ------
    MissingExtraError
        If torch, timm or safetensors is not installed.
    ModelError
        If the weights do not fit.
    """
    try:
        from safetensors.torch import load_file

        from wsiseg.models.network.architecture import (
            Architecture,
            PixelNetwork,
            StarNetwork,
            channels_last,
        )
    except ImportError as error:
        raise MissingExtraError("running a network with torch", "train") from error
    shape = folder.described.network
    network = StarNetwork(
        Architecture(
            shape.encoder, shape.stages, shape.widths, shape.head, shape.rays, shape.channels
        )
    )
    try:
        network.load_state_dict(load_file(folder.checked(WEIGHTS)))
    except RuntimeError as error:
        raise ModelError(f"cannot use the weights in {folder.root}: {error}") from error
    whole = PixelNetwork(network, shape.crop, folder.described.outputs)
    whole.eval().requires_grad_(False)
    channels_last(whole)
    return whole


def _on_processor(network: nn.Module) -> Engine:
    import torch

    def run(pixels: Windows) -> Outputs:
        # One by one: the bits of a window must not hang on how many there are.
        with torch.inference_mode():
            found = [network(torch.from_numpy(pixels[k : k + 1])) for k in range(len(pixels))]
            outputs: Outputs = (found[0] if len(found) == 1 else torch.cat(found)).numpy()
        return outputs

    return run


def _on_card(network: nn.Module, device: str, dtype: Dtype) -> Engine:
    import torch

    half = network.to(device).half()

    def answer(pixels: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = half(pixels).contiguous()
        return outputs

    def plain(pixels: Windows) -> Outputs:
        with torch.inference_mode():
            found: Outputs = answer(torch.from_numpy(pixels).to(device)).cpu().numpy()
        return found

    def record(shape: tuple[int, ...]) -> Engine:
        return _recorded(answer, shape, device, dtype)

    engine = Recorded(plain, record)

    def run(pixels: Windows) -> Outputs:
        with torch.cuda.device(device):
            try:
                return engine(pixels)
            except torch.OutOfMemoryError:
                engine.forget()
                torch.cuda.empty_cache()
                raise

    return run


def _recorded(
    answer: Callable[[torch.Tensor], torch.Tensor],
    shape: tuple[int, ...],
    device: str,
    dtype: Dtype,
) -> Engine:
    """A CUDA graph for batches of one shape, with pinned memory on the host at both ends."""
    import torch

    taken = torch.uint8 if dtype == "uint8" else torch.float32
    entry = torch.empty(shape, dtype=taken, pin_memory=True)
    pixels = torch.zeros(shape, dtype=taken, device=device)
    cuda: Any = torch.cuda
    beside = cuda.Stream(device)
    beside.wait_stream(cuda.current_stream(device))
    with torch.inference_mode(), cuda.stream(beside):
        # Whatever is chosen or allocated on first use must not happen while recording.
        for _ in range(2):
            answer(pixels)
    cuda.current_stream(device).wait_stream(beside)
    graph = cuda.CUDAGraph()
    with torch.inference_mode(), cuda.graph(graph):
        outputs = answer(pixels)
    exit_ = torch.empty(outputs.shape, dtype=outputs.dtype, pin_memory=True)

    def run(given: Windows) -> Outputs:
        with torch.inference_mode():
            entry.copy_(torch.from_numpy(given))
            pixels.copy_(entry, non_blocking=True)
            graph.replay()
            exit_.copy_(outputs, non_blocking=True)
            cuda.current_stream(device).synchronize()
        # The next run writes over it.
        found: Outputs = exit_.numpy().copy()
        return found

    return run
