"""Tissue from the user's own regions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import shapely
from numpy.typing import NDArray

from wsiseg.cells.polygons import Polygons
from wsiseg.cells.rasterize import rasterize
from wsiseg.errors import ConfigurationError
from wsiseg.geometry import HUNDREDTHS, Frame
from wsiseg.slides.slide import Slide
from wsiseg.tissue.areas import Mask
from wsiseg.tissue.mask import TissueCode, TissueMask, mask_frame


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
        Areas, valid; points and lines are ignored, and counted in a warning, and so are areas
        that lie outside the slide.
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
    labels = [_label(region).casefold() for region in regions]
    geometries = np.array([region.geometry for region in regions], object)
    areal: Mask = np.asarray(shapely.area(geometries)) > 0
    dropped = areal & np.array([label in unwanted for label in labels], np.bool_)
    taken = areal & ~dropped
    if wanted:
        taken &= np.array([label in wanted for label in labels], np.bool_)
    if not taken.any():
        there = ", ".join(sorted({_label(region) or "(no class)" for region in regions}))
        raise ConfigurationError(
            f"{slide.facts.path}: none of the {len(regions)} regions counts as tissue; their "
            f"classes are {there or 'none'}"
        )
    frame = mask_frame(slide.level0)
    codes = np.full(frame.box.shape, TissueCode.BACKGROUND, np.uint8)
    outside = _outside(slide, geometries)
    codes[_drawn(slide, frame, geometries[taken & ~outside])] = TissueCode.TISSUE
    codes[_drawn(slide, frame, geometries[dropped & ~outside])] = TissueCode.EXCLUDED
    warnings = []
    if not areal.all():
        warnings.append(
            f"{np.count_nonzero(~areal)} of {len(regions)} regions have no area (points or lines) "
            "and were ignored"
        )
    astray = np.count_nonzero(outside & (taken | dropped))
    if astray:
        warnings.append(
            f"{astray} of {len(regions)} regions lie outside the slide; are they of another one?"
        )
    if not (codes == TissueCode.TISSUE).any():
        warnings.append("the regions cover no part of the slide")
    return TissueMask(codes, frame, "regions", tuple(warnings))


def _label(region: Region) -> str:
    return region.class_name or region.name or ""


def _origin(slide: Slide) -> tuple[int, int]:
    """Level-0 position of QuPath's origin."""
    corner = slide.facts.bounds
    return (corner.x0, corner.y0) if corner is not None else (0, 0)


def _outside(slide: Slide, geometries: NDArray[np.object_]) -> Mask:
    """Geometries whose bounds share nothing with the slide, ``[n]``."""
    low, high = np.hsplit(shapely.bounds(geometries) + _origin(slide) * 2, 2)
    size = slide.level0.size
    outside: Mask = np.any((high <= 0) | (low >= (size.width, size.height)), axis=1)
    return outside


def _drawn(slide: Slide, frame: Frame, geometries: NDArray[np.object_]) -> Mask:
    """Pixels whose centre lies in any of the geometries."""
    outlines = _outlines(geometries, _origin(slide))
    count = len(outlines)
    drawn: Mask = (
        rasterize(
            outlines,
            np.ones(count, np.uint32),
            np.arange(count),
            frame.box,
            frame.scale_to(slide.level0),
        )
        > 0
    )
    return drawn


def _outlines(geometries: NDArray[np.object_], origin: tuple[int, int]) -> Polygons:
    """The polygons that geometries consist of, moved by ``origin``."""
    # Twice, for a collection may hold a MultiPolygon.
    parts = shapely.get_parts(shapely.get_parts(geometries))
    areal = (shapely.get_type_id(parts) == shapely.GeometryType.POLYGON) & ~shapely.is_empty(parts)
    if not areal.any():
        return Polygons.empty()
    _, points, (rings, polygons) = shapely.to_ragged_array(parts[areal], include_z=False)
    opened = np.ones(len(points), np.bool_)
    opened[rings[1:] - 1] = False
    return Polygons(
        np.rint((points[opened] + origin) * HUNDREDTHS).astype(np.int32),
        rings.astype(np.int64) - np.arange(len(rings)),
        polygons.astype(np.int64),
    )
