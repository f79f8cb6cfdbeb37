"""The segmenter of a StarDist model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from wsiseg.cells.batch import CellClass
from wsiseg.errors import MissingExtraError, ModelError
from wsiseg.models.device import is_cuda
from wsiseg.models.network.files import digest
from wsiseg.models.network.runtime import (
    OpenVinoRuntime,
    Outputs,
    Pieces,
    Runtime,
    run_in_pieces,
)
from wsiseg.models.network.torch_runtime import TorchRuntime
from wsiseg.models.segmenter import NUCLEUS, Instances, ModelSpec, Statistics
from wsiseg.models.stardist.graph import build_graph
from wsiseg.models.stardist.instances import Rule, find_instances
from wsiseg.models.stardist.intensity import measure_percentiles, normalise
from wsiseg.models.stardist.network import measure_reach
from wsiseg.models.stardist.reading import StarModel
from wsiseg.slides.reader import Pixels

if TYPE_CHECKING:
    from torch import nn

CORE = 1024

ROOM_UM = 12.0
"""Beyond its core a tile shows this much more than the network's reach and the longest ray: most
of a nucleus that only touches the core, and of a more probable one beside it."""

PIECE_PX = 2048
"""Larger windows are run in pieces of about this many pixels a side, to bound the memory that
running one takes."""

CARD_BATCH = 4
"""Windows predicted together on a graphics card."""

UNSTATED = "LicenseRef-not-stated"

_COLOURS = (
    (200, 0, 0),
    (0, 120, 200),
    (0, 150, 60),
    (230, 150, 0),
    (150, 60, 190),
    (0, 170, 170),
    (120, 80, 40),
    (230, 90, 160),
)


class StarDistSegmenter:
    """A StarDist model, its answer the same for every tiling on one processor.

    The percentiles of intensity that StarDist brings to 0 and 1 in every image are measured once a
    slide, on samples of its tissue. Candidates along a window's edge are not left out, as StarDist
    leaves out those of an image: beyond the edge of a slide there is glass.

    Parameters
    ----------
    model
        As read.
    runtime
        ``openvino`` or ``torch`` (on ``device``).
    device
        ``cpu``, or for torch ``cuda`` or ``cuda:N``.

    Raises
    ------
    ModelError
        If openvino is to run it and is not installed.
    """

    def __init__(
        self,
        model: StarModel,
        *,
        runtime: Literal["openvino", "torch"] = "openvino",
        device: str = "cpu",
    ) -> None:
        described, self._network = model.description, model.network
        config, about = described.config, described.about
        self._described = described
        self._runtime: Runtime = (
            OpenVinoRuntime(self._graph)
            if runtime == "openvino"
            else TorchRuntime(self._module, device, "float32")
        )
        longest = math.ceil(about.longest_ray_um / about.mpp)
        self._rule = Rule(
            config.n_rays, config.step, described.probability, described.overlap, longest
        )
        reach, stride = measure_reach(self._network), config.stride
        margin = _up(reach, stride)
        self._pieces = Pieces(config.step, 0, margin, _up(max(PIECE_PX, 4 * margin), stride))
        named = zip(about.classes, _COLOURS * len(about.classes), strict=False)
        self._spec = ModelSpec(
            name=described.name,
            sha256=model.sha256,
            parameters=digest(self._settings()),
            runtime=self._runtime.identity,
            illumination=described.illumination,
            mpp=about.mpp,
            mpp_range=(0.9 * about.mpp, 1.1 * about.mpp),
            core=_up(CORE, stride),
            halo=_up(reach + longest + math.ceil(ROOM_UM / about.mpp), stride),
            reach_px=reach,
            stride=stride,
            # A graphics card chooses how to calculate by the shape of the batch.
            exact=not is_cuda(device),
            channels=config.n_channel_in,
            classes=(NUCLEUS, *(CellClass(name, colour) for name, colour in named)),
            licence=about.licence or UNSTATED,
            data_licence=about.data_licence or UNSTATED,
            trained_on=about.trained_on,
            bytes_per_px=self._bytes_per_px(),
            batch=CARD_BATCH if is_cuda(device) else 1,
        )

    @property
    def spec(self) -> ModelSpec:
        """What the model is."""
        return self._spec

    @property
    def runtime(self) -> Runtime:
        """What runs the network."""
        return self._runtime

    def calibrate(self, samples: Sequence[Pixels]) -> Statistics:
        """The intensities ``low`` and ``high`` of every channel that become 0 and 1."""
        about = self._described.about
        low, high = measure_percentiles(samples, self._spec.channels, about.percentiles)
        if about.jointly:
            low, high = measure_percentiles(
                [sample.reshape(-1, 1) for sample in samples], 1, about.percentiles
            )
            low, high = low * self._spec.channels, high * self._spec.channels
        return {"low": low, "high": high}

    def remarks(self, statistics: Statistics) -> tuple[str, ...]:
        """What had to be assumed, and what the runtime has to say."""
        return (*self._described.remarks, *self._runtime.remarks)

    def predict(self, pixels: Pixels, statistics: Statistics) -> list[Outputs]:
        """Outputs of the network for each window ``[n, y, x, c]``, uint8 or uint16."""
        self._require_fitting(pixels)
        found: list[Outputs] = []
        # One by one where they are not run together anyway: pixels grow fourfold here.
        for k in range(0, len(pixels), self._spec.batch):
            part = normalise(
                pixels[k : k + self._spec.batch], statistics["low"], statistics["high"]
            )
            found.extend(run_in_pieces(self._runtime, part, self._pieces))
        return found

    def decode(self, prediction: list[Outputs]) -> list[Instances]:
        """The instances of every window."""
        return [find_instances(outputs, self._rule) for outputs in prediction]

    def _graph(self, core: Any) -> Any:
        return build_graph(self._network)

    def _module(self) -> nn.Module:
        try:
            from wsiseg.models.stardist.module import StarModule
        except ImportError as error:
            raise MissingExtraError("running a StarDist model with torch", "train") from error
        return StarModule(self._network)

    def _settings(self) -> dict[str, Any]:
        about = self._described.about
        return {
            "config": self._described.config.model_dump(),
            "probability": self._described.probability,
            "overlap": self._described.overlap,
            "longest": self._rule.longest,
            "percentiles": list(about.percentiles),
            "jointly": about.jointly,
        }

    def _bytes_per_px(self) -> int:
        """Pixels as numbers, outputs, as many corners, labels; and the network's own memory
        spread over the largest window."""
        config = self._described.config
        outputs = 4 * (self._network.outputs + config.n_rays) / config.step**2
        return math.ceil(4 * config.n_channel_in + outputs + 16 + 48)

    def _require_fitting(self, windows: NDArray[np.uint8] | NDArray[np.uint16]) -> None:
        spec = self._spec
        if windows.shape[-1] != spec.channels:
            needed = "RGB pixels" if spec.channels == 3 else "one channel, the nuclear one"
            raise ModelError(f"{spec.name} needs {needed}, not {windows.shape[-1]} channels")
        height, width = windows.shape[1:3]
        if height % spec.stride or width % spec.stride:
            raise ModelError(
                f"{spec.name} needs windows whose sides are multiples of {spec.stride} px, not "
                f"{width} x {height}"
            )


def _up(value: int, step: int) -> int:
    """The next multiple of a step."""
    return -(-value // step) * step
