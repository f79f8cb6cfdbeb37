"""From a slide's pixels to what a network of cellpose sees.

Intensities are scaled so that the 1st percentile is 0 and the 99th is 1, channel by channel, as in
cellpose, but of all the slide's samples together: a tile that is normalised by itself shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from wsiseg.errors import ModelError
from wsiseg.models.segmenter import Statistics
from wsiseg.models.signals import Haematoxylin, one_channel
from wsiseg.slides.reader import Pixels
from wsiseg.stain import Counterstain

Levels = NDArray[np.integer]
"""Integers below 65536, ``[c, y, x]``."""

_VALUES = 1 << 16
_LOW, _HIGH = 0.01, 0.99


class View(Protocol):
    """What of the pixels the network sees."""

    def measure(self, samples: Sequence[Pixels], kind: Counterstain | None) -> Statistics:
        """What must be known of the slide to draw it."""
        ...

    def draw(self, pixels: Pixels, statistics: Statistics) -> Levels:
        """``[c, y, x]`` of a window ``[y, x, c]``."""
        ...


class StainView:
    """Haematoxylin, bright where there is much."""

    def __init__(self) -> None:
        self._signal = Haematoxylin()

    def measure(self, samples: Sequence[Pixels], kind: Counterstain | None) -> Statistics:
        """The slide's stains."""
        return self._signal.measure(samples, kind)

    def draw(self, pixels: Pixels, statistics: Statistics) -> Levels:
        """See :class:`View`."""
        return self._signal.draw(pixels, statistics)[np.newaxis]


class ColourView:
    """The colours as they are: all three, or those that cellpose's numbers name.

    0 is grey (the colours' sum: the scaling makes it their mean), 1 red, 2 green, 3 blue.
    """

    def __init__(self, numbers: tuple[int, ...]) -> None:
        self._numbers = numbers

    def measure(self, samples: Sequence[Pixels], kind: Counterstain | None) -> Statistics:
        """Nothing."""
        return {}

    def draw(self, pixels: Pixels, statistics: Statistics) -> Levels:
        """See :class:`View`."""
        if pixels.dtype != np.uint8 or pixels.shape[-1] != 3:
            raise ModelError(
                f"the model needs 8-bit RGB pixels, not {pixels.shape[-1]} channels of "
                f'{pixels.dtype}; for fluorescence state illumination = "fluorescence" in its '
                "cellpose.toml and name the nuclear channel"
            )
        wide = pixels.astype(np.int32)
        return np.stack([wide.sum(axis=2) if n == 0 else wide[..., n - 1] for n in self._numbers])


class GlowView:
    """The nuclear channel of a fluorescence slide."""

    def measure(self, samples: Sequence[Pixels], kind: Counterstain | None) -> Statistics:
        """Nothing."""
        return {}

    def draw(self, pixels: Pixels, statistics: Statistics) -> Levels:
        """See :class:`View`."""
        return one_channel(pixels)[np.newaxis]


def chosen_view(
    illumination: str, generation: str, channels: Literal["haematoxylin"] | tuple[int, int]
) -> View:
    """What a network of this generation sees of such slides."""
    if illumination == "fluorescence":
        return GlowView()
    if generation == "4":
        return ColourView((1, 2, 3))
    if channels == "haematoxylin":
        return StainView()
    first, second = channels
    return ColourView((first,) if second == 0 else (first, second))


def measure_range(drawn: Sequence[Levels]) -> Statistics:
    """``low`` and ``high``: the 1st and the 99th percentile of each channel."""
    if not drawn:
        return {"low": (), "high": ()}
    channels = len(drawn[0])
    low, high = [], []
    for channel in range(channels):
        counts = np.zeros(_VALUES, np.int64)
        for levels in drawn:
            counts += np.bincount(levels[channel].ravel(), minlength=_VALUES)
        filled = np.cumsum(counts)
        low.append(float(np.searchsorted(filled, _LOW * filled[-1])))
        high.append(float(np.searchsorted(filled, _HIGH * filled[-1])))
    return {"low": tuple(low), "high": tuple(high)}


def scale(levels: Levels, statistics: Statistics) -> NDArray[np.float32]:
    """float32 ``[c, y, x]``; all 0 where the slide gave no range to scale by."""
    scaled = np.zeros(levels.shape, np.float32)
    pairs = zip(statistics["low"], statistics["high"], strict=True)
    for channel, (low, high) in enumerate(pairs):
        if high > low:
            scaled[channel] = (levels[channel] - low) / (high - low)
    return scaled
