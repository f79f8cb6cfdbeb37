"""Polygons as flat columns."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsiseg.cells.polygons import Polygons
from wsiseg.store.columns import ColumnFile


def outline_columns(polygons: Polygons) -> dict[str, NDArray[Any]]:
    """Columns of polygons.

    ``rings`` ``[n]``: rings of every polygon; ``ring_sizes`` ``[r]``: vertices of every ring;
    ``corners`` ``[r, 2]``: the first one; ``steps`` ``[v, 2]``: where each vertex lies as seen
    from the first one of its ring, so that two bytes hold a coordinate of a nucleus; ``plain``
    ``[n]``, where it is known.
    """
    sizes = np.diff(polygons.ring_offsets)
    vertices = np.ascontiguousarray(polygons.vertices)
    corners = vertices.take(polygons.ring_offsets[:-1], axis=0)
    return {
        "rings": np.diff(polygons.polygon_offsets),
        "ring_sizes": sizes,
        "corners": corners,
        "steps": vertices - _repeated(corners, sizes),
        **({} if polygons.plain is None else {"plain": polygons.plain}),
    }


def column_outlines(file: ColumnFile) -> Polygons:
    """The inverse of :func:`outline_columns`."""
    sizes = file["ring_sizes"]
    vertices = _repeated(file["corners"], sizes)
    vertices += file["steps"]
    plain = file["plain"] if "plain" in file.names else None
    return Polygons(vertices, _offsets(sizes), _offsets(file["rings"]), plain)


def _repeated(corners: NDArray[np.int32], sizes: NDArray[np.int64]) -> NDArray[np.int32]:
    """int32 ``[v, 2]``: for every vertex the first one of its ring."""
    # Points as single numbers of eight bytes: several times as fast as rows of two.
    return np.repeat(corners.view(np.int64).reshape(-1), sizes).view(np.int32).reshape(-1, 2)


def _offsets(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    offsets = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=offsets[1:])
    return offsets
