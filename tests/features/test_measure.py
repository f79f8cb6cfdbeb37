"""Features hang neither on parts nor on squares, and are defined for every field of cells."""

from __future__ import annotations

import numpy as np
import pytest
from features.fields import (
    FRAME,
    LEVEL0,
    blobs,
    cells_of,
    in_parts,
    info,
    scattered,
    squares,
)

import wsiseg.features.measure as measure_module
from wsiseg.errors import ConfigurationError
from wsiseg.features.definitions import ALL_SETS
from wsiseg.features.measure import Recipe, Surroundings, frame_boxes, measure_cells
from wsiseg.features.position import region_outlines
from wsiseg.features.vectors import stated_stains
from wsiseg.pipeline.measuring import farther_cells, neighbourhood
from wsiseg.pipeline.rims import Rims
from wsiseg.stain import default_stains
from wsiseg.tissue.mask import whole_slide

STAINS = default_stains("eosin")
PICTURE = np.random.default_rng(0).integers(40, 256, (2100, 2100, 3)).astype(np.uint8)


def read(box):
    """A made-up picture in the frame, white beyond the slide."""
    out = np.full((*box.shape, 3), 255, np.uint8)
    inside = box.intersection(FRAME.box)
    out[inside.slices(box)] = PICTURE[inside.slices()]
    return out


def place(about):
    outlines = region_outlines(whole_slide(FRAME).polygons(LEVEL0), LEVEL0.mpp)
    return Surroundings(about, read, outlines)


def measured(source, recipe):
    """All columns, in the order of the cells' ids."""
    about, ids, parts = place(source.info), [], []
    for part in range(len(source.extents)):
        around = neighbourhood(source, part, recipe.margin_um)
        ids.append(around.cells.ids[around.own])
        parts.append(measure_cells(around, recipe, about, farther_cells(source, part)))
    order = np.argsort(np.concatenate(ids))
    return {name: np.concatenate([p[name] for p in parts])[order] for name in recipe.columns}


def recipe(about, sets=ALL_SETS, **more):
    return Recipe(sets, len(about.classes), **{"stains": STAINS, **more})


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for name, values in one.items():
        np.testing.assert_array_equal(values, other[name], err_msg=name)


@pytest.mark.parametrize("tile", [1024, 150])
def test_features_hang_neither_on_parts_nor_on_squares(monkeypatch, tile):
    about = info(classes=2)
    cells = cells_of(blobs(1, 420, 0.05), about, (300, 200))
    whole = measured(in_parts(cells, about, 1e9), recipe(about))
    assert len(whole["nearest_1_um"]) == len(cells) > 300
    monkeypatch.setattr(measure_module, "TILE_PX", tile)
    for side in (217.0, 500.0):
        source = in_parts(cells, about, side)
        assert len(source.extents) > 3
        assert_equal(measured(source, recipe(about)), whole)


def test_rims_are_kept_from_part_to_part():
    about = info(classes=2)
    source = in_parts(cells_of(blobs(1, 420, 0.05), about, (300, 200)), about, 217.0)
    asked = []

    class Counting(type(source)):
        def read(self, part):
            asked.append(part)
            return super().read(part)

    counting = Counting(source.info, source.batches)
    rims = Rims(counting, 30.0)
    parts = len(source.extents)
    assert parts > 9
    for part in range(parts):
        kept = neighbourhood(counting, part, 30.0, rims)
        fresh = neighbourhood(source, part, 30.0)
        assert kept.own == fresh.own
        np.testing.assert_array_equal(kept.cells.ids, fresh.cells.ids)
        np.testing.assert_array_equal(kept.cells.polygons.vertices, fresh.cells.polygons.vertices)
    without = sum(
        other.intersects(rims.around(part)) for part in range(parts) for other in source.extents
    )
    assert len(asked) < 0.55 * without


def test_cells_around_a_part_are_all_that_come_near():
    about = info()
    source = in_parts(cells_of(blobs(3, 300), about), about, 150.0)
    boxes = [frame_boxes(batch, about) for batch in source.batches]
    for part, extent in enumerate(source.extents):
        box = extent.grown(int(20 / about.frame.mpp.x) + 2)
        near = [
            (b[:, 0] < box.x1) & (b[:, 2] > box.x0) & (b[:, 1] < box.y1) & (b[:, 3] > box.y0)
            for b in boxes
        ]
        wanted = np.concatenate(
            [
                batch.ids if number == part else batch.ids[near[number]]
                for number, batch in enumerate(source.batches)
            ]
        )
        found = neighbourhood(source, part, 20.0)
        np.testing.assert_array_equal(found.cells.ids, wanted)


