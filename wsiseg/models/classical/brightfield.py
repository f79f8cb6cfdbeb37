"""Nuclei by their haematoxylin, on brightfield slides."""

from __future__ import annotations

import math
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
from wsiseg.stain import (
    Counterstain,
    Stains,
    Vector,
    amount,
    amount_tables,
    default_stains,
    measure_stains,
)

RULE = Rule(
    smoothing=1,
    surroundings=16,
    slide_share=170,
    local_share=60,
    least_share=180,
    vote=140,
    step_share=96,
    depth=12,
    stain_weight=384,
    relief_smoothing=3,
    pass_share=246,
    trim_share=190,
    largest_hole=60,
    least_area=32,
    least_contrast=13,
    least_fit=192,
)

_EMPTY = 40
_BOUNDS = (90, 700)
_TOLERATED_DAB = 256


class BrightfieldSegmenter:
    """``classical-he``: haematoxylin by colour deconvolution, then the rule.

    For haematoxylin with eosin and haematoxylin with DAB. A nucleus whose haematoxylin is wholly
    hidden by DAB is not found.
    """

    def __init__(self, rule: Rule = RULE) -> None:
        self._rule = rule
        self._spec = classical_spec(
            "classical-he", rule, kind="haematoxylin", illumination="brightfield", channels=3
        )

    @property
    def spec(self) -> ModelSpec:
        """What the model is."""
        return self._spec

    def calibrate(self, samples: Sequence[Pixels]) -> Statistics:
        """Stain vectors and the threshold of haematoxylin.

        Returns
        -------
        ``haematoxylin``, ``counterstain``, ``white``
            Three numbers each, see :class:`wsiseg.stain.Stains`.
        ``brown``
            1 where the counterstain is DAB, else 0.
        ``threshold``
            In 1/8192 of optical density.
        ``stains_measured``
            1, or 0 where the vectors of the literature stand in.
        """
        return self._calibrated(samples, None)

    def calibrate_stained(self, samples: Sequence[Pixels], kind: Counterstain) -> Statistics:
        """As :meth:`calibrate`, for a slide whose counterstain is known."""
        return self._calibrated(samples, kind)

    def _calibrated(self, samples: Sequence[Pixels], kind: Counterstain | None) -> Statistics:
        tiles = [_rgb(sample) for sample in samples]
        stains = measure_stains(tiles, kind=kind)
        used = steadied(stains)
        tables = amount_tables(used)
        images = [haematoxylin(tile, tables, brown=used.kind == "DAB") for tile in tiles]
        threshold = slide_threshold(images, self._rule, empty=_EMPTY, bounds=_BOUNDS)
        return {
            "haematoxylin": used.haematoxylin,
            "counterstain": used.counterstain,
            "white": used.white,
            "brown": (1.0 if used.kind == "DAB" else 0.0,),
            "threshold": (threshold,),
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

    def predict(self, pixels: Pixels, statistics: Statistics) -> list[Relief]:
        """Foreground and relief of windows ``[n, y, x, 3]`` uint8."""
        brown = statistics["brown"][0] > 0
        stains = Stains(
            _vector(statistics["haematoxylin"]),
            _vector(statistics["counterstain"]),
            "DAB" if brown else "eosin",
            _vector(statistics["white"]),
        )
        tables = amount_tables(stains)
        threshold = int(statistics["threshold"][0])
        return [
            make_relief(haematoxylin(_rgb(window), tables, brown=brown), threshold, self._rule)
            for window in pixels
        ]

    def decode(self, prediction: list[Relief]) -> list[Instances]:
        """The instances of every window."""
        return [find_instances(relief, self._rule) for relief in prediction]


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


def _vector(values: tuple[float, ...]) -> Vector:
    red, green, blue = values
    return red, green, blue


def _rgb(pixels: Pixels) -> NDArray[np.uint8]:
    if pixels.dtype != np.uint8 or pixels.shape[-1] != 3:
        raise ModelError(
            f"classical-he needs 8-bit RGB pixels, not {pixels.shape[-1]} channels of "
            f"{pixels.dtype}; for fluorescence use classical-fluo and name the nuclear channel"
        )
    return np.ascontiguousarray(pixels, np.uint8)
