"""Mock segmenters with awkward answers, and the contract test of segmenters.

The mocks read their answer from the pixels: an RGB value is a 24-bit number, and every number
other than white is one instance. A label image painted with :func:`paint` is thus a slide of
which the right segmentation is known.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from wsiseg.cells.batch import CellClass
from wsiseg.models.segmenter import Instances, ModelSpec, Segmenter, Statistics
from wsiseg.slides.reader import Pixels

_CLASSES = (CellClass("A", (200, 0, 0)), CellClass("B", (0, 0, 200)))


def paint(labels: NDArray[np.integer]) -> NDArray[np.uint8]:
    """A slide ``[y, x, 3]`` that shows a label image ``[y, x]``; background is white."""
    if labels.size and int(labels.max()) >= 0xFFFFFF:
        raise ValueError("labels must be below 2**24 - 1")
    values = np.where(labels > 0, labels, 0xFFFFFF).astype(np.uint32)
    return np.stack([(values >> shift) & 0xFF for shift in (16, 8, 0)], axis=2).astype(np.uint8)


def numbers(pixels: Pixels) -> NDArray[np.int32]:
    """The numbers ``[y, x]`` painted in pixels ``[y, x, 3]``; 0 where white."""
    wide = pixels.astype(np.int32)
    values = (wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2]
    return np.where(values == 0xFFFFFF, np.int32(0), values).astype(np.int32)


def mock_spec(name: str, *, reach_px: int = 0, halo: int = 32, exact: bool = True) -> ModelSpec:
    """The spec of a mock at 0.5 µm/px."""
    return ModelSpec(
        name=name,
        sha256=hashlib.sha256(name.encode()).hexdigest(),
        illumination="brightfield",
        mpp=0.5,
        mpp_range=(0.45, 0.55),
        core=256,
        halo=halo,
        reach_px=reach_px,
        stride=1,
        exact=exact,
        channels=3,
        classes=_CLASSES,
        licence="Apache-2.0",
    )


@dataclass(frozen=True)
class PaintedSegmenter:
    """Returns exactly what is painted, cut where the window cuts it.

    An instance is one painted number, connected or not: rings, bow-ties, specks that meet at
    corners and objects larger than any window come out as they are.
    """

    spec: ModelSpec

    def calibrate(self, samples: Sequence[Pixels]) -> Statistics:
        """Nothing to measure."""
        return {"samples": (float(len(samples)),)}

    def remarks(self, statistics: Statistics) -> tuple[str, ...]:
        """None."""
        return ()

    def predict(self, pixels: Pixels, statistics: Statistics) -> Pixels:
        """The pixels themselves."""
        return pixels

    def decode(self, prediction: Pixels) -> list[Instances]:
        """One instance a painted number; class and probability follow from the number."""
        return [self._instances(numbers(window)) for window in prediction]

    @staticmethod
    def _instances(values: NDArray[np.int32]) -> Instances:
        present = np.flatnonzero(np.bincount(values.ravel()))
        present = present[present > 0]
        names = np.zeros(int(values.max(initial=0)) + 1, np.int32)
        names[present] = np.arange(1, len(present) + 1)
        return Instances(
            names[values],
            (present % 2).astype(np.uint8),
            ((present % 97 + 1) / 100).astype(np.float32),
        )


@dataclass(frozen=True)
class BlurredSegmenter(PaintedSegmenter):
    """Instances are the connected parts of a blurred mask: a model that needs its margin.

    A pixel is nucleus if more than half of the ``2 * radius + 1`` square around it is painted,
    so its answer depends on the image ``radius`` pixels around it.
    """

    radius: int = 5

    def decode(self, prediction: Pixels) -> list[Instances]:
        """Connected parts of the blurred mask."""
        found = []
        for window in prediction:
            side = 2 * self.radius + 1
            painted = (numbers(window) > 0).astype(np.int32)
            ones = np.ones(side, np.int32)
            sums = ndimage.correlate1d(painted, ones, axis=0, mode="constant")
            sums = ndimage.correlate1d(sums, ones, axis=1, mode="constant")
            labels, count = ndimage.label(2 * sums > side * side)
            found.append(
                Instances(
                    labels.astype(np.int32),
                    np.zeros(count, np.uint8),
                    np.full(count, 0.5, np.float32),
                )
            )
        return found


@dataclass(frozen=True)
class WobblySegmenter(PaintedSegmenter):
    """Outlines that hang on where the window lies, as of models outside the exact class.

    The border pixels of every instance are kept or lost by a hash of their place *in the
    window*.
    """

    def decode(self, prediction: Pixels) -> list[Instances]:
        """What is painted, its border nibbled at."""
        found = []
        for window in prediction:
            values = numbers(window)
            inner = ndimage.minimum_filter(values, 3) == ndimage.maximum_filter(values, 3)
            y, x = np.indices(values.shape)
            lost = ~inner & ((y * 7919 + x * 104729) % 5 == 0)
            found.append(self._instances(np.where(lost, np.int32(0), values)))
        return found


def check_segmenter(segmenter: Segmenter, samples: Sequence[Pixels]) -> None:
    """Contract test of a segmenter, for authors of plug-ins.

    Parameters
    ----------
    segmenter
        The segmenter.
    samples
        Some windows ``[y, x, c]`` of one size, of tissue at the model's pixel size.

    Raises
    ------
    AssertionError
        If it breaks the contract; the message says how.
    """
    spec = segmenter.spec
    assert spec.mpp_range[0] <= spec.mpp <= spec.mpp_range[1], "mpp must lie inside mpp_range"
    assert spec.halo >= spec.reach_px, "the halo must cover the reach"
    assert spec.core % spec.stride == 0, "the core must be a multiple of the stride"
    assert spec.halo % spec.stride == 0, "the halo must be a multiple of the stride"
    statistics = segmenter.calibrate(samples)
    again = segmenter.calibrate(samples)
    assert dict(statistics) == dict(again), "calibrate must give the same statistics every time"
    for name, values in statistics.items():
        assert all(isinstance(v, float) for v in values), f"statistics {name} must be floats"
    assert all(isinstance(text, str) for text in segmenter.remarks(statistics)), (
        "remarks must be sentences"
    )
    batch: Any = np.stack(list(samples))
    together = segmenter.decode(segmenter.predict(batch, statistics))
    assert len(together) == len(samples), "decode must return one Instances per window"
    for window, found in zip(samples, together, strict=True):
        _check_instances(found, window, spec)
        (alone,) = segmenter.decode(segmenter.predict(window[np.newaxis], statistics))
        assert np.array_equal(alone.labels, found.labels), (
            "the answer for a window must not depend on its neighbours in the batch"
        )
    segmenter.calibrate([])


def _check_instances(found: Instances, window: Pixels, spec: ModelSpec) -> None:
    labels = found.labels
    assert labels.dtype == np.int32, f"labels must be int32, not {labels.dtype}"
    assert labels.shape == window.shape[:2], "labels must have the window's shape"
    count = len(found)
    assert labels.min(initial=0) >= 0, "labels must not be negative"
    assert labels.max(initial=0) <= count, "labels must not exceed the number of instances"
    assert found.classes.dtype == np.uint8, "classes must be uint8"
    assert found.probabilities.dtype == np.float32, "probabilities must be float32"
    assert found.probabilities.shape == (count,), "one probability an instance"
    assert found.classes.max(initial=0) < len(spec.classes), "a class beyond the spec's classes"
    inside = (found.probabilities >= 0) & (found.probabilities <= 1)
    assert inside.all(), "probabilities must lie in 0..1"
    if found.supports is not None:
        assert found.supports.shape == (count, 4), "one support box an instance"
        for number, box in enumerate(ndimage.find_objects(labels, max_label=count)):
            if box is None:
                continue
            x0, y0, x1, y1 = (int(v) for v in found.supports[number])
            outside = x0 > box[1].start or y0 > box[0].start
            outside = outside or x1 < box[1].stop or y1 < box[0].stop
            assert not outside, "a support must hold its instance"
