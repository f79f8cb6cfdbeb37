"""Anchors: where instances lie, exactly."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsiseg.geometry import Box


class Anchored:
    """Sets of frame pixels, known by their numbers and sums.

    The anchor of a set is ``sum / area + 0.5``: exact, whichever window measured it.

    Attributes
    ----------
    area_px, sum_x, sum_y
        int64 ``[n]``: number of frame pixels and sums of their column and row numbers.
    """

    __slots__ = ()

    area_px: NDArray[np.int64]
    sum_x: NDArray[np.int64]
    sum_y: NDArray[np.int64]

    def anchors(self) -> NDArray[np.float64]:
        """float64 ``[n, 2]``: centroids ``(x, y)`` of the pixels, in frame pixels."""
        return np.stack([self.sum_x / self.area_px + 0.5, self.sum_y / self.area_px + 0.5], axis=1)

    def anchor_cells(self, step: int) -> NDArray[np.int64]:
        """int64 ``[n, 2]``: column and row of the lattice cell of ``step`` frame pixels that
        holds each anchor; exact, in integers."""
        doubled = 2 * self.area_px * step
        return np.stack(
            [
                (2 * self.sum_x + self.area_px) // doubled,
                (2 * self.sum_y + self.area_px) // doubled,
            ],
            axis=1,
        )

    def anchors_in(self, box: Box) -> NDArray[np.bool_]:
        """bool ``[n]``: which anchors lie in the half-open box; exact, in integers."""
        x, y = 2 * self.sum_x + self.area_px, 2 * self.sum_y + self.area_px
        doubled = 2 * self.area_px
        return np.asarray(
            (x >= doubled * box.x0)
            & (x < doubled * box.x1)
            & (y >= doubled * box.y0)
            & (y < doubled * box.y1)
        )
