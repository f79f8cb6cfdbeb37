"""Tissue against glass on brightfield slides, at about 8 µm/px.

Glass is bright and without colour. Its brightness is measured where there is glass to be seen;
the threshold of optical density is Otsu's, held between the noise of the glass and an absolute
limit, so that a slide full of tissue is not split into pale and dark tissue, nor an empty one
into dust and glass.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import ndimage

from wsiseg.stain import counted_quantile
from wsiseg.tissue.areas import Mask, at_border, grown, pieces, touching_border
from wsiseg.tissue.smoothing import smoothed

_GLASS_LEAST = 190
_GLASS_COLOUR = 14
_GLASS_SHARE = 0.004
_USUAL_GLASS = 243.0
_LEAST_DENSITY = 0.028
_MOST_DENSITY = 0.085
_BINS = 512
_RANGE = 1.0
_PEN_LEAST_UM2 = 40_000.0
_PEN_HALO_UM = 40.0
_EDGE_HALO_UM = 32.0
_GREY = 0.22
_LINE_LEAST_UM = 1_500.0
_LINE_FILL = 0.06
_BORDER_LEAST_UM = 200.0
_FAINT_SIGMA = 4.0

# In single precision, as the densities that they are compared with.
_DARK, _BLACK_COLOUR = np.float32(0.75), np.float32(0.35)
_INK_GREEN = np.float32(0.2), np.float32(0.75)
_INK_BLUE = np.float32(0.6), np.float32(0.3), np.float32(0.95)
_INK_RED = np.float32(0.5), np.float32(0.1), np.float32(0.7)
_FAINT_WEIGHT = np.float32(0.05)
_FAINT_COLOUR = np.float32(0.010)
_FAINT_DENSITY = np.float32(0.008)


@dataclass(frozen=True, slots=True)
class Found:
    """Raw findings, bool ``[y, x]`` each; they may overlap. ``doubt`` is empty or a sentence."""

    stained: Mask
    pen: Mask
    edge: Mask
    doubt: str = ""


def find_brightfield(pixels: NDArray[np.uint8], mpp: float) -> Found:
    """Stained, inked and edge pixels of RGB ``[y, x, 3]`` at ``mpp`` µm/px."""
    density = _density(pixels)
    strongest, colour, black, ink = _looks(density)
    edge = grown(touching_border(black), round(_EDGE_HALO_UM / mpp))
    pen = _large(ink | (black & ~edge), _PEN_LEAST_UM2 / mpp**2)
    pen = grown(pen, round(_PEN_HALO_UM / mpp)) & ~edge
    usable = ~edge & ~pen
    limit, doubt = _threshold(strongest[usable])
    strong = strongest > limit
    edge |= _grey_borders(strong & usable, strongest, colour, mpp)
    return Found(strong | _faint(density, strong | pen | edge), pen, edge, doubt)


def _density(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Optical density float32 ``[y, x, 3]``, smoothed by a pixel; 0 where it is as bright as
    glass or brighter."""
    density = smoothed(pixels.astype(np.float32), 1.0)
    np.maximum(density, 1.0, out=density)
    density /= glass_level(pixels)
    np.log10(density, out=density)
    np.negative(density, out=density)
    return np.maximum(density, 0.0, out=density)


