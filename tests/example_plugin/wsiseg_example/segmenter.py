"""Takes every connected dark spot for a nucleus."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from wsiseg.models.segmenter import NUCLEUS, Instances, ModelSpec, Statistics

DARK = 120


class ThresholdSegmenter:
    """Connected parts of what is darker than a grey value."""

    spec = ModelSpec(
        name="example-threshold",
        sha256="0" * 64,
        illumination="brightfield",
        mpp=0.5,
        mpp_range=(0.4, 0.6),
        core=256,
        halo=64,
        reach_px=0,
        stride=1,
        exact=True,
        channels=3,
        classes=(NUCLEUS,),
        licence="Apache-2.0",
        parameters=f"dark {DARK}",
    )

    def calibrate(self, samples: Sequence[NDArray[np.uint8]]) -> Statistics:
        """Nothing to measure."""
        return {}

    def remarks(self, statistics: Statistics) -> tuple[str, ...]:
        """None."""
        return ()

    def predict(self, pixels: NDArray[np.uint8], statistics: Statistics) -> NDArray[np.bool_]:
        """What is dark."""
        return pixels.mean(axis=-1) < DARK

    def decode(self, prediction: NDArray[np.bool_]) -> list[Instances]:
        """Its connected parts."""
        found = []
        for window in prediction:
            labels, count = ndimage.label(window)
            classes = np.zeros(count, np.uint8)
            found.append(Instances(labels.astype(np.int32), classes, np.ones(count, np.float32)))
        return found


def make(device: str) -> ThresholdSegmenter:
    """The segmenter; it runs on the processor."""
    return ThresholdSegmenter()
