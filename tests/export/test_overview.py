"""Density, choice of places, lettering, and the page as a whole."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from wsiseg.cells.batch import CellBatch, CellClass, CellsInfo
from wsiseg.cells.polygons import Polygons
from wsiseg.export.density import (
    DensityGrid,
    choose_places,
    count_nuclei,
    nuclei_per_mm2,
    tissue_share,
)
from wsiseg.export.drawing import as_rgb
from wsiseg.export.lettering import fitted, text_width
from wsiseg.export.overview import OverviewInput, draw_overview, write_overview
from wsiseg.geometry import HUNDREDTHS, MPP, Box, Frame, Size
from wsiseg.slides.array_reader import ArrayReader
from wsiseg.slides.reader import Pixels
from wsiseg.slides.slide import Slide
from wsiseg.testing.sources import MemorySource, synthetic_cells

PINK = (255, 0, 200)
NO_SEAMS = (np.empty(0), np.empty(0))


def frame(width: int, height: int, mpp: float = 0.5) -> Frame:
    return Frame(Size(width, height), MPP.square(mpp))


def squares_at(centres: np.ndarray, half_px: float = 8) -> CellBatch:
    """Square cells around ``centres`` in level-0 pixels."""
    corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * half_px
    vertices = np.rint((centres[:, None] + corners) * HUNDREDTHS).astype(np.int32)
    number = len(centres)
    return CellBatch(
        ids=np.arange(1, number + 1, dtype=np.uint32),
        uuids=np.zeros((number, 16), np.uint8),
        polygons=Polygons(
            vertices.reshape(-1, 2), np.arange(number + 1) * 4, np.arange(number + 1)
        ),
        centroids=centres.astype(float),
        class_index=np.zeros(number, np.uint8),
        probabilities=np.ones(number, np.float32),
        truncated=np.zeros(number, bool),
        features={},
    )


def source_of(level0: Frame, *centres: np.ndarray) -> MemorySource:
    """One part for every array of centres."""
    info = CellsInfo(
        "slide", level0, level0, (CellClass("Pink", PINK), CellClass("None", (0, 9, 0)))
    )
    return MemorySource(info, [squares_at(part) for part in centres if len(part)])


def overview_of(
    array: Pixels, source: MemorySource, *, mpp: float = 0.5, **changes: object
) -> OverviewInput:
    slide = Slide(ArrayReader(array, mpp, illumination="brightfield"))
    coarse = slide.level0.at(MPP.square(8))
    of = OverviewInput(
        slide=slide,
        channels=(0, 1, 2),
        cells=source,
        tissue=np.ones((coarse.size.height, coarse.size.width), bool),
        tissue_frame=coarse,
        tissue_mm2=slide.level0.area_mm2,
        tile_core_px=512,
        model="mock",
    )
    return dataclasses.replace(of, **changes)


def white(width: int, height: int) -> Pixels:
    return np.full((height, width, 3), 245, np.uint8)


def pink_pixels(page: Image.Image) -> int:
    """Pixels of the outlines' colour in the crops, below the legend."""
    crops = np.asarray(page).astype(int)[-640:]
    return int((np.abs(crops - PINK).sum(axis=2) < 60).sum())


@given(st.integers(1, 300_000), st.integers(1, 300_000), st.floats(0.1, 30))
@settings(max_examples=60)
def test_the_grid_covers_its_region_and_stays_small(width: int, height: int, mpp: float) -> None:
    region = Box(100, 50, 100 + width, 50 + height)
    grid = DensityGrid.over(region, frame(width, height, mpp))
    rows, columns = grid.shape
    assert columns * grid.step_px[0] >= width > (columns - 1) * grid.step_px[0]
    assert rows * grid.step_px[1] >= height > (rows - 1) * grid.step_px[1]
    assert max(grid.shape) <= 192
    assert grid.step_px[0] * mpp == pytest.approx(grid.square_um)


def test_every_nucleus_is_counted_in_its_square() -> None:
    cells = synthetic_cells(9_000, seed=5)
    region = Box(300, 200, 3_000, 2_900)
    grid = DensityGrid.over(region, cells.info.level0)
    tally = count_nuclei(cells, grid)
    points = np.concatenate([cells.read(part).centroids for part in range(len(cells.extents))])
    assert tally.classes.sum() == 9_000
    for row, column in ((0, 0), (3, 7), (grid.shape[0] - 1, grid.shape[1] - 1)):
        low = np.array([300, 200]) + np.array([column, row]) * grid.step_px
        inside = ((points >= low) & (points < low + grid.step_px)).all(axis=1)
        assert tally.squares[row, column] == inside.sum()
    high = np.array([300, 200]) + np.array(grid.shape[::-1]) * grid.step_px
    inside = ((points >= (300, 200)) & (points < high)).all(axis=1)
    assert tally.squares.sum() == inside.sum()


