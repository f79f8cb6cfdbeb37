"""Nuclei from horizontal and vertical maps, as HoVer-Net, CellViT and their kin give them.

A map runs from -1 at one end of a nucleus to 1 at the other and falls where one nucleus meets the
next, so the slope along the map's own axis is positive within nuclei and steeply negative between
them. After Graham et al., Med. Image Anal. 58 (2019): the lower one of the two slopes under a wide
Sobel kernel is the height of a relief, what is high enough in the foreground is a marker, and the
foreground is shared out among the markers.

Three things differ from the published code, so that a nucleus does not hang on how the slide was
cut:

* **Scale.** The published code stretches the slopes of a window between the least and the greatest
  in it to 0..1, and markers are what exceeds 0.6. On maps made from labelled nuclei the least is
  about -0.30 a pixel and the greatest 0.18, which puts the limit at -0.01; here it is fixed, and 0
  unless stated: a marker is where both maps rise.
* **Sharing out.** Pixels climb (:mod:`wsiseg.models.decoding.growing`) instead of being flooded.
* **Holes** in markers are filled up to 16 px across, not without bound.

``tests/models/decoding/test_hover.py`` counts how many nuclei come out as from the published rule.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wsiseg.models.decoding.classing import Map, make_instances
from wsiseg.models.decoding.growing import GROWING_REACH, grow
from wsiseg.models.decoding.markers import (
    HOLE_PX,
    OPENING_REACH,
    fill_holes,
    number_parts,
    open_disc,
)
from wsiseg.models.decoding.slopes import sobel
from wsiseg.models.segmenter import Instances

_UNIT = 8192
"""Heights are integers in this part of a slope of one a pixel, and sixteen times as fine after
smoothing."""

_LOWEST = 0.5
"""Slopes below minus this count alike: beyond what two nuclei in contact show under any kernel."""


@dataclass(frozen=True, slots=True)
class HoverRule:
    """How maps are decoded.

    Attributes
    ----------
    foreground
        Least probability of a nucleus's pixel.
    kernel
        Taps of the Sobel kernel, odd: 21 at 0.25 µm a pixel, 11 at 0.5 (CellViT's published code).
    slope
        Least slope of both maps in a marker, a pixel.
    least_marker_px
        Smaller markers are dropped.
    least_area_px
        Smaller instances are dropped.
    """

    foreground: float = 0.5
    kernel: int = 21
    slope: float = 0.0
    least_marker_px: int = 10
    least_area_px: int = 10

    @property
    def reach_px(self) -> int:
        """How far around an instance's support its answer depends on the maps."""
        return self.kernel // 2 + 1 + HOLE_PX + OPENING_REACH + GROWING_REACH


def decode_hover(
    nucleus: Map,
    horizontal: Map,
    vertical: Map,
    types: Map | None,
    rule: HoverRule,
    background: int | None = None,
) -> Instances:
    """The instances of one window.

    Parameters
    ----------
    nucleus
        float32 ``[y, x]``: probability of nucleus.
    horizontal, vertical
        float32 ``[y, x]``: place in the nucleus along x and y, -1..1.
    types
        float32 ``[k, y, x]`` or ``None``, see
        :func:`wsiseg.models.decoding.classing.make_instances`.
    background
        Which of ``types`` is background.
    """
    mask = nucleus >= np.float32(rule.foreground)
    heights = _heights(
        mask,
        sobel(horizontal, rule.kernel, along_x=True),
        sobel(vertical, rule.kernel, along_x=False),
    )
    marked = mask & (heights >= round((rule.slope + _LOWEST) * _UNIT))
    fill_holes(marked, mask)
    markers, count = number_parts(open_disc(marked), rule.least_marker_px, False)
    labels, supports = grow(mask, _smoothed(heights), markers, count)
    return make_instances(
        labels,
        count,
        nucleus,
        types,
        background=background,
        least_px=rule.least_area_px,
        supports=supports,
    )


@njit(cache=True, nogil=True)
def _heights(mask: NDArray[np.bool_], across: Map, down: Map) -> NDArray[np.int32]:
    """The lower of the slopes in 1/8192, from ``-_LOWEST`` up; 0 outside the mask."""
    height, width = mask.shape
    out = np.zeros((height, width), np.int32)
    for y in range(height):
        for x in range(width):
            if mask[y, x]:
                slope = min(across[y, x], down[y, x])
                raised = np.rint((slope + np.float32(_LOWEST)) * np.float32(_UNIT))
                out[y, x] = np.int32(max(raised, np.float32(0)))
    return out


@njit(cache=True, nogil=True)
def _smoothed(heights: NDArray[np.int32]) -> NDArray[np.int32]:
    """Sum under the binomial kernel of three by three; beyond the window lies 0."""
    height, width = heights.shape
    out = np.zeros((height, width), np.int32)
    row = np.zeros(width + 2, np.int32)
    empty = np.zeros(width, np.int32)
    for y in range(height):
        above = heights[y - 1] if y > 0 else empty
        below = heights[y + 1] if y + 1 < height else empty
        for x in range(width):
            row[x + 1] = above[x] + 2 * heights[y, x] + below[x]
        for x in range(width):
            out[y, x] = row[x] + 2 * row[x + 1] + row[x + 2]
    return out
