"""Tissue against background, on drawn slides and real ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from wsiseg.errors import ConfigurationError
from wsiseg.geometry import MPP, Box, Frame, Size
from wsiseg.slides.array_reader import ArrayReader
from wsiseg.slides.reader import Illumination
from wsiseg.slides.slide import Slide, open_slide
from wsiseg.tissue import TissueCode, TissueMask, find_tissue, mask_frame, tissue_from_regions

MPP_DRAWN = 8.0
PINK = np.array([0.10, 0.32, 0.20])
BLUE_INK = np.array([1.1, 0.8, 0.2])
GREEN_INK = np.array([0.9, 0.3, 0.8])


def canvas(height: int = 300, width: int = 400, seed: int = 0) -> NDArray[np.float64]:
    """Densities of clean glass."""
    return np.random.default_rng(seed).normal(0.0, 0.003, (height, width, 3))


def disc(shape: tuple[int, ...], y: float, x: float, radius: float) -> NDArray[np.bool_]:
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    found: NDArray[np.bool_] = (rows - y) ** 2 + (columns - x) ** 2 <= radius**2
    return found


def texture(shape: tuple[int, ...], seed: int = 1) -> NDArray[np.float64]:
    """Uneven depth of stain about 1."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(0, 1, shape[:2]), 2)
    varied: NDArray[np.float64] = np.clip(1 + 1.2 * noise / noise.std() * 0.3, 0.3, None)[..., None]
    return varied


def slide_of(
    density: NDArray[np.float64], glass: float = 243.0, illumination: Illumination = "brightfield"
) -> Slide:
    pixels = np.clip(np.rint(glass * 10.0**-density), 0, 255).astype(np.uint8)
    return Slide(ArrayReader(pixels, MPP_DRAWN, illumination=illumination))


def iou(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    return float(np.count_nonzero(first & second) / np.count_nonzero(first | second))


def tissue_of(mask: TissueMask) -> NDArray[np.bool_]:
    return mask.codes == TissueCode.TISSUE


@pytest.mark.parametrize("depth", [1.0, 0.12], ids=["stained", "faint"])
@pytest.mark.parametrize("glass", [243.0, 222.0])
def test_tissue_is_found_with_its_holes(depth: float, glass: float) -> None:
    density = canvas()
    piece = disc(density.shape, 150, 200, 90) & ~disc(density.shape, 150, 220, 30)
    density[piece] += (depth * PINK * texture(density.shape))[piece]
    mask = find_tissue(slide_of(density, glass))
    assert iou(tissue_of(mask), piece) > 0.9
    assert not tissue_of(mask)[150, 220]
    (polygon,) = mask.polygons(mask.frame)
    assert len(polygon.interiors) == 1


def test_small_holes_are_filled_and_small_pieces_named() -> None:
    density = canvas()
    piece = disc(density.shape, 150, 150, 80)
    hole = disc(density.shape, 150, 150, 8)
    speck = disc(density.shape, 60, 330, 4)
    for part in (piece & ~hole, speck):
        density[part] += PINK
    mask = find_tissue(slide_of(density))
    assert tissue_of(mask)[150, 150]
    assert mask.codes[60, 330] == TissueCode.TOO_SMALL
    assert mask.warnings == ()


def test_glass_alone_is_not_tissue_and_is_flagged() -> None:
    mask = find_tissue(slide_of(canvas()))
    assert mask.area_mm2() == 0
    assert any("no tissue" in warning for warning in mask.warnings)


def test_a_slide_full_of_tissue_is_not_split() -> None:
    density = canvas() + PINK * texture((300, 400, 3))
    density[:, :200] *= 0.35
    mask = find_tissue(slide_of(density))
    assert np.count_nonzero(tissue_of(mask)) > 0.97 * mask.codes.size


def test_a_nearly_empty_slide_is_flagged() -> None:
    density = canvas(600, 800)
    density[disc(density.shape, 300, 400, 14)] += PINK
    mask = find_tissue(slide_of(density))
    assert 0 < mask.area_mm2() < 0.1
    assert any("nearly empty" in warning for warning in mask.warnings)


def test_scattered_cells_are_kept_and_told() -> None:
    density = canvas()
    for y in range(20, 300, 24):
        for x in range(20, 400, 24):
            density[disc(density.shape, y, x, 3)] += PINK
    mask = find_tissue(slide_of(density))
    assert tissue_of(mask)[20::24, 20::24].all()
    assert any("scattered cells" in warning for warning in mask.warnings)


@pytest.mark.parametrize("ink", [BLUE_INK, GREEN_INK], ids=["blue", "green"])
def test_pen_is_left_out(ink: NDArray[np.float64]) -> None:
    density = canvas()
    piece = disc(density.shape, 150, 200, 90)
    density[piece] += (PINK * texture(density.shape))[piece]
    stroke = np.zeros(density.shape[:2], np.bool_)
    stroke[20:280, 40:60] = True
    density[stroke] += ink
    mask = find_tissue(slide_of(density))
    assert (mask.codes[30:270, 42:58] == TissueCode.PEN).all()
    assert iou(tissue_of(mask), piece) > 0.9


def test_black_corners_and_grey_lines_are_edges() -> None:
    density = canvas()
    piece = disc(density.shape, 150, 200, 80)
    density[piece] += (PINK * texture(density.shape))[piece]
    rows, columns = np.mgrid[:300, :400]
    corner = rows + columns < 70
    density[corner] += 1.8
    density[:, 360:364] += 0.25
    mask = find_tissue(slide_of(density))
    assert (mask.codes[corner] == TissueCode.EDGE).all()
    assert (mask.codes[5:-5, 361:363] == TissueCode.EDGE).all()
    assert iou(tissue_of(mask), piece) > 0.9


def test_glowing_tissue_is_found_on_the_dark() -> None:
    rng = np.random.default_rng(2)
    piece = disc((300, 400), 150, 200, 90)
    nuclei = rng.random((300, 400)) < 0.15
    values = rng.normal(300, 12, (300, 400)) + piece * 150 + (piece & nuclei) * 6000
    pixels = np.clip(values, 0, 65535).astype(np.uint16)[..., None]
    slide = Slide(ArrayReader(pixels, MPP_DRAWN, illumination="fluorescence"))
    assert iou(tissue_of(find_tissue(slide)), piece) > 0.88


def test_none_takes_everything_and_reads_nothing() -> None:
    slide = slide_of(canvas())
    slide.close()
    mask = find_tissue(slide, "none")
    assert tissue_of(mask).all()
    with pytest.raises(ConfigurationError, match="otsu"):
        find_tissue(slide, "magic")


@pytest.mark.parametrize(
    ("mpp", "expected"), [(0.263, 30 * 0.263), (0.5, 8.0), (8.0, 8.0), (28.97, 28.97), (5.5, 5.5)]
)
def test_frame_is_the_nearest_whole_reduction(mpp: float, expected: float) -> None:
    frame = mask_frame(Frame(Size(20_000, 10_000), MPP.square(mpp)))
    assert frame.mpp.mean == pytest.approx(expected)


masks = st.integers(0, 2**32 - 1).map(
    lambda seed: (
        ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(37, 53)), 1.2) > 0.05
    )
)


