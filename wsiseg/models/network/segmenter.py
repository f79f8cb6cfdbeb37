"""The segmenter of a trained star-convex network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wsiseg.errors import ModelError
from wsiseg.models.device import is_cuda
from wsiseg.models.network.files import GRAPH, WEIGHTS, ModelFolder, digest
from wsiseg.models.network.intensity import level_table, measure_range
from wsiseg.models.network.runtime import (
    OpenVinoRuntime,
    Outputs,
    Pieces,
    Runtime,
    run_in_pieces,
)
from wsiseg.models.network.stars import StarRule, find_stars, longest_support
from wsiseg.models.network.torch_runtime import TorchRuntime
from wsiseg.models.segmenter import NUCLEUS, Instances, ModelSpec, Statistics
from wsiseg.slides.reader import Pixels

PIECE = 2368
"""Larger windows are run in pieces of this many pixels a side, so that what running one takes is
bounded. It holds a core of 2,048 px with its halo."""

CARD_BATCH = 4
"""Windows predicted together on a graphics card: the tiles of a block of 2,048 px."""

_BYTES_PER_PX = {"bf16": 260, "cuda": 128}
"""Of a window: 220 while the network runs in bfloat16 and 375 in float32 (on a graphics card they
lie there), its outputs and those of the window before, which is decoded meanwhile."""

_MOST_BYTES_PER_PX = 450


class NetworkSegmenter:
    """A network from a folder as :mod:`wsiseg.models.network.files` describes it.

    Parameters
    ----------
    root
        The folder.
    runtime
        ``openvino`` or ``torch`` (on ``device``).
    device
        ``cpu``, or for torch ``cuda`` or ``cuda:N``. Whether it is there shows the first window.

    Raises
    ------
    ModelError
        If the folder holds no usable network, or openvino is not installed.
    """

    def __init__(
        self,
        root: Path,
        *,
        runtime: Literal["openvino", "torch"] = "openvino",
        device: str = "cpu",
    ) -> None:
        folder = ModelFolder.open(root)
        described = folder.described
        self._runtime: Runtime = (
            OpenVinoRuntime(folder) if runtime == "openvino" else TorchRuntime(folder, device)
        )
        self._rule = StarRule(**described.decoding.model_dump())
        self._rays = described.network.rays
        self._grid = described.network.grid
        self._crop = described.network.crop
        stride = described.network.stride
        margin = -(-described.network.reach_px // stride) * stride
        self._pieces = Pieces(self._grid, self._crop, margin, PIECE)
        # The same weights in another graph give other last digits.
        settings = described.decoding.model_dump() | {"graph": described.sha256.get(GRAPH)}
        self._spec = ModelSpec(
            name=described.name,
            sha256=described.sha256[WEIGHTS],
            parameters=digest(settings),
            runtime=self._runtime.identity,
            illumination=described.illumination,
            mpp=described.mpp,
            mpp_range=described.mpp_range,
            core=described.core,
            halo=described.halo,
            reach_px=described.network.reach_px,
            stride=stride,
            # A graphics card chooses how to calculate by the shape of the batch.
            exact=not is_cuda(device),
            channels=described.network.channels,
            classes=(NUCLEUS,),
            licence=described.licence,
            data_licence=described.data_licence,
            trained_on=described.trained_on,
            bytes_per_px=_bytes_per_px(self._runtime.identity),
            appearance=described.appearance,
            batch=CARD_BATCH if is_cuda(device) else 1,
            support_px=longest_support(self._grid),
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
        """In fluorescence the intensities ``dark`` and ``bright``, see
        :mod:`wsiseg.models.network.intensity`; in brightfield nothing: the network takes pixels
        as they are.
        """
        if self._spec.illumination == "brightfield":
            return {}
        dark, bright = measure_range(samples)
        return {"dark": (dark,), "bright": (bright,)}

    def remarks(self, statistics: Statistics) -> tuple[str, ...]:
        """What the runtime has to say."""
        return self._runtime.remarks

    def predict(self, pixels: Pixels, statistics: Statistics) -> list[Outputs]:
        """Outputs of the network for each window, but for ``NetworkShape.crop`` along its edges.

        Windows are ``[n, y, x, 3]`` uint8 in brightfield; ``[n, y, x, 1]`` uint8 or uint16 in
        fluorescence.
        """
        levels = self._levels(self._checked(pixels), statistics)
        return list(run_in_pieces(self._runtime, levels, self._pieces))

    def decode(self, prediction: list[Outputs]) -> list[Instances]:
        """The instances of every window."""
        return [
            find_stars(outputs, self._rays, self._grid, self._rule, self._crop)
            for outputs in prediction
        ]

    def _levels(self, windows: Pixels, statistics: Statistics) -> NDArray[np.uint8]:
        if self._spec.illumination == "brightfield":
            return np.ascontiguousarray(windows, np.uint8)
        return level_table(statistics["dark"][0], statistics["bright"][0])[windows]

    def _checked(self, windows: Pixels) -> Pixels:
        bright = self._spec.illumination == "brightfield"
        if windows.shape[-1] != self._spec.channels or (bright and windows.dtype != np.uint8):
            needed = "8-bit RGB pixels" if bright else "one channel, the nuclear one"
            raise ModelError(
                f"{self._spec.name} needs {needed}, not {windows.shape[-1]} channels of "
                f"{windows.dtype}"
            )
        height, width = windows.shape[1:3]
        if height % self._spec.stride or width % self._spec.stride:
            raise ModelError(
                f"{self._spec.name} needs windows whose sides are multiples of "
                f"{self._spec.stride} px, not {width} x {height}"
            )
        if min(width, height) <= 2 * self._crop:
            raise ModelError(
                f"{self._spec.name} needs windows of more than {2 * self._crop} px a side, not "
                f"{width} x {height}"
            )
        return windows


def _bytes_per_px(identity: str) -> int:
    found = [number for name, number in _BYTES_PER_PX.items() if name in identity]
    return found[0] if found else _MOST_BYTES_PER_PX
