"""One integer image in which nuclei are bright: haematoxylin, or the glow of a nuclear stain.

What is needed to draw it is measured once a slide; the image itself is drawn one pixel at a time,
so it is the same in every window.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from wsiseg.errors import ModelError
from wsiseg.models.network.intensity import measure_range
from wsiseg.models.segmenter import Statistics
from wsiseg.slides.reader import Illumination, Pixels
from wsiseg.stain import (
    Counterstain,
    Stains,
    Vector,
    amount,
    amount_tables,
    default_stains,
    measure_stains,
)

LEVELS = 2048
"""Signals hold integers below this."""

_TOLERATED_DAB = 256

_BRIGHT = 1400


class Signal(Protocol):
    """Draws the image that a segmenter looks at."""

    @property
    def illumination(self) -> Illumination:
        """The slides it is for."""
        ...

    @property
    def channels(self) -> Literal[1, 3]:
        """Channels of the windows it takes."""
        ...

    def measure(self, samples: Sequence[Pixels], kind: Counterstain | None) -> Statistics:
        """What must be known of the slide; ``kind`` is its counterstain, where that is known."""
        ...

    def remarks(self, statistics: Statistics) -> tuple[str, ...]:
        """Sentences for the slide's report, if any."""
        ...

    def draw(self, pixels: Pixels, statistics: Statistics) -> NDArray[np.int32]:
        """int32 ``[y, x]``, 0..2047, of a window ``[y, x, c]``.

        Raises
        ------
        ModelError
            If the pixels are of another kind.
        """
        ...


class Haematoxylin:
    """The amount of haematoxylin in 1/1024 of optical density, by the slide's own stains.

    The measured stain vectors are drawn half-way to the usual ones, and dense DAB is taken off.
    """

    illumination: Illumination = "brightfield"
    channels: Literal[1, 3] = 3

    def measure(self, samples: Sequence[Pixels], kind: Counterstain | None) -> Statistics:
        """``haematoxylin``, ``counterstain``, ``white``: three numbers each, see
        :class:`wsiseg.stain.Stains`; ``brown``: 1 where the counterstain is DAB;
        ``stains_measured``: 0 where the vectors of the literature stand in."""
        stains = measure_stains([_rgb(sample) for sample in samples], kind=kind)
        used = steadied(stains)
        return {
            "haematoxylin": used.haematoxylin,
            "counterstain": used.counterstain,
            "white": used.white,
            "brown": (1.0 if used.kind == "DAB" else 0.0,),
            "stains_measured": (0.0 if stains.problem else 1.0,),
        }

    def remarks(self, statistics: Statistics) -> tuple[str, ...]:
        """Whether the slide's own stains could be measured."""
        if statistics["stains_measured"] == (0.0,):
            return (
                "the slide's own stain vectors could not be measured; those of the literature "
                "were used",
            )
        return ()

    def draw(self, pixels: Pixels, statistics: Statistics) -> NDArray[np.int32]:
        """See :class:`Signal`."""
        brown = statistics["brown"][0] > 0
        stains = Stains(
            _vector(statistics["haematoxylin"]),
            _vector(statistics["counterstain"]),
            "DAB" if brown else "eosin",
            _vector(statistics["white"]),
        )
        return haematoxylin(_rgb(pixels), amount_tables(stains), brown=brown)


class Glow:
    """One fluorescence channel on a square root scale, 1400 at the slide's 99.5th percentile.

    The square root evens out the noise of counting photons.
    """

    illumination: Illumination = "fluorescence"
    channels: Literal[1, 3] = 1

    def measure(self, samples: Sequence[Pixels], kind: Counterstain | None) -> Statistics:
        """``dark`` and ``bright``: the 2nd and the 99.5th percentile of the intensities."""
        dark, bright = measure_range([one_channel(sample) for sample in samples])
        return {"dark": (dark,), "bright": (bright,)}

    def remarks(self, statistics: Statistics) -> tuple[str, ...]:
        """None."""
        return ()

    def draw(self, pixels: Pixels, statistics: Statistics) -> NDArray[np.int32]:
        """See :class:`Signal`."""
        dark, bright = statistics["dark"][0], statistics["bright"][0]
        shares = np.maximum((np.arange(1 << 16) - dark) / (bright - dark), 0.0)
        levels = np.minimum(np.rint(np.sqrt(shares) * _BRIGHT), LEVELS - 1).astype(np.int32)
        drawn: NDArray[np.int32] = levels[one_channel(pixels)]
        return drawn


def one_channel(pixels: Pixels) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """The channel ``[y, x]`` of a window ``[y, x, 1]``.

    Raises
    ------
    ModelError
        If there are several.
    """
    if pixels.shape[-1] != 1:
        raise ModelError(
            f"the model works on one channel, not {pixels.shape[-1]}: name the nuclear one"
        )
    channel: NDArray[np.uint8] | NDArray[np.uint16] = pixels[..., 0]
    return channel


def steadied(stains: Stains) -> Stains:
    """The measured vectors drawn half-way to the usual ones.

    A slide with little of one stain leaves its direction uncertain; half-way, haematoxylin is
    found as well as with the usual vectors where these fit, and better where they do not.
    """
    usual = default_stains(stains.kind, stains.white)
    return Stains(
        _between(stains.haematoxylin, usual.haematoxylin),
        _between(stains.counterstain, usual.counterstain),
        stains.kind,
        stains.white,
        stains.problem,
    )


def haematoxylin(
    pixels: NDArray[np.uint8], tables: NDArray[np.int32], *, brown: bool
) -> NDArray[np.int32]:
    """Amount of haematoxylin in 1/1024 of optical density, 0..2047, int32 ``[y, x]``.

    Parameters
    ----------
    tables
        See :func:`wsiseg.stain.amount_tables`.
    brown
        The counterstain is DAB. Where it is so dense that the pixel is black, colour tells
        nothing and unmixing finds haematoxylin too: the excess of DAB is taken off.
    """
    found = amount(pixels, tables[0]).astype(np.int32)
    if brown:
        excess = amount(pixels, tables[1]).astype(np.int32) - _TOLERATED_DAB
        found -= np.maximum(excess, 0) * 3 // 2
    clipped: NDArray[np.int32] = np.clip(found, 0, LEVELS - 1)
    return clipped


def _between(first: Vector, second: Vector) -> Vector:
    red, green, blue = (a + b for a, b in zip(first, second, strict=True))
    length = math.sqrt(red * red + green * green + blue * blue)
    return red / length, green / length, blue / length


def _rgb(pixels: Pixels) -> NDArray[np.uint8]:
    if pixels.dtype != np.uint8 or pixels.shape[-1] != 3:
        raise ModelError(
            f"the model needs 8-bit RGB pixels, not {pixels.shape[-1]} channels of "
            f"{pixels.dtype}; for fluorescence choose a model for it and name the nuclear channel"
        )
    return np.ascontiguousarray(pixels, np.uint8)


def _vector(values: tuple[float, ...]) -> Vector:
    red, green, blue = values
    return red, green, blue
