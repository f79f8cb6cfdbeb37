"""Tissue from the user's own regions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import shapely

from wsiseg.errors import ConfigurationError
from wsiseg.slides.slide import Slide
from wsiseg.tissue.areas import Mask
from wsiseg.tissue.mask import TissueCode, TissueMask, mask_frame

_AREAL = ("Polygon", "MultiPolygon", "GeometryCollection")


class Region(Protocol):
    """One of the user's regions, as an annotation of QuPath's is read."""

    @property
    def geometry(self) -> Any:
        """shapely geometry in QuPath's frame: level-0 pixels from the corner of the bounds."""
        ...

    @property
    def class_name(self) -> str | None:
        """Its class, if any."""
        ...

    @property
    def name(self) -> str | None:
        """Its name, if any."""
        ...


def tissue_from_regions(
    slide: Slide,
    regions: Sequence[Region],
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
) -> TissueMask:
    """Tissue as the user drew it. Exclusion wins.

    Parameters
    ----------
    slide
        The slide the regions lie on.
    regions
        Areas; points and lines are ignored, and counted in a warning.
    include, exclude
        Classes (or names of regions without a class), whatever the case. With no ``include``,
        every region that is not excluded counts.

    Raises
    ------
    ConfigurationError
        If no region is left; the message lists the classes there are.
    """
    wanted = {name.casefold() for name in include}
    unwanted = {name.casefold() for name in exclude}
    taken, dropped, ignored = [], [], 0
    for region in regions:
        label = _label(region)
        if region.geometry.geom_type not in _AREAL or region.geometry.area == 0:
            ignored += 1
        elif label.casefold() in unwanted:
            dropped.append(region.geometry)
        elif not wanted or label.casefold() in wanted:
            taken.append(region.geometry)
    if not taken:
        there = ", ".join(sorted({_label(region) or "(no class)" for region in regions}))
        raise ConfigurationError(
            f"{slide.facts.path}: none of the {len(regions)} regions counts as tissue; their "
            f"classes are {there or 'none'}"
        )
    frame = mask_frame(slide.level0)
    codes = np.full(frame.box.shape, TissueCode.BACKGROUND, np.uint8)
    mask = TissueMask(codes, frame, "regions")
    codes[_drawn(slide, mask, taken)] = TissueCode.TISSUE
    codes[_drawn(slide, mask, dropped)] = TissueCode.EXCLUDED
    warnings = []
    if ignored:
        warnings.append(f"{ignored} of {len(regions)} regions have no area and were ignored")
    if not (codes == TissueCode.TISSUE).any():
        warnings.append("the regions cover no part of the slide")
    return TissueMask(codes, frame, "regions", tuple(warnings))


def _label(region: Region) -> str:
    return region.class_name or region.name or ""


def _drawn(slide: Slide, mask: TissueMask, geometries: Sequence[Any]) -> Mask:
    """Pixels whose centre lies in any of the geometries."""
    drawn = np.zeros(mask.frame.box.shape, np.bool_)
    fx, fy = slide.level0.scale_to(mask.frame)
    corner = slide.facts.bounds
    origin = (corner.x0, corner.y0) if corner is not None else (0, 0)
    height, width = drawn.shape
    for geometry in geometries:
        placed = shapely.transform(geometry, lambda points: (points + origin) * (fx, fy))
        shapely.prepare(placed)
        x0, y0, x1, y1 = placed.bounds
        first, last = max(int(np.floor(x0)), 0), min(int(np.ceil(x1)), width)
        if first >= last:
            continue
        columns = np.arange(first, last) + 0.5
        for row in range(max(int(np.floor(y0)), 0), min(int(np.ceil(y1)), height)):
            drawn[row, first:last] |= shapely.contains_xy(placed, columns, row + 0.5)
    return drawn
