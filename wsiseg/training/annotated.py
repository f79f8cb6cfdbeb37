"""Labelled tiles from outlines drawn on slides, as QuPath exports them."""

from __future__ import annotations

import numpy as np

from wsiseg.errors import ConfigurationError
from wsiseg.evaluation.outlines import RegionOutlines, cut_regions, require_on_slide
from wsiseg.export.regions import Region, read_regions
from wsiseg.geometry import Box
from wsiseg.slides.reader import Illumination
from wsiseg.slides.slide import Slide, open_slide
from wsiseg.training.config import AnnotatedSlide
from wsiseg.training.tiles import LabelledTile

LARGEST_SIDE = 8192
"""Pixels of the longest side of an area read at once."""

_RECTANGULAR = 0.99


def load_areas(described: AnnotatedSlide, illumination: Illumination) -> list[LabelledTile]:
    """The areas of a slide within which every nucleus was outlined, one tile each.

    Keys are ``NAME/0``, ``NAME/1`` ... in the order of the file.

    Raises
    ------
    ConfigurationError
        If the slide has another illumination, its channel is not named, the file has no such area
        or no nuclei, none of them lies on the slide, or an area is no upright rectangle: outside
        of it nuclei would be taken for background.
    WsisegError
        If slide or annotations cannot be read.
    """
    regions = read_regions(described.annotations)
    nuclei, areas = cut_regions(regions, (described.area,), described.annotations)
    with open_slide(described.slide, mpp=described.mpp) as slide:
        channels = _channels(described, slide, illumination)
        corner = slide.facts.bounds
        origin = (corner.x0, corner.y0) if corner is not None else (0, 0)
        outlines = RegionOutlines(nuclei, origin)
        require_on_slide(outlines.objects, slide.level0, described.annotations)
        return [
            _tile(
                f"{described.name}/{number}",
                slide,
                channels,
                _box(area, origin, described),
                outlines,
            )
            for number, area in enumerate(areas)
        ]


def _box(area: Region, origin: tuple[int, int], described: AnnotatedSlide) -> Box:
    x0, y0, x1, y1 = (float(v) for v in area.geometry.bounds)
    if area.geometry.area < _RECTANGULAR * (x1 - x0) * (y1 - y0):
        raise ConfigurationError(
            f"{described.annotations}: an area {described.area!r} is no upright rectangle; draw "
            "rectangles in which every nucleus is outlined"
        )
    box = Box(
        int(np.ceil(x0)) + origin[0],
        int(np.ceil(y0)) + origin[1],
        int(np.floor(x1)) + origin[0],
        int(np.floor(y1)) + origin[1],
    )
    if box.empty or max(box.width, box.height) > LARGEST_SIDE:
        raise ConfigurationError(
            f"{described.annotations}: an area {described.area!r} has {box.width} x {box.height} "
            f"px; the sides must lie within 1 and {LARGEST_SIDE} px"
        )
    return box


def _channels(
    described: AnnotatedSlide, slide: Slide, illumination: Illumination
) -> tuple[int, ...]:
    if slide.facts.illumination != illumination:
        raise ConfigurationError(f"{described.slide} is no {illumination} slide")
    if illumination == "brightfield":
        return (0, 1, 2)
    if described.channel is not None:
        return slide.channel_indices([described.channel])
    if len(slide.facts.channels) > 1:
        raise ConfigurationError(
            f"{described.slide} has the channels {', '.join(slide.facts.channels)}; name the "
            "nuclear one: channel = ..."
        )
    return (0,)


def _tile(
    key: str, slide: Slide, channels: tuple[int, ...], box: Box, outlines: RegionOutlines
) -> LabelledTile:
    labels = outlines.paint(box, (1.0, 1.0)).astype(np.int32)
    pixels = slide.read(box, slide.level0, channels)
    return LabelledTile(key, pixels, labels, slide.level0.mpp.x)
