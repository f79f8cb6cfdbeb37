"""Borders between pixels, as lines."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def border_runs(across: NDArray[np.bool_], down: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Straight lines ``[n, 2, 2]`` (x, y) of horizontal borders, cut at every corner.

    Parameters
    ----------
    across
        ``[h + 1, w]``: a border runs along the upper side of pixel ``(y, x)``.
    down
        ``[h, w + 1]``: a border runs along the left side of pixel ``(y, x)``.
    """
    corner = np.zeros((across.shape[0], down.shape[1]), np.bool_)
    corner[:-1] |= down
    corner[1:] |= down
    before = np.pad(across, ((0, 0), (1, 0)))[:, :-1]
    after = np.pad(across, ((0, 0), (0, 1)))[:, 1:]
    start_y, start_x = np.nonzero(across & (~before | corner[:, :-1]))
    _, stop_x = np.nonzero(across & (~after | corner[:, 1:]))
    starts = np.stack([start_x, start_y], axis=1)
    stops = np.stack([stop_x + 1, start_y], axis=1)
    return np.stack([starts, stops], axis=1).astype(np.float64)
