"""The cells along the rims of a slide's parts, kept while the parts around are measured."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from wsiseg.cells.batch import CellBatch, CellSource
from wsiseg.cells.extent import boxes_meeting
from wsiseg.features.measure import frame_boxes
from wsiseg.geometry import Box

_KEPT = 12
"""A part has eight around it, and the next one measured shares most of them."""


class Rims:
    """Reads parts of cells, and for their neighbours the rims alone, most of them from memory.

    Parameters
    ----------
    source
        The cells of the slide.
    margin_um
        A cell belongs to the rim of its part if its outline comes this near to the box over the
        outlines of another part.
    """

    def __init__(self, source: CellSource, margin_um: float) -> None:
        mpp = source.info.frame.mpp
        self.source = source
        self._reach = int(margin_um / min(mpp.x, mpp.y)) + 2
        self._extents = source.extents
        self._kept: OrderedDict[int, CellBatch] = OrderedDict()

    def around(self, part: int) -> Box:
        """The box that cells of other parts are taken along from."""
        return self._extents[part].grown(self._reach)

    def read(self, part: int) -> CellBatch:
        """The cells of a part, all of them."""
        batch = self.source.read(part)
        self._keep(part, batch)
        return batch

    def beside(self, part: int, number: int) -> CellBatch:
        """The cells of the part ``number`` that lie around another one, without features."""
        if number not in self._kept:
            self._keep(number, self.source.read(number))
        self._kept.move_to_end(number)
        rim = self._kept[number]
        return rim.take(np.flatnonzero(self._meeting(rim, [self.around(part)])))

    def _keep(self, part: int, batch: CellBatch) -> None:
        others = [self.around(n) for n in range(len(self._extents)) if n != part]
        near = [box for box in others if box.intersects(self._extents[part])]
        bare = replace(batch, features={})
        self._kept[part] = bare.take(np.flatnonzero(self._meeting(bare, near)))
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)

    def _meeting(self, batch: CellBatch, boxes: list[Box]) -> NDArray[np.bool_]:
        """Which cells meet some of the boxes."""
        covers = frame_boxes(batch, self.source.info)
        found = np.zeros(len(batch), np.bool_)
        for box in boxes:
            found |= boxes_meeting(covers, (box.x0, box.y0, box.x1, box.y1))
        return found
