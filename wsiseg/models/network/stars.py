"""From star-convex outputs to instances, by a rule that needs no look beyond close neighbours.

* A *candidate* is a grid pixel whose probability exceeds the threshold and is the highest among
  the eight around it. Candidates are ranked by ``(probability, -y, -x)``: of two equal ones the
  upper, then the left one ranks higher. The order is relative, so it does not change when the
  window moves.
* Its polygon joins the ends of its rays, cut at ``MAX_RAY`` pixels.
* Two candidates *conflict* if their polygons share more than a given part of the smaller one. A
  candidate is dropped if a higher one that conflicts with it stays. To keep that from passing on
  and on from neighbour to neighbour it is settled in ``ROUNDS`` rounds: in the first round those
  stay that conflict with no higher one; in each further round those that conflict with no higher
  one that stayed in the round before.
* Of the pixels of several polygons that stay, each belongs to the highest.

So an instance depends on its polygon's box grown by ``MAX_RAY`` (where the middle of whatever
overlaps it must lie), on the same of the higher candidates its polygon overlaps, and for
``ROUNDS - 1`` steps on those that they conflict with. That union is its *support*.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wsiseg.models.network.bits import HALF, SIDE, Bits, ones, shared_pixels, span, toggle
from wsiseg.models.network.runtime import Outputs, widened
from wsiseg.models.segmenter import Instances

MAX_RAY = 31
"""Longest ray in pixels; with it a polygon's raster fits 64 rows of 64 bits."""

ROUNDS = 3
"""Odd, so that no two instances that stay conflict with one another unsettled."""

RAY_UNIT = 8.0
RAY_SHARPNESS = 4.0
"""A number ``v`` from the network means ``RAY_UNIT log(1 + exp(s v)) / s`` pixels, ``s`` being
the sharpness."""

_BIN = 32
"""Side in pixels of the squares by which neighbours are found."""

_KNOWN = 4096
"""Rays whose lengths are kept."""


@dataclass(frozen=True, slots=True)
class StarRule:
    """Thresholds of the decoding, chosen on held-out tiles.

    Attributes
    ----------
    probability
        Least probability of a candidate.
    overlap
        Greatest part of the smaller polygon that two instances may share.
    foreground
        Least foreground probability of a pixel; 0 leaves polygons whole.
    least_area_px
        Smaller instances are dropped.
    """

    probability: float
    overlap: float
    foreground: float
    least_area_px: int


