"""Running the network: OpenVINO on processors; windows of any size in bounded memory."""

from __future__ import annotations

import importlib
import os
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from wsiseg.errors import ModelError
from wsiseg.models.network.files import GRAPH, GRAPH_WEIGHTS

Outputs = NDArray[np.float32 | np.uint16]
"""Numbers of a network. uint16: the upper halves of float32, which is all that a network that
calculates in bfloat16 gives; :func:`widened` makes them numbers."""

Windows = NDArray[np.uint8 | np.float32]


class Folder(Protocol):
    """A model's files on disk."""

    def checked(self, name: str) -> Path:
        """The path of a file, its digest compared with the description's."""
        ...


class Runtime(Protocol):
    """Runs one network; safe to use from several threads."""

    @property
    def identity(self) -> str:
        """Name and precision: results of equal identity on one machine are equal."""
        ...

    @property
    def remarks(self) -> tuple[str, ...]:
        """Sentences for the report on how it ran, if there is anything to say."""
        ...

    def run(self, pixels: Windows) -> Outputs:
        """``[n, y, x, c]`` of the dtype that the network takes, sides multiples of the stride, to
        ``[n, outputs, (y - 2 crop) / g, (x - 2 crop) / g]``."""
        ...


def widened(outputs: Outputs) -> NDArray[np.float32]:
    """The numbers that outputs stand for."""
    if outputs.dtype == np.float32:
        return np.asarray(outputs, np.float32)
    return (outputs.astype(np.uint32) << 16).view(np.float32)


