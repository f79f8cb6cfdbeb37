"""What each way teaches its network, from labels on the fine grid of a crop.

``fine`` is what :func:`wsiseg.training.sampling.crop_labels` gives for a crop of ``size`` label
pixels; targets are float32 ``[channels, g, g]`` with ``g = size / 2``. Lengths are in label pixels
of 0.5 µm.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import label as connected_parts

from wsiseg.training.sampling import FINE, MARGIN, foreground_target, star_targets

GRID = 2
RAYS = 32
OFFSET_UNIT = 8.0
_PEAK_PX = 2.5

Fine = NDArray[np.int32]
Target = NDArray[np.float32]


def stars(fine: Fine, size: int) -> Target:
    """Scaled distance, rays, foreground: the package's own."""
    probability, rays = star_targets(fine, size, RAYS, GRID)
    return np.concatenate([probability, rays, foreground_target(fine, size, GRID)])


def offsets(fine: Fine, size: int) -> Target:
    """Peaks at centroids, offsets (x, y) to the centroid, foreground."""
    fine = _single(fine)
    label, x, y = _places(fine, size)
    cx, cy = _centroids(fine)
    dx, dy = cx[label] - x, cy[label] - y
    inside = label > 0
    peak = np.where(inside, np.exp(-(dx**2 + dy**2) / (2 * _PEAK_PX**2)), 0)
    maps = np.stack([peak, np.where(inside, dx, 0), np.where(inside, dy, 0)])
    return np.concatenate([maps.astype(np.float32), foreground_target(fine, size, GRID)])


def maps(fine: Fine, size: int) -> Target:
    """Scaled distance; horizontal and vertical place in the nucleus, -1..1; foreground.

    The latter two as in HoVer-Net (Graham et al., Med. Image Anal. 58, 2019).
    """
    fine = _single(fine)
    label, x, y = _places(fine, size)
    cx, cy = _centroids(fine)
    low, high = np.zeros((2, len(cx))), np.zeros((2, len(cx)))
    for number, box in enumerate(ndimage.find_objects(fine), 1):
        if box is not None:
            rows, columns = box
            low[:, number] = columns.start / FINE, rows.start / FINE
            high[:, number] = columns.stop / FINE, rows.stop / FINE
    across = []
    for k, (place, centre) in enumerate(((x, cx), (y, cy))):
        distance = place - centre[label]
        room = np.where(distance < 0, centre[label] - low[k][label], high[k][label] - centre[label])
        across.append(np.where(label > 0, distance / np.maximum(room, 0.5), 0))
    probability, _ = star_targets(fine, size, 8, GRID)
    return np.concatenate(
        [probability, np.stack(across).astype(np.float32), foreground_target(fine, size, GRID)]
    )


def boundaries(fine: Fine, size: int) -> Target:
    """Share of every label pixel within 0.5 µm of a border; foreground."""
    return np.concatenate([_boundary(fine, size), foreground_target(fine, size, GRID)])


def _single(fine: Fine) -> Fine:
    """One label a connected part: a nucleus mirrored at its tile's border is two."""
    parts: Fine = connected_parts(fine, background=0, connectivity=1).astype(np.int32)
    return parts


def _places(
    fine: Fine, size: int
) -> tuple[NDArray[np.int32], NDArray[np.float64], NDArray[np.float64]]:
    """Label under the middle of each output pixel, and that middle in label pixels of the margined
    crop."""
    step = FINE * GRID
    middle = MARGIN * FINE + np.arange(size // GRID) * step + step // 2
    x, y = np.meshgrid(middle / FINE, middle / FINE)
    return fine[np.ix_(middle, middle)], x, y


def _centroids(fine: Fine) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rows, columns = np.nonzero(fine)
    labels = fine[rows, columns]
    count = np.maximum(np.bincount(labels, minlength=int(fine.max()) + 1), 1)
    x = np.bincount(labels, (columns + 0.5) / FINE, len(count)) / count
    y = np.bincount(labels, (rows + 0.5) / FINE, len(count)) / count
    return x, y


@njit(cache=True, nogil=True)
def _boundary(fine: Fine, size: int) -> Target:
    inner = size // GRID
    out = np.zeros((GRID * GRID, inner, inner), np.float32)
    share = np.float32(1.0 / (FINE * FINE))
    for y in range(size):
        for x in range(size):
            for k in range(FINE * FINE):
                fy, fx = (y + MARGIN) * FINE + k // FINE, (x + MARGIN) * FINE + k % FINE
                here = fine[fy, fx]
                mixed = False
                for dy in range(-2, 3):
                    for dx in range(-2, 3):
                        mixed = mixed or fine[fy + dy, fx + dx] != here
                if mixed:
                    out[(y % GRID) * GRID + x % GRID, y // GRID, x // GRID] += share
    return out
