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

from wsiseg.models.segmenter import Instances

MAX_RAY = 31
"""Longest ray in pixels; with it a polygon's raster fits 64 rows of 64 bits."""

ROUNDS = 3
"""Odd, so that no two instances that stay conflict with one another unsettled."""

RAY_UNIT = 8.0
RAY_SHARPNESS = 4.0
"""A number ``v`` from the network means ``RAY_UNIT log(1 + exp(s v)) / s`` pixels, ``s`` being
the sharpness."""

_SIDE = 64
_HALF = 32
_BIN = 32
_BITS = NDArray[np.uint64]


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


def find_stars(
    outputs: NDArray[np.float32], rays: int, grid: int, rule: StarRule, crop: int = 0
) -> Instances:
    """The instances of one window, all of class 0.

    Parameters
    ----------
    outputs
        float32 ``[1 + rays + grid * grid, g, g]`` as they leave the network: logits of the
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
    evidence = outputs[0]
    places = _candidates(evidence, np.float32(_logit(rule.probability)))
    scores = evidence[places[:, 0], places[:, 1]]
    places = places[np.lexsort((places[:, 1], places[:, 0], -scores))]
    scores = evidence[places[:, 0], places[:, 1]]
    middles = (crop + places * grid + grid // 2).astype(np.int32)
    directions = outputs[1 : 1 + rays, places[:, 0], places[:, 1]].T
    bits, boxes, areas = _rasters(np.ascontiguousarray(directions), middles)
    shape = (evidence.shape[0] * grid + 2 * crop, evidence.shape[1] * grid + 2 * crop)
    stay, supports = _settle(
        bits, boxes, areas, middles, np.array(shape), rule.overlap, MAX_RAY + 2 * grid
    )
    labels, sizes = _paint(
        bits,
        boxes,
        middles,
        stay,
        np.ascontiguousarray(outputs[1 + rays :]),
        (shape[0], shape[1], grid, crop),
        np.float32(_logit(rule.foreground)),
    )
    kept = sizes >= rule.least_area_px
    kept[0] = False
    numbers = np.where(kept, np.cumsum(kept), 0).astype(np.int32)
    chosen = kept[1:]
    return Instances(
        labels=numbers[labels],
        classes=np.zeros(int(chosen.sum()), np.uint8),
        probabilities=(1 / (1 + np.exp(-scores[chosen].astype(np.float64)))).astype(np.float32),
        supports=supports[chosen],
    )


@njit(cache=True, nogil=True)
def ray_length(value: float) -> float:
    """Length of a ray in pixels from a number of the network."""
    return RAY_UNIT * math.log1p(math.exp(min(RAY_SHARPNESS * value, 60.0))) / RAY_SHARPNESS


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
) -> tuple[_BITS, NDArray[np.int32], NDArray[np.int32]]:
    """Polygons as 64 rows of 64 bits about their middle, their boxes (x0, y0, x1, y1) in the
    window and their areas. A pixel belongs to a polygon if its centre lies inside (even-odd)."""
    count, rays = numbers.shape
    bits = np.zeros((count, _SIDE), np.uint64)
    boxes = np.zeros((count, 4), np.int32)
    areas = np.zeros(count, np.int32)
    cosines, sines = np.empty(rays), np.empty(rays)
    for k in range(rays):
        cosines[k], sines[k] = math.cos(2 * math.pi * k / rays), math.sin(2 * math.pi * k / rays)
    xs, ys = np.empty(rays), np.empty(rays)
    for n in range(count):
        for k in range(rays):
            length = min(max(ray_length(np.float64(numbers[n, k])), 0.5), np.float64(MAX_RAY))
            xs[k] = _HALF + length * cosines[k]
            ys[k] = _HALF + length * sines[k]
        for k in range(rays):
            _toggle(bits[n], xs[k], ys[k], xs[(k + 1) % rays], ys[(k + 1) % rays])
        x0, y0, x1, y1 = _SIDE, _SIDE, 0, 0
        columns = np.uint64(0)
        for row in range(_SIDE):
            line = bits[n, row]
            if line:
                areas[n] += _ones(line)
                columns |= line
                y0, y1 = min(y0, row), row + 1
        for column in range(_SIDE):
            if (columns >> np.uint64(column)) & np.uint64(1):
                x0, x1 = min(x0, column), column + 1
        if areas[n] == 0:
            x0, y0, x1, y1 = _HALF, _HALF, _HALF, _HALF
        left, top = middles[n, 1] - _HALF, middles[n, 0] - _HALF
        boxes[n, 0], boxes[n, 1] = left + x0, top + y0
        boxes[n, 2], boxes[n, 3] = left + x1, top + y1
    return bits, boxes, areas


@njit(cache=True, nogil=True)
def _toggle(rows: _BITS, ax: float, ay: float, bx: float, by: float) -> None:
    """Flip, in every row an edge crosses, the pixels whose centre lies right of the crossing."""
    if ay > by:
        ax, ay, bx, by = bx, by, ax, ay
    first, last = math.ceil(ay - 0.5), math.ceil(by - 0.5)
    for row in range(first, last):
        x = ax + (bx - ax) * ((row + 0.5 - ay) / (by - ay))
        start = math.ceil(x - 0.5)
        rows[row] ^= ~np.uint64(0) << np.uint64(start)


@njit(cache=True, nogil=True)
def _ones(value: np.uint64) -> int:
    """Bits set, by adding neighbouring fields."""
    value = value - ((value >> np.uint64(1)) & np.uint64(0x5555555555555555))
    value = (value & np.uint64(0x3333333333333333)) + (
        (value >> np.uint64(2)) & np.uint64(0x3333333333333333)
    )
    value = (value + (value >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return int((value * np.uint64(0x0101010101010101)) >> np.uint64(56))


@njit(cache=True, nogil=True)
def _shared(a: _BITS, b: _BITS, dx: int, dy: int) -> int:
    """Pixels that two rasters share, the middle of ``b`` lying at ``dx``, ``dy`` from ``a``'s."""
    if abs(dx) >= _SIDE or abs(dy) >= _SIDE:
        return 0
    total = 0
    for row in range(max(0, dy), min(_SIDE, _SIDE + dy)):
        line = a[row]
        if not line:
            continue
        other = b[row - dy]
        other = other << np.uint64(dx) if dx >= 0 else other >> np.uint64(-dx)
        both = line & other
        if both:
            total += _ones(both)
    return total


