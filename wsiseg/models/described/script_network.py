"""Running a TorchScript file with torch."""

from __future__ import annotations

import threading
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsiseg.errors import MissingExtraError, ModelError
from wsiseg.models.described.description import Input
from wsiseg.models.described.reading import Stacked, Values, first_line, refusal, stack_sources
from wsiseg.models.described.sources import Source
from wsiseg.models.device import is_cuda, require_device

_CARD_BATCH = 16


class ScriptNetwork:
    """A TorchScript file, run by torch in float32; loaded when first used, once a process.

    Parameters
    ----------
    path
        The file.
    fed, sources
        What the description says of the input and of the outputs, by name.
    device
        ``cpu``, ``cuda`` or ``cuda:N``.

    Raises
    ------
    ModelError
        If the file is none of TorchScript.
    """

    def __init__(self, path: Path, fed: Input, sources: Mapping[str, Source], device: str) -> None:
        _require_script(path)
        self._path, self._fed, self._sources, self._device = path, fed, sources, device
        self._lock = threading.Lock()
        self._batches: Any = None

    @property
    def identity(self) -> str:
        """Name, kind of device and precision."""
        return "torch-cuda-f32" if is_cuda(self._device) else "torch-cpu-f32"

    @property
    def remarks(self) -> tuple[str, ...]:
        """Whether batches had to be made smaller."""
        told: tuple[str, ...] = self._batches.remarks if self._batches is not None else ()
        return told

    def run(self, values: Values) -> Stacked:
        """See :class:`Network`.

        Raises
        ------
        MissingExtraError
            If torch is not installed.
        ModelError
            Besides, if the device is not there or a single window does not fit its memory.
        """
        with self._lock:
            if self._batches is None:
                self._batches = self._load()
            found: Stacked = self._batches.run(values)
        return found

    def _load(self) -> Any:
        try:
            import torch

            from wsiseg.models.network.torch_runtime import Batches
        except ImportError as error:
            raise MissingExtraError("running a TorchScript network", "train") from error
        require_device(self._device)
        try:
            # The module asked for by name: torch.jit.load carries no types.
            script: Any = torch.jit
            network = script.load(str(self._path), map_location=self._device).eval()
        except RuntimeError as error:
            raise ModelError(f"torch cannot load {self._path}: {first_line(error)}") from error
        return Batches(self._engine(network), self._device)

    def _engine(self, network: Callable[..., Any]) -> Callable[[Values], Stacked]:
        import torch

        # On a processor one by one: the bits of a window must not hang on how many there are.
        most = _CARD_BATCH if is_cuda(self._device) else 1

        def run(values: Values) -> Stacked:
            found = []
            for k in range(0, len(values), most):
                some = np.array(values[k : k + most])
                try:
                    with torch.inference_mode():
                        given = network(torch.from_numpy(some).to(self._device))
                        arrays = self._arrays(given)
                except torch.OutOfMemoryError:
                    raise
                except RuntimeError as error:
                    raise refusal(self._path, some, error) from error
                found.append(stack_sources(self._path, self._fed, self._sources, arrays, some))
            return found[0] if len(found) == 1 else np.concatenate(found)

        return run

    def _arrays(self, given: Any) -> dict[str, NDArray[Any]]:
        """What each source is read from."""
        if isinstance(given, Mapping):
            named = list(given.items())
        elif isinstance(given, Sequence):
            named = [("", value) for value in given]
        else:
            named = [("", given)]
        found = {}
        for name, source in self._sources.items():
            chosen = [v for k, (known, v) in enumerate(named) if source.output in (k, known)]
            if not chosen or not hasattr(chosen[0], "cpu"):
                told = ", ".join(
                    f"{k} ({known})" if known else str(k) for k, (known, _) in enumerate(named)
                )
                raise ModelError(
                    f"{self._path} gives no output {source.output!r} as outputs.{name} says; it "
                    f"gives {told}"
                )
            found[name] = chosen[0].float().cpu().numpy()
        return found


def _require_script(path: Path) -> None:
    """Refuse, before torch is asked, what is no TorchScript."""
    if not zipfile.is_zipfile(path):
        raise ModelError(
            f"{path} is no TorchScript file (a pickle, perhaps, which is not opened here); save "
            "the network with torch.jit.script(network).save(...) or torch.jit.trace"
        )
    with zipfile.ZipFile(path) as archive:
        names = {name.partition("/")[2] for name in archive.namelist()}
    if "constants.pkl" not in names or not any(name.startswith("code/") for name in names):
        raise ModelError(
            f"{path} holds pickled weights without the network, not TorchScript; build the "
            "network, load the weights and save it with torch.jit.script(network).save(...) or "
            "torch.jit.trace"
        )