def test_share_of_tissue_follows_the_mask_and_ends_with_it() -> None:
    level0 = frame(1000, 400)
    grid = DensityGrid.over(level0.box, level0)
    tissue = np.zeros((25, 63), bool)
    tissue[:, :25] = True  # 25 mask pixels of 8 µm: the left 200 µm, four squares of 50 µm
    share = tissue_share(tissue, level0.at(MPP.square(8)), level0, grid)
    assert share.shape == (4, 10)
    assert (share[:, :4] == 1).all()
    assert (share[:, 4:] == 0).all()
    shifted = DensityGrid.over(Box(50, 0, 1000, 400), level0)
    assert tissue_share(tissue, level0.at(MPP.square(8)), level0, shifted)[0, 3] == 0.5


def test_density_is_per_mm2_of_tissue() -> None:
    counts = np.array([[10, 10, 10, 0]])
    share = np.array([[1.0, 0.5, 0.1, 1.0]])
    density = nuclei_per_mm2(counts, share, 50.0)
    np.testing.assert_allclose(density, [[4000, 8000, np.nan, 0]])


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_places_follow_the_rule(seed: int) -> None:
    rng = np.random.default_rng(seed)
    level0 = frame(4000, 3000)
    grid = DensityGrid.over(level0.box, level0)
    squares = rng.poisson(rng.gamma(1, 5, grid.shape))
    share = np.ones(grid.shape)
    seams = (np.array([1024.0, 2048.0, 3072.0]), np.array([1024.0, 2048.0]))
    places = choose_places(squares, share, grid, 280, seams)
    assert [place.reason.split()[0] for place in places] == [
        "Densest",
        "Median",
        "Sparse",
        "Across",
    ]
    for number, place in enumerate(places):
        assert (place.box.width, place.box.height) == (280, 280)
        assert level0.box.contains(place.box)
        assert not any(place.box.intersects(other.box) for other in places[:number])
    windows = np.lib.stride_tricks.sliding_window_view(squares, (2, 2)).sum(axis=(2, 3))

    def count(box: Box) -> int:
        row = min(max(round((box.y0 + 40) / 100), 0), windows.shape[0] - 1)
        column = min(max(round((box.x0 + 40) / 100), 0), windows.shape[1] - 1)
        return int(windows[row, column])

    assert count(places[0].box) == windows.max()
    assert count(places[2].box) < count(places[1].box) < count(places[0].box)
    crossings = [(round(x), round(y)) for x in seams[0] for y in seams[1]]
    assert any(places[3].box.contains(Box(x - 1, y - 1, x + 1, y + 1)) for x, y in crossings)


def test_without_nuclei_the_place_with_most_tissue_is_shown() -> None:
    level0 = frame(4000, 3000)
    grid = DensityGrid.over(level0.box, level0)
    share = np.zeros(grid.shape)
    share[20:22, 30:32] = 1
    (place,) = choose_places(np.zeros(grid.shape, int), share, grid, 280, NO_SEAMS)
    assert place.box.contains(Box(3000, 2000, 3200, 2200))


@given(st.text(max_size=30), st.integers(12, 60))
@settings(max_examples=100)
def test_any_name_fits_its_place(text: str, size: int) -> None:
    shorter = fitted(text, size, 200)
    assert text_width(shorter, size) <= 200
    assert shorter == text or text_width(text, size) > 200


def test_a_page_shows_outlines_where_cells_are() -> None:
    centres = np.random.default_rng(0).uniform(20, 1480, (400, 2))
    level0 = frame(1500, 1500)
    page = draw_overview(overview_of(white(1500, 1500), source_of(level0, centres)))
    bare = draw_overview(overview_of(white(1500, 1500), source_of(level0)))
    assert page.width == bare.width == 2400
    assert pink_pixels(page) > 5_000
    assert pink_pixels(bare) == 0


def test_equal_results_give_equal_files(tmp_path: Path) -> None:
    level0 = frame(900, 700)
    centres = np.random.default_rng(1).uniform(0, 700, (100, 2))
    written = []
    for name in ("one.png", "two.png"):
        of = overview_of(white(900, 700), source_of(level0, centres))
        write_overview(tmp_path / name, of)
        written.append((tmp_path / name).read_bytes())
    assert written[0] == written[1]
    with Image.open(tmp_path / "one.png") as picture:
        assert set(picture.info) == {"slide panel"}, "nothing of the machine or the day"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.png", "two.png"]


