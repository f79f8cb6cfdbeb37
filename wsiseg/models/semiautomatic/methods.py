"""The five tools: from an integer image and the slide's threshold to labels.

Thresholds, smoothing and distances are integers of bounded reach, so a mask is the same bits
wherever the window lies. What follows looks at one connected clump of the mask at a time: the
order in which pixels of a clump are flooded is made unique by their number within the clump, and
contours move by whole pixels. Shares become 256ths.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, maximum_filter
from skimage.measure import label as label_parts
from skimage.morphology import h_maxima
from skimage.segmentation import morphological_geodesic_active_contour, watershed

from wsiseg.models.classical.filters import binomial, box_mean, capped_distance, majority
from wsiseg.models.semiautomatic.parameters import Parameters, passes, pixels

Image = NDArray[np.int32]
Mask = NDArray[np.bool_]

FINE = 8
"""Smoothed images are in this many parts of a level."""

_VOTE = 128
_CAP_UM = 8.0
_DISTANCE = 64

# scikit-image alternates its two smoothing operators by a counter of the module, whoever calls.
_contours = threading.Lock()


@dataclass(frozen=True, slots=True)
class Parted:
    """Labels of one window.

    Attributes
    ----------
    labels
        int32 ``[y, x]``, 0 is background; not yet tidied.
    clumps
        int32 ``[y, x]``: the connected parts of the mask; what is in one hangs on no other.
    """

    labels: Image
    clumps: Image


@dataclass(frozen=True, slots=True)
class Method:
    """A tool.

    Attributes
    ----------
    name
        As in the model's name.
    part
        From the smoothed image, the slide's threshold (both in parts of ``FINE``) and the
        parameters to labels.
    reach_px
        How far around a clump the tool looks, the smoothing left out.
    whole_clumps
        Whether a nucleus is only taken from a window that holds its clump. Where false, two
        windows may flood a clump that both cut in another order where pixels are equal.
    """

    name: str
    part: Callable[[Image, int, Parameters], Parted]
    reach_px: Callable[[Parameters], int]
    whole_clumps: bool = True


def smoothed(signal: Image, parameters: Parameters) -> Image:
    """The image in parts of ``FINE``, smoothed."""
    fine: Image = binomial(signal * FINE, passes(parameters.smoothing_um))
    return fine


def smoothing_reach_px(parameters: Parameters) -> int:
    """How far the smoothing looks."""
    return 2 * passes(parameters.smoothing_um)


def _otsu(image: Image, threshold: int, parameters: Parameters) -> Parted:
    clumps = _clumps(majority(image > threshold, 1, _VOTE))
    return Parted(clumps, clumps)


def _local(image: Image, threshold: int, parameters: Parameters) -> Parted:
    around = box_mean(image, pixels(parameters.surroundings_um))
    level = np.maximum(
        around + threshold * _share(parameters.offset) // 256,
        threshold * _share(parameters.floor) // 256,
    )
    clumps = _clumps(majority(image > level, 1, _VOTE))
    return Parted(clumps, clumps)


def _watershed(image: Image, threshold: int, parameters: Parameters) -> Parted:
    mask = majority(image > threshold, 1, _VOTE)
    clumps = _clumps(mask)
    squares = capped_distance(mask, pixels(_CAP_UM))
    roots = np.sqrt(np.arange(pixels(_CAP_UM) ** 2 + 1, dtype=np.float64))
    distance = np.rint(roots * _DISTANCE).astype(np.int32)[squares]
    relief = np.where(mask, binomial(distance, 1), 0)
    notch = max(round(parameters.notch_um * 2 * _DISTANCE), 1)
    return Parted(_flood(relief, _seeds(relief, notch), clumps), clumps)


def _region_growing(image: Image, threshold: int, parameters: Parameters) -> Parted:
    relief, clumps = _floor(image, threshold, parameters)
    seeds = _seeds(relief, max(threshold * _share(parameters.prominence) // 256, 1))
    basins = _flood(relief, seeds, clumps)
    levels = np.zeros(int(seeds.max(initial=0)) + 1, np.int64)
    np.maximum.at(levels, seeds, image)
    taken = image.astype(np.int64) * 256 > levels[basins] * _share(parameters.tolerance)
    return Parted(np.where(taken, basins, 0).astype(np.int32), clumps)


def _active_contours(image: Image, threshold: int, parameters: Parameters) -> Parted:
    relief, clumps = _floor(image, threshold, parameters)
    # Contours leave their clump, and windows cut it: where they begin hangs on no clump as a whole.
    highest = maximum_filter(relief, 2 * pixels(parameters.seed_um) + 1)
    seeds = _clumps((relief == highest) & (relief > 0))
    steepest = threshold * _share(parameters.stiffness) // 256
    rows, columns = _slopes(image)
    flatness = 1.0 / (1.0 + (rows * rows + columns * columns) / max(steepest, 1) ** 2)
    with _contours:
        inside: Any = morphological_geodesic_active_contour(
            flatness,
            num_iter=_iterations(parameters),
            init_level_set=binary_dilation(seeds > 0, iterations=pixels(parameters.start_um)),
            smoothing=1,
            threshold=0.5,
            balloon=1,
        )
    basins = _flood(relief, seeds, clumps)
    return Parted(np.where(inside > 0, basins, 0).astype(np.int32), clumps)


def _floor(image: Image, threshold: int, parameters: Parameters) -> tuple[Image, Image]:
    """A smoother relief, 0 outside the clumps of all above the floor, and these clumps."""
    clumps = _clumps(majority(image > threshold * _share(parameters.floor) // 256, 1, _VOTE))
    relief = binomial(image, passes(parameters.seed_um))
    return np.where(clumps > 0, relief, 0).astype(np.int32), clumps


def _seeds(relief: Image, height: int) -> Image:
    """Numbered summits that rise by ``height`` above the pass to a higher one."""
    # Raised, so that no pass leads over the background, where all clumps of a window meet.
    raised = np.where(relief > 0, relief + height, 0).astype(np.int32)
    return _clumps(h_maxima(raised, height) > 0)


def _flood(relief: Image, seeds: Image, clumps: Image) -> Image:
    """Every pixel of a clump to one of the clump's seeds, from the summits down."""
    # Equal pixels are flooded in an order that hangs on all that is in the window, unless no two
    # of a clump are equal.
    order = -(relief.astype(np.float64) * float(1 << 26)) + _ranks(clumps)
    found: Any = watershed(order, seeds, connectivity=1, mask=clumps > 0)
    return np.asarray(found, np.int32)