def glass_level(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Brightness of bare glass, float32 ``[3]``: the commonest of the bright colourless pixels.

    Pure white is left out where there is something else, since scanners fill unscanned areas
    with it. Where hardly any pixel can be glass, a usual value stands in.
    """
    flat = pixels.reshape(-1, 3)
    bare = _bare(flat, _GLASS_LEAST, 255)[0]
    highest, enough = 255, _GLASS_SHARE * len(flat)
    if bare[:255].sum() >= enough:
        bare[255] = 0
        highest = 254
    if bare.sum() < enough:
        return np.full(3, _USUAL_GLASS, np.float32)
    histogram = bare.astype(np.float64)
    mode = int(np.argmax(ndimage.uniform_filter1d(histogram, 5, mode="constant")))
    near = _bare(flat, max(mode - 4, _GLASS_LEAST), min(mode + 4, highest))[1:]
    medians = [counted_quantile(counts, 0.5) for counts in near]
    level: NDArray[np.float32] = np.array(medians, np.float32)
    return level


@njit(cache=True, nogil=True)
def _bare(flat: NDArray[np.uint8], lowest: int, highest: int) -> NDArray[np.int64]:
    """Histograms ``[4, 256]`` of colourless pixels: of their darkest channel, then of each.

    Of those alone whose darkest channel lies between ``lowest`` and ``highest``.
    """
    found = np.zeros((4, 256), np.int64)
    for i in range(len(flat)):
        red, green, blue = flat[i, 0], flat[i, 1], flat[i, 2]
        low = min(red, green, blue)
        if lowest <= low <= highest and max(red, green, blue) - low <= _GLASS_COLOUR:
            found[0, low] += 1
            found[1, red] += 1
            found[2, green] += 1
            found[3, blue] += 1
    return found


def _threshold(density: NDArray[np.float32]) -> tuple[float, str]:
    """Optical density above which a pixel is stained, and a doubt about it."""
    if density.size == 0:
        return _MOST_DENSITY, ""
    histogram, edges = np.histogram(density, _BINS, (0.0, _RANGE))
    middle = (edges[1:] + edges[:-1]) / 2
    below, above = np.cumsum(histogram), np.cumsum(histogram[::-1])[::-1]
    sums = np.cumsum(histogram * middle)
    first = sums / np.maximum(below, 1)
    second = (sums[-1] - sums) / np.maximum(np.append(above[1:], 0), 1)
    between = below * np.append(above[1:], 0).astype(np.float64) * (first - second) ** 2
    otsu = float(edges[1:][np.argmax(between)])
    bare = density[density < _MOST_DENSITY]
    noise = float(np.median(bare)) if bare.size > 0.02 * density.size else 0.0
    least = min(max(_LEAST_DENSITY, 2.5 * noise), _MOST_DENSITY)
    limit = min(max(otsu / 2, least), _MOST_DENSITY)
    near = (density > 0.75 * limit) & (density < 1.33 * limit)
    share = float(np.count_nonzero(near)) / density.size
    doubt = ""
    if share > 0.2:
        doubt = (
            f"{share:.0%} of the slide is about as dark as the threshold between tissue and "
            "glass; look at the tissue outline before trusting counts"
        )
    return limit, doubt


@njit(cache=True, nogil=True)
def _looks(
    density: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.float32], Mask, Mask]:
    """``[y, x]`` each: the greatest density, the range of the three, whether that is black, and
    whether it is ink: colours that no common stain has, green, and saturated blue or red."""
    height, width = density.shape[:2]
    strongest = np.empty((height, width), np.float32)
    colour = np.empty((height, width), np.float32)
    black = np.empty((height, width), np.bool_)
    ink = np.empty((height, width), np.bool_)
    for y in range(height):
        for x in range(width):
            red, green, blue = density[y, x, 0], density[y, x, 1], density[y, x, 2]
            low, high = min(red, green, blue), max(red, green, blue)
            strongest[y, x] = high
            colour[y, x] = high - low
            black[y, x] = low > _DARK and high - low < _BLACK_COLOUR
            others = min(red, blue)
            ink[y, x] = (
                (others > _INK_GREEN[0] and green < _INK_GREEN[1] * others)
                or (red > _INK_BLUE[0] and blue < _INK_BLUE[1] * red and green < _INK_BLUE[2] * red)
                or (
                    green > _INK_RED[0] and red < _INK_RED[1] * green and blue > _INK_RED[2] * green
                )
            )
    return strongest, colour, black, ink


def _large(mask: Mask, least: float) -> Mask:
    """The 8-connected pieces of at least ``least`` pixels."""
    if np.count_nonzero(mask) < least:
        return np.zeros(mask.shape, np.bool_)
    labels, areas = pieces(mask)
    large: Mask = (areas >= least)[labels]
    return large


def _faint(density: NDArray[np.float32], taken: Mask) -> Mask:
    """Pixels that are coloured on the whole, though each is about as bright as glass.

    Means over about 60 µm of what is not ``taken``, so that no halo of dark tissue counts.
    """
    height, width = taken.shape
    free = np.empty((height, width, 4), np.float32)
    free[..., 3] = ~taken
    np.multiply(density, free[..., 3:], out=free[..., :3])
    found: Mask = _coloured(smoothed(free, _FAINT_SIGMA), taken)
    return found


@njit(cache=True, nogil=True)
def _coloured(means: NDArray[np.float32], taken: Mask) -> Mask:
    """Which pixels that are not ``taken`` are coloured, by the means of density and of what is
    free ``[y, x, 4]``."""
    found = np.zeros(taken.shape, np.bool_)
    for y in range(taken.shape[0]):
        for x in range(taken.shape[1]):
            if taken[y, x]:
                continue
            weight = max(means[y, x, 3], _FAINT_WEIGHT)
            red, green, blue = (
                means[y, x, 0] / weight,
                means[y, x, 1] / weight,
                means[y, x, 2] / weight,
            )
            high = max(red, green, blue)
            found[y, x] = high - min(red, green, blue) > _FAINT_COLOUR and high > _FAINT_DENSITY
    return found


def _grey_borders(
    strong: Mask, strongest: NDArray[np.float32], colour: NDArray[np.float32], mpp: float
) -> Mask:
    """Grey pixels that touch the border or form long thin lines: edges of slide or cover slip."""
    labels, areas = pieces(strong & (colour < _GREY * strongest))
    if len(areas) < 2:
        return np.zeros(strong.shape, np.bool_)
    sides = np.zeros(len(areas), np.float64)
    sides[1:] = [
        max(rows.stop - rows.start, columns.stop - columns.start)
        for rows, columns in ndimage.find_objects(labels)
    ]
    long = (sides * mpp > _LINE_LEAST_UM) & (areas < _LINE_FILL * sides**2)
    chosen = long | (at_border(labels, len(areas)) & (sides * mpp > _BORDER_LEAST_UM))
    chosen[0] = False
    return grown(chosen[labels], 2)
