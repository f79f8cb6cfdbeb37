"""The segmenter of a trained star-convex network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wsiseg.errors import ModelError
from wsiseg.models.network.files import WEIGHTS, ModelFolder, digest
from wsiseg.models.network.runtime import (
    OpenVinoRuntime,
    Outputs,
    Runtime,
    TorchRuntime,
    run_in_pieces,
)
from wsiseg.models.network.stars import StarRule, find_stars
from wsiseg.models.segmenter import NUCLEUS, Instances, ModelSpec, Statistics
from wsiseg.slides.reader import Pixels

PIECE = 2368
"""Larger windows are run in pieces of this many pixels a side, so that the 280 bytes a pixel that
running one takes are bounded. It holds a core of 2,048 px with its halo."""

_BYTES_PER_PX = 128
"""Of the largest window a tile may ask for; the pieces' own memory spread over it."""


class NetworkSegmenter:
    """A network from a folder as :mod:`wsiseg.models.network.files` describes it.

    Parameters
    ----------
    root
        The folder.
    runtime
        ``openvino`` or ``torch`` (on ``device``).
    device
        A torch device.

    Raises
    ------
    ModelError
        If the folder holds no usable network, or openvino is not installed.
    MissingExtraError
        If torch was asked for and is not installed.
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
        stride = described.network.stride
        self._margin = -(-described.network.reach_px // stride) * stride
        self._spec = ModelSpec(
            name=described.name,
            sha256=described.sha256[WEIGHTS],
            parameters=digest(described.decoding.model_dump()),
            runtime=self._runtime.identity,
            illumination="brightfield",
            mpp=described.mpp,
            mpp_range=described.mpp_range,
            core=described.core,
            halo=described.halo,
            reach_px=described.network.reach_px,
            stride=stride,
            exact=True,
            channels=3,
            classes=(NUCLEUS,),
            licence=described.licence,
            data_licence=described.data_licence,
            trained_on=described.trained_on,
            bytes_per_px=_BYTES_PER_PX,
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
        """Nothing to measure: the network takes pixels as they are."""
        return {}

    def remarks(self, statistics: Statistics) -> tuple[str, ...]:
        """None."""
        return ()

    def predict(self, pixels: Pixels, statistics: Statistics) -> list[Outputs]:
        """Outputs of the network for windows ``[n, y, x, 3]`` uint8, one by one."""
        return [
            run_in_pieces(self._runtime, self._checked(window), self._grid, self._margin, PIECE)
            for window in pixels
        ]

    def decode(self, prediction: list[Outputs]) -> list[Instances]:
        """The instances of every window."""
        return [find_stars(outputs, self._rays, self._grid, self._rule) for outputs in prediction]

    def _checked(self, window: Pixels) -> NDArray[np.uint8]:
        if window.dtype != np.uint8 or window.shape[-1] != 3:
            raise ModelError(
                f"{self._spec.name} needs 8-bit RGB pixels, not {window.shape[-1]} channels of "
                f"{window.dtype}"
            )
        if window.shape[0] % self._spec.stride or window.shape[1] % self._spec.stride:
            raise ModelError(
                f"{self._spec.name} needs windows whose sides are multiples of "
                f"{self._spec.stride} px, not {window.shape[1]} x {window.shape[0]}"
            )
        return np.ascontiguousarray(window, np.uint8)
