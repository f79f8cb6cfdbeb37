"""``overview.png``: a slide's result on one page, made to be looked at.

The slide small with the outline of the tissue, a map of nuclear density beside it, and below a
few places at full resolution with the outlines of the nuclei. Pixels are read for these only:
once the whole slide small, and the few places. Labels, macro images and names of patients are
never read; the page carries no date, so equal results give equal files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsiseg.cells.batch import CellClass, CellSource
from wsiseg.export.density import (
    DensityGrid,
    Place,
    Tally,
    choose_places,
    count_nuclei,
    nuclei_per_mm2,
    tissue_share,
)
from wsiseg.export.drawing import (
    INK,
    as_rgb,
    colored,
    rim,
    scale_bar,
    scale_top,
)
from wsiseg.export.lettering import Color, fitted, text_width
from wsiseg.export.page import MARGIN_PX, RIGHT_PX, Page
from wsiseg.export.png import write_png
from wsiseg.export.views import (
    CROP_PX,
    density_map,
    draw_crops,
    mark_places,
    panel_size,
    place_side,
)
from wsiseg.files import writing
from wsiseg.geometry import MPP, Box, Frame
from wsiseg.slides.slide import Slide

SLIDE_PANEL = "slide panel"
"""Text of the picture that says where on the page the slide stands: ``x0 y0 x1 y1``."""

THUMBNAIL_PX = 200
"""Side of a thumbnail at most."""

_THUMBNAIL_QUALITY = 72
_PANEL_SPACE_PX = 1020
_PANEL_GAP_PX = 64
_CROP_GAP_PX = 24
_BAR_PX = (26, 24)

_GREY: Color = (110, 114, 120)
_TISSUE_INK: Color = (0, 122, 110)
_TISSUE_LIGHT: Color = (90, 230, 200)


@dataclass(frozen=True, slots=True)
class OverviewInput:
    """What an overview is drawn from.

    Attributes
    ----------
    slide
        The open slide.
    channels
        Indices of the channels to show: three for colour, one to be shown in grey.
    cells
        Its cells.
    tissue, tissue_frame
        bool ``[y, x]``, true where there is tissue, and its frame.
    tissue_mm2
        Area of the tissue, as the report states it.
    tile_core_px
        Side of a tile's core in pixels of ``cells.info.frame``: where seams lie.
    model
        Name of the model.
    """

    slide: Slide
    channels: tuple[int, ...]
    cells: CellSource
    tissue: NDArray[np.bool_]
    tissue_frame: Frame
    tissue_mm2: float
    tile_core_px: int
    model: str


def write_overview(path: Path, of: OverviewInput, thumbnail: Path | None = None) -> None:
    """Draw the overview and write it as PNG, 2400 px wide; then a thumbnail of it if wanted.

    Raises
    ------
    DamagedPixelsError
        As the slide raises it.
    StoreError
        If the file cannot be written.
    """
    page = draw_overview(of)
    write_png(path, np.asarray(page), {SLIDE_PANEL: page.info[SLIDE_PANEL]})
    if thumbnail is not None:
        write_thumbnail(thumbnail, page)


def write_thumbnail(path: Path, page: Image.Image) -> None:
    """Write the slide as it stands on an overview, small, as JPEG.

    Raises
    ------
    KeyError, ValueError
        If the picture does not say where the slide stands, or says what cannot be.
    StoreError
        If the file cannot be written.
    """
    picture = page.convert("RGB").crop(slide_panel(page))
    picture.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.LANCZOS)
    with writing(path) as temporary:
        picture.save(temporary, format="JPEG", quality=_THUMBNAIL_QUALITY, optimize=True)


def draw_overview(of: OverviewInput) -> Image.Image:
    """The overview as an RGB picture 2400 px wide."""
    region = (of.slide.facts.bounds or of.slide.level0.box).intersection(of.slide.level0.box)
    grid = DensityGrid.over(region, of.slide.level0)
    tally = count_nuclei(of.cells, grid)
    share = tissue_share(of.tissue, of.tissue_frame, of.slide.level0, grid)
    side = place_side(of.slide.level0)
    places = choose_places(tally.squares, share, grid, side, _seams(of))
    page = Page()
    _head(page, of)
    panel = _panels(page, of, grid, nuclei_per_mm2(tally.squares, share, grid.square_um), places)
    _legend(page, of.cells.info.classes, tally)
    _crops(page, of, places)
    finished = page.drawn()
    finished.info[SLIDE_PANEL] = " ".join(map(str, panel))
    return finished


def slide_panel(page: Image.Image) -> tuple[int, int, int, int]:
    """Where on an overview the slide stands: ``x0, y0, x1, y1``.

    Raises
    ------
    KeyError, ValueError
        If the picture does not say, or says what cannot be.
    """
    x0, y0, x1, y1 = map(int, str(page.info[SLIDE_PANEL]).split())
    if not (0 <= x0 < x1 <= page.width and 0 <= y0 < y1 <= page.height):
        raise ValueError("the slide lies outside the page")
    return x0, y0, x1, y1


def _head(page: Page, of: OverviewInput) -> None:
    page.text(MARGIN_PX, fitted(of.cells.info.slide, 52, RIGHT_PX - MARGIN_PX), 52)
    page.y += 52 + 36
    page.rule()
    page.y += 28
    per_mm2 = f"{of.cells.count / of.tissue_mm2:,.0f}" if of.tissue_mm2 > 0 else "none"
    step = (RIGHT_PX - MARGIN_PX) / 5
    for index, (value, meaning) in enumerate(
        (
            (f"{of.cells.count:,}", "nuclei"),
            (_area(of.tissue_mm2), "tissue"),
            (per_mm2, "nuclei per mm² of tissue"),
            (f"{of.slide.level0.mpp.mean:.4g} µm/px", "full resolution"),
            (of.model, "model"),
        )
    ):
        x = MARGIN_PX + index * step
        page.text(x, fitted(value, 44, step - 24), 44)
        page.text(x, meaning, 26, _GREY, y=page.y + 44 + 40)
    page.y += 44 + 40 + 56


def _area(mm2: float) -> str:
    return f"{mm2:,.2f} mm²" if mm2 >= 1 or mm2 == 0 else f"{mm2:.2g} mm²"


def _panels(
    page: Page,
    of: OverviewInput,
    grid: DensityGrid,
    density: NDArray[np.float64],
    places: Sequence[Place],
) -> tuple[int, int, int, int]:
    """The slide small, and the map of density beside it; where the slide stands."""
    region = grid.region
    scale, size = panel_size(region)
    lefts = (MARGIN_PX, MARGIN_PX + _PANEL_SPACE_PX + _PANEL_GAP_PX)
    page.text(lefts[0], "Slide with the outline of the tissue", 30)
    page.text(lefts[1], f"Nuclei per mm² of tissue, in squares of {grid.square_um:g} µm", 30)
    page.y += 30 + 22
    outline = rim(_tissue_at(of, region, size))
    small = _thumbnail(of, region, size)
    small.paste(_TISSUE_INK if _bright(of) else _TISSUE_LIGHT, mask=outline)
    top = scale_top(density)
    squares = density_map(density, grid, size, top)
    squares.paste(INK, mask=outline)
    for picture, left in zip((small, squares), lefts, strict=True):
        mark_places(picture, places, region, scale)
        scale_bar(picture, of.slide.level0.mpp.mean / scale)
        page.paste(picture, left, page.y)
    _color_bar(page, lefts[1] + size[0] + _BAR_PX[1], size[1], top)
    panel = lefts[0], page.y, lefts[0] + size[0], page.y + size[1]
    page.y += size[1] + 48
    return panel


def _legend(page: Page, classes: Sequence[CellClass], tally: Tally) -> None:
    """Every class that occurs with its colour, number and share."""
    total = int(tally.classes.sum())
    x: float = MARGIN_PX
    for kind, number in zip(classes, tally.classes.tolist(), strict=True):
        if number == 0:
            continue
        label = f"{kind.name}  {number:,}  ({number / total:.1%})"
        width = 24 + 14 + text_width(label, 28) + 56
        if x > MARGIN_PX and x + width > RIGHT_PX:
            x, page.y = MARGIN_PX, page.y + 46
        page.block((x, page.y + 4, x + 24, page.y + 28), kind.color)
        page.text(x + 38, fitted(label, 28, RIGHT_PX - x - 38), 28, y=page.y + 27)
        x += width
    page.y += 28 + 44 if total else 0


def _crops(page: Page, of: OverviewInput, places: Sequence[Place]) -> None:
    """Places at full resolution with outlines, captions above."""
    page.rule()
    page.y += 28
    crops = draw_crops(of.slide, of.channels, of.cells, places)
    for index, (place, crop) in enumerate(zip(places, crops, strict=True)):
        x = MARGIN_PX + index * (CROP_PX + _CROP_GAP_PX)
        page.text(x, f"{index + 1}  {place.reason}", 28)
        page.text(x, crop.caption, 24, _GREY, y=page.y + 28 + 36)
        top = page.y + 28 + 36 + 28
        page.paste(crop.picture, x, top)
        _tick_seams(page, (x, top), place.box, crop.scale, _seams(of))
    page.y += 28 + 36 + 28 + CROP_PX


def _bright(of: OverviewInput) -> bool:
    return of.slide.facts.illumination == "brightfield"


def _seams(of: OverviewInput) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Level-0 positions of the borders between tile cores along x and y."""
    frame, core = of.cells.info.frame, of.tile_core_px
    fx, fy = frame.scale_to(of.slide.level0)
    return (
        np.arange(core, frame.size.width, core, dtype=np.float64) * fx,
        np.arange(core, frame.size.height, core, dtype=np.float64) * fy,
    )