@njit(cache=True, nogil=True)
def _settle(
    bits: _BITS,
    boxes: NDArray[np.int32],
    areas: NDArray[np.int32],
    middles: NDArray[np.int32],
    shape: NDArray[np.int64],
    overlap: float,
    grow: int,
) -> tuple[NDArray[np.bool_], NDArray[np.int32]]:
    """Which candidates (in order of rank) stay, and the supports of all."""
    count = len(bits)
    pairs, conflicts = _higher_neighbours(bits, boxes, areas, middles, shape, overlap)
    supports = boxes.copy()
    supports[:, :2] -= grow
    supports[:, 2:] += grow
    stay = np.ones(count, np.bool_)
    for number in range(ROUNDS):
        before, reach = stay.copy(), supports.copy()
        stay[:] = True
        for n in range(len(pairs)):
            if not conflicts[n]:
                continue
            lower, higher = pairs[n, 0], pairs[n, 1]
            if number == 0 or before[higher]:
                stay[lower] = False
            if number > 0:
                _widen(supports, lower, reach, higher)
    reach = supports.copy()
    for n in range(len(pairs)):
        _widen(supports, pairs[n, 0], reach, pairs[n, 1])
    return stay, supports


@njit(cache=True, nogil=True)
def _higher_neighbours(
    bits: _BITS,
    boxes: NDArray[np.int32],
    areas: NDArray[np.int32],
    middles: NDArray[np.int32],
    shape: NDArray[np.int64],
    overlap: float,
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Pairs ``[n, 2]`` (lower, higher) of candidates that share pixels, and which conflict."""
    count = len(bits)
    rows, columns = shape[0] // _BIN + 1, shape[1] // _BIN + 1
    first = np.full((rows, columns), -1, np.int32)
    following = np.full(count, -1, np.int32)
    pairs = np.empty((max(4 * count, 16), 2), np.int32)
    conflicts = np.empty(len(pairs), np.bool_)
    found = 0
    for n in range(count):
        by, bx = middles[n, 0] // _BIN, middles[n, 1] // _BIN
        for row in range(max(by - 2, 0), min(by + 3, rows)):
            for column in range(max(bx - 2, 0), min(bx + 3, columns)):
                other = first[row, column]
                while other >= 0:
                    if (
                        boxes[n, 0] < boxes[other, 2]
                        and boxes[other, 0] < boxes[n, 2]
                        and boxes[n, 1] < boxes[other, 3]
                        and boxes[other, 1] < boxes[n, 3]
                    ):
                        dx = np.int64(middles[other, 1]) - middles[n, 1]
                        dy = np.int64(middles[other, 0]) - middles[n, 0]
                        shared = _shared(bits[n], bits[other], dx, dy)
                        if shared:
                            if found == len(pairs):
                                pairs = np.concatenate((pairs, np.empty_like(pairs)))
                                conflicts = np.concatenate((conflicts, np.empty_like(conflicts)))
                            pairs[found, 0], pairs[found, 1] = n, other
                            conflicts[found] = shared > overlap * min(areas[n], areas[other])
                            found += 1
                    other = following[other]
        following[n] = first[by, bx]
        first[by, bx] = n
    return pairs[:found], conflicts[:found]


@njit(cache=True, nogil=True)
def _paint(
    bits: _BITS,
    boxes: NDArray[np.int32],
    middles: NDArray[np.int32],
    stay: NDArray[np.bool_],
    foreground: NDArray[np.float32],
    shape: tuple[int, int, int, int],
    least: np.float32,
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Labels (candidate + 1) of those that stay, the highest on top, and their visible areas.

    ``shape``: height, width, grid and crop. Nothing is painted where there are no outputs."""
    height, width, grid, crop = shape
    asks = least > -np.inf
    labels = np.zeros((height, width), np.int32)
    sizes = np.zeros(len(bits) + 1, np.int64)
    for n in range(len(bits)):
        if not stay[n]:
            continue
        left, top = middles[n, 1] - _HALF, middles[n, 0] - _HALF
        for y in range(max(boxes[n, 1], crop), min(boxes[n, 3], height - crop)):
            line = bits[n, y - top]
            for x in range(max(boxes[n, 0], crop), min(boxes[n, 2], width - crop)):
                if labels[y, x] or not (line >> np.uint64(x - left)) & np.uint64(1):
                    continue
                if asks:
                    row, column = y - crop, x - crop
                    channel = (row % grid) * grid + column % grid
                    if foreground[channel, row // grid, column // grid] < least:
                        continue
                labels[y, x] = n + 1
                sizes[n + 1] += 1
    return labels, sizes


@njit(cache=True, nogil=True)
def _widen(supports: NDArray[np.int32], which: int, others: NDArray[np.int32], other: int) -> None:
    supports[which, 0] = min(supports[which, 0], others[other, 0])
    supports[which, 1] = min(supports[which, 1], others[other, 1])
    supports[which, 2] = max(supports[which, 2], others[other, 2])
    supports[which, 3] = max(supports[which, 3], others[other, 3])
