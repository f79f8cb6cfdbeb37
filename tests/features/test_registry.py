"""Every column has a name that says its unit, a definition, and a place in the dictionary."""

from __future__ import annotations

import numpy as np
import pytest

from wsiseg.cells.polygons import Polygons
from wsiseg.export.units import measurement_name, unit_of
from wsiseg.features.definitions import ALL_SETS, DEFAULT_SETS, FEATURES
from wsiseg.features.registry import (
    columns_of,
    describe,
    dictionary,
    measurements,
    plain_names,
    shape_columns,
)
from wsiseg.features.shape import measure_shapes
from wsiseg.geometry import MPP, Frame, Size

ENDINGS = {"_um": "µm", "_um2": "µm^2", "_rad": "rad", "_per_um": "per µm", "_per_mm2": "per mm^2"}


def test_names_end_in_their_units():
    for feature in FEATURES:
        ending = next((e for e, unit in ENDINGS.items() if unit == feature.unit), None)
        if ending is not None:
            assert feature.name.endswith(ending), feature.name
        assert feature.definition.endswith(".")
        assert len(describe_name(feature.name)) == 1


def describe_name(name):
    return [feature for feature in FEATURES if feature.name == name]


@pytest.mark.parametrize(
    ("stains", "channels", "classes"),
    [(("haematoxylin", "dab"), (), 3), ((), ("dapi", "cy_3"), 1), ((), ("channel_1",), 2)],
)
def test_every_column_can_be_described(stains, channels, classes):
    columns = columns_of(ALL_SETS, stains=stains, channels=channels, classes=classes)
    assert len(set(columns)) == len(columns) > 30
    told = dictionary(columns)
    assert [entry["name"] for entry in told] == list(columns)
    assert not any("{" in entry["name"] + entry["definition"] for entry in told)
    assert ("other_class_share_50_um" in columns) == (classes > 1)
    assert ("nucleus_od_sum_mean" in columns) == bool(stains)


def test_shapes_are_those_that_are_measured():
    frame = Frame(Size(10, 10), MPP.square(0.5))
    assert tuple(measure_shapes(Polygons.empty(), frame, frame)) == shape_columns()


def test_what_is_not_ours_is_not_described():
    assert describe("cells_per_moon") is None
    assert describe("nucleus_mean") is None
    assert dictionary(["id", "area_um2"])[0]["name"] == "area_um2"


@pytest.mark.parametrize(
    ("column", "name", "unit"),
    [
        ("neighbours_50_um", "Nucleus: Neighbours 50 µm", ""),
        ("nearest_1_um", "Nucleus: Nearest 1 µm", "µm"),
        ("ring_dab_od_p90", "Ring: DAB OD p90", "OD"),
        ("nucleus_haematoxylin_od_mean", "Nucleus: Haematoxylin OD mean", "OD"),
        ("nucleus_dapi_mean", "Nucleus: Dapi mean", "intensity"),
        ("density_100_per_mm2", "Nucleus: Density 100 per mm^2", "per mm^2"),
    ],
)
def test_columns_have_readable_names(column, name, unit):
    assert measurement_name(column) == name
    assert unit_of(column) == unit


def test_outlines_carry_few_measurements():
    columns = [
        *shape_columns(),
        *columns_of(ALL_SETS, stains=("haematoxylin", "eosin"), channels=(), classes=1),
    ]
    chosen = measurements(columns)
    assert len(chosen) == 11
    assert set(chosen) >= {"area_um2", "nucleus_eosin_od_mean", "nucleus_od_sum_mean"}


def test_channels_get_plain_and_different_names():
    assert plain_names(["DAPI", "Cy 3", "cy3", "CY-3", "", "ядро", "dapi"]) == (
        "dapi",
        "cy_3",
        "cy3",
        "cy_3_4",
        "channel_5",
        "channel_6",
        "dapi_7",
    )
    names = plain_names(["a_3", "a", "a", "a" * 500, "../../x; rm", "<script>"])
    assert len(set(names)) == 6
    assert max(map(len, names)) <= 34
    assert all(np.all([c.isalnum() or c == "_" for c in name]) for name in names)


def test_the_default_is_part_of_all():
    assert set(DEFAULT_SETS) < set(ALL_SETS)
