"""From outputs ``[channels, g, g]`` to labels int32 ``[2 g, 2 g]`` of 0.5 µm, 1 to n."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import expand_labels, watershed

from benchmarks.decodings.targets import GRID, OFFSET_UNIT, RAYS
from wsiseg.models.network.stars import MAX_RAY, StarRule, find_stars

LEAST_AREA_PX = 16
"""As in the package's choice of thresholds."""

Outputs = NDArray[np.float32]
Labels = NDArray[np.int32]
Rule = tuple[float, ...]


def stars(outputs: Outputs, rule: Rule) -> Labels:
    """``rule``: probability, overlap, foreground."""
    chosen = StarRule(rule[0], rule[1], rule[2], LEAST_AREA_PX)
    return find_stars(outputs, RAYS, GRID, chosen).labels


def offsets(outputs: Outputs, rule: Rule) -> Labels:
    """``rule``: probability of a peak, radius in output pixels within which a vote counts for it,
    foreground.

    Every foreground pixel goes to the nearest peak of where its offset points to. A pixel's answer
    hangs on outputs within ``MAX_RAY`` plus the radius, so the reach is bounded.
    """
    evidence = outputs[0]
    peaks = _peaks(evidence, np.float32(_logit(rule[0])))
    nearest = _nearest(peaks, evidence.shape, float(rule[1]))
    found = _vote(nearest, outputs[1:3], outputs[3:], np.float32(_logit(rule[2])))
    return _large_enough(found, len(peaks))


def maps(outputs: Outputs, rule: Rule) -> Labels:
    """``rule``: least height of a marker, weight of the maps' edges, foreground.

    Markers are the parts of the scaled distance, lowered where a map falls in place of rising,
    above a height; a watershed floods the foreground from them. A clump is flooded as a whole, so
    the reach is not bounded.
    """
    height = _sigmoid(outputs[0])
    if rule[1] > 0:
        falls = np.maximum(
            -ndimage.sobel(outputs[1], axis=1) / 8, -ndimage.sobel(outputs[2], axis=0) / 8
        )
        height = height - np.float32(rule[1]) * np.maximum(falls, 0)
    markers, count = ndimage.label(height > rule[0])
    found = watershed(
        -_doubled(height), _doubled(markers), mask=_fine(outputs[3:]) > _logit(rule[2])
    )
    return _large_enough(found.astype(np.int32), count)


def boundaries(outputs: Outputs, rule: Rule) -> Labels:
    """``rule``: least interior of a marker, pixels to grow by, foreground.

    Markers are 4-connected parts of foreground that is no border; they grow into the foreground.
    A chain of markers that touch is one part, so the reach is not bounded.
    """
    foreground = _fine(outputs[4:])
    interior = _sigmoid(foreground) * _sigmoid(-_fine(outputs[:4]))
    markers, count = ndimage.label(interior > rule[0])
    found = expand_labels(markers, int(rule[1]))
    found[foreground < _logit(rule[2])] = 0
    return _large_enough(found.astype(np.int32), count)


def _fine(channels: Outputs) -> Outputs:
    """``[4, g, g]`` to ``[2 g, 2 g]``."""
    _, height, width = channels.shape
    parts = channels.reshape(GRID, GRID, height, width).transpose(2, 0, 3, 1)
    return np.ascontiguousarray(parts).reshape(GRID * height, GRID * width)


def _doubled(coarse: NDArray[Any]) -> NDArray[Any]:
    return coarse.repeat(GRID, axis=0).repeat(GRID, axis=1)


def _sigmoid(values: Outputs) -> Outputs:
    return np.asarray(1 / (1 + np.exp(-values)), np.float32)


def _logit(probability: float) -> float:
    return float(np.log(probability / (1 - probability))) if probability > 0 else -np.inf


def _large_enough(labels: Labels, count: int) -> Labels:
    areas = np.bincount(labels.ravel(), minlength=count + 1)
    kept = areas >= LEAST_AREA_PX
    kept[0] = False
    return np.where(kept, np.cumsum(kept), 0).astype(np.int32)[labels]


@njit(cache=True, nogil=True)
def _peaks(evidence: Outputs, least: np.float32) -> NDArray[np.int64]:
    """Places (y, x) above ``least`` that are highest within two output pixels."""
    height, width = evidence.shape
    found = np.empty((height * width // 4 + height + width, 2), np.int64)
    count = 0
    for y in range(height):
        for x in range(width):
            value = evidence[y, x]
            if not value > least:
                continue
            highest = True
            for k in range(25):
                ny, nx = y + k // 5 - 2, x + k % 5 - 2
                if k == 12 or ny < 0 or nx < 0 or ny >= height or nx >= width:
                    continue
                if evidence[ny, nx] > value or (evidence[ny, nx] == value and k < 12):
                    highest = False
                    break
            if highest:
                found[count, 0], found[count, 1] = y, x
                count += 1
    return found[:count]


@njit(cache=True, nogil=True)
def _nearest(peaks: NDArray[np.int64], shape: tuple[int, int], radius: float) -> Labels:
    """Number (from 1) of the nearest peak within ``radius`` of every output pixel."""
    height, width = shape
    nearest = np.zeros((height, width), np.int32)
    best = np.full((height, width), np.float32(radius * radius + 0.5))
    reach = int(radius)
    for n in range(len(peaks)):
        for y in range(max(peaks[n, 0] - reach, 0), min(peaks[n, 0] + reach + 1, height)):
            for x in range(max(peaks[n, 1] - reach, 0), min(peaks[n, 1] + reach + 1, width)):
                squared = np.float32((y - peaks[n, 0]) ** 2 + (x - peaks[n, 1]) ** 2)
                if squared < best[y, x]:
                    best[y, x] = squared
                    nearest[y, x] = n + 1
    return nearest


@njit(cache=True, nogil=True)
def _vote(nearest: Labels, pointing: Outputs, foreground: Outputs, least: np.float32) -> Labels:
    height, width = nearest.shape
    labels = np.zeros((GRID * height, GRID * width), np.int32)
    for y in range(GRID * height):
        for x in range(GRID * width):
            gy, gx = y // GRID, x // GRID
            if foreground[(y % GRID) * GRID + x % GRID, gy, gx] < least:
                continue
            dx = min(max(pointing[0, gy, gx] * OFFSET_UNIT, -MAX_RAY), MAX_RAY)
            dy = min(max(pointing[1, gy, gx] * OFFSET_UNIT, -MAX_RAY), MAX_RAY)
            ty = int(np.floor((gy * GRID + 1 + dy) / GRID))
            tx = int(np.floor((gx * GRID + 1 + dx) / GRID))
            if 0 <= ty < height and 0 <= tx < width:
                labels[y, x] = nearest[ty, tx]
    return labels
