"""A mask of the tissue on a slide, with the reason for everything left out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import shapely
from numpy.typing import NDArray

from wsiseg.geometry import Box, Frame
from wsiseg.tissue.borders import border_runs
from wsiseg.tissue.class_map import ClassMap


class TissueCode(IntEnum):
    """What a pixel of a tissue mask is; everything but ``TISSUE`` is left out."""

    BACKGROUND = 0
    """Glass, or outside the user's regions."""
    TISSUE = 1
    TOO_SMALL = 2
    """Stained, but a piece too small to be tissue."""
    PEN = 3
    """Ink on the slide."""
    EDGE = 4
    """Border of the slide or of the cover slip, dark margins of the scan."""
    EXCLUDED = 5
    """Excluded by the user."""
    BLURRED = 6
    """Out of focus, where the user had that left out; so for the codes below."""
    FOLDED = 7
    """Two layers of tissue."""
    GREY = 8
    """Tissue without colour: bubbles, dust, debris."""
    ODD_STAIN = 9
    """Stained unlike the rest of the slide."""


_TISSUE = np.uint8(TissueCode.TISSUE)


@dataclass(frozen=True, slots=True)
class TissueMask:
    """Tissue of one slide.

    Attributes
    ----------
    codes
        uint8 ``[y, x]`` in ``frame``: values of :class:`TissueCode`.
    frame
        A frame of the slide, at about 8 µm/px.
    method
        How it was made.
    warnings
        Sentences for the user: what looks wrong or uncertain.
    classes
        The map of classes that it was made from, where a network made it.
    """

    codes: NDArray[np.uint8]
    frame: Frame
    method: str
    warnings: tuple[str, ...] = ()
    classes: ClassMap | None = None

    def __post_init__(self) -> None:
        if self.codes.shape != self.frame.box.shape or self.codes.dtype != np.uint8:
            raise ValueError(
                f"codes must be uint8 {self.frame.box.shape}, not {self.codes.dtype} "
                f"{self.codes.shape}"
            )

    def contains(
        self, points_x: NDArray[np.float64], points_y: NDArray[np.float64], level0: Frame
    ) -> NDArray[np.bool_]:
        """Which points lie in tissue: bool, shaped as the points.

        Parameters
        ----------
        points_x, points_y
            In pixels of ``level0``; points outside the slide lie in no tissue.
        """
        fx, fy = level0.scale_to(self.frame)
        columns = np.floor(np.asarray(points_x, np.float64) * fx).astype(np.int64)
        rows = np.floor(np.asarray(points_y, np.float64) * fy).astype(np.int64)
        height, width = self.codes.shape
        inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
        found: NDArray[np.bool_] = np.zeros(inside.shape, np.bool_)
        found[inside] = self.codes[rows[inside], columns[inside]] == TissueCode.TISSUE
        return found

    def meets(self, box: Box, frame: Frame) -> bool:
        """Whether any tissue lies under a box of another frame of the slide.

        Errs on the side of yes: the box is widened to whole pixels of the mask.
        """
        here = frame.box_in(box, self.frame).intersection(self.frame.box)
        return bool((self.codes[here.slices()] == _TISSUE).any())

    def shares(self, frame: Frame, side: int) -> NDArray[np.float64]:
        """How much of every cell of ``frame.box.split(side)`` is tissue, 0..1, 0 outside the slide:
        ``[n]``, in their order."""
        edge = frame.size
        tops = [Box(0, y, 1, min(y + side, edge.height)) for y in range(0, edge.height, side)]
        lefts = [Box(x, 0, min(x + side, edge.width), 1) for x in range(0, edge.width, side)]
        whole = self.frame.box
        rows = [frame.box_in(cell, self.frame).intersection(whole) for cell in tops]
        columns = [frame.box_in(cell, self.frame).intersection(whole) for cell in lefts]
        x0, x1 = np.array([(column.x0, column.x1) for column in columns]).T
        tissue = (self.codes == _TISSUE).view(np.uint8)
        parts = []
        for row in rows:
            before = np.zeros(whole.width + 1, np.int64)
            tissue[row.y0 : row.y1].sum(axis=0, dtype=np.int64).cumsum(out=before[1:])
            parts.append((before[x1] - before[x0]) / np.maximum(row.height * (x1 - x0), 1))
        return np.concatenate(parts)

    def cover(self, box: Box, frame: Frame) -> Box | None:
        """The smallest part of a box of another frame that holds all tissue under the box.

        Widened to whole pixels of the mask and of the frame; ``None`` where there is no tissue.
        """
        here = frame.box_in(box, self.frame).intersection(self.frame.box)
        tissue = self.codes[here.slices()] == TissueCode.TISSUE
        rows, columns = np.flatnonzero(tissue.any(axis=1)), np.flatnonzero(tissue.any(axis=0))
        if not len(rows):
            return None
        held = Box(
            here.x0 + int(columns[0]),
            here.y0 + int(rows[0]),
            here.x0 + int(columns[-1]) + 1,
            here.y0 + int(rows[-1]) + 1,
        )
        return self.frame.box_in(held, frame).intersection(box)

    def area_mm2(self, code: TissueCode = TissueCode.TISSUE) -> float:
        """Area of one code in mm²."""
        count = int(np.count_nonzero(self.codes == code))
        return count * self.frame.mpp.pixel_area_um2 * 1e-6

    def polygons(self, level0: Frame) -> NDArray[np.object_]:
        """The tissue as shapely polygons with holes, in level-0 pixels, cut to the slide.

        Outlines follow the mask's pixel borders exactly. Diagonal neighbours are separate.
        """
        mask = self.codes == TissueCode.TISSUE
        fx, fy = self.frame.scale_to(level0)
        faces = _faces(mask)
        limit = np.array([level0.size.width, level0.size.height], np.float64)

        def place(points: NDArray[np.float64]) -> NDArray[np.float64]:
            placed: NDArray[np.float64] = np.minimum(points * (fx, fy), limit)
            return placed

        placed: NDArray[np.object_] = shapely.transform(faces, place)
        return placed


def whole_slide(frame: Frame) -> TissueMask:
    """Everything is tissue."""
    return TissueMask(np.full(frame.box.shape, TissueCode.TISSUE, np.uint8), frame, "none")


def mask_frame(level0: Frame) -> Frame:
    """The frame that tissue is found in: the whole-number reduction nearest to 8 µm/px."""
    return level0.reduced(max(1, math.floor(8.0 / level0.mpp.mean + 0.5)))


def _faces(mask: NDArray[np.bool_]) -> NDArray[np.object_]:
    """The 4-connected parts of a mask as polygons on pixel corners."""
    padded = np.pad(mask, 1)
    across = padded[1:, 1:-1] != padded[:-1, 1:-1]
    down = padded[1:-1, 1:] != padded[1:-1, :-1]
    lines = np.concatenate([border_runs(across, down), border_runs(down.T, across.T)[:, :, ::-1]])
    if not len(lines):
        return np.empty(0, object)
    faces = shapely.get_parts(shapely.polygonize(shapely.linestrings(lines)))
    inner = shapely.get_coordinates(shapely.point_on_surface(faces))
    columns, rows = np.floor(inner).astype(np.int64).T
    kept: NDArray[np.object_] = faces[mask[rows, columns]]
    return kept
