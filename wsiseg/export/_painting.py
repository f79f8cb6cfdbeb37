"""Nuclei painted shard by shard, each part of them read as rarely as memory allows."""

from __future__ import annotations

import math
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsiseg.cells.batch import CellSource
from wsiseg.cells.polygons import Polygons
from wsiseg.cells.rasterize import paint_order, rasterize
from wsiseg.geometry import HUNDREDTHS, Box

SHARD_PX = 2048
"""Side of a shard."""

_PARTS_IN_MEMORY = 6
_FEW = 256
"""Cells that wait for a shard however long that takes: those on a border are fewer."""

_Corner = tuple[int, int]

Shown = Callable[[Box], NDArray[Any] | None]
"""The pixels ``[y, x]`` of a square of a shard; ``None`` where all are background."""


@dataclass(frozen=True, slots=True)
class _Part:
    """What painting needs of some cells; ``bounds``, ``[4, n]``, are those of the polygons."""

    ids: NDArray[np.uint32]
    polygons: Polygons
    bounds: NDArray[np.int32]
    centroids: NDArray[np.float64]
    probabilities: NDArray[np.float32]

    @classmethod
    def joined(cls, parts: Sequence[_Part]) -> _Part:
        """The cells of all parts, in order."""
        return cls(
            np.concatenate([part.ids for part in parts]),
            Polygons.concatenate([part.polygons for part in parts]),
            np.concatenate([part.bounds for part in parts], axis=1),
            np.concatenate([part.centroids for part in parts]),
            np.concatenate([part.probabilities for part in parts]),
        )

    def take(self, chosen: NDArray[np.int64]) -> _Part:
        """The cells at some indices."""
        return _Part(
            self.ids[chosen],
            self.polygons.take(chosen),
            self.bounds[:, chosen],
            self.centroids[chosen],
            self.probabilities[chosen],
        )


class NucleiPainter:
    """The instances of the frame, drawn shard by shard, each shard once.

    A part is read when the first shard is drawn that it meets, which may be for a few cells on
    its border; its cells then wait for their shards. Those of few parts wait in full: of one
    that was not needed for long, the large groups go, and it is read again when their turn comes.
    """

    def __init__(self, source: CellSource) -> None:
        info = source.info
        self._source = source
        self._scale = info.frame.scale_to(info.level0)
        self._waiting: dict[_Corner, dict[int, _Part]] = defaultdict(dict)
        self._unread = [
            {_corner(cut) for cut in extent.intersection(info.frame.box).split(SHARD_PX)}
            for extent in source.extents
        ]
        self._recent: OrderedDict[int, None] = OrderedDict()

    def draw(self, shard: Box) -> Shown | None:
        """What a shard shows, uint32; ``None`` where no cell lies."""
        for number, corners in enumerate(self._unread):
            if _corner(shard) in corners:
                self._sort_out(number)
        waiting = self._waiting.pop(_corner(shard), None)
        if waiting is None:
            return None
        for number in self._recent.keys() & waiting.keys():
            self._recent.move_to_end(number)
        while len(self._recent) > _PARTS_IN_MEMORY:
            self._forget(self._recent.popitem(last=False)[0])
        cells = _Part.joined([waiting[number] for number in sorted(waiting)])
        order = paint_order(cells.probabilities, cells.centroids)
        return partial(self._paint, cells, order, cells.bounds[:, order])

    def _paint(
        self, cells: _Part, order: NDArray[np.int64], bounds: NDArray[np.int32], square: Box
    ) -> NDArray[np.uint32] | None:
        here = order[self._meeting(bounds, square)]
        if not len(here):
            return None
        return rasterize(cells.polygons, cells.ids, here, square, self._scale)

    def _meeting(self, bounds: NDArray[np.int32], box: Box) -> NDArray[np.bool_]:
        """Which polygons of these bounds may have pixels in a box."""
        fx, fy = (scale * HUNDREDTHS for scale in self._scale)
        x0, y0, x1, y1 = bounds
        near: NDArray[np.bool_] = x0 <= math.ceil(box.x1 * fx)
        near &= x1 >= math.floor(box.x0 * fx)
        near &= y0 <= math.ceil(box.y1 * fy)
        near &= y1 >= math.floor(box.y0 * fy)
        return near

    def _sort_out(self, number: int) -> None:
        """Read a part and put its cells where the shards that they meet will look for them."""
        batch = self._source.read(number)
        part = _Part(
            batch.ids,
            batch.polygons,
            np.ascontiguousarray(batch.polygons.bounds().T),
            batch.centroids,
            batch.probabilities,
        )
        for x, y in self._unread[number]:
            shard = Box(x, y, x + SHARD_PX, y + SHARD_PX)
            chosen = np.flatnonzero(self._meeting(part.bounds, shard))
            if len(chosen):
                self._waiting[x, y][number] = part.take(chosen)
        self._unread[number] = set()
        self._recent[number] = None

    def _forget(self, number: int) -> None:
        """Let the large groups of a part go; they are read again for the shards they belong to."""
        for corner, waiting in self._waiting.items():
            if number in waiting and len(waiting[number].ids) > _FEW:
                del waiting[number]
                self._unread[number].add(corner)


def _corner(box: Box) -> _Corner:
    """The corner of the shard that a box lies in."""
    return box.x0 // SHARD_PX * SHARD_PX, box.y0 // SHARD_PX * SHARD_PX
