"""Many polygons as flat arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
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
    """

    vertices: NDArray[np.int32]
    ring_offsets: NDArray[np.int64]
    polygon_offsets: NDArray[np.int64]

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
        )

    def take(self, indices: NDArray[np.integer[Any]]) -> Polygons:
        """The polygons at ``indices``, in that order."""
        rings, polygon_offsets = _gather(self.polygon_offsets, indices)
        points, ring_offsets = _gather(self.ring_offsets, rings)
        # Several times as fast as indexing.
        return Polygons(self.vertices.take(points, axis=0), ring_offsets, polygon_offsets)

    def bounds(self) -> NDArray[np.int32]:
        """int32 ``[n, 4]``: ``x0, y0, x1, y1`` of every polygon in hundredths, inclusive."""
        if not len(self):
            return np.empty((0, 4), np.int32)
        starts = self.ring_offsets[self.polygon_offsets[:-1]]
        low = np.minimum.reduceat(self.vertices, starts, axis=0)
        high = np.maximum.reduceat(self.vertices, starts, axis=0)
        return np.concatenate([low, high], axis=1)

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


def _join_offsets(parts: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    sizes = np.concatenate([np.diff(part) for part in parts])
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])


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
