"""Areas of a small mask: holes, pieces, and what they touch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.bool_]

_EIGHT = np.ones((3, 3), np.bool_)


def pieces(mask: Mask) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """8-connected pieces: labels int32 ``[y, x]`` from 1, and areas in pixels ``[n + 1]``
    (that of 0 set to 0)."""
    labels, _ = ndimage.label(mask, _EIGHT)
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    return labels, areas


def small_pieces(mask: Mask, least: float) -> Mask:
    """Pixels of the 8-connected pieces of fewer than ``least`` pixels."""
    labels, areas = pieces(mask)
    small: Mask = (areas < least)[labels] & mask
    return small


def without_small_holes(mask: Mask, largest: float) -> Mask:
    """The mask with its 4-connected holes of at most ``largest`` pixels filled."""
    labels, _ = ndimage.label(~mask)
    areas = np.bincount(labels.ravel())
    areas[labels[_border(mask.shape)]] = mask.size + 1
    areas[0] = mask.size + 1
    filled: Mask = mask | (areas <= largest)[labels]
    return filled


def touching_border(mask: Mask) -> Mask:
    """Pixels of the 8-connected pieces that touch the border of the array."""
    labels, areas = pieces(mask)
    touches = np.zeros(len(areas), np.bool_)
    touches[labels[_border(mask.shape)]] = True
    touches[0] = False
    found: Mask = touches[labels]
    return found


def grown(mask: Mask, radius: int) -> Mask:
    """Dilation by a disc."""
    if not mask.any() or radius < 1:
        return mask
    far: Mask = ndimage.distance_transform_edt(~mask) <= radius
    return far


def closed(mask: Mask, radius: int) -> Mask:
    """Closing by a disc; beyond the border counts as it suits."""
    if not mask.any():
        return mask
    wide = grown(np.pad(mask, radius), radius)
    shrunk: Mask = ndimage.distance_transform_edt(np.pad(wide, 1, mode="edge")) > radius
    inner = radius + 1
    result: Mask = shrunk[inner:-inner, inner:-inner] | mask
    return result


def _border(shape: tuple[int, ...]) -> Mask:
    border = np.ones(shape, np.bool_)
    border[1:-1, 1:-1] = False
    return border
