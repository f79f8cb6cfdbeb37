"""From labels to :class:`~wsiseg.models.segmenter.Instances`: sizes, probabilities, classes."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wsiseg.models.segmenter import Instances

Labels = NDArray[np.int32]
Map = NDArray[np.float32]

_CLEAR = 1 << 20
"""Weight of a pixel that shows a class above one that shows background: more than an instance has
pixels, so that the latter only decide where there are no others."""


def make_instances(
    labels: Labels,
    count: int,
    probability: Map | None,
    types: Map | None,
    *,
    background: int | None = None,
    least_px: int = 1,
    supports: NDArray[np.int32] | None = None,
) -> Instances:
    """Instances of at least ``least_px`` pixels, numbered anew in the order they had.

    Parameters
    ----------
    labels
        int32 ``[y, x]``, 0 to ``count``.
    probability
        float32 ``[y, x]``: probability of nucleus; that of an instance is its mean. Without one
        every instance has 1.
    types
        float32 ``[k, y, x]``: evidence for every class (logits or probabilities), background
        perhaps among them. Every pixel votes for the class it shows most of; the class with most
        votes wins, of equals the first. Background never wins: where all pixels show it, they vote
        for what they show next to it (as HoVer-Net's published code does, which takes the second
        most frequent type where the first is background).
    background
        Which of ``types`` is background; classes are numbered without it.
    supports
        int32 ``[count, 4]`` or ``None``, see :class:`~wsiseg.models.segmenter.Instances`.
    """
    pixels = np.flatnonzero(labels).astype(np.int32)
    values = labels if probability is None else probability
    areas, sums = _measure(pixels, labels.reshape(-1), values.reshape(-1), count)
    kept = areas[1:] >= least_px
    numbers = np.zeros(count + 1, np.int32)
    numbers[1:] = np.where(kept, np.cumsum(kept), 0)
    found = int(kept.sum())
    means = np.ones(found, np.float32)
    if probability is not None:
        means = np.clip(sums[1:][kept] / areas[1:][kept], 0, 1).astype(np.float32)
    classes = np.zeros(found, np.uint8)
    if types is not None and found:
        classes = vote_classes(labels, count, types, background)[kept]
    return Instances(
        labels=numbers[labels] if found < count else labels,
        classes=classes,
        probabilities=means,
        supports=None if supports is None else supports[kept],
    )


def vote_classes(
    labels: Labels, count: int, types: Map, background: int | None
) -> NDArray[np.uint8]:
    """Classes ``[count]`` by vote, see :func:`make_instances`."""
    votes = _vote(labels, count, types, -1 if background is None else background)[1:]
    if background is not None:
        votes = np.delete(votes, background, axis=1)
    found: NDArray[np.uint8] = votes.argmax(axis=1).astype(np.uint8)
    return found


def pick_class(types: Map, background: int | None) -> NDArray[np.uint8]:
    """The likeliest class of every pixel but background, uint8 ``[y, x]``, numbered without it."""
    found: NDArray[np.uint8] = without_background(types, background).argmax(axis=0).astype(np.uint8)
    return found


def without_background(types: Map, background: int | None) -> Map:
    """``[k, y, x]`` without the channel that is no class, if there is one."""
    return types if background is None else np.delete(types, background, axis=0)


@njit(cache=True, nogil=True)
def _measure(
    pixels: NDArray[np.int32], labels: Labels, values: NDArray[np.generic], count: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    areas = np.zeros(count + 1, np.int64)
    sums = np.zeros(count + 1, np.float64)
    for here in pixels:
        areas[labels[here]] += 1
        sums[labels[here]] += values[here]
    return areas, sums


@njit(cache=True, nogil=True)
def _vote(labels: Labels, count: int, types: Map, background: int) -> NDArray[np.int64]:
    kinds, height, width = types.shape
    votes = np.zeros((count + 1, kinds), np.int64)
    for y in range(height):
        for x in range(width):
            label = labels[y, x]
            if not label:
                continue
            best = -1
            for k in range(kinds):
                if k != background and (best < 0 or types[k, y, x] > types[best, y, x]):
                    best = k
            clear = background < 0 or types[best, y, x] > types[background, y, x]
            votes[label, best] += _CLEAR if clear else 1
    return votes
