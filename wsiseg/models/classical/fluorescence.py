"""Nuclei by their glow, in one fluorescence channel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from wsiseg.errors import ModelError
from wsiseg.models.classical.rule import (
    LEVELS,
    Relief,
    Rule,
    find_instances,
    make_relief,
    slide_threshold,
)
from wsiseg.models.classical.spec import classical_spec
from wsiseg.models.segmenter import Instances, ModelSpec, Statistics
from wsiseg.slides.reader import Pixels

RULE = Rule(
    smoothing=1,
    surroundings=16,
    slide_share=185,
    local_share=77,
    least_share=80,
    vote=128,
    step_share=64,
    depth=8,
    stain_weight=512,
    relief_smoothing=2,
    pass_share=253,
    trim_share=200,
    largest_hole=60,
    least_area=32,
    least_contrast=26,
    least_fit=192,
)

_BRIGHT = 1400
_BOUNDS = (100, 1200)


class FluorescenceSegmenter:
    """``classical-fluo``: a nuclear stain such as DAPI, uint8 or uint16, then the rule.

    Intensities are brought to a common scale between the slide's background and its bright
    nuclei; the square root of that scale evens out the noise of counting photons.
    """

    def __init__(self, rule: Rule = RULE) -> None:
        self._rule = rule
        self._spec = classical_spec(
            "classical-fluo", rule, kind="fluorescence", illumination="fluorescence", channels=1
        )

    @property
    def spec(self) -> ModelSpec:
        """What the model is."""
        return self._spec

    def calibrate(self, samples: Sequence[Pixels]) -> Statistics:
        """Background, bright level and threshold.

        Returns
        -------
        ``dark``, ``bright``
            Intensities: what counts as background, and the 99.5th percentile.
        ``threshold``
            On the square root scale, in steps of 1/8 of a stain level.
        """
        tiles = [_channel(sample) for sample in samples]
        dark, bright = _range(tiles)
        table = _table(dark, bright)
        images = [table[tile] for tile in tiles]
        threshold = slide_threshold(images, self._rule, empty=0, bounds=_BOUNDS)
        return {"dark": (dark,), "bright": (bright,), "threshold": (threshold,)}

    def remarks(self, statistics: Statistics) -> tuple[str, ...]:
        """None."""
        return ()

    def predict(self, pixels: Pixels, statistics: Statistics) -> list[Relief]:
        """Foreground and relief of windows ``[n, y, x, 1]``, uint8 or uint16."""
        table = _table(statistics["dark"][0], statistics["bright"][0])
        threshold = int(statistics["threshold"][0])
        return [make_relief(table[_channel(window)], threshold, self._rule) for window in pixels]

    def decode(self, prediction: list[Relief]) -> list[Instances]:
        """The instances of every window."""
        return [find_instances(relief, self._rule) for relief in prediction]


def _channel(pixels: Pixels) -> NDArray[np.uint8] | NDArray[np.uint16]:
    if pixels.shape[-1] != 1:
        raise ModelError(
            f"classical-fluo works on one channel, not {pixels.shape[-1]}: name the nuclear one"
        )
    channel: NDArray[np.uint8] | NDArray[np.uint16] = pixels[..., 0]
    return channel


def _range(tiles: Sequence[NDArray[np.uint8] | NDArray[np.uint16]]) -> tuple[float, float]:
    if not tiles:
        return 0.0, 255.0
    histogram = np.zeros(1 << 16, np.int64)
    for tile in tiles:
        histogram += np.bincount(tile.ravel(), minlength=1 << 16)
    filled = np.cumsum(histogram)
    dark = int(np.searchsorted(filled, 0.02 * filled[-1]))
    bright = int(np.searchsorted(filled, 0.995 * filled[-1]))
    return float(dark), float(max(bright, dark + 8))


def _table(dark: float, bright: float) -> NDArray[np.int32]:
    """int32 ``[65536]``: intensity to stain level, ``_BRIGHT`` at ``bright``."""
    scaled = np.maximum((np.arange(1 << 16) - dark) / (bright - dark), 0.0)
    table: NDArray[np.int32] = np.minimum(np.rint(np.sqrt(scaled) * _BRIGHT), LEVELS - 1).astype(
        np.int32
    )
    return table
