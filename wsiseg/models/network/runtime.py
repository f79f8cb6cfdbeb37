"""Running the network: OpenVINO on processors, torch on graphics cards and for comparison."""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from wsiseg.errors import MissingExtraError, ModelError
from wsiseg.models.network.files import GRAPH, GRAPH_WEIGHTS, WEIGHTS, ModelFolder

Outputs = NDArray[np.float32]


class Runtime(Protocol):
    """Runs one network; safe to use from several threads."""

    @property
    def identity(self) -> str:
        """Name and precision: results of equal identity on one machine are equal."""
        ...

    def run(self, pixels: NDArray[np.uint8]) -> Outputs:
        """uint8 ``[y, x, 3]``, sides multiples of the stride, to ``[outputs, y / g, x / g]``."""
        ...


def inference_threads() -> int:
    """Threads a process may use: ``OMP_NUM_THREADS`` (1 in a worker), else its cores."""
    stated = os.environ.get("OMP_NUM_THREADS", "")
    return int(stated) if stated.isdigit() and int(stated) > 0 else len(os.sched_getaffinity(0))


def import_openvino() -> Any:
    """The module ``openvino``.

    Raises
    ------
    ModelError
        If it is not installed or does not load.
    """
    try:
        return importlib.import_module("openvino")
    except ImportError as error:
        raise ModelError(
            f"running a network on the processor needs openvino ({error}): pip install openvino"
        ) from error


class OpenVinoRuntime:
    """The graph in the model's folder on this machine's processor.

    bfloat16 where the processor calculates in it, else float32. The graph is compiled when first
    used, once a process; every thread has its own request.
    """

    def __init__(self, folder: ModelFolder) -> None:
        self._core: Any = import_openvino().Core()
        native = self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self._precision = "bf16" if "BF16" in native else "f32"
        self._folder = folder
        self._local = threading.local()
        self._lock = threading.Lock()
        self._compiled: Any = None

    @property
    def identity(self) -> str:
        """Name and precision."""
        return f"openvino-{self._precision}"

    def run(self, pixels: NDArray[np.uint8]) -> Outputs:
        """See :class:`Runtime`."""
        request = getattr(self._local, "request", None)
        if request is None:
            request = self._local.request = self._graph().create_infer_request()
        request.infer({0: pixels[np.newaxis]}, share_inputs=True)
        # The tensor is the request's own and overwritten by its next run.
        found: Outputs = request.get_output_tensor(0).data[0].copy()
        return found

    def _graph(self) -> Any:
        with self._lock:
            if self._compiled is None:
                graph = self._core.read_model(
                    self._folder.checked(GRAPH), self._folder.checked(GRAPH_WEIGHTS)
                )
                settings = {
                    "INFERENCE_PRECISION_HINT": self._precision,
                    "INFERENCE_NUM_THREADS": inference_threads(),
                    "NUM_STREAMS": 1,
                    # Pinned threads of several processes would all sit on the first core.
                    "ENABLE_CPU_PINNING": False,
                }
                self._compiled = self._core.compile_model(graph, "CPU", settings)
            return self._compiled


class TorchRuntime:
    """The weights in torch: float32 on processors, float16 on graphics cards."""

    def __init__(self, folder: ModelFolder, device: str = "cpu") -> None:
        self._device = device
        self._run = load_torch(folder, device)

    @property
    def identity(self) -> str:
        """Name and precision."""
        return f"torch-{self._device}-{'f32' if self._device == 'cpu' else 'f16'}"

    def run(self, pixels: NDArray[np.uint8]) -> Outputs:
        """See :class:`Runtime`."""
        return self._run(pixels)


def load_torch(folder: ModelFolder, device: str) -> Callable[[NDArray[np.uint8]], Outputs]:
    """The function behind :class:`TorchRuntime`.

    Raises
    ------
    MissingExtraError
        If torch, timm or safetensors is not installed.
    ModelError
        If the weights do not fit, or the device is not there.
    """
    try:
        import torch
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
        Architecture(shape.encoder, shape.stages, shape.widths, shape.head, shape.rays)
    )
    try:
        network.load_state_dict(load_file(folder.checked(WEIGHTS)))
        whole = PixelNetwork(network).eval().to(device)
    except RuntimeError as error:
        raise ModelError(f"cannot use {folder.root} with torch on {device}: {error}") from error
    channels_last(whole)
    half = device != "cpu"

    def run(pixels: NDArray[np.uint8]) -> Outputs:
        with torch.inference_mode(), torch.autocast(device, torch.float16, enabled=half):
            found = whole(torch.from_numpy(pixels[np.newaxis]).to(device))
        outputs: Outputs = found[0].float().cpu().numpy()
        return outputs

    return run


def run_in_pieces(
    runtime: Runtime, pixels: NDArray[np.uint8], grid: int, margin: int, side: int
) -> Outputs:
    """Run a window of any size with bounded memory; the same bits as in one piece.

    Parameters
    ----------
    runtime
        The network.
    pixels
        uint8 ``[y, x, 3]``, sides multiples of the stride.
    grid
        Pixels an output pixel.
    margin
        At least the network's reach, a multiple of its stride.
    side
        Largest window run at once, a multiple of the stride and more than two margins.
    """
    height, width = pixels.shape[:2]
    if height <= side and width <= side:
        return runtime.run(pixels)
    step = side - 2 * margin
    whole: Outputs = np.empty(0, np.float32)
    for y in range(0, height, step):
        for x in range(0, width, step):
            y0, x0 = max(y - margin, 0), max(x - margin, 0)
            y1, x1 = min(y + step + margin, height), min(x + step + margin, width)
            found = runtime.run(np.ascontiguousarray(pixels[y0:y1, x0:x1]))
            if not len(whole):
                whole = np.empty((len(found), height // grid, width // grid), np.float32)
            rows = slice((y - y0) // grid, (min(y + step, height) - y0) // grid)
            columns = slice((x - x0) // grid, (min(x + step, width) - x0) // grid)
            whole[
                :,
                y // grid : min(y + step, height) // grid,
                x // grid : min(x + step, width) // grid,
            ] = found[:, rows, columns]
    return whole
