"""Parts of the pictures that wsiseg draws: density in colour, outlines, frames, scale bars."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw
from scipy.ndimage import minimum_filter

from wsiseg.cells.batch import CellBatch, CellClass
from wsiseg.cells.polygons import Polygons
from wsiseg.export.lettering import Color, draw_text, text_width
from wsiseg.export.strokes import FINER, outlines_cover
from wsiseg.geometry import HUNDREDTHS, Box
from wsiseg.slides.reader import Pixels

INK: Color = (28, 30, 34)
PAPER: Color = (255, 255, 255)
NO_TISSUE: Color = (240, 241, 243)

_OUTLINE_PX = 2.0
_CASING_PX = 4.0
_CASING_STRENGTH = 0.5
_RIM_PX = 2
_BADGE_PX = (28, 32)
_TYPICAL_GREY = 0.75
_STEEPNESS = 6
_MOST_CURVED = 0.5
# The viridis colour map of S. van der Walt and N. Smith (CC0) at equal steps.
_VIRIDIS = np.array(
    [
        (68, 1, 84),
        (72, 36, 117),
        (65, 68, 135),
        (53, 95, 141),
        (42, 120, 142),
        (33, 145, 140),
        (34, 168, 132),
        (68, 191, 112),
        (122, 209, 81),
        (189, 223, 38),
        (253, 231, 37),
    ],
    np.float64,
)


def as_rgb(pictures: Sequence[Pixels]) -> list[NDArray[np.uint8]]:
    """The pictures as uint8 ``[y, x, 3]``: colour as it is, one channel in stretched grey.

    The stretch is common to all, so that a dim place stays dim beside a bright one. It ends high
    among the bright pixels, however few they are, so that nuclei keep their inner structure.
    Where most of these are near its end, as on overexposed slides, a curve spreads the upper
    greys, and with them the darker lines between nuclei that touch.
    """
    if pictures[0].shape[2] == 3 and pictures[0].dtype == np.uint8:
        return [np.asarray(picture, np.uint8) for picture in pictures]
    values = np.concatenate([picture.reshape(-1, picture.shape[2]) for picture in pictures])
    low, top = np.percentile(values, (1.0, 99.8))
    bright = values[values > (low + top) / 2]
    high = float(np.percentile(bright, 99.5)) if bright.size else low
    span = max(high - low, 1.0)
    typical = min((float(np.median(bright)) - low) / span, 1.0) if bright.size else 0.0
    excess = max(typical - _TYPICAL_GREY, 0.0) / max(typical - typical**_STEEPNESS, 1e-6)
    share = min(excess, _MOST_CURVED)
    shown = []
    for picture in pictures:
        grey = np.clip((picture - low) / span, 0.0, 1.0)
        grey = (1 - share) * grey + share * grey**_STEEPNESS
        wide = grey if grey.shape[2] == 3 else grey[..., :1].repeat(3, axis=2)
        shown.append(np.rint(wide * 255).astype(np.uint8))
    return shown


def colored(density: NDArray[np.float64], top: float) -> Image.Image:
    """Every value ``[y, x]`` as a pixel, from 0 to ``top``; NaN is as light as no tissue."""
    at = np.clip(np.nan_to_num(density) / top, 0, 1) * (len(_VIRIDIS) - 1)
    channels = [np.interp(at, np.arange(len(_VIRIDIS)), _VIRIDIS[:, c]) for c in range(3)]
    colors = np.rint(np.stack(channels, axis=-1)).astype(np.uint8)
    colors[~np.isfinite(density)] = NO_TISSUE
    return Image.fromarray(colors)


def scale_top(density: NDArray[np.float64]) -> float:
    """Where the colour scale ends: a round number at the 99th percentile of the squares."""
    known = density[np.isfinite(density)]
    value = float(np.percentile(known, 99)) if known.size else 0.0
    return _round_number(value, up=True) if value > 0 else 1.0


def rim(mask: Image.Image) -> Image.Image:
    """How much of every pixel the outline of ``mask``, which has twice its size, covers."""
    inner = minimum_filter(np.asarray(mask), 4 * _RIM_PX + 1, mode="nearest")
    return ImageChops.difference(mask, Image.fromarray(inner)).reduce(2)


def outline_cells(
    picture: Image.Image,
    batches: Sequence[CellBatch],
    classes: Sequence[CellClass],
    box: Box,
    casing: Color,
) -> None:
    """Draw the outlines of cells in the colours of their classes on a soft casing.

    Parameters
    ----------
    picture
        RGB, changed in place.
    batches
        The cells.
    classes
        Their classes.
    box
        The level-0 pixels that the picture shows.
    casing
        Colour beside the lines, which sets them off from a ground of their own colour.
    """
    polygons = Polygons.concatenate([batch.polygons for batch in batches])
    kinds = np.concatenate([batch.class_index for batch in batches]) if batches else np.empty(0)
    scale = picture.width / box.width * FINER

    def lines(drawn: Polygons, width_px: float) -> Image.Image:
        points = (drawn.vertices / HUNDREDTHS - (box.x0, box.y0)) * scale
        return outlines_cover(drawn, points, picture.size, round(width_px * FINER))

    shade = lines(polygons, _CASING_PX).point([round(v * _CASING_STRENGTH) for v in range(256)])
    picture.paste(casing, mask=shade)
    for kind in np.unique(kinds).tolist():
        drawn = lines(polygons.take(np.flatnonzero(kinds == kind)), _OUTLINE_PX)
        picture.paste(classes[kind].color, mask=drawn)


def mark_boxes(picture: Image.Image, boxes: Sequence[Box]) -> None:
    """Frames around ``boxes`` of the picture, numbered from 1, to be seen on any ground.

    A number stands beside its frame, where it hides neither another number nor a frame.
    """
    draw = ImageDraw.Draw(picture)
    frames = [Box(b.x0, b.y0, max(b.x1, b.x0 + 8), max(b.y1, b.y0 + 8)) for b in boxes]
    for frame in frames:
        draw.rectangle(_corners(frame.grown(2)), outline=PAPER, width=6)
        draw.rectangle(_corners(frame), outline=INK, width=2)
    taken = [frame.grown(3) for frame in frames]
    for number, frame in enumerate(frames, start=1):
        places = [
            Box(x, y, x + _BADGE_PX[0], y + _BADGE_PX[1])
            for x in (frame.x1 + 6, frame.x0 - 6 - _BADGE_PX[0])
            for y in (frame.y0 - 4, frame.y0 - 4 - _BADGE_PX[1], frame.y1 + 4)
        ]
        whole = Box(0, 0, *picture.size)
        free = [
            place
            for place in places
            if whole.contains(place) and not any(place.intersects(other) for other in taken)
        ]
        badge = (free or places)[0]
        taken.append(badge)
        draw.rounded_rectangle(_corners(badge), 6, fill=PAPER, outline=INK)
        draw_text(draw, (badge.x0 + badge.width / 2, badge.y0 + 25), str(number), 26, INK, "middle")


def _corners(box: Box) -> tuple[int, int, int, int]:
    return box.x0, box.y0, box.x1, box.y1


def scale_bar(picture: Image.Image, um_per_px: float) -> None:
    """A bar of a round length in the lower right corner, on white."""
    length_um = _round_number(max(picture.width * 0.28, 1.0) * um_per_px, up=False)
    bar = round(length_um / um_per_px)
    text = f"{length_um / 1000:g} mm" if length_um >= 1000 else f"{length_um:g} µm"
    width = max(bar, round(text_width(text, 22))) + 24
    if width + 24 > picture.width or picture.height < 90:
        return
    right, bottom = picture.width - 12, picture.height - 12
    draw = ImageDraw.Draw(picture)
    draw.rounded_rectangle((right - width, bottom - 50, right, bottom), 6, fill=PAPER)
    middle = right - width / 2
    draw_text(draw, (middle, bottom - 24), text, 22, INK, "middle")
    left = round(middle - bar / 2)
    draw.rectangle((left, bottom - 14, left + bar - 1, bottom - 9), INK)


def _round_number(value: float, *, up: bool) -> float:
    """A round number next to ``value``; those upwards have round quarters too."""
    power = 10.0 ** math.floor(math.log10(value))
    if up:
        steps = (1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8, 10)
        return next(step * power for step in steps if step * power >= value * (1 - 1e-9))
    return max(step * power for step in (1, 2, 5) if step * power <= value * (1 + 1e-9))
