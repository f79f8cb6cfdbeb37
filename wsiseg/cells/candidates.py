"""Candidates: instances as tiles emit them, before seams are settled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsiseg.cells.anchored import Anchored
from wsiseg.cells.polygons import Polygons


@dataclass(frozen=True, slots=True)
class Candidates(Anchored):
    """Instances of some tiles in the coordinates of a slide.

    Attributes
    ----------
    polygons
        Outlines in level-0 hundredths.
    boxes
        int64 ``[n, 4]`` half-open boxes ``x0, y0, x1, y1`` in frame pixels.
    area_px, sum_x, sum_y
        int64 ``[n]``: number of frame pixels and sums of their column and row numbers. The
        anchor is ``sum / area + 0.5``: exact, whichever tile measured it.
    classes
        uint8 ``[n]``.
    probabilities
        float32 ``[n]``.
    truncated
        bool ``[n]``: a piece of something larger than the largest window.
    tiles
        int32 ``[n, 2]``: column and row of the tile that emitted it.
    """

    polygons: Polygons
    boxes: NDArray[np.int64]
    area_px: NDArray[np.int64]
    sum_x: NDArray[np.int64]
    sum_y: NDArray[np.int64]
    classes: NDArray[np.uint8]
    probabilities: NDArray[np.float32]
    truncated: NDArray[np.bool_]
    tiles: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.area_px)

    @classmethod
    def empty(cls) -> Candidates:
        """No candidate."""
        none = np.empty(0, np.int64)
        return cls(
            Polygons.empty(),
            np.empty((0, 4), np.int64),
            none,
            none,
            none,
            np.empty(0, np.uint8),
            np.empty(0, np.float32),
            np.empty(0, np.bool_),
            np.empty((0, 2), np.int32),
        )

    @classmethod
    def concatenate(cls, parts: Sequence[Candidates]) -> Candidates:
        """All candidates of the parts, in order."""
        if not parts:
            return cls.empty()
        return cls(
            Polygons.concatenate([p.polygons for p in parts]),
            np.concatenate([p.boxes for p in parts]),
            np.concatenate([p.area_px for p in parts]),
            np.concatenate([p.sum_x for p in parts]),
            np.concatenate([p.sum_y for p in parts]),
            np.concatenate([p.classes for p in parts]),
            np.concatenate([p.probabilities for p in parts]),
            np.concatenate([p.truncated for p in parts]),
            np.concatenate([p.tiles for p in parts]),
        )

    def take(self, indices: NDArray[np.integer[Any]]) -> Candidates:
        """The candidates at ``indices``, in that order."""
        return Candidates(
            self.polygons.take(indices),
            self.boxes[indices],
            self.area_px[indices],
            self.sum_x[indices],
            self.sum_y[indices],
            self.classes[indices],
            self.probabilities[indices],
            self.truncated[indices],
            self.tiles[indices],
        )

    def first_of_equals(self) -> NDArray[np.int64]:
        """Rising indices that leave one candidate of every group of identical ones.

        Identical: same anchor, area, box, class, truncation and outline. The one of the lowest
        tile (row, column) stays, so that the choice does not hang on the order of arrival.
        """
        # Identical ones have equal sums. Few share theirs with another: only they are compared.
        mixed = self.sum_x * 1_000_003 + self.sum_y
        order = np.argsort(mixed)
        equal = mixed[order[1:]] == mixed[order[:-1]]
        shared = np.zeros(len(self), bool)
        shared[order[1:][equal]] = shared[order[:-1][equal]] = True
        first = ~shared
        first[shared] = self.take(np.flatnonzero(shared))._leads_equals()
        return np.flatnonzero(first)

    def _leads_equals(self) -> NDArray[np.bool_]:
        """bool ``[n]``: which candidates are the first of their group of identical ones."""
        keys = np.column_stack(
            [
                self.sum_y,
                self.sum_x,
                self.area_px,
                self.boxes,
                self.classes,
                self.truncated,
                self._outline_digests(),
            ]
        )
        order = np.lexsort((self.tiles[:, 0], self.tiles[:, 1], *keys.T[::-1]))
        ordered = keys[order]
        leads = np.ones(len(order), bool)
        leads[order[1:]] = (ordered[1:] != ordered[:-1]).any(axis=1)
        return leads

    def _outline_digests(self) -> NDArray[np.int64]:
        """A number per polygon that differs where outlines of equal box and area differ."""
        points = self.polygons.vertices.astype(np.int64)
        starts = self.polygons.ring_offsets[self.polygons.polygon_offsets]
        position = np.arange(len(points)) - np.repeat(starts[:-1], np.diff(starts))
        mixed = (points[:, 0] * 1_000_003 + points[:, 1]) * (2 * position + 1)
        return np.add.reduceat(mixed, starts[:-1]) if len(points) else np.zeros(len(self), np.int64)