def _thumbnail(of: OverviewInput, region: Box, size: tuple[int, int]) -> Image.Image:
    level0 = of.slide.level0
    reduction = max(region.width / size[0], 1.0)
    frame = level0.at(MPP(level0.mpp.x * reduction, level0.mpp.y * reduction))
    box = level0.box_in(region, frame)
    pixels = as_rgb([of.slide.read(box, frame, of.channels)])[0]
    return Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)


def _tissue_at(of: OverviewInput, region: Box, size: tuple[int, int]) -> Image.Image:
    """The tissue mask of the region at ``size``, 0 or 255, its steps smoothed."""
    fx, fy = of.slide.level0.scale_to(of.tissue_frame)
    box = (region.x0 * fx, region.y0 * fy, region.x1 * fx, region.y1 * fy)
    # Along the border a mask may end a fraction of its pixel before the region does.
    padded = np.pad(of.tissue, ((0, 1), (0, 1)), mode="edge")
    height, width = padded.shape
    inside = (box[0], box[1], min(box[2], width), min(box[3], height))
    smooth = Image.fromarray(padded.astype(np.uint8) * 255).resize(
        (size[0] * 2, size[1] * 2), Image.Resampling.BICUBIC, box=inside
    )
    return smooth.point([0] * 128 + [255] * 128)


