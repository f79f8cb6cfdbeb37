"""Outlines of the classes of tissue, simplified together so that neighbours still meet."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from wsiseg.geometry import Box, Frame
from wsiseg.tissue.borders import border_runs
from wsiseg.tissue.class_map import ClassMap

MOST_PIXELS = 16_000_000
"""Of a larger map every second (third ...) pixel is outlined, so that memory stays bounded."""

_ROWS = 512
_TRIES = (1.5, 1.25, 1.0, 0.72)
_TOLERANCE_PX = 2.0


@dataclass(frozen=True, slots=True)
class ClassOutlines:
    """Polygons of all classes but background.

    Attributes
    ----------
    polygons
        shapely Polygons with holes in level-0 pixels ``[n]``.
    classes
        uint8 ``[n]``: the class of each.
    pixel_um
        Side of the pixels that were outlined.
    tolerance_um
        No vertex of an outline of pixels lies farther than this from the simplified outline.
    """

    polygons: NDArray[np.object_]
    classes: NDArray[np.uint8]
    pixel_um: float
    tolerance_um: float


def outline_classes(classes: ClassMap, level0: Frame) -> ClassOutlines:
    """Outline the classes of a slide and simplify them by at most two pixels.

    Lines between two classes are the same in both polygons, so there are neither gaps nor
    overlaps (Visvalingam and Whyatt's simplification of a coverage). Of some strengths the
    greatest is taken that keeps within the tolerance.
    """
    step = math.ceil(math.sqrt(max(1.0, classes.frame.size.area / MOST_PIXELS)))
    codes = _every(classes, step)
    faces, owners = _faces(codes)
    simple = _simplified(faces)
    background = [k for k, c in enumerate(classes.classes) if c.counts == "background"]
    kept = ~np.isin(owners, background)
    fx, fy = (step * s for s in classes.frame.scale_to(level0))
    limit = np.array([level0.size.width, level0.size.height], np.float64)
    placed = shapely.transform(simple[kept], lambda points: np.minimum(points * (fx, fy), limit))
    side = step * max(classes.frame.mpp.x, classes.frame.mpp.y)
    return ClassOutlines(placed, owners[kept], side, _TOLERANCE_PX * side)


def _every(classes: ClassMap, step: int) -> NDArray[np.uint8]:
    """Every ``step``-th pixel of the map, along each axis."""
    height, width = classes.shape
    rows = -(-_ROWS // step) * step
    parts = []
    for top in range(0, height, rows):
        strip = Box(0, top, width, min(top + rows, height))
        parts.append(classes.read(strip)[step // 2 :: step, step // 2 :: step])
    found: NDArray[np.uint8] = np.concatenate(parts)
    return found


def _simplified(faces: NDArray[np.object_]) -> NDArray[np.object_]:
    """Faces of a coverage, within the tolerance."""
    points, owner = shapely.get_coordinates(faces, return_index=True)
    places = shapely.points(points)
    for strength in _TRIES:
        simple: NDArray[np.object_] = shapely.coverage_simplify(faces, strength)
        lines = shapely.boundary(simple)
        shapely.prepare(lines)
        if (
            shapely.is_valid(simple).all()
            and shapely.dwithin(lines[owner], places, _TOLERANCE_PX).all()
        ):
            return simple
    return faces


def _faces(codes: NDArray[np.uint8]) -> tuple[NDArray[np.object_], NDArray[np.uint8]]:
    """The 4-connected parts of each value as polygons on pixel corners, and their values."""
    height, width = codes.shape
    padded = np.full((height + 2, width + 2), -1, np.int16)
    padded[1:-1, 1:-1] = codes
    across = padded[1:, 1:-1] != padded[:-1, 1:-1]
    down = padded[1:-1, 1:] != padded[1:-1, :-1]
    lines = np.concatenate([border_runs(across, down), border_runs(down.T, across.T)[:, :, ::-1]])
    faces = shapely.get_parts(shapely.polygonize(shapely.linestrings(lines)))
    inner = shapely.get_coordinates(shapely.point_on_surface(faces))
    columns, rows = np.floor(inner).astype(np.int64).T
    return faces, codes[rows, columns]
