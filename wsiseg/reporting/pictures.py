"""Pictures of a report: the slide small, its map of density, places at full resolution.

The places are those of ``overview.png``, found by the same rule, and fields that quality singles
out. Of the slide only those few places are read, and the whole of it small where no overview
was written.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from wsiseg.cells.batch import CellBatch, CellClass, CellSource
from wsiseg.errors import WsisegError
from wsiseg.execution.results import Run
from wsiseg.export.density import (
    DensityGrid,
    Place,
    choose_places,
    count_nuclei,
    nuclei_per_mm2,
    tissue_share,
)
from wsiseg.export.drawing import (
    colored,
    scale_bar,
    scale_top,
)
from wsiseg.export.overview import SLIDE_PANEL, OverviewInput, draw_overview, slide_panel
from wsiseg.export.views import density_map, draw_crops, mark_places, panel_size, place_side
from wsiseg.geometry import Box
from wsiseg.pipeline.exports import FILES
from wsiseg.pipeline.plan import SlidePlan, read_plan
from wsiseg.reporting.cells import table_colors
from wsiseg.reporting.fields import SlideFields, places_to_see
from wsiseg.scoring.cells import NO_CLASS
from wsiseg.slides.slide import Slide, open_slide
from wsiseg.store.folders import RunFolder, SlideFolder
from wsiseg.tissue import TissueCode, TissueMask

MOST_PANEL_BYTES = 500_000
MOST_CROP_BYTES = 150_000
_QUALITIES = (84, 72, 58, 42, 25, 10)


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as a data URI, its size in pixels, and what is said of it."""

    uri: str
    width: int
    height: int
    caption: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Pictures:
    """What a report shows of a slide.

    Attributes
    ----------
    slide
        The slide small, or the whole overview where the slide cannot be opened.
    density
        Nuclei per mm² of tissue in squares; ``density_top`` ends its colours, ``ramp`` shows
        them, ``square_um`` is the side of a square.
    crops
        Places at full resolution.
    problem
        Why something is missing.
    """

    slide: Picture | None
    density: Picture
    density_top: float
    square_um: float
    ramp: Picture
    crops: tuple[Picture, ...]
    problem: str = ""


def draw_pictures(run: Run, name: str, fields: SlideFields | None) -> Pictures:
    """Draw the pictures of a slide of a run. A slide that cannot be read is no error.

    Raises
    ------
    StoreError
        If what the run stores of it is damaged.
    """
    folder = RunFolder(run.path).slide(name)
    plan, mask, cells = read_plan(folder.plan), run.tissue(name), _as_in_table(run, name)
    try:
        with open_slide(plan.path, reader=plan.reader, mpp=plan.stated_mpp) as slide:
            if slide.fingerprint() != plan.segment["slide"]:
                raise WsisegError(f"{plan.path.name} is not the file any more that was segmented")
            return _drawn(slide, folder, plan, mask, cells, fields)
    except (WsisegError, OSError) as error:
        # Without the slide, its bounds are not known either.
        grid = DensityGrid.over(plan.level0.box, plan.level0)
        density, top, _ = _density(grid, plan, mask, cells)
        page = _overview(folder)
        shown = None if page is None else jpeg(page.reduce(2), MOST_PANEL_BYTES, "Overview")
        problem = f"No places at full resolution are shown: {error}"
        return Pictures(shown, density, top, grid.square_um, _ramp(), (), problem)


def jpeg(picture: Image.Image, most_bytes: int, caption: str, note: str = "") -> Picture:
    """A picture as JPEG of at most so many bytes, as long as its lowest quality goes."""
    for quality in _QUALITIES:
        held = io.BytesIO()
        picture.save(held, "JPEG", quality=quality, optimize=True)
        if held.tell() <= most_bytes:
            break
    return _embedded(picture, "jpeg", held.getvalue(), caption, note)


def png(picture: Image.Image, caption: str) -> Picture:
    """A picture of few colours as PNG."""
    held = io.BytesIO()
    picture.convert("P", palette=Image.Palette.ADAPTIVE).save(held, "PNG", optimize=True)
    return _embedded(picture, "png", held.getvalue(), caption, "")


def _embedded(picture: Image.Image, kind: str, data: bytes, caption: str, note: str) -> Picture:
    uri = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    return Picture(uri, picture.width, picture.height, caption, note)


def _drawn(
    slide: Slide,
    folder: SlideFolder,
    plan: SlidePlan,
    mask: TissueMask,
    cells: CellSource,
    fields: SlideFields | None,
) -> Pictures:
    region = (slide.facts.bounds or slide.level0.box).intersection(slide.level0.box)
    grid = DensityGrid.over(region, slide.level0)
    density, top, places = _density(grid, plan, mask, cells)
    page = _overview(folder)
    if page is None:
        page = draw_overview(
            OverviewInput(
                slide=slide,
                channels=plan.channels,
                cells=cells,
                tissue=mask.codes == TissueCode.TISSUE,
                tissue_frame=mask.frame,
                tissue_mm2=mask.area_mm2(),
                tile_core_px=plan.grid.core,
                model=plan.model,
            )
        )
    panel = jpeg(
        page.crop(slide_panel(page)), MOST_PANEL_BYTES, "Slide with the outline of the tissue"
    )
    numbered = [replace(p, reason=f"{n}  {p.reason}") for n, p in enumerate(places, start=1)]
    crops = _crops(slide, plan, cells, [*numbered, *_odd_places(fields, grid, places)])
    return Pictures(panel, density, top, grid.square_um, _ramp(), crops)


