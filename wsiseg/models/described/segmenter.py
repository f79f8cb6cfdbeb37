"""The segmenter of an exported network that a TOML file describes."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsiseg.errors import MissingExtraError, ModelError
from wsiseg.models.described.description import Description, read_description
from wsiseg.models.described.feeding import measure_percentiles, prepare, run_windows
from wsiseg.models.described.onnx_network import OnnxNetwork
from wsiseg.models.described.outputs import SemanticOutputs
from wsiseg.models.described.reading import Network
from wsiseg.models.described.script_network import ScriptNetwork
from wsiseg.models.described.sources import split
from wsiseg.models.device import is_cuda
from wsiseg.models.network.files import digest
from wsiseg.models.segmenter import Instances, ModelSpec, Statistics
from wsiseg.slides.reader import Pixels

_CORE = 1024
_ROOM_UM = 24.0
"""What a halo holds beyond the reach: more than a nucleus is wide."""

_CARD_BATCH = 4

_BYTES_PER_PX = 192
"""Of the largest window a tile may ask for, besides the channels: what is fed, what decoding takes,
and the memory of running a piece, spread over it. Reckoned for networks of 64 float32 channels."""


def open_described(path: Path, device: str) -> DescribedSegmenter:
    """The segmenter of a folder with ``model.toml``, or of such a file.

    Raises
    ------
    MissingExtraError
        If it is TorchScript and torch is not installed.
    ModelError
        If the description or the network's file cannot be used.
    """
    described, file = read_description(path)
    if isinstance(described.outputs, SemanticOutputs):
        raise ModelError(
            f"{path} describes a network of tissue classes, and --model is for nuclei; train or "
            "give tissue networks as such (wsiseg train --help), or describe its nuclei"
        )
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    if described.sha256 not in (None, found):
        raise ModelError(
            f"{file} is not the file that its description is for (sha256 {found[:12]}..., not "
            f"{str(described.sha256)[:12]}...); get it again, or mend sha256 if you trust it"
        )
    return DescribedSegmenter(described, _network(file, described, device), found, device)


class DescribedSegmenter:
    """Feeds an exported network and decodes what it gives.

    Parameters
    ----------
    described
        What the description says.
    network
        What runs it.
    sha256
        Digest of the network's file.
    device
        What it runs on.
    """

    def __init__(self, described: Description, network: Network, sha256: str, device: str) -> None:
        self._fed, self._outputs, self._network = described.input, described.outputs, network
        fed, outputs = described.input, described.outputs
        edge = fed.lost + fed.cut
        known = fed.cut if fed.reach is None else fed.reach
        reach = known + outputs.reach_px
        room = reach + outputs.room_px + round(_ROOM_UM / described.mpp)
        halo = described.halo if described.halo is not None else _multiple(room, fed.stride)
        if halo < reach:
            raise ModelError(
                f"{described.name} needs a halo of {_multiple(reach, fed.stride)} px or more, not "
                f"{halo}: its answer and the decoding reach {reach} px"
            )
        channels = sum(len(source.channels) for source in outputs.sources.values())
        aligned = edge >= (fed.reach or 0) and edge % fed.stride == 0
        self._spec = ModelSpec(
            name=described.name,
            sha256=sha256,
            illumination=described.illumination,
            mpp=described.mpp,
            mpp_range=described.range,
            core=described.core or _multiple(_CORE, fed.stride),
            halo=halo,
            reach_px=reach,
            stride=fed.stride,
            exact=fed.reach is not None and aligned and outputs.EXACT and not is_cuda(device),
            channels=fed.channels,
            classes=described.cell_classes,
            licence=described.licence,
            data_licence=described.data_licence,
            trained_on=described.trained_on,
            parameters=digest(described.model_dump(mode="json", exclude={"name", "file"})),
            runtime=network.identity,
            bytes_per_px=_BYTES_PER_PX + 12 * channels,
            batch=_CARD_BATCH if is_cuda(device) else 1,
        )

    @property
    def spec(self) -> ModelSpec:
        """What the model is."""
        return self._spec

    def calibrate(self, samples: Sequence[Pixels]) -> Statistics:
        """The slide's percentiles where the description asks for them, else nothing."""
        return measure_percentiles(samples, self._fed)

    def remarks(self, statistics: Statistics) -> tuple[str, ...]:
        """What the network's runtime has to say."""
        return self._network.remarks

    def predict(self, pixels: Pixels, statistics: Statistics) -> list[NDArray[np.float32]]:
        """The described channels of windows ``[n, y, x, c]``: ``[channels, y, x]`` each.

        Raises
        ------
        ModelError
            If the windows or the network's answer are others than described.
        """
        values = prepare(self._checked(pixels), self._fed, statistics)
        return list(run_windows(self._network.run, values, self._fed))

    def decode(self, prediction: list[NDArray[np.float32]]) -> list[Instances]:
        """The instances of every window."""
        try:
            return [
                self._outputs.decode(split(stacked, self._outputs.sources), self._fed.step)
                for stacked in prediction
            ]
        except ValueError as error:
            raise ModelError(
                f"the outputs of {self._spec.name} are not of the kind {self._outputs.kind!r}: "
                f"{error}; see outputs.kind and the channels named under [outputs]"
            ) from error

    def _checked(self, windows: Pixels) -> Pixels:
        fed = self._fed
        wide = windows.dtype == np.uint16 and fed.dtype == "float32" and fed.channels == 1
        if windows.shape[-1] != fed.channels or not (windows.dtype == np.uint8 or wide):
            needed = "8-bit RGB pixels" if fed.channels == 3 else "one channel, the nuclear one"
            raise ModelError(
                f"{self._spec.name} needs {needed}, not {windows.shape[-1]} channels of "
                f"{windows.dtype}"
            )
        height, width = windows.shape[1:3]
        if height % fed.stride or width % fed.stride:
            raise ModelError(
                f"{self._spec.name} needs windows whose sides are multiples of {fed.stride} px, "
                f"not {width} x {height}"
            )
        return windows


def _network(file: Path, described: Description, device: str) -> Network:
    fed, sources = described.input, described.outputs.sources
    suffix = file.suffix.lower()
    if suffix == ".onnx":
        if is_cuda(device):
            raise ModelError(
                f"{described.name} is in ONNX, which runs on the processor only: leave out "
                f"--device {device}, or export it as TorchScript"
            )
        bfloat16 = described.precision == "bfloat16"
        return OnnxNetwork(file, fed, sources, bfloat16=bfloat16)
    if suffix in (".pt", ".pth", ".ts", ".torchscript"):
        if importlib.util.find_spec("torch") is None:
            raise MissingExtraError("running a TorchScript network", "train")
        return ScriptNetwork(file, fed, sources, device)
    raise ModelError(
        f"{file} is neither TorchScript (.pt) nor ONNX (.onnx), the two kinds of exported networks "
        "that can be run"
    )


def _multiple(pixels: int, stride: int) -> int:
    return -(-pixels // stride) * stride
