"""Texture of chromatin: grey-level co-occurrence and gradients within the nucleus.

Haralick, Shanmugam, Dinstein: Textural features for image classification, IEEE Transactions on
Systems, Man and Cybernetics 3, 1973; the properties are those of scikit-image's
``graycoprops``, of symmetrical normalised matrices.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wsiseg.geometry import MPP, Box

LEVELS = 16
"""Grey levels of the co-occurrence matrix."""

DISTANCE_UM = 1.0
"""Distance of the pixels of a pair, rounded to whole pixels."""

_ANGLES = (0.0, math.pi / 4, math.pi / 2, 3 * math.pi / 4)
_CONTRAST, _CORRELATION, _ENERGY, _HOMOGENEITY, _ENTROPY, _GRADIENT, _SPREAD = range(7)
_NAMES = (
    "texture_contrast",
    "texture_correlation",
    "texture_energy",
    "texture_homogeneity",
    "texture_entropy",
    "gradient_mean_per_um",
    "gradient_std_per_um",
)


@dataclass(frozen=True, slots=True)
class Raster:
    """Nuclei drawn into a box of a frame.

    Attributes
    ----------
    labels
        int32 ``[y, x]``: 1 + the index of the nucleus, 0 outside of all.
    box
        The box, in pixels of the frame.
    mpp
        Pixel size of the frame.
    """

    labels: NDArray[np.int32]
    box: Box
    mpp: MPP


def pair_offsets(mpp: MPP) -> NDArray[np.int64]:
    """int64 ``[4, 2]`` (y, x): from a pixel to its partner in the four directions.

    As in scikit-image: sine and cosine of 0, 45, 90 and 135 degrees times the distance in
    pixels, rounded.
    """
    pixels = max(1, math.floor(DISTANCE_UM / mpp.mean + 0.5))
    rows = [
        (math.floor(math.sin(a) * pixels + 0.5), math.floor(math.cos(a) * pixels + 0.5))
        for a in _ANGLES
    ]
    return np.array(rows, np.int64)


def grey_levels(plane: NDArray[np.integer], limits: tuple[float, float]) -> NDArray[np.uint8]:
    """Grey levels 0 to 15 of a plane, of equal width from the first limit to the second.

    What lies beyond the limits takes the first or the last level.
    """
    low, high = limits
    step = max(high - low, 1e-9) / LEVELS
    levels = np.floor((plane.astype(np.float32) - np.float32(low)) / np.float32(step))
    kept: NDArray[np.uint8] = np.clip(levels, 0, LEVELS - 1).astype(np.uint8)
    return kept


def texture_statistics(
    raster: Raster,
    plane: NDArray[np.integer],
    members: NDArray[np.int64],
    boxes: NDArray[np.int64],
    limits: tuple[float, float],
    scale: float,
) -> dict[str, NDArray[np.float32]]:
    """Columns of the set ``texture``, float32 ``[n]`` each.

    Parameters
    ----------
    raster
        The nuclei, drawn with those around.
    plane
        Integers ``[y, x]``, as large as the raster; with the nuclei's neighbouring pixels.
    members
        int64 ``[n]``: indices of the nuclei to measure.
    boxes
        int64 ``[n, 4]``: ``x0, y0, x1, y1`` in the frame that cover their pixels.
    limits
        Values of the plane between which the grey levels lie.
    scale
        Units of the gradients per value of the plane.
    """
    origin = (raster.box.x0, raster.box.y0, raster.box.x0, raster.box.y0)
    out = np.full((len(members), len(_NAMES)), np.nan)
    _texture_all(
        raster.labels,
        (plane, grey_levels(plane, limits)),
        (members + 1, boxes - np.asarray(origin)),
        pair_offsets(raster.mpp),
        (scale / raster.mpp.x, scale / raster.mpp.y),
        out,
    )
    return {name: out[:, i].astype(np.float32) for i, name in enumerate(_NAMES)}


@njit(cache=True, nogil=True)
def _texture_all(
    labels: NDArray[np.int32],
    planes: tuple[NDArray[np.integer], NDArray[np.uint8]],
    wanted: tuple[NDArray[np.int64], NDArray[np.int64]],
    offsets: NDArray[np.int64],
    slopes: tuple[float, float],
    out: NDArray[np.float64],
) -> None:
    plane, levels = planes
    values, boxes = wanted
    height, width = labels.shape
    matrix = np.zeros((LEVELS, LEVELS), np.int64)
    logarithms = np.log(np.maximum(np.arange(4096), 1))
    for i in range(len(values)):
        x0, y0 = max(boxes[i, 0], 0), max(boxes[i, 1], 0)
        x1, y1 = min(boxes[i, 2], width), min(boxes[i, 3], height)
        _gradients(labels, plane, values[i], (x0, y0, x1, y1), slopes, out[i])
        sums, directions = np.zeros(5), 0
        for k in range(len(offsets)):
            dy, dx = offsets[k]
            matrix[:] = 0
            pairs = 0
            for y in range(max(y0, -dy), min(y1, height - dy)):
                for x in range(max(x0, -dx), min(x1, width - dx)):
                    if labels[y, x] == values[i] and labels[y + dy, x + dx] == values[i]:
                        matrix[levels[y, x], levels[y + dy, x + dx]] += 1
                        pairs += 1
            if pairs:
                _add_properties(matrix, pairs, logarithms, sums)
                directions += 1
        if directions:
            out[i, :5] = sums / directions


@njit(cache=True, nogil=True)
def _add_properties(
    matrix: NDArray[np.int64],
    pairs: int,
    logarithms: NDArray[np.float64],
    sums: NDArray[np.float64],
) -> None:
    """Add the properties of the symmetrical matrix of some pairs."""
    total = 2 * pairs
    contrast, squares, homogeneity, entropy = 0, 0, 0.0, 0.0
    first, second, crossed = 0, 0, 0
    for a in range(LEVELS):
        for b in range(a, LEVELS):
            count = matrix[a, b] + matrix[b, a]
            if count == 0:
                continue
            # Both halves of the symmetrical matrix, or its diagonal once.
            times = 1 if a == b else 2
            contrast += times * count * (a - b) ** 2
            squares += times * count * count
            homogeneity += times * count / (1.0 + (a - b) ** 2)
            log = logarithms[count] if count < len(logarithms) else math.log(count)
            entropy -= times * count * log
            first += times * count * (a + b)
            second += times * count * (a * a + b * b)
            crossed += times * count * 2 * a * b
    # Each count stands for both orders of a pair, hence the halves of these sums.
    variance = 2 * total * second - first * first
    covariance = 2 * total * crossed - first * first
    sums[_CONTRAST] += contrast / total
    sums[_CORRELATION] += covariance / variance if variance else 1.0
    sums[_ENERGY] += math.sqrt(squares) / total
    sums[_HOMOGENEITY] += homogeneity / total
    sums[_ENTROPY] += max(entropy / total + math.log(total), 0.0)


@njit(cache=True, nogil=True)
def _gradients(
    labels: NDArray[np.int32],
    plane: NDArray[np.integer],
    value: int,
    box: tuple[int, int, int, int],
    slopes: tuple[float, float],
    out: NDArray[np.float64],
) -> None:
    """Mean and standard deviation of the gradient; the picture's border repeats itself."""
    height, width = labels.shape
    n, total, squares = 0, 0.0, 0.0
    for y in range(box[1], box[3]):
        up, down = max(y - 1, 0), min(y + 1, height - 1)
        for x in range(box[0], box[2]):
            if labels[y, x] != value:
                continue
            left, right = max(x - 1, 0), min(x + 1, width - 1)
            across = (np.float64(plane[y, right]) - np.float64(plane[y, left])) / 2 * slopes[0]
            along = (np.float64(plane[down, x]) - np.float64(plane[up, x])) / 2 * slopes[1]
            length = math.hypot(across, along)
            n += 1
            total += length
            squares += length * length
    if n:
        mean = total / n
        out[_GRADIENT] = mean
        out[_SPREAD] = math.sqrt(max(squares / n - mean * mean, 0.0))
