"""One of the tools as a segmenter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from skimage.filters import threshold_otsu

from wsiseg.models.classical.basins import basin_boxes
from wsiseg.models.classical.instances import tidy
from wsiseg.models.segmenter import NUCLEUS, Instances, ModelSpec, Statistics
from wsiseg.models.semiautomatic.methods import (
    FINE,
    METHODS,
    Parted,
    smoothed,
    smoothing_reach_px,
)
from wsiseg.models.semiautomatic.parameters import MPP, Parameters, area_pixels
from wsiseg.models.signals import LEVELS, Glow, Haematoxylin, Signal
from wsiseg.slides.reader import Pixels
from wsiseg.stain import Counterstain

SIGNALS: dict[str, type[Haematoxylin] | type[Glow]] = {"he": Haematoxylin, "fluo": Glow}
"""What the tools look at, by the end of their names."""

_EMPTY = {"he": 40, "fluo": 0}
_BOUNDS = {"he": (90, 700), "fluo": (100, 1200)}
_BYTES_PER_PX = 160
_ROOM_PX = 48


@dataclass(frozen=True, slots=True)
class Seen:
    """What ``predict`` leaves for ``decode``: the smoothed image int32 ``[y, x]`` and the slide's
    threshold, both in parts of :data:`wsiseg.models.semiautomatic.methods.FINE`."""

    image: NDArray[np.int32]
    threshold: int


class SemiAutomaticSegmenter:
    """A tool from :data:`wsiseg.models.semiautomatic.methods.METHODS`.

    Parameters
    ----------
    method
        Name of the tool.
    kind
        ``he`` or ``fluo``.
    parameters
        What it is told.
    """

    def __init__(self, method: str, kind: str, parameters: Parameters | None = None) -> None:
        self._method = METHODS[method]
        self._kind = kind
        self._signal: Signal = SIGNALS[kind]()
        self._parameters = parameters or Parameters()
        reach = smoothing_reach_px(self._parameters) + self._method.reach_px(self._parameters)
        self._spec = ModelSpec(
            name=f"{method}-{kind}",
            sha256=self._parameters.sha256(method, kind),
            illumination=self._signal.illumination,
            mpp=MPP,
            mpp_range=(0.9 * MPP, 1.1 * MPP),
            core=1024,
            halo=-(-(reach + _ROOM_PX) // 16) * 16,
            reach_px=reach,
            stride=1,
            exact=self._method.whole_clumps,
            channels=self._signal.channels,
            classes=(NUCLEUS,),
            licence="Apache-2.0",
            bytes_per_px=_BYTES_PER_PX,
        )

    @property
    def spec(self) -> ModelSpec:
        """What the model is."""
        return self._spec

    def calibrate(self, samples: Sequence[Pixels]) -> Statistics:
        """What the signal needs to know, and ``threshold``: Otsu's over the smoothed samples, in
        eighths of a level."""
        return self._calibrated(samples, None)

    def calibrate_stained(self, samples: Sequence[Pixels], kind: Counterstain) -> Statistics:
        """As :meth:`calibrate`, for a slide whose counterstain is known."""
        return self._calibrated(samples, kind)

    def remarks(self, statistics: Statistics) -> tuple[str, ...]:
        """The signal's."""
        return self._signal.remarks(statistics)

    def predict(self, pixels: Pixels, statistics: Statistics) -> list[Seen]:
        """The smoothed signal of windows ``[n, y, x, c]``."""
        threshold = int(statistics["threshold"][0])
        return [
            Seen(smoothed(self._signal.draw(window, statistics), self._parameters), threshold)
            for window in pixels
        ]

    def decode(self, prediction: list[Seen]) -> list[Instances]:
        """The instances of every window."""
        return [self._decoded(seen) for seen in prediction]

    def _decoded(self, seen: Seen) -> Instances:
        parted = self._method.part(seen.image, seen.threshold, self._parameters)
        found = _instances(parted, seen, self._parameters)
        return found if self._method.whole_clumps else replace(found, supports=None)

    def _calibrated(self, samples: Sequence[Pixels], kind: Counterstain | None) -> Statistics:
        measured = self._signal.measure(samples, kind)
        counts = np.zeros(LEVELS, np.int64)
        for sample in samples:
            levels = smoothed(self._signal.draw(sample, measured), self._parameters) // FINE
            counts += np.bincount(levels.ravel(), minlength=LEVELS)
        low, high = _BOUNDS[self._kind]
        # Glass takes no part.
        counts[: _EMPTY[self._kind] + 1] = 0
        found = (low + high) // 2
        if np.count_nonzero(counts) > 1:
            found = int(threshold_otsu(hist=(counts, np.arange(LEVELS))))
        return {**measured, "threshold": (float(FINE * min(max(found, low), high)),)}


def _instances(parted: Parted, seen: Seen, parameters: Parameters) -> Instances:
    labels = parted.labels.copy()
    count = int(labels.max(initial=0))
    tidy(labels, count, area_pixels(parameters.largest_hole_um2))
    flat = labels.ravel()
    area = np.bincount(flat, minlength=count + 1)
    total = np.bincount(flat, weights=seen.image.ravel(), minlength=count + 1)
    kept = area >= max(area_pixels(parameters.least_area_um2), 1)
    kept &= area <= area_pixels(parameters.most_area_um2)
    kept[0] = False
    contrast = np.maximum(total / (np.maximum(area, 1) * float(seen.threshold)) - 0.5, 0.0)
    numbers = np.where(kept, np.cumsum(kept), 0).astype(np.int32)
    return Instances(
        labels=numbers[labels],
        classes=np.zeros(int(kept.sum()), np.uint8),
        probabilities=(contrast / (contrast + 0.5))[kept].astype(np.float32),
        supports=_clump_boxes(labels, parted.clumps, count)[kept],
    )


def _clump_boxes(
    labels: NDArray[np.int32], clumps: NDArray[np.int32], count: int
) -> NDArray[np.int32]:
    """Boxes int32 ``[count + 1, 4]`` of the clumps that labels lie in."""
    boxes: NDArray[np.int32] = basin_boxes(clumps, int(clumps.max(initial=0)))
    clump_of = np.zeros(count + 1, np.int32)
    # A hole that was filled belongs to no clump.
    clump_of_pixels = np.where(labels > 0, clumps, 0)
    np.maximum.at(clump_of, labels.ravel(), clump_of_pixels.ravel())
    return boxes[clump_of]