def _overview(folder: SlideFolder) -> Image.Image | None:
    """The overview that was written, with where the slide stands on it; ``None`` without."""
    try:
        with Image.open(folder.root / FILES["overview"], formats=("PNG",)) as page:
            page.load()
            if SLIDE_PANEL not in page.info:
                return None
            picture = page.convert("RGB")
            picture.info[SLIDE_PANEL] = page.info[SLIDE_PANEL]
            slide_panel(picture)
            return picture
    except (OSError, ValueError, Image.DecompressionBombError):
        return None


def _density(
    grid: DensityGrid, plan: SlidePlan, mask: TissueMask, cells: CellSource
) -> tuple[Picture, float, tuple[Place, ...]]:
    """The map of density, where its colours end, and the places that are numbered on it."""
    region, level0 = grid.region, plan.level0
    squares = count_nuclei(cells, grid).squares
    share = tissue_share(mask.codes == TissueCode.TISSUE, mask.frame, level0, grid)
    nowhere = np.empty(0), np.empty(0)
    places = choose_places(squares, share, grid, place_side(level0), nowhere)
    density = nuclei_per_mm2(squares, share, grid.square_um)
    top = scale_top(density)
    scale, size = panel_size(region)
    picture = density_map(density, grid, size, top)
    mark_places(picture, places, region, scale)
    scale_bar(picture, level0.mpp.mean / scale)
    return png(picture, "Nuclei per mm² of tissue"), top, places


def _ramp() -> Picture:
    return png(colored(np.linspace(0, 1, 256)[None].repeat(8, axis=0), 1.0), "")


def _odd_places(
    fields: SlideFields | None, grid: DensityGrid, places: Sequence[Place]
) -> list[Place]:
    """Fields that quality singles out, as large as the other places."""
    if fields is None or not places:
        return []
    region, width, height = grid.region, places[0].box.width, places[0].box.height
    found = []
    for reason, (x, y) in places_to_see(fields):
        x0 = min(max(round(x - width / 2), region.x0), region.x1 - width)
        y0 = min(max(round(y - height / 2), region.y0), region.y1 - height)
        found.append(Place(reason, Box(x0, y0, x0 + width, y0 + height)))
    return found


def _crops(
    slide: Slide, plan: SlidePlan, cells: CellSource, places: Sequence[Place]
) -> tuple[Picture, ...]:
    drawn = draw_crops(slide, plan.channels, cells, places)
    return tuple(
        jpeg(crop.picture, MOST_CROP_BYTES, place.reason, crop.caption)
        for place, crop in zip(places, drawn, strict=True)
    )


def _as_in_table(run: Run, name: str) -> CellSource:
    """The stored cells under the classes that the table gives them, as after a classifier."""
    table = run.cells(name, ["id", "class"])
    coded = table["class"].cast(pa.string()).fill_null(NO_CLASS).combine_chunks()
    coded = coded.dictionary_encode()
    if isinstance(coded, pa.ChunkedArray):
        coded = coded.combine_chunks()
    colors = table_colors(run, name)
    names = [str(value) for value in coded.dictionary.to_pylist()]
    source = run.source(name)
    if len(names) > np.iinfo(np.uint8).max or not len(table):
        return source
    plain = source.info.classes[0].color
    return _Classed(
        source,
        tuple(CellClass(kind, colors.get(kind, plain)) for kind in names),
        np.asarray(table["id"].to_numpy(), np.uint32),
        np.asarray(coded.indices.to_numpy(), np.uint8),
    )


class _Classed:
    """Cells of another source under other classes; a :class:`wsiseg.cells.batch.CellSource`."""

    def __init__(
        self,
        inner: CellSource,
        classes: tuple[CellClass, ...],
        ids: NDArray[np.uint32],
        class_index: NDArray[np.uint8],
    ) -> None:
        self.info = replace(inner.info, classes=classes)
        self.count, self.extents = inner.count, inner.extents
        self._inner, self._ids, self._index = inner, ids, class_index

    def read(self, part: int) -> CellBatch:
        """The cells of one part that the table has."""
        batch = self._inner.read(part)
        place = np.minimum(np.searchsorted(self._ids, batch.ids), len(self._ids) - 1)
        held = self._ids[place] == batch.ids
        found = batch.take(np.flatnonzero(held))
        return replace(found, class_index=self._index[place[held]])
