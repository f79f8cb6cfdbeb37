"""The rule that both classical segmenters share: from one stain image to instances.

1. The stain image is smoothed a little.
2. A pixel is foreground if it is above a threshold between the slide's own (Otsu's, taken once a
   slide) and the mean of its surroundings; a small majority vote smooths the outline.
3. A relief is made of the distance to the foreground's border, the distance within a second,
   higher threshold, and the stain itself; its basins are the nuclei (see
   :mod:`wsiseg.models.classical.basins`).
4. Each nucleus is trimmed to a share of its own mean, its holes are filled, small, faint and
   ragged ones are dropped.

All sums are integers and every step has a known reach, so a nucleus is the same bits in every
window that holds its support and :attr:`Rule.reach_px` around it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wsiseg.models.classical.basins import BASIN_REACH, climb, join
from wsiseg.models.classical.filters import binomial, box_mean, capped_distance, majority
from wsiseg.models.classical.instances import measure, tidy, trim
from wsiseg.models.segmenter import Instances
from wsiseg.models.signals import LEVELS

REVISION = 1
"""To be raised whenever the rule's code changes what it answers."""

_SCALE = 8
_RELIEF = 1024


@dataclass(frozen=True, slots=True)
class Rule:
    """Parameters of the rule. Lengths and areas in pixels at 0.5 µm/px; shares in 256ths.

    Attributes
    ----------
    smoothing
        Binomial passes over the stain image.
    surroundings
        Radius of the square whose mean is the local background.
    slide_share, local_share
        Foreground threshold: these shares of the slide's threshold and of the local mean, summed.
    least_share
        The threshold is never below this share of the slide's.
    vote
        Share of a 3 x 3 square that must be foreground.
    step_share
        The second threshold lies this share of the slide's threshold above the first.
    depth
        Cap of the distances.
    stain_weight
        Weight of the stain against one pixel of distance, at the slide's threshold.
    relief_smoothing
        Binomial passes over the relief.
    pass_share
        A basin joins its neighbour over a pass above this share of its summit.
    trim_share
        A nucleus keeps pixels above this share of its own mean.
    largest_hole, least_area
        Areas.
    least_contrast
        Least mean contrast to the surroundings, as a share of the slide's threshold.
    least_fit
        Least area as a share of that of the ellipse with the same second moments.
    """

    smoothing: int
    surroundings: int
    slide_share: int
    local_share: int
    least_share: int
    vote: int
    step_share: int
    depth: int
    stain_weight: int
    relief_smoothing: int
    pass_share: int
    trim_share: int
    largest_hole: int
    least_area: int
    least_contrast: int
    least_fit: int

    @property
    def reach_px(self) -> int:
        """Pixels around a support on which its instance depends."""
        foreground = 2 * self.smoothing + self.surroundings + 1
        return foreground + self.depth + 2 * self.relief_smoothing + BASIN_REACH

    def sha256(self, kind: str) -> str:
        """Digest of the parameters, the rule's revision and the kind of image."""
        text = json.dumps({"kind": kind, "revision": REVISION} | asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Relief:
    """What ``predict`` leaves for ``decode``, of one window; arrays int32 ``[y, x]``.

    Attributes
    ----------
    mask
        Foreground, bool.
    height
        The relief.
    stain, background
        The smoothed stain and its local mean.
    threshold
        The slide's threshold, in the stain's units.
    """

    mask: NDArray[np.bool_]
    height: NDArray[np.int32]
    stain: NDArray[np.int32]
    background: NDArray[np.int32]
    threshold: int


def smoothed(stain: NDArray[np.int32], rule: Rule) -> NDArray[np.int32]:
    """The stain image smoothed, in finer units that keep what smoothing gains."""
    fine: NDArray[np.int32] = binomial(stain * _SCALE, rule.smoothing)
    return fine


def slide_threshold(
    stains: Sequence[NDArray[np.int32]], rule: Rule, *, empty: int, bounds: tuple[int, int]
) -> float:
    """Otsu's threshold over the smoothed stain images, in the units of :func:`smoothed`.

    Otsu, "A threshold selection method from gray-level histograms", IEEE Trans. SMC 9, 1979.

    Parameters
    ----------
    empty
        Stain values up to this one are glass and take no part.
    bounds
        Least and greatest plausible threshold.
    """
    histogram = np.zeros(LEVELS, np.int64)
    for stain in stains:
        values = smoothed(stain, rule) // _SCALE
        histogram += np.bincount(values.ravel(), minlength=LEVELS)[:LEVELS]
    histogram[: empty + 1] = 0
    if np.count_nonzero(histogram) < 2:
        return float(_SCALE * (bounds[0] + bounds[1]) // 2)
    best = otsu(histogram)
    return float(_SCALE * min(max(best, bounds[0]), bounds[1]))


def otsu(histogram: NDArray[np.int64]) -> int:
    """The value that best parts a histogram in two: it belongs to the lower class."""
    values = np.arange(len(histogram), dtype=np.float64)
    below = np.cumsum(histogram).astype(np.float64)
    weight = np.cumsum(histogram * values)
    above = below[-1] - below
    both = (below > 0) & (above > 0)
    means = weight / np.maximum(below, 1) - (weight[-1] - weight) / np.maximum(above, 1)
    between = np.where(both, below * above * means**2, -1.0)
    return int(np.argmax(between))


def make_relief(stain: NDArray[np.int32], threshold: int, rule: Rule) -> Relief:
    """Foreground and relief of a window's stain image ``[y, x]``, values 0..2047."""
    fine = smoothed(stain, rule)
    background = box_mean(fine, rule.surroundings)
    low, high = _foreground(
        fine,
        background,
        np.array(
            [
                rule.slide_share * threshold,
                rule.local_share,
                rule.least_share * threshold,
                rule.step_share * threshold,
            ],
            np.int64,
        ),
    )
    mask = majority(low, 1, rule.vote)
    roots = np.sqrt(np.arange(rule.depth**2 + 1, dtype=np.float64))
    heights = np.rint(roots * _RELIEF).astype(np.int32)
    height = _heights(
        capped_distance(mask, rule.depth),
        capped_distance(high, rule.depth),
        heights,
        fine,
        rule.stain_weight * _RELIEF // 256,
        threshold,
    )
    return Relief(mask, binomial(height, rule.relief_smoothing), fine, background, threshold)


def find_instances(relief: Relief, rule: Rule) -> Instances:
    """The instances of one window, all of class 0."""
    basins = climb(relief.mask, relief.height)
    count = int(basins.max(initial=0))
    groups, supports = join(basins, relief.height, count, rule.pass_share)
    labels = trim(groups[basins], relief.stain, count, rule.trim_share)
    tidy(labels, count, rule.largest_hole)
    area, contrast, ellipse = measure(labels, relief.stain, relief.background, count)
    share = contrast / (np.maximum(area, 1) * float(relief.threshold))
    fit = area / np.maximum(ellipse, 1.0)
    kept = (area >= rule.least_area) & (share * 256 >= rule.least_contrast)
    kept &= fit * 256 >= rule.least_fit
    kept[0] = False
    numbers = np.where(kept, np.cumsum(kept), 0).astype(np.int32)
    return Instances(
        labels=numbers[labels],
        classes=np.zeros(int(kept.sum()), np.uint8),
        probabilities=_score(share[kept], fit[kept]),
        supports=supports[kept],
    )


def _score(share: NDArray[np.float64], fit: NDArray[np.float64]) -> NDArray[np.float32]:
    """How well nuclei stand out, in 0..1: ``c / (c + 0.5)`` of the contrast ``c`` in the slide's
    thresholds, times the fit of the ellipse. It ranks; it is not a calibrated probability."""
    positive = np.maximum(share, 0.0)
    return (positive / (positive + 0.5) * np.minimum(fit, 1.0)).astype(np.float32)


@njit(cache=True, nogil=True)
def _foreground(
    fine: NDArray[np.int32], background: NDArray[np.int32], shares: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    height, width = fine.shape
    low = np.zeros((height, width), np.bool_)
    high = np.zeros((height, width), np.bool_)
    for y in range(height):
        for x in range(width):
            level = max(shares[0] + shares[1] * background[y, x], shares[2])
            value = np.int64(fine[y, x]) * 256
            low[y, x] = value > level
            high[y, x] = value > level + shares[3]
    return low, high


@njit(cache=True, nogil=True)
def _heights(
    low: NDArray[np.int32],
    high: NDArray[np.int32],
    heights: NDArray[np.int32],
    fine: NDArray[np.int32],
    weight: int,
    threshold: int,
) -> NDArray[np.int32]:
    rows, columns = low.shape
    out = np.zeros((rows, columns), np.int32)
    for y in range(rows):
        for x in range(columns):
            if low[y, x]:
                stain = min(np.int64(fine[y, x]) * weight // threshold, 1 << 17)
                out[y, x] = heights[low[y, x]] + heights[high[y, x]] + stain
    return out
