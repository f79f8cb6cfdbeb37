"""Instances from flows: every pixel is carried to the middle of its nucleus.

After Stringer et al., "Cellpose: a generalist algorithm for cellular segmentation", Nature Methods
18, 100-106 (2021), as its package does it, with three departures, so that no window as a whole
has a say in an instance: of two equal peaks side by side the upper left one counts, the length of
the diffusion that masks are checked by follows from the mask's own size, and there is no
greatest size as a share of the window.

Positions are kept as a whole pixel and a fraction, so that they are the same bits wherever the
window lies.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wsiseg.models.classical.instances import tidy
from wsiseg.models.decoding.heat import flow_errors
from wsiseg.models.segmenter import Instances

_PEAK_RADIUS = 2
_GROWTH = 5
_LEAST_PEAK = 10
_LEAST_BIN = 2
_STILL = 1e-4


@dataclass(frozen=True, slots=True)
class FlowRule:
    """How flows become instances; the defaults are cellpose's.

    Attributes
    ----------
    score
        Pixels whose score (a logit) is above this belong to nuclei.
    steps
        Steps that every pixel goes.
    flow_error
        Greatest mean squared difference between the flows found and those that the mask would
        have; 0 keeps every mask.
    least_area_px
        Smaller masks are dropped.
    """

    score: float = 0.0
    steps: int = 200
    flow_error: float = 0.4
    least_area_px: int = 15


def find_flow_instances(
    flows: NDArray[np.float32], score: NDArray[np.float32], rule: FlowRule
) -> Instances:
    """The instances of one window, all of class 0.

    Parameters
    ----------
    flows
        float32 ``[2, y, x]``: the step of every pixel along y and x, in pixels; of length 1 where
        a nucleus is. Cellpose's networks put out five times as much.
    score
        float32 ``[y, x]``, logit of belonging to a nucleus.

    Returns
    -------
    Instances
        4-connected and without holes; the probability is the mean of the pixels' own. A support
        holds the ways that its pixels go and those of the instances that touch it.
    """
    inside = score > np.float32(rule.score)
    steps = np.zeros((*score.shape, 2), np.float32)
    steps[..., 0] = np.where(inside, flows[0], 0)
    steps[..., 1] = np.where(inside, flows[1], 0)
    starts = np.flatnonzero(inside).astype(np.int32)
    ends, ways = _carry(steps, starts, rule.steps)
    bins, count = _grow_peaks(_gather(ends, *score.shape))
    labels = _label(starts, ends, bins)
    boxes = _way_boxes(labels, starts, ways, count)
    kept = np.bincount(labels.ravel(), minlength=count + 1) > 0
    if rule.flow_error > 0:
        kept &= flow_errors(labels, count, steps) <= rule.flow_error
    kept[0] = False
    labels[~kept[labels]] = 0
    tidy(labels, count, labels.size)
    area, probability = _measure(labels, score, count)
    kept &= area >= rule.least_area_px
    numbers = np.where(kept, np.cumsum(kept), 0).astype(np.int32)
    supports = _join_touching(labels, boxes)
    return Instances(
        labels=numbers[labels],
        classes=np.zeros(int(kept.sum()), np.uint8),
        probabilities=probability[kept],
        supports=supports[kept],
    )


@njit(cache=True, nogil=True)
def _carry(
    steps: NDArray[np.float32], starts: NDArray[np.int32], count: int
) -> tuple[NDArray[np.int32], NDArray[np.int16]]:
    """Where pixels end: flat indices ``[n]``, and the boxes of their ways ``[n, 4]`` (x0, y0, x1,
    y1, of pixels, the last one included)."""
    height, width = steps.shape[:2]
    ends = np.empty(len(starts), np.int32)
    ways = np.empty((len(starts), 4), np.int16)
    half = np.float32(0.0)
    for k in range(len(starts)):
        y, x = divmod(int(starts[k]), width)
        v, u = half, half
        x0, y0, x1, y1 = x, y, x, y
        before_y, before_x, before_v, before_u = y, x, v, u
        for step in range(count):
            below, right = min(y + 1, height - 1), min(x + 1, width - 1)
            a, b = (1 - v) * (1 - u), (1 - v) * u
            c, d = v * (1 - u), v * u
            dy = (
                a * steps[y, x, 0]
                + b * steps[y, right, 0]
                + c * steps[below, x, 0]
                + d * steps[below, right, 0]
            )
            dx = (
                a * steps[y, x, 1]
                + b * steps[y, right, 1]
                + c * steps[below, x, 1]
                + d * steps[below, right, 1]
            )
            last_y, last_x, last_v, last_u = y, x, v, u
            y, v = _moved(y, v, dy, height)
            x, u = _moved(x, u, dx, width)
            x0, y0, x1, y1 = min(x0, x), min(y0, y), max(x1, x), max(y1, y)
            if abs(dy) < _STILL and abs(dx) < _STILL:
                break
            # Pixels swing about the middle in turns of two: where the last step takes them is
            # known as soon as they do.
            if (
                y == before_y
                and x == before_x
                and abs(v - before_v) < _STILL
                and abs(u - before_u) < _STILL
            ):
                if (count - 1 - step) % 2:
                    y, x = last_y, last_x
                break
            before_y, before_x, before_v, before_u = last_y, last_x, last_v, last_u
        ends[k] = y * width + x
        ways[k, 0], ways[k, 1], ways[k, 2], ways[k, 3] = x0, y0, x1, y1
    return ends, ways


@njit(cache=True, nogil=True)
def _moved(whole: int, part: np.float32, step: np.float32, size: int) -> tuple[int, np.float32]:
    moved = np.float32(part + step)
    carried = int(np.floor(moved))
    whole += carried
    moved = np.float32(moved - carried)
    if whole < 0:
        return 0, np.float32(0.0)
    if whole >= size - 1:
        return size - 1, np.float32(0.0)
    return whole, moved


@njit(cache=True, nogil=True)
def _gather(ends: NDArray[np.int32], height: int, width: int) -> NDArray[np.int32]:
    """How many pixels end in each pixel ``[y, x]``."""
    found = np.zeros(height * width, np.int32)
    for k in range(len(ends)):
        found[ends[k]] += 1
    return found.reshape(height, width)


@njit(cache=True, nogil=True)
def _grow_peaks(ended: NDArray[np.int32]) -> tuple[NDArray[np.int32], int]:
    """Number of the peak that each pixel ``[y, x]`` belongs to as an end, and how many there are.

    A peak is the highest within two pixels; it takes the pixels around it that it reaches in five
    steps over pixels in which more than two ended. What several reach goes to the highest.
    """
    height, width = ended.shape
    peaks = np.empty((ended.size // 9 + 1, 2), np.int32)
    count = 0
    for y in range(height):
        for x in range(width):
            if ended[y, x] > _LEAST_PEAK and _is_peak(ended, y, x):
                peaks[count, 0], peaks[count, 1] = y, x
                count += 1
    heights = np.empty(count, np.int32)
    for k in range(count):
        # Backwards, so that of equal ones the upper left comes last in the order and wins.
        back = count - 1 - k
        heights[k] = ended[peaks[back, 0], peaks[back, 1]]
    order = np.argsort(heights, kind="mergesort")
    bins = np.zeros((height, width), np.int32)
    side = 2 * _GROWTH + 1
    reached = np.empty((side, side), np.int32)
    for k in range(count):
        peak = count - 1 - order[k]
        _grow(ended, bins, reached, peaks[peak], peak + 1)
    return bins, count


@njit(cache=True, nogil=True)
def _is_peak(ended: NDArray[np.int32], y: int, x: int) -> bool:
    height, width = ended.shape
    here = ended[y, x]
    for ny in range(max(y - _PEAK_RADIUS, 0), min(y + _PEAK_RADIUS + 1, height)):
        for nx in range(max(x - _PEAK_RADIUS, 0), min(x + _PEAK_RADIUS + 1, width)):
            there = ended[ny, nx]
            before = ny < y or (ny == y and nx < x)
            if there > here or (there == here and before):
                return False
    return True


@njit(cache=True, nogil=True)
def _grow(
    ended: NDArray[np.int32],
    bins: NDArray[np.int32],
    reached: NDArray[np.int32],
    peak: NDArray[np.int32],
    number: int,
) -> None:
    height, width = ended.shape
    side = 2 * _GROWTH + 1
    top, left = peak[0] - _GROWTH, peak[1] - _GROWTH
    reached[:] = -1
    reached[_GROWTH, _GROWTH] = 0
    for step in range(_GROWTH + 1):
        for j in range(side):
            for i in range(side):
                if reached[j, i] != step:
                    continue
                bins[top + j, left + i] = number
                if step == _GROWTH:
                    continue
                for nj in range(max(j - 1, 0), min(j + 2, side)):
                    for ni in range(max(i - 1, 0), min(i + 2, side)):
                        y, x = top + nj, left + ni
                        if not (0 <= y < height and 0 <= x < width):
                            continue
                        if reached[nj, ni] < 0 and ended[y, x] > _LEAST_BIN:
                            reached[nj, ni] = step + 1


@njit(cache=True, nogil=True)
def _label(
    starts: NDArray[np.int32], ends: NDArray[np.int32], bins: NDArray[np.int32]
) -> NDArray[np.int32]:
    labels = np.zeros(bins.size, np.int32)
    flat = bins.reshape(-1)
    for k in range(len(starts)):
        labels[starts[k]] = flat[ends[k]]
    return labels.reshape(bins.shape)


@njit(cache=True, nogil=True)
def _way_boxes(
    labels: NDArray[np.int32], starts: NDArray[np.int32], ways: NDArray[np.int16], count: int
) -> NDArray[np.int32]:
    """Boxes int32 ``[count + 1, 4]`` of the ways that the pixels of each label go."""
    height, width = labels.shape
    boxes = np.zeros((count + 1, 4), np.int32)
    boxes[:, 0] = width
    boxes[:, 1] = height
    flat = labels.reshape(-1)
    for k in range(len(starts)):
        label = flat[starts[k]]
        if label:
            boxes[label, 0] = min(boxes[label, 0], ways[k, 0])
            boxes[label, 1] = min(boxes[label, 1], ways[k, 1])
            boxes[label, 2] = max(boxes[label, 2], ways[k, 2] + 1)
            boxes[label, 3] = max(boxes[label, 3], ways[k, 3] + 1)
    return boxes


@njit(cache=True, nogil=True)
def _measure(
    labels: NDArray[np.int32], score: NDArray[np.float32], count: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Area and mean probability of every label, ``[count + 1]`` each."""
    height, width = labels.shape
    area = np.zeros(count + 1, np.int64)
    total = np.zeros(count + 1, np.float64)
    for y in range(height):
        for x in range(width):
            label = labels[y, x]
            if label:
                area[label] += 1
                total[label] += 1 / (1 + np.exp(-np.float64(score[y, x])))
    return area, (total / np.maximum(area, 1)).astype(np.float32)


@njit(cache=True, nogil=True)
def _join_touching(labels: NDArray[np.int32], boxes: NDArray[np.int32]) -> NDArray[np.int32]:
    """Boxes ``[count + 1, 4]``, each with those of the labels that touch it."""
    height, width = labels.shape
    joined = boxes.copy()
    for y in range(height):
        for x in range(width):
            here = labels[y, x]
            if not here:
                continue
            for k in range(2):
                ny, nx = y + k, x + 1 - k
                if ny >= height or nx >= width:
                    continue
                there = labels[ny, nx]
                if there and there != here:
                    for a, b in ((here, there), (there, here)):
                        joined[a, 0] = min(joined[a, 0], boxes[b, 0])
                        joined[a, 1] = min(joined[a, 1], boxes[b, 1])
                        joined[a, 2] = max(joined[a, 2], boxes[b, 2])
                        joined[a, 3] = max(joined[a, 3], boxes[b, 3])
    return joined
