"""Nuclei that a network numbers itself: its labels as they come."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsiseg.models.decoding.classing import Map, make_instances
from wsiseg.models.segmenter import Instances


def decode_labels(
    labels: NDArray[np.floating],
    types: Map | None,
    least_area_px: int,
    background: int | None = None,
) -> Instances:
    """The instances of one window, numbered from 1 in the order of the network's numbers.

    Parameters
    ----------
    labels
        ``[y, x]``: 0 or less is background, every other whole number one nucleus; float32 holds
        them up to 2**24.
    types, background
        See :func:`wsiseg.models.decoding.classing.make_instances`.

    Raises
    ------
    ValueError
        If the map does not hold whole numbers, or one beyond the number of its pixels times 64.
    """
    whole = np.rint(labels)
    if not np.array_equal(whole, labels) or float(whole.max(initial=0)) > 64 * max(whole.size, 1):
        raise ValueError("the map does not hold the numbers of nuclei")
    numbers = np.maximum(whole, 0).astype(np.int32)
    present = np.bincount(numbers.ravel(), minlength=1) > 0
    present[0] = False
    order = np.where(present, np.cumsum(present), 0).astype(np.int32)
    return make_instances(
        order[numbers],
        int(present.sum()),
        None,
        types,
        background=background,
        least_px=least_area_px,
    )
