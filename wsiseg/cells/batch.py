"""Cells on their way from the store to the exporters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from wsiseg.cells.polygons import Polygons
from wsiseg.geometry import Box, Frame


@dataclass(frozen=True, slots=True)
class CellClass:
    """A class of cells and the colour it is drawn in, ``(r, g, b)``."""

    name: str
    color: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class CellsInfo:
    """What is common to all cells of a slide.

    Attributes
    ----------
    slide
        Name of the slide (file name, no path).
    level0
        Level 0: the frame of all coordinates.
    frame
        The frame that the segmentation worked in; label images are drawn in it.
    classes
        Index ``i`` of ``CellBatch.class_index`` means ``classes[i]``.
    origin_px
        Level-0 position of QuPath's origin: the corner of the bounds it crops to.
    provenance
        What made the cells: versions, model, digests, keys. JSON values only.
    about
        What the user's list says of the slide: ``group``, ``stain`` and ``metadata``, text all,
        where there are such.
    """

    slide: str
    level0: Frame
    frame: Frame
    classes: tuple[CellClass, ...]
    origin_px: tuple[int, int] = (0, 0)
    provenance: Mapping[str, object] = field(default_factory=dict)
    about: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CellBatch:
    """Some cells, in the order of their ids.

    Attributes
    ----------
    ids
        uint32 ``[n]``, from 1; the label value in the mask.
    uuids
        uint8 ``[n, 16]``, stable over re-runs.
    polygons
        Outlines in level-0 hundredths.
    centroids
        float64 ``[n, 2]``, ``(x, y)`` in level-0 pixels, of the cell's pixels.
    class_index
        uint8 ``[n]``.
    probabilities
        float32 ``[n]``.
    truncated
        bool ``[n]``: cut because it is larger than the largest window.
    features
        Further columns by name, each ``[n]``; the unit is the name's suffix.
    """

    ids: NDArray[np.uint32]
    uuids: NDArray[np.uint8]
    polygons: Polygons
    centroids: NDArray[np.float64]
    class_index: NDArray[np.uint8]
    probabilities: NDArray[np.float32]
    truncated: NDArray[np.bool_]
    features: Mapping[str, NDArray[np.float32]]

    def __len__(self) -> int:
        return len(self.ids)

    def between(self, start: int, stop: int) -> CellBatch:
        """The cells ``start`` to ``stop``; their arrays are windows on those of all."""
        outlines = self.polygons
        ring_ends = outlines.polygon_offsets[start : stop + 1]
        ends = outlines.ring_offsets[ring_ends[0] : ring_ends[-1] + 1]
        polygons = Polygons(
            outlines.vertices[ends[0] : ends[-1]],
            ends - ends[0],
            ring_ends - ring_ends[0],
            None if outlines.plain is None else outlines.plain[start:stop],
        )
        return CellBatch(
            self.ids[start:stop],
            self.uuids[start:stop],
            polygons,
            self.centroids[start:stop],
            self.class_index[start:stop],
            self.probabilities[start:stop],
            self.truncated[start:stop],
            {name: values[start:stop] for name, values in self.features.items()},
        )

    def take(self, indices: NDArray[np.integer]) -> CellBatch:
        """The cells at ``indices``, in that order."""
        return CellBatch(
            self.ids[indices],
            self.uuids[indices],
            self.polygons.take(indices),
            self.centroids[indices],
            self.class_index[indices],
            self.probabilities[indices],
            self.truncated[indices],
            {name: values[indices] for name, values in self.features.items()},
        )


@dataclass(frozen=True, slots=True)
class Places:
    """Where some cells lie, and what they are; see :class:`CellBatch`."""

    centroids: NDArray[np.float64]
    class_index: NDArray[np.uint8]


class CellSource(Protocol):
    """The cells of one slide in parts small enough for memory, read lazily.

    Ids rise from part to part and within each. Parts are not aligned with tiles or blocks.
    """

    @property
    def info(self) -> CellsInfo:
        """What is common to all of them."""
        ...

    @property
    def count(self) -> int:
        """Number of cells."""
        ...

    @property
    def extents(self) -> tuple[Box, ...]:
        """For every part the box in ``info.frame`` that covers its cells' polygons."""
        ...

    def read(self, part: int) -> CellBatch:
        """The cells of one part."""
        ...


@runtime_checkable
class _PlacedSource(Protocol):
    """A source that can say where cells lie without reading all of them."""

    def places(self, part: int) -> Places: ...


def places_of(source: CellSource, part: int) -> Places:
    """Where the cells of one part lie, and their classes; no more is read than that where the
    source knows how."""
    if isinstance(source, _PlacedSource):
        return source.places(part)
    batch = source.read(part)
    return Places(batch.centroids, batch.class_index)
