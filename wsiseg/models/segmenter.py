"""The contract between pixels and instances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from wsiseg.cells.batch import CellClass
from wsiseg.slides.reader import Illumination, Pixels
from wsiseg.stain import Counterstain

Statistics = Mapping[str, tuple[float, ...]]
"""What a segmenter measured once on a slide; plain numbers, kept in the slide's plan."""

Prediction = Any
"""Whatever a segmenter hands from ``predict`` to its own ``decode``."""


NUCLEUS = CellClass("Nucleus", (64, 128, 255))
"""The class of models that tell none apart."""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """All that is needed to use a model rightly; travels with its weights.

    Attributes
    ----------
    name
        As given to ``--model``.
    sha256
        Digest of the weights, or of the parameters of a model without weights.
    illumination
        The slides it is meant for.
    mpp, mpp_range
        The pixel size it works at, and the range within which no resampling is needed.
    core, halo, stride
        Default tile core and halo, and the total stride, in pixels at ``mpp``.
    reach_px
        How far around a pixel the model's answer depends on the image.
    exact
        Whether an instance whose support, grown by ``reach_px``, lies inside a window comes
        out the same in every such window. Where false, windows lie on a fixed lattice.
    channels
        Number of input channels: 3 for RGB, 1 for one named fluorescence channel.
    classes
        Index ``i`` of ``Instances.classes`` means ``classes[i]``.
    licence, data_licence, trained_on
        SPDX expressions of the weights and of the training data, and the data sets' names.
    parameters, runtime
        Digest of whatever else decides its answers (thresholds of the decoding, say), and what
        runs it in which precision.
    bytes_per_px
        Peak memory of ``predict`` and ``decode`` together, in bytes a window pixel.
    appearance
        What the model learnt on looks like, see :mod:`wsiseg.quality.shift`; empty if unknown.
    batch
        Windows that are best predicted together.
    support_px
        Longest side that the support of an instance can have; 0 where nothing bounds it.
    """

    name: str
    sha256: str
    illumination: Illumination
    mpp: float
    mpp_range: tuple[float, float]
    core: int
    halo: int
    reach_px: int
    stride: int
    exact: bool
    channels: Literal[1, 3]
    classes: tuple[CellClass, ...]
    licence: str
    data_licence: str = ""
    trained_on: tuple[str, ...] = ()
    parameters: str = ""
    runtime: str = ""
    bytes_per_px: int = 64
    appearance: Mapping[str, tuple[float, float]] = field(default_factory=dict, hash=False)
    batch: int = 1
    support_px: int = 0


@dataclass(frozen=True, slots=True)
class Instances:
    """Instances of one window.

    Attributes
    ----------
    labels
        int32 ``[y, x]``; 0 is background, instance ``i`` has label ``i + 1``.
    classes
        uint8 ``[n]``, index into ``ModelSpec.classes``.
    probabilities
        float32 ``[n]`` in 0..1.
    supports
        int32 ``[n, 4]`` window boxes ``x0, y0, x1, y1`` that hold every pixel the instance
        hangs on (a watershed clump, say), before ``reach_px`` is added; ``None``: its own
        bounding box.
    """

    labels: NDArray[np.int32]
    classes: NDArray[np.uint8]
    probabilities: NDArray[np.float32]
    supports: NDArray[np.int32] | None = None

    def __len__(self) -> int:
        return len(self.classes)


@runtime_checkable
class Segmenter(Protocol):
    """Pixels to instances.

    The answer depends only on the pixels of the window and on ``statistics``, never on batch
    neighbours nor on one window's own percentiles. Methods may be called from several threads.
    """

    @property
    def spec(self) -> ModelSpec:
        """What the model is."""
        ...

    def calibrate(self, samples: Sequence[Pixels]) -> Statistics:
        """Measure what the model needs to know of a slide, once.

        ``samples`` are ``[y, x, c]`` arrays of tissue at the model's resolution, read on a
        fixed grid; there may be none.
        """
        ...

    def remarks(self, statistics: Statistics) -> tuple[str, ...]:
        """Sentences on these statistics that belong into the slide's report, if any."""
        ...

    def predict(self, pixels: Pixels, statistics: Statistics) -> Prediction:
        """Run the model on windows ``[n, y, x, c]``."""
        ...

    def decode(self, prediction: Prediction) -> list[Instances]:
        """The instances of every window of a prediction, in order."""
        ...


@runtime_checkable
class ReadsStains(Protocol):
    """A segmenter whose answer depends on which stains a slide has; they may be stated."""

    def calibrate_stained(self, samples: Sequence[Pixels], kind: Counterstain) -> Statistics:
        """As ``calibrate``, for a slide whose counterstain is known."""
        ...