def _color_bar(page: Page, x: int, height: int, top: float) -> None:
    ramp = np.linspace(top, 0, height)[:, None].repeat(_BAR_PX[0], axis=1)
    page.paste(colored(ramp, top), x, page.y)
    steps = 4 if height > 240 else 2
    for step in range(steps + 1):
        y = page.y + height - 1 - round(step / steps * (height - 1))
        page.line((x + _BAR_PX[0], y, x + _BAR_PX[0] + 8, y), INK, 2)
        text = f"{top * step / steps:,.0f}" if top >= steps else f"{top * step / steps:g}"
        baseline = min(max(y + 8, page.y + 18), page.y + height)
        page.text(x + _BAR_PX[0] + 14, text, 24, y=baseline)


def _tick_seams(
    page: Page,
    corner: tuple[int, int],
    box: Box,
    scale: float,
    seams: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> None:
    """Small ticks outside a crop where tile seams run through it."""
    x0, y0 = corner
    x1, y1 = x0 + round(box.width * scale), y0 + round(box.height * scale)
    for x in seams[0][(seams[0] > box.x0) & (seams[0] < box.x1)]:
        at = x0 + (float(x) - box.x0) * scale
        page.line((at, y0 - 12, at, y0 - 2), INK, 3)
        page.line((at, y1 + 2, at, y1 + 12), INK, 3)
    for y in seams[1][(seams[1] > box.y0) & (seams[1] < box.y1)]:
        at = y0 + (float(y) - box.y0) * scale
        page.line((x0 - 12, at, x0 - 2, at), INK, 3)
        page.line((x1 + 2, at, x1 + 12, at), INK, 3)
