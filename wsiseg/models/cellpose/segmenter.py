"""The segmenter of a network of cellpose."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wsiseg.errors import ModelError
from wsiseg.models.cellpose.described import DIAMETER_PX, Described
from wsiseg.models.cellpose.inputs import chosen_view, measure_range, scale
from wsiseg.models.cellpose.networks import TILINGS, CellposeNetwork
from wsiseg.models.cellpose.weights import read_weights
from wsiseg.models.decoding.flows import FlowRule, find_flow_instances
from wsiseg.models.network.files import digest
from wsiseg.models.segmenter import NUCLEUS, Instances, ModelSpec, Statistics
from wsiseg.slides.reader import Pixels
from wsiseg.stain import Counterstain

REVISION = 1
"""To be raised whenever the code changes what the same weights answer."""

_CORE_STEPS = {"3": 7, "4": 6}
_REACH_PX = 64
_BYTES_PER_PX = {"3": 128, "4": 256}
_TOLERANCE = {"3": (0.9, 1.1), "4": (0.75, 2.1)}
_PLAUSIBLE_PX = (4.0, 400.0)
_FLOW = 5.0


class CellposeSegmenter:
    """A network of cellpose, its flows turned into nuclei.

    Outside the exact class: a pixel's flow hangs on whole squares of 224 or 256 px. These lie on
    the lattice of the windows, so that the same squares are seen from neighbouring windows, but
    for those at a window's edge. ``reach_px`` is how far that edge is kept away, not how far
    the network looks.

    Parameters
    ----------
    described
        How to use the weights.
    generation
        Of which cellpose they are.
    network
        What runs them.

    Raises
    ------
    ModelError
        If the weights say that they were trained for an impossible diameter.
    """

    def __init__(
        self, described: Described, generation: Literal["3", "4"], network: CellposeNetwork
    ) -> None:
        self._network = network
        self._rule = FlowRule(score=described.score, flow_error=described.flow_error)
        self._view = chosen_view(described.illumination, generation, described.channels)
        mpp = described.mpp or described.diameter_um / _trained_px(described, generation)
        low, high = _TOLERANCE[generation]
        stride = TILINGS[generation].step
        parameters = {
            "revision": REVISION,
            "channels": described.channels,
            "score": described.score,
            "flow_error": described.flow_error,
        }
        self._spec = ModelSpec(
            name=described.name,
            sha256=_sha256(described.weights),
            parameters=digest(parameters),
            runtime=network.identity,
            illumination=described.illumination,
            mpp=mpp,
            mpp_range=(low * mpp, high * mpp),
            core=_CORE_STEPS[generation] * stride,
            halo=stride,
            reach_px=_REACH_PX,
            stride=stride,
            exact=False,
            channels=3 if described.illumination == "brightfield" else 1,
            classes=(NUCLEUS,),
            licence=described.licence,
            data_licence=described.data_licence,
            trained_on=described.trained_on,
            bytes_per_px=_BYTES_PER_PX[generation],
        )

    @property
    def spec(self) -> ModelSpec:
        """What the model is."""
        return self._spec

    def calibrate(self, samples: Sequence[Pixels]) -> Statistics:
        """``low`` and ``high`` of every channel that the network sees, and what is needed to draw
        these (see :mod:`wsiseg.models.cellpose.inputs`)."""
        return self._calibrated(samples, None)

    def calibrate_stained(self, samples: Sequence[Pixels], kind: Counterstain) -> Statistics:
        """As :meth:`calibrate`, for a slide whose counterstain is known."""
        return self._calibrated(samples, kind)

    def remarks(self, statistics: Statistics) -> tuple[str, ...]:
        """Whether there was nothing to measure."""
        found = []
        if not statistics["low"]:
            found.append("there was no tissue to take the range of intensities from")
        if statistics.get("stains_measured") == (0.0,):
            found.append(
                "the slide's own stain vectors could not be measured; those of the literature "
                "were used"
            )
        return tuple(found)

    def predict(self, pixels: Pixels, statistics: Statistics) -> list[NDArray[np.float32]]:
        """Flows along y and x in pixels a step, and the logit: float32 ``[3, y, x]`` a window."""
        found = []
        for window in pixels:
            image = scale(self._view.draw(window, statistics), statistics)
            outputs = self._network.run(image)
            outputs[:2] /= np.float32(_FLOW)
            found.append(outputs)
        return found

    def decode(self, prediction: list[NDArray[np.float32]]) -> list[Instances]:
        """The instances of every window."""
        return [find_flow_instances(found[:2], found[2], self._rule) for found in prediction]

    def _calibrated(self, samples: Sequence[Pixels], kind: Counterstain | None) -> Statistics:
        seen = self._view.measure(samples, kind)
        return {**seen, **measure_range([self._view.draw(sample, seen) for sample in samples])}


def _trained_px(described: Described, generation: Literal["3", "4"]) -> float:
    """The diameter a network was trained for. Cellpose-SAM was trained for many about 30 px."""
    if described.trained_px or described.mpp is not None or generation == "4":
        return described.trained_px or DIAMETER_PX
    said = read_weights(described.weights).get("diam_mean")
    if said is None or said.numel() != 1:
        return DIAMETER_PX
    diameter = float(said)
    if not _PLAUSIBLE_PX[0] <= diameter <= _PLAUSIBLE_PX[1]:
        raise ModelError(
            f"{described.weights} says that it was trained for objects of {diameter:g} px; state "
            "mpp in a cellpose.toml"
        )
    return diameter


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
