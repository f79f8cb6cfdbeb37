"""Which objects of two label images share pixels, counted in one pass and kept sparse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wsiseg.errors import ConfigurationError

_SHIFT = np.uint64(32)
_LOW = np.uint64(0xFFFFFFFF)


@dataclass(frozen=True)
class Overlaps:
    """The sparse contingency table of two sets of objects that are disjoint within each set.

    Attributes
    ----------
    truth_labels, predicted_labels
        uint32 ``[n]`` and ``[m]``, rising: the labels that have pixels.
    truth_px, predicted_px
        int64 ``[n]`` and ``[m]``: their areas in pixels.
    truth, predicted, common_px
        int64 ``[k]``: indices of the two objects of every pair that shares pixels, and the
        number of pixels they share; sorted by ``truth``, then ``predicted``.
    """

    truth_labels: NDArray[np.uint32]
    predicted_labels: NDArray[np.uint32]
    truth_px: NDArray[np.int64]
    predicted_px: NDArray[np.int64]
    truth: NDArray[np.int64]
    predicted: NDArray[np.int64]
    common_px: NDArray[np.int64]

    @cached_property
    def union_px(self) -> NDArray[np.int64]:
        """int64 ``[k]``: pixels of the union of every pair."""
        whole = self.truth_px[self.truth] + self.predicted_px[self.predicted]
        return np.asarray(whole - self.common_px)

    @cached_property
    def iou(self) -> NDArray[np.float64]:
        """float64 ``[k]``: intersection over union of every pair."""
        return np.asarray(self.common_px / self.union_px)


@dataclass(frozen=True, slots=True)
class PairCounts:
    """Pixels by the two labels they carry; the tables of disjoint regions add up.

    Attributes
    ----------
    keys
        uint64 ``[k]``, rising: the first label in the upper 32 bits, the second in the lower.
        Pixels that are background in both are not counted.
    pixels
        int64 ``[k]``: how many pixels.
    """

    keys: NDArray[np.uint64]
    pixels: NDArray[np.int64]

    @classmethod
    def total(cls, parts: Sequence[PairCounts]) -> PairCounts:
        """The sum over disjoint regions."""
        if not parts:
            return cls(np.empty(0, np.uint64), np.empty(0, np.int64))
        return _gathered(
            np.concatenate([part.keys for part in parts]),
            np.concatenate([part.pixels for part in parts]),
        )

    def first(self) -> NDArray[np.uint32]:
        """uint32 ``[k]``: the first label of every entry."""
        return (self.keys >> _SHIFT).astype(np.uint32)

    def second(self) -> NDArray[np.uint32]:
        """uint32 ``[k]``: the second label of every entry."""
        return (self.keys & _LOW).astype(np.uint32)

    def overlaps(self) -> Overlaps:
        """The objects, their areas and the pairs that share pixels."""
        first, second = self.first(), self.second()
        truth_labels, truth_px = _areas(first, self.pixels)
        predicted_labels, predicted_px = _areas(second, self.pixels)
        both = (first > 0) & (second > 0)
        return Overlaps(
            truth_labels,
            predicted_labels,
            truth_px,
            predicted_px,
            np.searchsorted(truth_labels, first[both]).astype(np.int64),
            np.searchsorted(predicted_labels, second[both]).astype(np.int64),
            self.pixels[both],
        )

    def majority(self, labels: NDArray[np.uint32]) -> NDArray[np.int64]:
        """For each of the first labels ``[n]`` the second label, other than 0, that most of its
        pixels carry; the lower one of equals; 0 where none of its pixels carries any."""
        first, second = self.first(), self.second()
        known = (first > 0) & (second > 0)
        # The last write wins: the most pixels, then the lowest second label.
        order = np.lexsort((-second[known].astype(np.int64), self.pixels[known]))
        owner, value = first[known][order], second[known][order]
        found = np.zeros(len(labels), np.int64)
        place = np.searchsorted(labels, owner)
        inside = place < len(labels)
        inside[inside] = labels[place[inside]] == owner[inside]
        found[place[inside]] = value[inside]
        return found


def count_pairs(truth: NDArray[Any], predicted: NDArray[Any]) -> PairCounts:
    """Count the pixels of two label images of one size by the labels they carry.

    Parameters
    ----------
    truth, predicted
        Integers ``[y, x]`` from 0 (background) to ``2 ** 32 - 1``.

    Raises
    ------
    ConfigurationError
        If the two differ in shape, or hold what is no label.
    """
    first, second = as_labels(truth), as_labels(predicted)
    if first.shape != second.shape:
        raise ConfigurationError(
            f"the two label images differ in size: {_size(first)} and {_size(second)}"
        )
    keys, pixels = _runs(first, second, _count_runs(first, second))
    return _gathered(keys, pixels)


def match(truth: NDArray[Any], predicted: NDArray[Any]) -> Overlaps:
    """The overlaps of two label images ``[y, x]``; see :func:`count_pairs`."""
    return count_pairs(truth, predicted).overlaps()


def as_labels(values: NDArray[Any]) -> NDArray[np.uint32]:
    """A label image as uint32 ``[y, x]``.

    Raises
    ------
    ConfigurationError
        If it has another number of axes, is not of integers, or has labels outside 0..2³²-1.
    """
    if values.ndim != 2 or values.dtype.kind not in "biu":
        raise ConfigurationError(
            f"a label image holds one whole number a pixel, not {values.dtype} of shape "
            f"{values.shape}"
        )
    if values.size and (int(values.min()) < 0 or int(values.max()) > int(_LOW)):
        raise ConfigurationError(
            f"labels must lie between 0 and {int(_LOW)}, not between {values.min()} and "
            f"{values.max()}"
        )
    return np.ascontiguousarray(values, np.uint32)


def _size(labels: NDArray[np.uint32]) -> str:
    return f"{labels.shape[1]} x {labels.shape[0]} px"


def _gathered(keys: NDArray[np.uint64], pixels: NDArray[np.int64]) -> PairCounts:
    order = np.argsort(keys, kind="stable")
    ordered, counts = keys[order], pixels[order]
    starts = np.flatnonzero(np.concatenate([ordered[:1] == ordered[:1], np.diff(ordered) != 0]))
    if not len(starts):
        return PairCounts(ordered, counts)
    return PairCounts(ordered[starts], np.add.reduceat(counts, starts))


def _areas(
    labels: NDArray[np.uint32], pixels: NDArray[np.int64]
) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    inside = labels > 0
    values, place = np.unique(labels[inside], return_inverse=True)
    areas = np.zeros(len(values), np.int64)
    np.add.at(areas, place, pixels[inside])
    return values, areas


@njit(cache=True, nogil=True)
def _count_runs(first: NDArray[np.uint32], second: NDArray[np.uint32]) -> int:
    """Number of horizontal runs in which neither label changes, background in both left out."""
    count = 0
    for y in range(first.shape[0]):
        a, b = np.uint32(0), np.uint32(0)
        for x in range(first.shape[1]):
            if first[y, x] != a or second[y, x] != b:
                a, b = first[y, x], second[y, x]
                if a != 0 or b != 0:
                    count += 1
    return count


@njit(cache=True, nogil=True)
def _runs(
    first: NDArray[np.uint32], second: NDArray[np.uint32], count: int
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Keys and lengths of these runs."""
    keys = np.empty(count, np.uint64)
    lengths = np.zeros(count, np.int64)
    run = -1
    for y in range(first.shape[0]):
        a, b = np.uint32(0), np.uint32(0)
        for x in range(first.shape[1]):
            if first[y, x] != a or second[y, x] != b:
                a, b = first[y, x], second[y, x]
                if a != 0 or b != 0:
                    run += 1
                    keys[run] = (np.uint64(a) << np.uint64(32)) | np.uint64(b)
            if a != 0 or b != 0:
                lengths[run] += 1
    return keys, lengths
