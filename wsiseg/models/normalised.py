"""A segmenter that sees every slide in the colours of a reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wsiseg.errors import ModelError, SlideError
from wsiseg.models.segmenter import Instances, ModelSpec, Prediction, Segmenter, Statistics
from wsiseg.normalisation import reinhard, stains
from wsiseg.slides.reader import Pixels

Method = Literal["macenko", "vahadane", "reinhard"]

_MOST_PIXELS = 200_000
_FIRST, _SECOND = "normalisation.first", "normalisation.second"
"""Vectors and strengths of the stains, or mean and spread of the colours."""


class NormalisedSegmenter:
    """Another segmenter, given pixels whose colours are brought to a reference's.

    The slide's stains or colours are measured once, on the windows that models are calibrated on;
    every pixel is then changed by itself. So tiles show no more than without.

    Parameters
    ----------
    inner
        A segmenter of brightfield slides.
    method
        After whom, see :mod:`wsiseg.normalisation`.

    Raises
    ------
    ModelError
        If the segmenter is not for brightfield slides.
    """

    def __init__(self, inner: Segmenter, method: Method) -> None:
        spec = inner.spec
        if spec.illumination != "brightfield":
            raise ModelError(f"{spec.name} is not for stained sections: it cannot be normalised")
        self._inner, self._method = inner, method
        self._spec = replace(
            spec,
            name=f"{spec.name}+{method}",
            parameters=f"{spec.parameters}+{method}",
            bytes_per_px=spec.bytes_per_px + 3,
        )

    @property
    def spec(self) -> ModelSpec:
        """What the model is."""
        return self._spec

    def calibrate(self, samples: Sequence[Pixels]) -> Statistics:
        """The slide's profile, and what the inner model measures on the changed windows.

        With too little stained tissue to measure there is no profile: the colours stay as they
        are, and :meth:`remarks` says so.
        """
        pixels = [np.ascontiguousarray(sample, np.uint8).reshape(-1, 3) for sample in samples]
        joined = np.concatenate([*pixels, np.empty((0, 3), np.uint8)])
        try:
            profile = _measure(joined[:: max(1, len(joined) // _MOST_PIXELS)], self._method)
        except SlideError:
            profile = {}
        changed = [self._changed(sample, profile) for sample in samples]
        return {**self._inner.calibrate(changed), **profile}

    def remarks(self, statistics: Statistics) -> tuple[str, ...]:
        """The inner model's, and whether the colours could not be measured."""
        remarks = self._inner.remarks(statistics)
        if _FIRST in statistics:
            return remarks
        return (*remarks, "too little stained tissue to normalise: the colours are as scanned")

    def predict(self, pixels: Pixels, statistics: Statistics) -> Prediction:
        """See :class:`Segmenter`."""
        changed = np.stack([self._changed(window, statistics) for window in pixels])
        return self._inner.predict(changed, statistics)

    def decode(self, prediction: Prediction) -> list[Instances]:
        """See :class:`Segmenter`."""
        return self._inner.decode(prediction)

    def _changed(self, pixels: Pixels, statistics: Statistics) -> NDArray[np.uint8]:
        window = np.ascontiguousarray(pixels, np.uint8)
        if _FIRST not in statistics:
            return window
        first, second = np.array(statistics[_FIRST]), np.array(statistics[_SECOND])
        if self._method == "reinhard":
            source = reinhard.ColourProfile(first, second)
            return reinhard.recolour(window, source, reinhard.REFERENCE)
        profile = stains.StainProfile(first.reshape(2, 3), second)
        return stains.restain(window, profile, stains.REFERENCE)


def _measure(pixels: NDArray[np.uint8], method: Method) -> dict[str, tuple[float, ...]]:
    if method == "reinhard":
        tissue = pixels[stains.is_stained(stains.densities(pixels))]
        colours = reinhard.reinhard_profile(tissue)
        first, second = colours.mean, colours.spread
    else:
        fit = stains.macenko_profile if method == "macenko" else stains.vahadane_profile
        found = fit(pixels)
        first, second = found.vectors, found.strengths
    return {
        _FIRST: tuple(first.ravel().tolist()),
        _SECOND: tuple(second.tolist()),
    }
