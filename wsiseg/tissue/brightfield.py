"""Tissue against glass on brightfield slides, at about 8 µm/px.

Glass is bright and without colour. Its brightness is measured where there is glass to be seen;
the threshold of optical density is Otsu's, held between the noise of the glass and an absolute
limit, so that a slide full of tissue is not split into pale and dark tissue, nor an empty one
into dust and glass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from wsiseg.tissue.areas import Mask, grown, pieces, touching_border

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
_FAINT_COLOUR = 0.010
_FAINT_DENSITY = 0.008

Channel = TypeVar("Channel", bound=np.generic)


@dataclass(frozen=True, slots=True)
class Found:
    """Raw findings, bool ``[y, x]`` each; they may overlap. ``doubt`` is empty or a sentence."""

    stained: Mask
    pen: Mask
    edge: Mask
    doubt: str = ""


def find_brightfield(pixels: NDArray[np.uint8], mpp: float) -> Found:
    """Stained, inked and edge pixels of RGB ``[y, x, 3]`` at ``mpp`` µm/px."""
    smooth = ndimage.gaussian_filter(pixels.astype(np.float32), (1.0, 1.0, 0.0))
    glass = glass_level(pixels)
    density = -np.log10(np.maximum(smooth, 1.0) / glass)
    np.maximum(density, 0.0, out=density)
    weakest, strongest = _ends(density)
    colour = strongest - weakest
    black = (weakest > 0.75) & (colour < 0.35)
    edge = grown(touching_border(black), round(_EDGE_HALO_UM / mpp))
    pen = _large(_ink(density) | (black & ~edge), _PEN_LEAST_UM2 / mpp**2)
    pen = grown(pen, round(_PEN_HALO_UM / mpp)) & ~edge
    usable = ~edge & ~pen
    limit, doubt = _threshold(strongest[usable])
    strong = strongest > limit
    edge |= _grey_borders(strong & usable, strongest, colour, mpp)
    return Found(strong | _faint(density, strong | pen | edge), pen, edge, doubt)


def glass_level(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Brightness of bare glass, float32 ``[3]``: the commonest of the bright colourless pixels.

    Pure white is left out where there is something else, since scanners fill unscanned areas
    with it. Where hardly any pixel can be glass, a usual value stands in.
    """
    flat = pixels.reshape(-1, 3)
    low, high = _ends(flat)
    bare = (low >= _GLASS_LEAST) & (high - low <= _GLASS_COLOUR)
    scanned = bare & (low < 255)
    if np.count_nonzero(scanned) >= _GLASS_SHARE * len(flat):
        bare = scanned
    if np.count_nonzero(bare) < _GLASS_SHARE * len(flat):
        return np.full(3, _USUAL_GLASS, np.float32)
    histogram = np.bincount(low[bare], minlength=256).astype(np.float64)
    mode = int(np.argmax(ndimage.uniform_filter1d(histogram, 5, mode="constant")))
    near = bare & (np.abs(low.astype(np.int16) - mode) <= 4)
    level: NDArray[np.float32] = np.median(flat[near], axis=0).astype(np.float32)
    return level


def _ends(values: NDArray[Channel]) -> tuple[NDArray[Channel], NDArray[Channel]]:
    """The least and the greatest of the three channels on the last axis."""
    # Channel by channel: numpy is slow along axes as short as three.
    red, green, blue = values[..., 0], values[..., 1], values[..., 2]
    low: NDArray[Channel] = np.minimum(np.minimum(red, green), blue)
    high: NDArray[Channel] = np.maximum(np.maximum(red, green), blue)
    return low, high


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


def _ink(density: NDArray[np.float32]) -> Mask:
    """Colours that no common stain has: green, and saturated blue or red."""
    red, green, blue = density[..., 0], density[..., 1], density[..., 2]
    is_green = (np.minimum(red, blue) > 0.2) & (green < 0.75 * np.minimum(red, blue))
    is_blue = (red > 0.6) & (blue < 0.3 * red) & (green < 0.95 * red)
    is_red = (green > 0.5) & (red < 0.1 * green) & (blue > 0.7 * green)
    ink: Mask = is_green | is_blue | is_red
    return ink


def _large(mask: Mask, least: float) -> Mask:
    labels, areas = pieces(mask)
    large: Mask = (areas >= least)[labels]
    return large


def _faint(density: NDArray[np.float32], taken: Mask) -> Mask:
    """Pixels that are coloured on the whole, though each is about as bright as glass.

    Means over about 60 µm of what is not ``taken``, so that no halo of dark tissue counts.
    """
    free = (~taken).astype(np.float32)
    weight = ndimage.gaussian_filter(free, _FAINT_SIGMA)
    means = ndimage.gaussian_filter(density * free[..., None], (_FAINT_SIGMA, _FAINT_SIGMA, 0.0))
    means /= np.maximum(weight, 0.05)[..., None]
    weakest, strongest = _ends(means)
    coloured = strongest - weakest > _FAINT_COLOUR
    found: Mask = coloured & (strongest > _FAINT_DENSITY) & ~taken
    return found


def _grey_borders(
    strong: Mask, strongest: NDArray[np.float32], colour: NDArray[np.float32], mpp: float
) -> Mask:
    """Grey pixels that touch the border or form long thin lines: edges of slide or cover slip."""
    labels, areas = pieces(strong & (colour < _GREY * strongest))
    none: Mask = np.zeros(strong.shape, np.bool_)
    if len(areas) < 2:
        return none
    sides = np.zeros(len(areas), np.float64)
    sides[1:] = [
        max(rows.stop - rows.start, columns.stop - columns.start)
        for rows, columns in ndimage.find_objects(labels)
    ]
    long = (sides * mpp > _LINE_LEAST_UM) & (areas < _LINE_FILL * sides**2)
    at_border = np.zeros(len(areas), np.bool_)
    at_border[np.unique(labels[touching_border(labels > 0)])] = True
    chosen = long | (at_border & (sides * mpp > _BORDER_LEAST_UM))
    chosen[0] = False
    return grown(chosen[labels], 2)