def inference_threads(processes: int = 1) -> int:
    """Threads each of some processes of this machine may use: ``OMP_NUM_THREADS``, which is set in
    a worker, else its share of the cores."""
    stated = os.environ.get("OMP_NUM_THREADS", "")
    if stated.isdigit() and int(stated) > 0:
        return int(stated)
    return max(len(os.sched_getaffinity(0)) // processes, 1)


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


def native_precision(core: Any) -> str:
    """``bf16`` where this machine's processor calculates in it, else ``f32``."""
    native = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return "bf16" if "BF16" in native else "f32"


def compiled(core: Any, graph: Any, precision: str) -> Any:
    """The graph compiled for this machine's processor, on as many threads as a process may use."""
    settings = {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": inference_threads(),
        "NUM_STREAMS": 1,
        # Pinned threads of several processes would all sit on the first core.
        "ENABLE_CPU_PINNING": False,
    }
    return core.compile_model(graph, "CPU", settings)


_RUNTIMES: weakref.WeakSet[OpenVinoRuntime] = weakref.WeakSet()


def let_go_of_memory() -> None:
    """Have every network of this process give back what it keeps for its next window."""
    for runtime in list(_RUNTIMES):
        runtime.let_go()


class OpenVinoRuntime:
    """The graph in a model's folder on this machine's processor.

    bfloat16 where the processor calculates in it, else float32. The graph is compiled when first
    used, once a process. Windows run one after the other, whoever asks: what is kept from one
    to the next is a few hundred bytes a pixel of the largest, and there is one of it.

    Parameters
    ----------
    source
        The folder, or what makes the graph with OpenVINO's ``Core``.
    """

    def __init__(self, source: Folder | Callable[[Any], Any]) -> None:
        self._openvino = import_openvino()
        self._core: Any = self._openvino.Core()
        self._precision = native_precision(self._core)
        self._source = source
        self._lock = threading.Lock()
        self._compiled: Any = None
        self._request: Any = None
        self._spare: list[Any] = []
        _RUNTIMES.add(self)

    @property
    def identity(self) -> str:
        """Name and precision."""
        return f"openvino-{self._precision}"

    @property
    def remarks(self) -> tuple[str, ...]:
        """None."""
        return ()

    def run(self, pixels: Windows) -> Outputs:
        """See :class:`Runtime`."""
        # One by one: on a processor a batch is no faster and takes as many times the memory.
        with self._lock:
            found = [self._infer(window[np.newaxis]) for window in pixels]
        return found[0] if len(found) == 1 else np.concatenate(found)

    def let_go(self) -> None:
        """Give the memory back that is kept from one window to the next."""
        with self._lock:
            self._spare.clear()
            if self._compiled is not None:
                self._compiled.release_memory()

    def _infer(self, window: Windows) -> Outputs:
        if self._request is None:
            graph = self._narrow(self._read())
            self._compiled = compiled(self._core, graph, self._precision)
            self._request = self._compiled.create_infer_request()
        tensor = self._tensor()
        self._request.set_output_tensor(0, tensor)
        self._request.infer({0: window}, share_inputs=True)
        numbers: NDArray[Any] = tensor.data
        # Fresh memory for every window would cost as much as some layers: each page of it is
        # cleared by the system when first touched. Views of the numbers keep them alive.
        weakref.finalize(numbers, self._spare.append, tensor)
        return numbers if numbers.dtype == np.float32 else numbers.view(np.uint16)

    def _tensor(self) -> Any:
        """One that nobody reads any more, else a new one; it grows as it must."""
        try:
            return self._spare.pop()
        except IndexError:
            port = self._compiled.output(0)
            shape = port.partial_shape.get_min_shape()
            return self._openvino.Tensor(port.element_type, shape)

    def _narrow(self, graph: Any) -> Any:
        """The graph with outputs of the precision that it calculates in."""
        if self._precision != "bf16":
            return graph
        steps = self._openvino.preprocess.PrePostProcessor(graph)
        steps.output().tensor().set_element_type(self._openvino.Type.bf16)
        return steps.build()

    def _read(self) -> Any:
        if callable(self._source):
            return self._source(self._core)
        graph, weights = self._source.checked(GRAPH), self._source.checked(GRAPH_WEIGHTS)
        return self._core.read_model(graph, weights)


@dataclass(frozen=True, slots=True)
class Pieces:
    """How a window too large to be run at once is cut; all in pixels.

    Attributes
    ----------
    grid
        Side of an output.
    crop
        What the network leaves out along each edge of what it is given, a multiple of its stride.
    margin
        At least the network's reach and ``crop``, a multiple of its stride.
    side
        Largest piece, a multiple of the stride and more than two margins.
    """

    grid: int
    crop: int
    margin: int
    side: int


def run_in_pieces(runtime: Runtime, pixels: Windows, pieces: Pieces) -> Outputs:
    """Run windows of any size with bounded memory; the same bits as in one piece.

    Parameters
    ----------
    runtime
        The network.
    pixels
        As :meth:`Runtime.run` takes them, sides more than two crops.
    pieces
        How to cut them.

    Returns
    -------
    ``[n, outputs, (y - 2 crop) / grid, (x - 2 crop) / grid]``.
    """
    count, height, width = pixels.shape[:3]
    if height <= pieces.side and width <= pieces.side:
        return runtime.run(pixels)
    grid, crop, margin = pieces.grid, pieces.crop, pieces.margin
    step = pieces.side - 2 * margin
    whole: Outputs = np.empty(0, np.float32)
    for y in range(crop, height - crop, step):
        for x in range(crop, width - crop, step):
            y0, x0 = max(y - margin, 0), max(x - margin, 0)
            y1, x1 = min(y + step + margin, height), min(x + step + margin, width)
            found = runtime.run(np.ascontiguousarray(pixels[:, y0:y1, x0:x1]))
            if not len(whole):
                shape = ((height - 2 * crop) // grid, (width - 2 * crop) // grid)
                whole = np.empty((count, found.shape[1], *shape), found.dtype)
            y2, x2 = min(y + step, height - crop), min(x + step, width - crop)
            here = (_cells(y, y2, y0 + crop, grid), _cells(x, x2, x0 + crop, grid))
            place = (_cells(y, y2, crop, grid), _cells(x, x2, crop, grid))
            whole[:, :, place[0], place[1]] = found[:, :, here[0], here[1]]
    return whole


def _cells(low: int, high: int, origin: int, grid: int) -> slice:
    return slice((low - origin) // grid, (high - origin) // grid)
