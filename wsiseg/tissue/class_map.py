"""Which class of tissue lies where: a map in strips, each compressed, for it may be large."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsiseg.geometry import Box, Frame
from wsiseg.models.semantic.files import SemanticClass

STRIP = 512
"""Rows of a strip."""

_STRIPS_IN_MEMORY = 4
_LEVEL = 1


@dataclass(frozen=True, slots=True)
class ClassMap:
    """Classes of tissue on one slide.

    Attributes
    ----------
    frame
        A frame of the slide: that of the map.
    classes
        Value ``i`` of the map means ``classes[i]``.
    strips
        uint8 ``[STRIP, width]`` each (the last one may be lower), compressed with zlib.
    counts
        Pixels of each class.
    model
        What made it: name, digests, licence. JSON values only.
    """

    frame: Frame
    classes: tuple[SemanticClass, ...]
    strips: tuple[bytes, ...]
    counts: tuple[int, ...]
    model: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @classmethod
    def collect(
        cls,
        rows: Iterable[NDArray[np.uint8]],
        frame: Frame,
        classes: Sequence[SemanticClass],
        model: Mapping[str, Any],
    ) -> ClassMap:
        """Gather the map from its rows, from the top: uint8 ``[n, width]`` with any ``n``."""
        strips: list[bytes] = []
        counts = np.zeros(len(classes), np.int64)
        pending = np.empty((0, frame.size.width), np.uint8)
        for some in rows:
            counts += [np.count_nonzero(some == k) for k in range(len(classes))]
            pending = np.concatenate([pending, some])
            while len(pending) >= STRIP:
                strips.append(zlib.compress(pending[:STRIP].tobytes(), _LEVEL))
                pending = pending[STRIP:]
        if len(pending):
            strips.append(zlib.compress(pending.tobytes(), _LEVEL))
        if counts.sum() != frame.size.area:
            raise ValueError(f"{counts.sum()} pixels do not fill {frame.size}")
        return cls(frame, tuple(classes), tuple(strips), tuple(map(int, counts)), dict(model))

    @property
    def shape(self) -> tuple[int, int]:
        """``(height, width)``."""
        return self.frame.box.shape

    def read(self, box: Box) -> NDArray[np.uint8]:
        """The classes of a box of the frame, which must lie within it."""
        if box.empty:
            return np.empty(box.shape, np.uint8)
        first, last = box.y0 // STRIP, (box.y1 - 1) // STRIP
        width = self.frame.size.width
        rows = [
            _decompressed(self.strips[k], width)[:, box.x0 : box.x1] for k in range(first, last + 1)
        ]
        whole = rows[0] if len(rows) == 1 else np.concatenate(rows)
        return whole[box.y0 - first * STRIP : box.y1 - first * STRIP]

    def at(
        self, points_x: NDArray[np.float64], points_y: NDArray[np.float64], level0: Frame
    ) -> NDArray[np.int16]:
        """The class under each point, in pixels of ``level0``; -1 outside of the slide."""
        fx, fy = level0.scale_to(self.frame)
        columns = np.floor(np.asarray(points_x, np.float64) * fx).astype(np.int64)
        rows = np.floor(np.asarray(points_y, np.float64) * fy).astype(np.int64)
        height, width = self.shape
        inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
        found = np.full(inside.shape, -1, np.int16)
        chosen = np.flatnonzero(inside)
        strips = rows[chosen] // STRIP
        for strip in np.unique(strips):
            own = chosen[strips == strip]
            pixels = _decompressed(self.strips[strip], width)
            found[own] = pixels[rows[own] - strip * STRIP, columns[own]]
        return found

    def area_mm2(self, index: int) -> float:
        """Area of one class."""
        return self.counts[index] * self.frame.mpp.pixel_area_um2 * 1e-6

    def index_of(self, name: str) -> int:
        """Place of a class by name, whatever the case; -1 if there is none."""
        names = [entry.name.casefold() for entry in self.classes]
        return names.index(name.casefold()) if name.casefold() in names else -1


@lru_cache(_STRIPS_IN_MEMORY)
def _decompressed(strip: bytes, width: int) -> NDArray[np.uint8]:
    return np.frombuffer(zlib.decompress(strip), np.uint8).reshape(-1, width)
