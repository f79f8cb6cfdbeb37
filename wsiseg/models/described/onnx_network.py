"""Running an ONNX file with OpenVINO."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from wsiseg.errors import ModelError
from wsiseg.models.described.description import Input
from wsiseg.models.described.reading import Stacked, Values, first_line, refusal, stack_sources
from wsiseg.models.described.sources import Source
from wsiseg.models.network.runtime import compiled, import_openvino, native_precision


class OnnxNetwork:
    """An ONNX file, read and run by OpenVINO on the processor.

    Parameters
    ----------
    path
        The file; it is read now and compiled when first used.
    fed, sources
        What the description says of the input and of the outputs, by name.
    bfloat16
        Whether to calculate in it where the processor does.

    Raises
    ------
    ModelError
        If OpenVINO cannot read the file, or the network takes or gives something else than
        described.
    """

    def __init__(
        self, path: Path, fed: Input, sources: Mapping[str, Source], *, bfloat16: bool
    ) -> None:
        self._core: Any = import_openvino().Core()
        self._precision = native_precision(self._core) if bfloat16 else "f32"
        self._path, self._fed, self._sources = path, fed, sources
        try:
            self._graph: Any = self._core.read_model(path)
        except RuntimeError as error:
            raise ModelError(
                f"{path} is no ONNX network that OpenVINO can read ({first_line(error)}); export "
                "it again, with operators of a common opset"
            ) from error
        self._shape_input()
        self._indices = {name: self._index(source) for name, source in sources.items()}
        self._local = threading.local()
        self._lock = threading.Lock()
        self._compiled: Any = None

    @property
    def identity(self) -> str:
        """Name and precision."""
        return f"openvino-{self._precision}"

    @property
    def remarks(self) -> tuple[str, ...]:
        """None."""
        return ()

    def run(self, values: Values) -> Stacked:
        """See :class:`Network`; one window after the other."""
        request = getattr(self._local, "request", None)
        if request is None:
            request = self._local.request = self._compile().create_infer_request()
        found = []
        for k in range(len(values)):
            one = np.ascontiguousarray(values[k : k + 1])
            try:
                request.infer({0: one}, share_inputs=True)
            except RuntimeError as error:
                raise refusal(self._path, one, error) from error
            given = {name: request.get_output_tensor(i).data for name, i in self._indices.items()}
            found.append(stack_sources(self._path, self._fed, self._sources, given, one))
        return found[0] if len(found) == 1 else np.concatenate(found)

    def _shape_input(self) -> None:
        inputs, fed = self._graph.inputs, self._fed
        shape = inputs[0].get_partial_shape() if len(inputs) == 1 else None
        if shape is None or shape.rank.is_dynamic or len(shape) != 4:
            raise ModelError(
                f"{self._path} must take one image of four axes, and takes {len(inputs)} inputs: "
                f"{', '.join(str(i.get_partial_shape()) for i in inputs)}"
            )
        kind = inputs[0].get_element_type().get_type_name()
        if kind != {"float32": "f32", "uint8": "u8"}[fed.dtype]:
            raise ModelError(
                f"{self._path} takes values of type {kind}, not {fed.dtype} as input.dtype says"
            )
        axes = (2, 3, 1) if fed.layout == "nchw" else (1, 2, 3)
        wanted = (fed.side, fed.side, fed.channels)
        for axis, size, what in zip(axes, wanted, ("height", "width", "channels"), strict=True):
            there = shape[axis]
            if there.is_static and there.get_length() != size:
                mend = "channels and layout" if what == "channels" else "side"
                raise ModelError(
                    f"{self._path} takes images {shape} ({fed.layout}): its {what} must be "
                    f"{there.get_length()}, not {size or 'any'}; mend input.{mend}"
                )
        free = [1, -1, -1, -1]
        for axis, size in zip(axes, wanted, strict=True):
            free[axis] = size or -1
        try:
            self._graph.reshape(free)
        except RuntimeError as error:
            raise ModelError(
                f"{self._path} cannot take images of {free} ({first_line(error)}); export it with "
                "free height and width, or state input.side"
            ) from error

    def _index(self, source: Source) -> int:
        outputs = self._graph.outputs
        names = [sorted(output.get_names()) for output in outputs]
        if isinstance(source.output, int) and 0 <= source.output < len(outputs):
            return source.output
        for k, known in enumerate(names):
            if source.output in known:
                return k
        told = ", ".join(f"{k} ({'/'.join(known)})" for k, known in enumerate(names))
        raise ModelError(f"{self._path} has no output {source.output!r}; it has {told}")

    def _compile(self) -> Any:
        with self._lock:
            if self._compiled is None:
                try:
                    self._compiled = compiled(self._core, self._graph, self._precision)
                except RuntimeError as error:
                    raise ModelError(
                        f"OpenVINO cannot run {self._path}: {first_line(error)}"
                    ) from error
            return self._compiled
