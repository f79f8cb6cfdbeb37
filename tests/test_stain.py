"""Optical density, stain vectors and amounts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage import data

from wsiseg.stain import (
    AMOUNT_UNIT,
    HAEMATOXYLIN_DAB,
    HAEMATOXYLIN_EOSIN,
    Vector,
    amount,
    amount_tables,
    default_stains,
    density_table,
    measure_stains,
    optical_density,
)


def angle(first: Vector, second: Vector) -> float:
    a, b = np.array(first), np.array(second)
    return math.degrees(math.acos(float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))))


def mixed(first: Vector, second: Vector, seed: int = 0) -> NDArray[np.uint8]:
    """Pixels of two stains in varying amounts, some of them nearly pure, beside some glass."""
    rng = np.random.default_rng(seed)
    share = rng.beta(0.4, 0.4, (160, 160))
    depth = rng.uniform(0.2, 1.0, (160, 160))
    density = (share * depth)[..., None] * np.array(first)
    density = density + ((1 - share) * depth)[..., None] * np.array(second)
    density[:8] = 0
    return np.rint(255 * 10.0**-density).astype(np.uint8)


def test_density_is_the_logarithm_of_intensity() -> None:
    table = density_table(200.0)
    assert table[200] == 0.0
    assert table[255] == 0.0
    assert table[20] == pytest.approx(1.0)
    assert table[0] == table[1] == pytest.approx(math.log10(200))
    pixels = np.array([[[20, 200, 2]]], np.uint8)
    np.testing.assert_allclose(
        optical_density(pixels, (200.0, 200.0, 200.0)), [[[1.0, 0.0, 2.0]]], atol=1e-6
    )


@pytest.mark.parametrize(
    ("first", "second", "kind"),
    [
        (*HAEMATOXYLIN_EOSIN, "eosin"),
        ((0.60, 0.70, 0.38), (0.30, 0.83, 0.47), "eosin"),
        (*HAEMATOXYLIN_DAB, "DAB"),
    ],
)
def test_stains_are_recovered(first: Vector, second: Vector, kind: str) -> None:
    stains = measure_stains([mixed(first, second)])
    assert stains.problem == ""
    assert stains.kind == kind
    assert angle(stains.haematoxylin, first) < 4
    assert angle(stains.counterstain, second) < 4
    for vector in (stains.haematoxylin, stains.counterstain):
        assert np.linalg.norm(vector) == pytest.approx(1)


def test_measuring_twice_or_in_other_pieces_is_the_same() -> None:
    image = mixed(*HAEMATOXYLIN_EOSIN)
    whole = measure_stains([image])
    assert measure_stains([image]) == whole
    assert measure_stains([image[:50], image[50:]]) == whole


def test_a_fallback_says_why() -> None:
    usual = default_stains("eosin")
    nothing = measure_stains([])
    assert "no tissue" in nothing.problem
    assert nothing.haematoxylin == usual.haematoxylin
    glass = measure_stains([np.full((200, 200, 3), 245, np.uint8)])
    assert "stained pixels" in glass.problem
    one = measure_stains([mixed(HAEMATOXYLIN_EOSIN[0], HAEMATOXYLIN_EOSIN[0])])
    assert "apart" in one.problem
    green = measure_stains([mixed((0.7, 0.1, 0.7), (0.2, 0.1, 0.97))])
    assert "off the usual colour" in green.problem
    for stains in (glass, one, green):
        assert stains.haematoxylin == usual.haematoxylin


def test_amounts_undo_the_mixing() -> None:
    stains = default_stains("eosin")
    density = 0.5 * np.array(stains.haematoxylin) + 0.3 * np.array(stains.counterstain)
    pixel = np.rint(255 * 10.0**-density).astype(np.uint8).reshape(1, 1, 3)
    tables = amount_tables(stains)
    found = [amount(pixel, table)[0, 0] / AMOUNT_UNIT for table in tables]
    np.testing.assert_allclose(found, [0.5, 0.3, 0.0], atol=0.02)


def test_amounts_do_not_hang_on_the_window() -> None:
    image = np.asarray(data.immunohistochemistry())
    table = amount_tables(measure_stains([image]))[0]
    whole = amount(image, table)
    for y, x, h, w in ((0, 0, 17, 33), (101, 57, 200, 111), (3, 400, 500, 112)):
        window = np.ascontiguousarray(image[y : y + h, x : x + w])
        np.testing.assert_array_equal(amount(window, table), whole[y : y + h, x : x + w])


def test_real_dab_is_told_from_eosin() -> None:
    assert measure_stains([np.asarray(data.immunohistochemistry())]).kind == "DAB"
