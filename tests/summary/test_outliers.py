"""Which slides stand out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsiseg.summary.outliers import COLOUR, LEAST_SLIDES, LIMIT, Comparison, compare, robust_z
from wsiseg.summary.rows import SlideRow


def slides(count: int = 20, **changes: Any) -> list[SlideRow]:
    """Slides like each other, as slides are."""
    rng = np.random.default_rng(7)
    rows = []
    for number in range(count):
        f = np.exp(rng.normal(0, 0.05, 5)).tolist()
        rows.append(
            SlideRow(
                name=f"slide-{number}",
                path="",
                state="whole",
                model="nuclei-he",
                nuclear_area_um2=40 * f[0],
                nuclei_per_mm2=2000 * f[1],
                sharpness=0.3 * f[2],
                haematoxylin_od=0.3 * f[3],
                tissue_mm2=20 * f[4],
                density=tuple((np.array([0.25, 0.4, 0.25]) * rng.normal(1, 0.02, 3)).tolist()),
            )
        )
    return [replace(row, **changes) for row in rows]


def found(rows: list[SlideRow]) -> dict[str, Comparison]:
    return {one.measure.key: one for one in compare(rows)}


def test_the_score_is_what_it_is_said_to_be() -> None:
    # median 3, absolute deviations 2 1 0 1 97, MAD 1
    assert robust_z(np.array([1.0, 2, 3, 4, 100])) == pytest.approx(
        0.6745 * np.array([-2, -1, 0, 1, 97])
    )


def test_where_most_agree_the_mean_deviation_takes_over() -> None:
    z = robust_z(np.array([5.0] * 9 + [6.0]))
    assert z[:9].tolist() == [0.0] * 9
    # mean absolute deviation 0.1
    assert z[9] == pytest.approx(1 / (1.2533 * 0.1), rel=1e-3)
    assert robust_z(np.full(5, 3.0)).tolist() == [0.0] * 5


@settings(max_examples=50)
@given(
    st.lists(st.floats(1, 100), min_size=3, max_size=30),
    st.floats(-10, 10),
    st.floats(0.5, 5),
)
def test_the_score_has_no_unit_and_no_origin(
    values: list[float], shift: float, scale: float
) -> None:
    given_values = np.round(np.array(values), 3)
    assert robust_z(given_values * scale + shift) == pytest.approx(
        robust_z(given_values), rel=1e-6, abs=1e-6
    )


@pytest.mark.parametrize(
    ("changes", "measure", "verdict"),
    [
        ({"nuclear_area_um2": 90.0}, "nuclear_area_um2", "large nuclei"),
        ({"nuclear_area_um2": 20.0}, "nuclear_area_um2", "small nuclei"),
        ({"nuclei_per_mm2": 300.0}, "nuclei_per_mm2", "few nuclei"),
        ({"sharpness": 0.05}, "sharpness", "blurred"),
        ({"haematoxylin_od": 0.6}, "haematoxylin_od", "dark haematoxylin"),
        ({"tissue_mm2": 0.4}, "tissue_mm2", "little tissue"),
        ({"density": (0.5, 0.3, 0.1)}, "stain_colour_deg", "stained in another colour"),
    ],
)
def test_one_odd_slide_stands_out_in_what_is_odd_about_it(
    changes: dict[str, Any], measure: str, verdict: str
) -> None:
    rows = slides()
    rows[5] = replace(rows[5], **changes)
    comparisons = found(rows)
    out = {key: np.flatnonzero(one.out).tolist() for key, one in comparisons.items()}
    assert out == {key: [5] if key == measure else [] for key in out}
    assert comparisons[measure].verdict(5) == verdict


def test_a_slide_is_held_against_its_own_kind() -> None:
    rows = slides()
    # Half of them are of another stain, with nuclei of another size: nobody is odd.
    for i in range(0, 20, 2):
        rows[i] = replace(rows[i], stain="HDAB", nuclear_area_um2=2 * rows[i].nuclear_area_um2)
    one = found(rows)["nuclear_area_um2"]
    assert not one.out.any()
    assert one.typical[0] > 1.8 * one.typical[1]


def test_few_slides_are_not_judged() -> None:
    rows = slides(LEAST_SLIDES - 1)
    rows[0] = replace(rows[0], nuclear_area_um2=400.0)
    one = found(rows)["nuclear_area_um2"]
    assert not one.out.any()
    assert np.isnan(one.z).all()
    assert one.values[0] == 400


def test_a_difference_too_small_to_matter_does_not_stand_out() -> None:
    rows = [replace(row, nuclear_area_um2=40.0) for row in slides()]
    rows[3] = replace(rows[3], nuclear_area_um2=43.0)
    one = found(rows)["nuclear_area_um2"]
    assert abs(one.z[3]) > LIMIT
    assert not one.out.any()


def test_equal_colours_have_an_angle_of_nothing() -> None:
    rows = [replace(row, density=(0.25, 0.4, 0.25)) for row in slides()]
    rows[2] = replace(rows[2], density=(0.1, 0.4, 0.4))
    one = found(rows)[COLOUR.key]
    assert one.values[0] == pytest.approx(0, abs=1e-5)
    expected = np.degrees(np.arccos(0.285 / np.sqrt(0.33) / np.sqrt(0.285)))
    assert one.values[2] == pytest.approx(expected, abs=0.5)
    assert np.flatnonzero(one.out).tolist() == [2]


def test_what_is_missing_or_failed_is_left_out() -> None:
    rows = slides()
    rows[0] = replace(rows[0], state="failed", nuclear_area_um2=900.0)
    rows[1] = replace(rows[1], nuclei_per_mm2=0.0, sharpness=None)
    comparisons = found(rows)
    assert np.isnan(comparisons["nuclear_area_um2"].values[0])
    assert np.isnan(comparisons["nuclei_per_mm2"].z[1])
    assert not any(one.out.any() for one in comparisons.values())
    assert "signal" not in comparisons