@pytest.mark.parametrize(
    ("width", "height"), [(1, 1), (40, 30), (30, 40), (9000, 60), (60, 9000), (546, 547)]
)
def test_slides_of_any_shape_make_a_page(width: int, height: int) -> None:
    level0 = frame(width, height)
    for centres in (np.empty((0, 2)), np.array([[width / 2, height / 2]])):
        page = draw_overview(overview_of(white(width, height), source_of(level0, centres)))
        assert page.width == 2400
        assert 600 < page.height < 3000


def test_a_dark_channel_is_shown_in_stretched_grey() -> None:
    array = np.full((600, 600, 2), 100, np.uint16)
    array[280:320, 280:320, 1] = 900
    slide = Slide(ArrayReader(array, 0.25, illumination="fluorescence"))
    of = overview_of(
        white(600, 600),
        source_of(slide.level0, np.array([[300.0, 300.0]])),
        slide=slide,
        channels=(1,),
    )
    page = draw_overview(of)
    assert pink_pixels(page) > 50
    crop = np.asarray(page)[-640:-80, 60:640]
    grey = crop[(np.ptp(crop.astype(int), axis=2) == 0)]
    assert (grey < 10).all(axis=1).sum() > 100_000
    assert (grey > 245).all(axis=1).sum() > 500


def test_few_bright_nuclei_keep_their_inner_structure() -> None:
    values = np.full((1000, 1000, 1), 100, np.uint16)
    inner = np.random.default_rng(0).integers(2_000, 4_000, (100, 100, 1))
    values[:100, :100] = inner
    (shown,) = as_rgb([values])
    assert shown[500, 500].tolist() == [0, 0, 0]
    assert (shown[:100, :100] == 255).mean() < 0.02
    order = np.argsort(inner, axis=None)
    assert (np.diff(shown[:100, :100, 0].ravel()[order].astype(int)) >= 0).all()
    assert np.ptp(shown[:100, :100]) > 100


def test_an_overexposed_picture_shows_more_of_its_upper_greys() -> None:
    gap, dim = 220, 70
    values = np.full((100, 100, 1), 5, np.uint8)
    values[20:80, 20:80] = 254
    values[50, 20:80] = gap
    values[90:95, 20:80] = dim
    beside = values // 2
    shown, darker = as_rgb([values, beside])
    assert shown[30, 30, 0] >= 250
    assert shown[50, 30, 0] < gap - 40
    assert shown[92, 30, 0] > 25
    assert darker[30, 30, 0] < 100


def test_colour_is_shown_as_it_is() -> None:
    values = np.random.default_rng(0).integers(0, 255, (50, 50, 3), np.uint8)
    np.testing.assert_array_equal(as_rgb([values])[0], values)


def test_no_tissue_at_all_makes_a_page() -> None:
    of = overview_of(white(800, 800), source_of(frame(800, 800)), tissue_mm2=0.0)
    page = draw_overview(dataclasses.replace(of, tissue=np.zeros_like(of.tissue)))
    assert page.width == 2400


def test_only_the_scanned_area_is_shown() -> None:
    array = white(2000, 2000)
    array[:1000] = (10, 250, 10)
    bounds = Box(0, 1000, 2000, 2000)
    reader = ArrayReader(array, 0.5, illumination="brightfield", bounds=bounds)
    of = overview_of(array, source_of(frame(2000, 2000)), slide=Slide(reader))
    shown = np.asarray(draw_overview(of)).astype(int)
    assert (np.abs(shown - (10, 250, 10)).sum(axis=2) < 60).sum() == 0


class Watched(MemorySource):
    """Remembers which parts were read."""

    read_parts: list[int]

    def read(self, part: int) -> CellBatch:
        self.read_parts.append(part)
        return super().read(part)


def test_little_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    level0 = frame(6000, 6000)
    rng = np.random.default_rng(2)
    parts = [
        rng.uniform(0, 1480, (100, 2)) + (x, y) + 10
        for y in range(0, 6000, 1500)
        for x in range(0, 6000, 1500)
    ]
    plain = source_of(level0, *parts)
    source = Watched(plain.info, [plain.read(part) for part in range(len(parts))])
    source.read_parts = []
    boxes: list[Box] = []
    read = Slide.read

    def watched(slide: Slide, box: Box, *arguments: object) -> Pixels:
        boxes.append(box)
        return read(slide, box, *arguments)

    monkeypatch.setattr(Slide, "read", watched)
    draw_overview(overview_of(white(6000, 6000), source, tile_core_px=1024))
    assert len(boxes) <= 5
    assert sum(box.area for box in boxes) < 1_500_000
    assert source.read_parts[:16] == list(range(16))
    assert len(source.read_parts[16:]) <= 16
