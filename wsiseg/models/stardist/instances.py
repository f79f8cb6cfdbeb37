"""From the network's outputs to instances."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wsiseg.models.network.runtime import Outputs, widened
from wsiseg.models.segmenter import Instances
from wsiseg.models.stardist.suppression import suppress

SHORTEST_RAY = 1e-3
"""In pixels; StarDist's own limit."""


@dataclass(frozen=True, slots=True)
class Rule:
    """How outputs become instances.

    Attributes
    ----------
    rays
        Directions; ray ``k`` points to the angle ``2 pi k / rays``, from x towards y.
    step
        Pixels an output pixel along each axis.
    probability
        Candidates are more probable than this.
    overlap
        Greatest part of the smaller polygon that two instances may share.
    longest
        Rays are cut at this many pixels.
    """

    rays: int
    step: int
    probability: float
    overlap: float
    longest: int


def find_instances(outputs: Outputs, rule: Rule) -> Instances:
    """The instances of one window.

    Parameters
    ----------
    outputs
        ``[1 + rays, g, g]`` or ``[1 + rays + 1 + classes, g, g]``: logits of the
        probability, rays in pixels from the first of the ``step`` x ``step`` pixels, and logits
        of the background and of every class.
    rule
        How they are read.

    Returns
    -------
    Instances on the window of ``step * g`` pixels a side, most probable first. Class 0 stands for
    none in particular, class ``i`` for the network's class ``i``. Polygons are drawn on pixels
    whose middle lies in them, the most probable on top; those that are covered wholly are left
    out.
    """
    evidence = widened(outputs[0])
    # Rounding differs between a logit and its probability, so neither side is rounded to float32.
    places = np.argwhere(evidence.astype(np.float64) > _logit(rule.probability))
    scores = evidence[places[:, 0], places[:, 1]]
    places = places[np.lexsort((places[:, 1], places[:, 0], -scores))]
    middles = (places * rule.step).astype(np.int32)
    directions = _directions(rule.rays)
    lengths = widened(outputs[1 : 1 + rule.rays, places[:, 0], places[:, 1]])
    corners = _whole_corners(lengths, directions, float(rule.longest))
    keepers, reasons = suppress(corners, middles, rule.overlap, rule.longest + 1 + rule.step)
    stay = np.flatnonzero(keepers == np.arange(len(keepers)))
    shape = (evidence.shape[0] * rule.step, evidence.shape[1] * rule.step)
    labels, sizes = _draw(
        lengths[:, stay], places[stay], directions, rule.step, rule.longest, shape
    )
    seen = sizes > 0
    seen[0] = False
    numbers = np.where(seen, np.cumsum(seen), 0).astype(np.int32)
    chosen = stay[seen[1:]]
    rows, columns = places[chosen, 0], places[chosen, 1]
    logits = widened(outputs[1 + rule.rays :, rows, columns])
    classes = logits.argmax(axis=0) if len(logits) else np.zeros(len(chosen))
    found = evidence[rows, columns].astype(np.float64)
    return Instances(
        labels=numbers[labels],
        classes=classes.astype(np.uint8),
        probabilities=(1 / (1 + np.exp(-found))).astype(np.float32),
        supports=reasons[chosen],
    )


def _logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


def _directions(rays: int) -> NDArray[np.float64]:
    """``[rays, 2]`` steps (y, x) along each ray."""
    angles = 2 * np.pi * np.arange(rays) / rays
    found = np.stack([np.sin(angles), np.cos(angles)], axis=1)
    # Along the axes exactly, so that no corner slips to the next pixel.
    straight = np.abs(found) < 1e-12
    return np.where(straight, 0.0, np.where(straight[:, ::-1], np.sign(found), found))


@njit(cache=True, nogil=True)
def _ray(length: float, longest: float) -> float:
    # What is no number is shortest, too.
    return min(length, longest) if length > SHORTEST_RAY else SHORTEST_RAY


@njit(cache=True, nogil=True)
def _whole_corners(
    lengths: NDArray[np.float32], directions: NDArray[np.float64], longest: float
) -> NDArray[np.int16]:
    """Ends of rays ``[rays, n]``, moved down to whole pixels, ``[n, rays, 2]`` from the middle."""
    rays, count = lengths.shape
    found = np.empty((count, rays, 2), np.int16)
    for k in range(rays):
        for n in range(count):
            length = _ray(np.float64(lengths[k, n]), longest)
            found[n, k, 0] = math.floor(length * directions[k, 0])
            found[n, k, 1] = math.floor(length * directions[k, 1])
    return found


@njit(cache=True, nogil=True)
def _draw(
    lengths: NDArray[np.float32],
    places: NDArray[np.int64],
    directions: NDArray[np.float64],
    step: int,
    longest: int,
    shape: tuple[int, int],
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Labels (place + 1) of polygons, earlier ones on top, and their visible areas."""
    height, width = shape
    rays, half = len(directions), longest + 1
    labels = np.zeros((height, width), np.int32)
    sizes = np.zeros(len(places) + 1, np.int64)
    flips = np.zeros((2 * half + 1, 2 * half + 2), np.bool_)
    ys, xs = np.empty(rays), np.empty(rays)
    for n in range(len(places)):
        for k in range(rays):
            length = _ray(np.float64(lengths[k, n]), np.float64(longest))
            ys[k], xs[k] = half + length * directions[k, 0], half + length * directions[k, 1]
        top, bottom = max(math.floor(ys.min()), 0), min(math.ceil(ys.max()), 2 * half)
        left, right = max(math.floor(xs.min()), 0), min(math.ceil(xs.max()), 2 * half)
        for k in range(rays):
            following = k + 1 if k + 1 < rays else 0
            _flip(flips, ys[k], xs[k], ys[following], xs[following])
        y0, x0 = places[n, 0] * step - half, places[n, 1] * step - half
        for row in range(top, bottom + 1):
            inside = False
            for column in range(left, right + 2):
                inside ^= flips[row, column]
                flips[row, column] = False
                y, x = y0 + row, x0 + column
                if inside and 0 <= y < height and 0 <= x < width and labels[y, x] == 0:
                    labels[y, x] = n + 1
                    sizes[n + 1] += 1
    return labels, sizes


@njit(cache=True, nogil=True)
def _flip(flips: NDArray[np.bool_], ay: float, ax: float, by: float, bx: float) -> None:
    """Flip, in every row whose middle an edge crosses, the first pixel right of the crossing."""
    if ay > by:
        ay, ax, by, bx = by, bx, ay, ax
    for row in range(math.ceil(ay), math.ceil(by)):
        crossing = ax + (bx - ax) * ((row - ay) / (by - ay))
        column = math.ceil(crossing)
        flips[row, column] = not flips[row, column]
