"""Many polygons as flat arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numba import njit
from numpy.typing import NDArray

from wsiseg.geometry import HUNDREDTHS


@dataclass(frozen=True, slots=True)
class Polygons:
    """Polygons with holes in level-0 hundredths.

    Rings are simple and stored *open* (the first vertex is not repeated); the first ring of a
    polygon is its shell, further ones are holes.

    Attributes
    ----------
    vertices
        int32 ``[v, 2]``, ``(x, y)`` in hundredths of a level-0 pixel.
    ring_offsets
        int64 ``[r + 1]``: ring ``j`` holds vertices ``ring_offsets[j]:ring_offsets[j + 1]``.
    polygon_offsets
        int64 ``[n + 1]``: polygon ``i`` holds rings ``polygon_offsets[i]:polygon_offsets[i + 1]``.
    plain
        bool ``[n]``: which ones :func:`wsiseg.cells.simple.plainly_valid` has found to be valid;
        ``None`` where it was not asked.
    """

    vertices: NDArray[np.int32]
    ring_offsets: NDArray[np.int64]
    polygon_offsets: NDArray[np.int64]
    plain: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.polygon_offsets) - 1

    @classmethod
    def empty(cls) -> Polygons:
        """No polygon."""
        return cls(np.empty((0, 2), np.int32), np.zeros(1, np.int64), np.zeros(1, np.int64))

    @classmethod
    def concatenate(cls, parts: Sequence[Polygons]) -> Polygons:
        """The polygons of all parts, in order."""
        if not parts:
            return cls.empty()
        return cls(
            np.concatenate([p.vertices for p in parts]),
            _join_offsets([p.ring_offsets for p in parts]),
            _join_offsets([p.polygon_offsets for p in parts]),
            _join_known([p.plain for p in parts]),
        )

    def take(self, indices: NDArray[np.integer[Any]]) -> Polygons:
        """The polygons at ``indices``, in that order."""
        rings, polygon_offsets = _gather(self.polygon_offsets, indices)
        points, ring_offsets = _gather(self.ring_offsets, rings)
        # Several times as fast as indexing.
        vertices = self.vertices.take(points, axis=0)
        plain = None if self.plain is None else self.plain[indices]
        return Polygons(vertices, ring_offsets, polygon_offsets, plain)

    def bounds(self) -> NDArray[np.int32]:
        """int32 ``[n, 4]``: ``x0, y0, x1, y1`` of every polygon in hundredths, inclusive."""
        bounds: NDArray[np.int32] = _bounds(self.vertices, self.ring_offsets[self.polygon_offsets])
        return bounds

    def to_shapely(self, *, offset: tuple[float, float] = (0.0, 0.0)) -> NDArray[np.object_]:
        """shapely polygons in level-0 pixels, moved by ``offset``; rings are closed."""
        if not len(self):
            return np.empty(0, object)
        counts = np.diff(self.ring_offsets)
        closed_offsets = np.concatenate([[0], np.cumsum(counts + 1)])
        index = np.arange(closed_offsets[-1]) - np.repeat(np.arange(len(counts)), counts + 1)
        index[closed_offsets[1:] - 1] = self.ring_offsets[:-1]
        points = self.vertices[index] / HUNDREDTHS + np.asarray(offset, np.float64)
        polygons: NDArray[np.object_] = shapely.from_ragged_array(
            shapely.GeometryType.POLYGON, points, (closed_offsets, self.polygon_offsets)
        )
        return polygons


@njit(cache=True, nogil=True)
def _bounds(vertices: NDArray[np.int32], ends: NDArray[np.int64]) -> NDArray[np.int32]:
    """``ends`` are the places of each polygon's first vertex, and the number of all."""
    bounds = np.empty((len(ends) - 1, 4), np.int32)
    for i in range(len(bounds)):
        x0 = x1 = vertices[ends[i], 0]
        y0 = y1 = vertices[ends[i], 1]
        for v in range(ends[i] + 1, ends[i + 1]):
            x0, x1 = min(x0, vertices[v, 0]), max(x1, vertices[v, 0])
            y0, y1 = min(y0, vertices[v, 1]), max(y1, vertices[v, 1])
        bounds[i] = x0, y0, x1, y1
    return bounds


def _join_offsets(parts: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    sizes = np.concatenate([np.diff(part) for part in parts])
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])


def _join_known(parts: Sequence[NDArray[np.bool_] | None]) -> NDArray[np.bool_] | None:
    known = [part for part in parts if part is not None]
    return np.concatenate(known) if len(known) == len(parts) else None


def _gather(
    offsets: NDArray[np.int64], indices: NDArray[np.integer[Any]]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions of the members of the chosen groups, and the offsets of the new groups."""
    starts = offsets[:-1][indices]
    sizes = np.diff(offsets)[indices]
    joined = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
    positions = np.repeat(starts - joined[:-1], sizes)
    positions += np.arange(joined[-1])
    return positions, joined
