"""Areas of a small mask: holes, pieces, and what they touch."""

from __future__ import annotations

import math

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
    areas[at_border(labels, len(areas))] = mask.size + 1
    areas[0] = mask.size + 1
    filled: Mask = mask | (areas <= largest)[labels]
    return filled


def touching_border(mask: Mask) -> Mask:
    """Pixels of the 8-connected pieces that touch the border of the array."""
    if not mask.any():
        return mask
    labels, areas = pieces(mask)
    touches = at_border(labels, len(areas))
    touches[0] = False
    found: Mask = touches[labels]
    return found


def at_border(labels: NDArray[np.int32], count: int) -> NDArray[np.bool_]:
    """Which of the labels 0 to ``count - 1`` lie at the border of the array: bool ``[count]``."""
    found = np.zeros(count, np.bool_)
    for line in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        found[line] = True
    return found


def grown(mask: Mask, radius: int) -> Mask:
    """Dilation by a disc: the pixels within ``radius`` of one of the mask's, by their centres."""
    if not mask.any() or radius < 1:
        return mask
    result, wide, width = mask.copy(), mask, 0
    # From the outermost rows of the disc to its middle, which is the widest.
    for away in range(radius, -1, -1):
        for _ in range(math.isqrt(radius**2 - away**2) - width):
            wide, width = _wider(wide), width + 1
        if away < len(mask):
            result[away:] |= wide[: len(mask) - away]
            result[: len(mask) - away] |= wide[away:]
    return result


def _wider(mask: Mask) -> Mask:
    """The mask with one pixel more at either end of every run along a row."""
    wide = mask.copy()
    wide[:, 1:] |= mask[:, :-1]
    wide[:, :-1] |= mask[:, 1:]
    return wide


def closed(mask: Mask, radius: int) -> Mask:
    """Closing by a disc; beyond the border counts as it suits."""
    if not mask.any():
        return mask
    free = ~grown(np.pad(mask, radius), radius)
    # What is free at the border goes on beyond it.
    near = grown(np.pad(free, 1, mode="edge"), radius)
    inner = radius + 1
    result: Mask = ~near[inner:-inner, inner:-inner] | mask
    return result