def _clumps(mask: Mask) -> Image:
    found: Any = label_parts(mask, connectivity=1)
    return np.asarray(found, np.int32)


@njit(cache=True, nogil=True)
def _ranks(clumps: Image) -> NDArray[np.int64]:
    """Number of every pixel within its clump, row by row."""
    height, width = clumps.shape
    counts = np.zeros(clumps.max() + 1, np.int64)
    ranks = np.zeros((height, width), np.int64)
    for y in range(height):
        for x in range(width):
            clump = clumps[y, x]
            if clump:
                ranks[y, x] = counts[clump]
                counts[clump] += 1
    return ranks


def _slopes(image: Image) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Half the difference of the neighbours along y and x; 0 at the window's border."""
    rows, columns = np.zeros(image.shape), np.zeros(image.shape)
    rows[1:-1] = (image[2:] - image[:-2]) / 2
    columns[:, 1:-1] = (image[:, 2:] - image[:, :-2]) / 2
    return rows, columns


def _iterations(parameters: Parameters) -> int:
    """An even number, so that the next call begins with the same of the two operators."""
    return 2 * max(round(parameters.reach_um / 0.5 / 2), 1)


def _share(value: float) -> int:
    return round(value * 256)


def _surroundings_px(parameters: Parameters) -> int:
    return pixels(parameters.surroundings_um) + 1


def _relief_px(parameters: Parameters) -> int:
    return 2 * passes(parameters.seed_um) + 1


def _contours_px(parameters: Parameters) -> int:
    # A step dilates by one pixel, looks one further, and is smoothed by two operators of one.
    begin = _relief_px(parameters) + pixels(parameters.seed_um) + pixels(parameters.start_um)
    return begin + 4 * _iterations(parameters)


METHODS = {
    method.name: method
    for method in (
        Method("otsu", _otsu, lambda _: 1),
        Method("local-threshold", _local, _surroundings_px),
        Method("watershed", _watershed, lambda _: 3),
        Method("region-growing", _region_growing, _relief_px),
        # Ten times the work of the others a pixel: the wide windows of whole clumps cost minutes.
        Method("active-contours", _active_contours, _contours_px, whole_clumps=False),
    )
}
"""The tools by name."""