@given(masks)
@settings(max_examples=20, deadline=None)
def test_polygons_points_and_boxes_agree_with_the_mask(drawn: NDArray[np.bool_]) -> None:
    level0 = Frame(Size(53 * 16 - 5, 37 * 16 - 3), MPP.square(0.5))
    frame = level0.reduced(16)
    mask = TissueMask(drawn.astype(np.uint8), frame, "drawn")
    polygons = mask.polygons(level0)
    assert all(polygon.is_valid for polygon in polygons)
    rows, columns = np.mgrid[:37, :53]
    x, y = columns.ravel() * 16 + 8.3, rows.ravel() * 16 + 7.7
    inside = mask.contains(x, y, level0)
    np.testing.assert_array_equal(inside, drawn.ravel())
    tree = shapely.STRtree(polygons)
    hit = np.zeros(len(x), np.bool_)
    hit[tree.query(shapely.points(x, y), predicate="within")[0]] = True
    np.testing.assert_array_equal(hit, inside)
    for px, py, found in zip(x[::97], y[::97], inside[::97], strict=True):
        if found:
            assert mask.meets(Box(int(px), int(py), int(px) + 1, int(py) + 1), level0)
    assert mask.meets(level0.box, level0) == drawn.any()
    assert mask.area_mm2() == pytest.approx(drawn.sum() * 64e-6)


def test_points_and_boxes_outside_the_slide_meet_nothing() -> None:
    level0 = Frame(Size(160, 160), MPP.square(1.0))
    frame = level0.reduced(8)
    mask = TissueMask(np.ones((20, 20), np.uint8), frame, "drawn")
    points = np.array([-0.5, 160.5, 80.0])
    assert mask.contains(points, np.array([5.0, 5.0, 5.0]), level0).tolist() == [False, False, True]
    assert not mask.meets(Box(-300, -300, -10, -10), level0)
    assert not mask.meets(Box(400, 0, 500, 100), level0)