def test_sparse_cells_find_their_neighbours_across_parts():
    about = info()
    cells = scattered(150, 3900, about)
    sets = ("neighbours", "graph", "position")
    whole = measured(in_parts(cells, about, 1e9), recipe(about, sets))
    assert (whole["nearest_3_um"] > 100).any()
    assert_equal(measured(in_parts(cells, about, 400.0), recipe(about, sets)), whole)


def test_one_cell_at_the_corner_of_the_slide():
    about = info(classes=3)
    cells = squares(np.array([[8.0, 8.0]]), about)
    found = measured(in_parts(cells, about, 1e9), recipe(about))
    assert found["neighbours_100_um"] == 0
    assert found["graph_degree"] == 0
    assert np.isnan(found["nearest_1_um"][0])
    assert found["distance_to_tissue_edge_um"][0] == pytest.approx(2.0)
    inside = read(FRAME.box)[0:8, 0:8]
    density = -np.log10(np.maximum(inside, 1) / 255.0).sum(axis=-1).mean()
    assert found["nucleus_od_sum_mean"][0] == pytest.approx(density, abs=1e-3)
    # White fill beyond the slide would lower the ring's density.
    assert found["ring_haematoxylin_od_mean"][0] > 0.8 * found["nucleus_haematoxylin_od_mean"][0]


def test_overlaps_belong_to_one_cell_and_a_covered_cell_has_no_stain():
    about = info()
    cells = squares(np.array([[100.0, 100.0], [100.0, 100.0]]), about)
    chance = np.array([0.3, 0.9], np.float32)
    cells = type(cells)(
        cells.ids,
        cells.uuids,
        cells.polygons,
        cells.centroids,
        cells.class_index,
        chance,
        cells.truncated,
        {},
    )
    found = measured(in_parts(cells, about, 1e9), recipe(about))
    assert np.isnan(found["nucleus_eosin_od_mean"]).tolist() == [True, False]
    assert np.isnan(found["texture_energy"]).tolist() == [True, False]
    assert found["nearest_1_um"].tolist() == [0, 0]


def test_channels_of_fluorescence_are_measured_each():
    about = info()
    cells = cells_of(blobs(2, 120), about)
    rng = np.random.default_rng(1)
    picture = rng.integers(0, 4000, (2100, 2100, 3)).astype(np.uint16)

    def dark(box):
        out = np.zeros((*box.shape, 3), np.uint16)
        inside = box.intersection(FRAME.box)
        out[inside.slices(box)] = picture[inside.slices()]
        return out

    chosen = recipe(
        about,
        ("stain", "texture"),
        stains=None,
        channels=("dapi", "cy3", "fitc"),
        nuclear=1,
        texture_limits=(0.0, 4000.0),
    )
    source = in_parts(cells, about, 1e9)
    around = neighbourhood(source, 0, chosen.margin_um)
    found = measure_cells(around, chosen, Surroundings(about, dark))
    labels = blobs(2, 120)
    for index, name in enumerate(chosen.channels):
        values = picture[:120, :120, index][labels == 5].astype(float)
        assert found[f"nucleus_{name}_mean"][4] == pytest.approx(values.mean(), rel=1e-6)
        assert found[f"nucleus_{name}_p90"][4] == pytest.approx(np.percentile(values, 90), rel=1e-6)
    assert len(found) == 3 * 8 + 7


def test_stated_vectors_are_brought_to_unit_length_and_named():
    white = (250.0, 250.0, 250.0)
    stains = stated_stains(((6.5, 7.0, 2.9), (0.27, 0.57, 0.78)), None, white)
    assert stains.kind == "DAB"
    assert np.linalg.norm(stains.haematoxylin) == pytest.approx(1)
    assert stains.white == white
    assert stated_stains(((0.65, 0.7, 0.29), (0.1, 0.9, 0.3)), None, white).kind == "eosin"
    assert stated_stains(((0.65, 0.7, 0.29), (0.1, 0.9, 0.3)), "DAB", white).kind == "DAB"


@pytest.mark.parametrize(
    "vectors",
    [
        ((0.65, 0.7, 0.29), (0.65, 0.7, 0.3)),
        ((0.0, 0.0, 0.0), (0.1, 0.9, 0.3)),
        ((0.65, 0.7, 0.29), (-0.1, 0.9, 0.3)),
        ((0.65, float("nan"), 0.29), (0.1, 0.9, 0.3)),
    ],
)
def test_vectors_that_are_no_stains_are_refused(vectors):
    with pytest.raises(ConfigurationError, match="stain"):
        stated_stains(vectors, None, (255.0, 255.0, 255.0))
