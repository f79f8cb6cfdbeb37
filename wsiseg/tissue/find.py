"""Find the tissue of a slide, or take it from the user's regions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsiseg.errors import ConfigurationError
from wsiseg.geometry import Box, Frame
from wsiseg.slides.reader import Pixels
from wsiseg.slides.slide import Slide
from wsiseg.tissue.areas import Mask, closed, grown, small_pieces, without_small_holes
from wsiseg.tissue.brightfield import Found, find_brightfield
from wsiseg.tissue.fluorescence import find_fluorescence
from wsiseg.tissue.mask import TissueCode, TissueMask, mask_frame, whole_slide

METHODS: tuple[str, ...] = ("otsu", "none")
"""Names that :func:`find_tissue` takes."""

LARGEST_FILLED_HOLE_UM2 = 40_000.0
"""Holes up to this area (200 µm across) are part of the tissue."""

LEAST_PIECE_UM2 = 12_000.0
"""Smaller pieces (about 110 µm across) are left out, as dust mostly is."""

_CLOSING_UM = 32.0
_FLUORESCENCE_CLOSING_UM = 48.0
_MARGIN_UM = 12.0
_STRIP = 512
_NEARLY_EMPTY_MM2 = 0.2


def find_tissue(slide: Slide, method: str = "otsu") -> TissueMask:
    """Tissue against background, at about 8 µm/px.

    Parameters
    ----------
    slide
        An open slide. It is read in strips; memory is that of the small frame.
    method
        ``"otsu"``: by optical density on brightfield slides, by glow on fluorescence ones.
        ``"none"``: everything is tissue, nothing is read.

    Raises
    ------
    ConfigurationError
        If there is no such method.
    """
    frame = mask_frame(slide.level0)
    if method == "none":
        return whole_slide(frame)
    if method != "otsu":
        raise ConfigurationError(
            f"there is no tissue method {method!r}; there are {', '.join(METHODS)}, or give a "
            "GeoJSON file of regions"
        )
    pixels = _read_small(slide, frame)
    inside = _scanned(slide, frame)
    if slide.facts.illumination == "brightfield":
        found = find_brightfield(_eight_bit(pixels), frame.mpp.mean)
        closing = _CLOSING_UM
    else:
        nothing = np.zeros(frame.box.shape, np.bool_)
        found = Found(find_fluorescence(pixels), nothing, nothing)
        closing = _FLUORESCENCE_CLOSING_UM
    codes, doubts = _settle(found, frame, closing, inside)
    mask = TissueMask(codes, frame, method)
    warnings = (*doubts, *((found.doubt,) if found.doubt else ()), *_warnings(mask))
    return TissueMask(codes, frame, method, warnings)


def _read_small(slide: Slide, frame: Frame) -> Pixels:
    width, height = frame.size.width, frame.size.height
    shape = (height, width, len(slide.facts.channels))
    eight_bit = slide.facts.dtype == "uint8"
    pixels: Pixels = np.empty(shape, np.uint8) if eight_bit else np.empty(shape, np.uint16)
    for top in range(0, height, _STRIP):
        strip = Box(0, top, width, min(top + _STRIP, height))
        pixels[strip.slices()] = slide.read(strip, frame)
    return pixels


def _scanned(slide: Slide, frame: Frame) -> Mask:
    """Pixels of the area that the file says was scanned."""
    inside = np.zeros(frame.box.shape, np.bool_)
    bounds = slide.facts.bounds or slide.level0.box
    inside[slide.level0.box_in(bounds, frame).intersection(frame.box).slices()] = True
    return inside


def _eight_bit(pixels: Pixels) -> NDArray[np.uint8]:
    """RGB uint8, whatever the depth and the number of channels."""
    shift = 8 if pixels.dtype == np.uint16 else 0
    chosen = [0, 1, 2] if pixels.shape[2] >= 3 else [0, 0, 0]
    small: NDArray[np.uint8] = (pixels[..., chosen] >> shift).astype(np.uint8)
    return small


def _settle(
    found: Found, frame: Frame, closing_um: float, inside: Mask
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """One code a pixel, and doubts."""
    mpp, pixel = frame.mpp.mean, frame.mpp.pixel_area_um2
    left_out = found.pen | found.edge
    stained = found.stained & ~left_out & inside
    tissue = closed(stained, max(1, round(closing_um / mpp))) & ~left_out
    tissue = without_small_holes(tissue, LARGEST_FILLED_HOLE_UM2 / pixel) & ~left_out
    small = small_pieces(tissue, LEAST_PIECE_UM2 / pixel)
    doubts: tuple[str, ...] = ()
    share = float(np.count_nonzero(small)) / max(1, int(np.count_nonzero(tissue)))
    if share > 0.5:
        doubts = (
            f"{share:.0%} of what is stained lies in pieces smaller than "
            f"{LEAST_PIECE_UM2:.0f} µm² (scattered cells, or dust): they are kept as tissue",
        )
        small[:] = False
    tissue &= ~small
    tissue = grown(tissue, round(_MARGIN_UM / mpp)) & ~left_out
    codes = np.full(frame.box.shape, TissueCode.BACKGROUND, np.uint8)
    codes[small] = TissueCode.TOO_SMALL
    codes[found.edge] = TissueCode.EDGE
    codes[found.pen] = TissueCode.PEN
    codes[tissue] = TissueCode.TISSUE
    return codes, doubts


def _warnings(mask: TissueMask) -> tuple[str, ...]:
    tissue = mask.area_mm2()
    share = tissue / mask.frame.area_mm2
    found = []
    if tissue == 0:
        found.append("no tissue was found; give --tissue none to take the whole slide")
    elif tissue < _NEARLY_EMPTY_MM2 and share < 0.05:
        found.append(
            f"the slide is nearly empty: {tissue:.3g} mm² of tissue ({share:.2%} of the slide)"
        )
    for code, name in (
        (TissueCode.PEN, "looks like ink"),
        (TissueCode.EDGE, "looks like the edge of the slide or cover slip"),
        (TissueCode.TOO_SMALL, "lies in pieces too small to be tissue"),
    ):
        area = mask.area_mm2(code)
        if area > max(0.25 * tissue, 0.05):
            found.append(f"{area:.3g} mm² were left out because it {name}")
    return tuple(found)