@dataclass(frozen=True)
class Drawn:
    geometry: Any
    class_name: str | None = None
    name: str | None = None


def test_regions_include_exclude_and_bounds() -> None:
    pixels = np.full((800, 1000, 3), 240, np.uint8)
    bounds = Box(100, 50, 900, 750)
    slide = Slide(ArrayReader(pixels, 1.0, bounds=bounds))
    regions = [
        Drawn(shapely.box(0, 0, 400, 400), "Tumor"),
        Drawn(shapely.box(100, 100, 200, 200), "Fold"),
        Drawn(shapely.box(500, 0, 600, 100), None, "stroma"),
        Drawn(shapely.Point(3, 3), "Tumor"),
    ]
    mask = tissue_from_regions(slide, regions, ["tumor"], ["FOLD"])
    at = np.array([[120, 70], [250, 200], [650, 100], [90, 100], [490, 440], [510, 460]], float)
    assert mask.contains(at[:, 0], at[:, 1], slide.level0).tolist() == [
        True,
        False,
        False,
        False,
        True,
        False,
    ]
    assert mask.area_mm2(TissueCode.EXCLUDED) == pytest.approx(0.01, rel=0.2)
    assert any("1 of 4" in warning for warning in mask.warnings)
    everything = tissue_from_regions(slide, regions, [], ["fold"])
    assert everything.contains(np.array([650.0]), np.array([100.0]), slide.level0).all()
    with pytest.raises(ConfigurationError, match="Fold, Tumor, stroma"):
        tissue_from_regions(slide, regions, ["necrosis"], [])


def test_regions_beside_the_slide_are_told() -> None:
    slide = Slide(ArrayReader(np.full((800, 1000, 3), 240, np.uint8), 1.0))
    regions = [
        Drawn(shapely.box(-50, -50, 400, 400)),
        Drawn(shapely.box(1000, 0, 1100, 100)),
        Drawn(shapely.box(1e7, 1e7, 2e7, 2e7)),
        Drawn(shapely.LineString([(0, 0), (9, 9)])),
    ]
    mask = tissue_from_regions(slide, regions)
    assert mask.area_mm2() == pytest.approx(0.16)
    assert len(mask.warnings) == 2
    assert "1 of 4 regions have no area" in mask.warnings[0]
    assert "2 of 4 regions lie outside" in mask.warnings[1]
    none = tissue_from_regions(slide, regions[1:])
    assert none.area_mm2() == 0
    assert "cover no part" in none.warnings[-1]


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_drawn_regions_hold_the_centres_inside_them(seed: int) -> None:
    rng = np.random.default_rng(seed)
    bounds = Box(101, 53, 900, 750)
    slide = Slide(ArrayReader(np.full((800, 1000, 3), 240, np.uint8), 0.7, bounds=bounds))
    discs = shapely.buffer(shapely.points(rng.uniform(-50, 900, (12, 2))), rng.uniform(5, 150, 12))
    holed = shapely.difference(discs, shapely.buffer(shapely.centroid(discs), 20))
    regions = [Drawn(shape) for shape in holed if not shape.is_empty]
    regions.append(Drawn(shapely.MultiPolygon([shapely.box(1, 2, 33, 44), discs[0].envelope])))
    mask = tissue_from_regions(slide, regions)
    fx, fy = mask.frame.scale_to(slide.level0)
    rows, columns = np.indices(mask.codes.shape) + 0.5
    x, y = columns * fx - bounds.x0, rows * fy - bounds.y0
    union = shapely.union_all([region.geometry for region in regions])
    clear = shapely.distance(shapely.boundary(union), shapely.points(x, y)) > 0.02
    inside = shapely.contains_xy(union, x, y)
    np.testing.assert_array_equal(tissue_of(mask)[clear], inside[clear])


@pytest.mark.parametrize(
    ("name", "mpp", "least", "most"),
    [
        ("CMU-1-Small-Region.svs", None, 0.60, 0.85),
        ("metaplasia_IHC_trypsin_20x.svs", None, 5.0, 6.5),
        ("TCGA-CR-7395-01A-01-TS1.svs", 0.5, 2.4, 2.8),
        ("test3_DAPI_TRITC_2ch.ome.tiff", None, 0.75, 0.97),
        ("multi_frame_jpeg2000_camelyon_challenge_image.dcm", None, 400.0, 550.0),
    ],
)
def test_tissue_of_real_slides(
    slides: Path, name: str, mpp: float | None, least: float, most: float
) -> None:
    """Areas in mm² as outlined by eye, with room."""
    with open_slide(slides / name, mpp=mpp) as slide:
        mask = find_tissue(slide)
    assert least < mask.area_mm2() < most
