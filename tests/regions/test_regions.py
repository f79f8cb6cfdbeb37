"""Regions on a slide: places, members, areas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import shapely

from wsiseg.errors import ConfigurationError
from wsiseg.geometry import MPP, Frame, Size
from wsiseg.regions import (
    block_areas,
    density,
    find_members,
    place_regions,
    tissue_areas,
    whole_tissue,
)
from wsiseg.statistics import Points, Resampling
from wsiseg.tissue import TissueCode, TissueMask
from wsiseg.tissue.mask import mask_frame, whole_slide

LEVEL0 = Frame(Size(8000, 6000), MPP.square(0.5))
MM2 = 0.25e-6


@dataclass(frozen=True)
class Drawn:
    geometry: Any
    class_name: str | None = None
    name: str | None = None
    object_type: str = "annotation"


def left_half() -> TissueMask:
    frame = mask_frame(LEVEL0)
    codes = np.full(frame.box.shape, TissueCode.BACKGROUND, np.uint8)
    codes[:, : frame.size.width // 2] = TissueCode.TISSUE
    return TissueMask(codes, frame, "test")


def test_regions_are_moved_by_qupaths_origin_and_cut_to_the_slide() -> None:
    placed = place_regions([Drawn(shapely.box(0, 0, 1000, 1000), "T")], LEVEL0, (7500, 100))
    (place,) = placed.places
    assert shapely.bounds(place.geometry).tolist() == [7500, 100, 8000, 1100]
    assert place.drawn_mm2 == pytest.approx(1000 * 1000 * MM2)
    assert place.area_mm2 == pytest.approx(500 * 1000 * MM2)
    assert "partly outside" in placed.warnings[0]


def test_names_tell_regions_apart() -> None:
    box = shapely.box(0, 0, 9, 9)
    drawn = [Drawn(box, "T"), Drawn(box, "T"), Drawn(box), Drawn(box, "T", "A"), Drawn(box, "S")]
    placed = place_regions(drawn, LEVEL0)
    assert [p.name for p in placed.places] == ["T 1", "T 2", "Region 1", "A", "S 1"]
    assert [p.name for p in placed.classes] == ["T", "S"]


def test_cells_points_and_lines_are_no_regions() -> None:
    box = shapely.box(0, 0, 9, 9)
    drawn = [
        Drawn(box, "T"),
        Drawn(box, object_type="detection"),
        Drawn(shapely.Point(1, 1)),
        Drawn(shapely.LineString([(0, 0), (5, 5)])),
    ]
    placed = place_regions(drawn, LEVEL0)
    assert len(placed.places) == 1
    assert any("2 of 4 objects have no area" in w for w in placed.warnings)
    assert any("1 of 4 objects are cells" in w for w in placed.warnings)
    with pytest.raises(ConfigurationError, match="none of the 3 objects is a region"):
        place_regions(drawn[1:], LEVEL0)


def test_a_region_outside_is_empty_and_all_outside_is_refused() -> None:
    away = Drawn(shapely.box(90_000, 0, 91_000, 500), "T", "Lost")
    placed = place_regions([away, Drawn(shapely.box(0, 0, 10, 10), "T")], LEVEL0)
    assert placed.places[0].area_mm2 == 0
    assert "outside the slide, hence empty: Lost" in placed.warnings
    assert len(find_members([placed.places[0].geometry], np.ones(1), np.ones(1)).of(0)) == 0
    with pytest.raises(ConfigurationError, match=r"outside the slide.*x 90,000 to 91,000"):
        place_regions([away], LEVEL0)


def test_a_region_that_touches_the_border_from_outside_is_empty() -> None:
    placed = place_regions(
        [Drawn(shapely.box(-50, 0, 0, 50)), Drawn(shapely.box(0, 0, 9, 9))], LEVEL0
    )
    assert placed.places[0].area_mm2 == 0
    assert shapely.is_empty(placed.places[0].geometry)


def test_overlaps_count_in_each_and_once_in_the_class() -> None:
    drawn = [Drawn(shapely.box(0, 0, 100, 100), "T"), Drawn(shapely.box(50, 0, 150, 100), "T")]
    placed = place_regions(drawn, LEVEL0)
    assert "1 pairs of regions overlap" in placed.warnings[0]
    x, y = np.array([10.0, 75.0, 140.0, 200.0]), np.full(4, 50.0)
    each = find_members([p.geometry for p in placed.places], x, y)
    assert [each.of(i).tolist() for i in range(2)] == [[0, 1], [1, 2]]
    union = find_members([placed.classes[0].geometry], x, y)
    assert union.of(0).tolist() == [0, 1, 2]
    assert placed.classes[0].area_mm2 == pytest.approx(150 * 100 * MM2)


def test_holes_are_outside_and_borders_inside() -> None:
    ring = shapely.Polygon([(0, 0), (10, 0), (10, 10), (0, 10)], [[(3, 3), (7, 3), (7, 7), (3, 7)]])
    x, y = np.array([1.0, 5, 0, 3, 11, np.nan]), np.array([1.0, 5, 5, 5, 5, 1])
    assert find_members([ring], x, y).of(0).tolist() == [0, 2, 3]


def test_members_agree_with_ray_casting() -> None:
    random = np.random.default_rng(0)
    angle = np.sort(random.uniform(0, 2 * np.pi, 40))
    radius = random.uniform(20, 100, 40)
    corners = np.stack([100 + radius * np.cos(angle), 100 + radius * np.sin(angle)], axis=1)
    x, y = random.uniform(0, 200, (2, 4000))
    following = np.roll(corners, -1, axis=0)
    crosses = (corners[:, 1, None] > y) != (following[:, 1, None] > y)
    slope = (following[:, 0] - corners[:, 0])[:, None] / (following[:, 1] - corners[:, 1])[:, None]
    left = x < slope * (y - corners[:, 1, None]) + corners[:, 0, None]
    inside = (crosses & left).sum(axis=0) % 2 == 1
    found = find_members([shapely.Polygon(corners)], x, y).of(0)
    assert found.tolist() == np.flatnonzero(inside).tolist()


def test_a_thousand_classes() -> None:
    drawn = [Drawn(shapely.box(i, 0, i + 2, 5), f"class {i}") for i in range(1000)]
    placed = place_regions(drawn, LEVEL0)
    assert len(placed.classes) == 1000
    members = find_members([p.geometry for p in placed.classes], np.array([500.5]), np.ones(1))
    assert [i for i in range(1000) if len(members.of(i))] == [499, 500]


def test_tissue_of_a_region_is_exact() -> None:
    tissue = left_half()
    edge = tissue.frame.size.width // 2 * tissue.frame.scale_to(LEVEL0)[0]
    inside, across = shapely.box(11.5, 7.25, 60, 40), shapely.box(edge - 33, 100, edge + 500, 200)
    outside = shapely.box(edge + 1, 0, edge + 10, 10)
    found = tissue_areas([inside, across, outside, shapely.Polygon()], tissue, LEVEL0)
    assert found == pytest.approx([shapely.area(inside) * MM2, 33 * 100 * MM2, 0, 0])


def test_blocks_of_a_region_add_up_to_it() -> None:
    tissue = left_half()
    circle = shapely.Point(2000, 3000).buffer(900)
    mm2 = float(tissue_areas([circle], tissue, LEVEL0)[0])
    area = block_areas(circle, tissue, LEVEL0, 200, mm2)
    assert area.total_mm2 == pytest.approx(mm2)
    assert area.mm2.max() == pytest.approx(0.04, rel=0.02)
    assert (area.points.x_um % 200 == 100).all()
    assert np.hypot(area.points.x_um - 1000, area.points.y_um - 1500).max() < 450 + 142


def test_a_region_smaller_than_a_pixel_of_the_mask_has_its_area() -> None:
    tissue = left_half()
    speck = shapely.box(100, 100, 103, 102)
    area = block_areas(speck, tissue, LEVEL0, 200, 6 * MM2)
    assert area.total_mm2 == pytest.approx(6 * MM2)
    assert len(area.mm2) == 1


def test_blocks_of_the_slide_add_up_to_the_tissue() -> None:
    tissue = left_half()
    for side in (3.0, 70.0, 200.0, 10_000.0):
        area = whole_tissue(tissue, side)
        assert area.total_mm2 == pytest.approx(tissue.area_mm2())
    nothing = TissueMask(np.zeros_like(tissue.codes), tissue.frame, "none")
    assert whole_tissue(nothing, 200).total_mm2 == 0


def test_density_counts_tissue_without_cells() -> None:
    tissue = whole_slide(mask_frame(LEVEL0))
    area = whole_tissue(tissue, 200)
    random = np.random.default_rng(0)
    points = Points(random.uniform(0, 2000, 3000), random.uniform(0, 3000, 3000))
    found = density(points, area, Resampling())
    assert found.value == pytest.approx(3000 / 12)
    # Half the blocks hold no cell: the interval is far wider than that of even tissue.
    assert found.high - found.low > 4 * np.sqrt(3000) / 12
    assert density(Points(np.empty(0), np.empty(0)), area, Resampling()).value == 0