def find_stars(outputs: Outputs, rays: int, grid: int, rule: StarRule, crop: int = 0) -> Instances:
    """The instances of one window, all of class 0.

    Parameters
    ----------
    outputs
        ``[1 + rays + grid * grid, g, g]`` as they leave the network: logits of the
        probability, numbers for :func:`ray_length`, logits of the foreground of the pixels of
        an output pixel, row by row. The last may be missing where the rule asks for none.
    rays, grid
        Number of rays; pixels an output pixel along each axis.
    rule
        The thresholds.
    crop
        Pixels along each edge of the window that have no outputs.

    Returns
    -------
    Instances on the window of ``grid * g + 2 * crop`` pixels a side, highest candidate first.
    """
    evidence = widened(outputs[0])
    places = _candidates(evidence, np.float32(_logit(rule.probability)))
    scores = evidence[places[:, 0], places[:, 1]]
    directions = outputs[1 : 1 + rays, places[:, 0], places[:, 1]]
    # They come in reading order, which settles ties.
    order = np.argsort(-scores, kind="stable")
    places, scores = places[order], scores[order]
    middles = (crop + places * grid + grid // 2).astype(np.int32)
    directions = widened(directions[:, order]).T
    bits, boxes, areas = _rasters(np.ascontiguousarray(directions, np.float32), middles)
    shape = (evidence.shape[0] * grid + 2 * crop, evidence.shape[1] * grid + 2 * crop)
    stay, supports = _settle(
        bits, boxes, areas, middles, np.array(shape), rule.overlap, MAX_RAY + 2 * grid
    )
    frame = shape[0], shape[1], grid, crop
    sizes = _clear_hidden(
        bits,
        boxes,
        middles,
        stay,
        np.ascontiguousarray(widened(outputs[1 + rays :])),
        frame,
        np.float32(_logit(rule.foreground)),
    )
    chosen = sizes >= max(rule.least_area_px, 1)
    labels = _paint(bits, boxes, middles, np.flatnonzero(chosen), frame)
    return Instances(
        labels=labels,
        classes=np.zeros(int(chosen.sum()), np.uint8),
        probabilities=(1 / (1 + np.exp(-scores[chosen].astype(np.float64)))).astype(np.float32),
        supports=supports[chosen],
    )


@njit(cache=True, nogil=True)
def ray_length(value: float) -> float:
    """Length of a ray in pixels from a number of the network."""
    return RAY_UNIT * math.log1p(math.exp(min(RAY_SHARPNESS * value, 60.0))) / RAY_SHARPNESS


def longest_support(grid: int) -> int:
    """Longest side in pixels that a support can have; ``grid`` is the pixels an output pixel.

    A polygon's box and what it is grown by, and that of a neighbour it touches, and so on for
    ``ROUNDS`` steps.
    """
    return 2 * (HALF + MAX_RAY + 2 * grid + ROUNDS * SIDE)


def _logit(probability: float) -> float:
    return math.log(probability / (1 - probability)) if probability > 0 else -math.inf


@njit(cache=True, nogil=True)
def _candidates(evidence: NDArray[np.float32], least: np.float32) -> NDArray[np.int64]:
    height, width = evidence.shape
    found = np.empty((height * width // 4 + height + width, 2), np.int64)
    count = 0
    for y in range(height):
        for x in range(width):
            value = evidence[y, x]
            if not value > least:
                continue
            highest = True
            for k in range(9):
                ny, nx = y + k // 3 - 1, x + k % 3 - 1
                if k == 4 or ny < 0 or nx < 0 or ny >= height or nx >= width:
                    continue
                other = evidence[ny, nx]
                # Neighbours that come first in reading order win ties.
                if other > value or (other == value and k < 4):
                    highest = False
                    break
            if highest:
                found[count, 0], found[count, 1] = y, x
                count += 1
    return found[:count]


@njit(cache=True, nogil=True)
def _rasters(
    numbers: NDArray[np.float32], middles: NDArray[np.int32]
) -> tuple[Bits, NDArray[np.int32], NDArray[np.int32]]:
    """Polygons as 64 rows of 64 bits about their middle, their boxes (x0, y0, x1, y1) in the
    window and their areas. A pixel belongs to a polygon if its centre lies inside (even-odd)."""
    lengths = _ray_lengths(numbers)
    count, rays = numbers.shape
    bits = np.zeros((count, SIDE), np.uint64)
    boxes = np.zeros((count, 4), np.int32)
    areas = np.zeros(count, np.int32)
    cosines, sines = np.empty(rays), np.empty(rays)
    for k in range(rays):
        cosines[k], sines[k] = math.cos(2 * math.pi * k / rays), math.sin(2 * math.pi * k / rays)
    xs, ys = np.empty(rays), np.empty(rays)
    for n in range(count):
        rows = bits[n]
        for k in range(rays):
            xs[k] = HALF + lengths[n, k] * cosines[k]
            ys[k] = HALF + lengths[n, k] * sines[k]
        for k in range(rays):
            following = k + 1 if k + 1 < rays else 0
            toggle(rows, xs[k], ys[k], xs[following], ys[following])
        y0, y1 = SIDE, 0
        columns = np.uint64(0)
        for row in range(SIDE):
            line = rows[row]
            if line:
                areas[n] += ones(line)
                columns |= line
                y0, y1 = min(y0, row), row + 1
        x0, x1 = span(columns)
        if areas[n] == 0:
            x0, y0, x1, y1 = HALF, HALF, HALF, HALF
        left, top = middles[n, 1] - HALF, middles[n, 0] - HALF
        boxes[n, 0], boxes[n, 1] = left + x0, top + y0
        boxes[n, 2], boxes[n, 3] = left + x1, top + y1
    return bits, boxes, areas


@njit(cache=True, nogil=True)
def _ray_lengths(numbers: NDArray[np.float32]) -> NDArray[np.float64]:
    """Lengths ``[n, rays]`` in pixels, cut.

    Logarithms take long, and a network that calculates in bfloat16 gives few different numbers:
    each length is kept at a place that hangs on the number's upper bits."""
    known = np.zeros(_KNOWN, np.uint32)
    kept = np.full(_KNOWN, _cut(ray_length(0.0)))
    lengths = np.empty(numbers.shape)
    words = numbers.view(np.uint32)
    for n in range(numbers.shape[0]):
        for k in range(numbers.shape[1]):
            word = words[n, k]
            place = (word >> np.uint32(16)) % np.uint32(_KNOWN)
            if known[place] != word:
                known[place], kept[place] = word, _cut(ray_length(np.float64(numbers[n, k])))
            lengths[n, k] = kept[place]
    return lengths


@njit(cache=True, nogil=True)
def _cut(length: float) -> float:
    return min(max(length, 0.5), np.float64(MAX_RAY))


@njit(cache=True, nogil=True)
def _settle(
    bits: Bits,
    boxes: NDArray[np.int32],
    areas: NDArray[np.int32],
    middles: NDArray[np.int32],
    shape: NDArray[np.int64],
    overlap: float,
    grow: int,
) -> tuple[NDArray[np.bool_], NDArray[np.int32]]:
    """Which candidates (in order of rank) stay, and the supports of all."""
    count = len(bits)
    room = max(4 * count, 16)
    pairs, conflicts, found = _higher_neighbours(bits, boxes, areas, middles, shape, overlap, room)
    if found > room:
        pairs, conflicts, found = _higher_neighbours(
            bits, boxes, areas, middles, shape, overlap, found
        )
    supports = boxes.copy()
    supports[:, :2] -= grow
    supports[:, 2:] += grow
    stay = np.ones(count, np.bool_)
    for number in range(ROUNDS):
        before, reach = stay.copy(), supports.copy()
        stay[:] = True
        for n in range(found):
            if not conflicts[n]:
                continue
            lower, higher = pairs[n, 0], pairs[n, 1]
            if number == 0 or before[higher]:
                stay[lower] = False
            if number > 0:
                _widen(supports, lower, reach, higher)
    reach = supports.copy()
    for n in range(found):
        _widen(supports, pairs[n, 0], reach, pairs[n, 1])
    return stay, supports


@njit(cache=True, nogil=True)
def _higher_neighbours(
    bits: Bits,
    boxes: NDArray[np.int32],
    areas: NDArray[np.int32],
    middles: NDArray[np.int32],
    shape: NDArray[np.int64],
    overlap: float,
    room: int,
) -> tuple[NDArray[np.int32], NDArray[np.bool_], int]:
    """Pairs ``[room, 2]`` (lower, higher) of candidates that share pixels, which conflict, and
    how many there are: of more than ``room`` the last are left out."""
    count = len(bits)
    rows, columns = shape[0] // _BIN + 1, shape[1] // _BIN + 1
    first = np.full((rows, columns), -1, np.int32)
    following = np.full(count, -1, np.int32)
    pairs = np.empty((room, 2), np.int32)
    conflicts = np.empty(room, np.bool_)
    found = 0
    for n in range(count):
        # The middle of whatever overlaps a polygon lies within a ray of its box.
        top, bottom = boxes[n, 1] - HALF, boxes[n, 3] + HALF
        left, right = boxes[n, 0] - HALF, boxes[n, 2] + HALF
        for row in range(max(top, 0) // _BIN, min(bottom // _BIN + 1, rows)):
            for column in range(max(left, 0) // _BIN, min(right // _BIN + 1, columns)):
                other = first[row, column]
                while other >= 0:
                    if (
                        boxes[n, 0] < boxes[other, 2]
                        and boxes[other, 0] < boxes[n, 2]
                        and boxes[n, 1] < boxes[other, 3]
                        and boxes[other, 1] < boxes[n, 3]
                    ):
                        shared = shared_pixels(bits, boxes, middles, n, other)
                        if shared and found < room:
                            pairs[found, 0], pairs[found, 1] = n, other
                            conflicts[found] = shared > overlap * min(areas[n], areas[other])
                        found += shared > 0
                    other = following[other]
        row, column = middles[n, 0] // _BIN, middles[n, 1] // _BIN
        following[n] = first[row, column]
        first[row, column] = n
    return pairs, conflicts, found


@njit(cache=True, nogil=True)
def _clear_hidden(
    bits: Bits,
    boxes: NDArray[np.int32],
    middles: NDArray[np.int32],
    stay: NDArray[np.bool_],
    foreground: NDArray[np.float32],
    frame: tuple[int, int, int, int],
    least: np.float32,
) -> NDArray[np.int64]:
    """Leave each pixel to the highest of the candidates that stay; the areas that these keep.

    ``frame``: height, width, grid and crop. Nothing is kept where there are no outputs."""
    height, width, grid, crop = frame
    taken = np.zeros((height, width // SIDE + 3), np.uint64)
    sizes = np.zeros(len(bits), np.int64)
    for n in range(len(bits)):
        if not stay[n]:
            continue
        left, top = middles[n, 1] - HALF, middles[n, 0] - HALF
        seen = _columns(max(crop - left, 0), min(width - crop - left, SIDE))
        # One word to the left of the window is spare.
        word, shift = (left + SIDE) // SIDE, np.uint64((left + SIDE) % SIDE)
        for y in range(max(boxes[n, 1], crop), min(boxes[n, 3], height - crop)):
            line = bits[n, y - top] & seen
            if least > -np.inf:
                line = _in_foreground(line, left - crop, y - crop, foreground, grid, least)
            here = taken[y, word] >> shift
            # No shift by a whole word: what that gives is not defined.
            here |= (taken[y, word + 1] << np.uint64(1)) << (np.uint64(SIDE - 1) - shift)
            line &= ~here
            bits[n, y - top] = line
            taken[y, word] |= line << shift
            taken[y, word + 1] |= (line >> np.uint64(1)) >> (np.uint64(SIDE - 1) - shift)
            sizes[n] += ones(line)
    return sizes


@njit(cache=True, nogil=True)
def _columns(first: int, stop: int) -> np.uint64:
    """The bits from the first to before the last of some columns of a raster."""
    if stop <= first:
        return np.uint64(0)
    return (~np.uint64(0) >> np.uint64(SIDE - (stop - first))) << np.uint64(first)


@njit(cache=True, nogil=True)
def _in_foreground(
    line: np.uint64,
    x0: int,
    y: int,
    foreground: NDArray[np.float32],
    grid: int,
    least: np.float32,
) -> np.uint64:
    """The pixels of a row of a raster, which begins at ``x0, y``, that are foreground."""
    kept = np.uint64(0)
    for column in range(SIDE):
        bit = np.uint64(1) << np.uint64(column)
        if line & bit:
            x = x0 + column
            channel = (y % grid) * grid + x % grid
            if foreground[channel, y // grid, x // grid] >= least:
                kept |= bit
    return kept


@njit(cache=True, nogil=True)
def _paint(
    bits: Bits,
    boxes: NDArray[np.int32],
    middles: NDArray[np.int32],
    chosen: NDArray[np.int64],
    frame: tuple[int, int, int, int],
) -> NDArray[np.int32]:
    """Labels 1, 2, .. of the chosen candidates, none of which hides another.

    ``frame`` as for :func:`_clear_hidden`."""
    height, width, _, crop = frame
    labels = np.zeros((height, width), np.int32)
    for number in range(len(chosen)):
        n = chosen[number]
        left, top = middles[n, 1] - HALF, middles[n, 0] - HALF
        x0, x1 = max(boxes[n, 0], crop), min(boxes[n, 2], width - crop)
        for y in range(max(boxes[n, 1], crop), min(boxes[n, 3], height - crop)):
            line = bits[n, y - top]
            for x in range(x0, x1):
                if (line >> np.uint64(x - left)) & np.uint64(1):
                    labels[y, x] = number + 1
    return labels


@njit(cache=True, nogil=True)
def _widen(supports: NDArray[np.int32], which: int, others: NDArray[np.int32], other: int) -> None:
    supports[which, 0] = min(supports[which, 0], others[other, 0])
    supports[which, 1] = min(supports[which, 1], others[other, 1])
    supports[which, 2] = max(supports[which, 2], others[other, 2])
    supports[which, 3] = max(supports[which, 3], others[other, 3])
