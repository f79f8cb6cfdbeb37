"""Contours of circles and ellipses have the curvature and the harmonics of geometry."""

from __future__ import annotations

import numpy as np
import pytest

from wsiseg.cells.polygons import Polygons
from wsiseg.cells.vectorize import vectorize
from wsiseg.features.contour import elliptic_harmonics, measure_contours
from wsiseg.geometry import MPP

MPP_ = MPP.square(0.25)


def outlines(*lines):
    """Polygons of closed lines ``[v, 2]`` in µm."""
    points = [np.rint(np.asarray(line) / 0.25 * 100).astype(np.int32) for line in lines]
    sizes = np.concatenate([[0], np.cumsum([len(p) for p in points])])
    return Polygons(np.concatenate(points), sizes, np.arange(len(points) + 1))


def ellipse(a, b, count=400, turn=0.0, start=0, clockwise=False):
    t = 2 * np.pi * (np.arange(count) + start) / count
    x, y = a * np.cos(t), b * np.sin(t)
    line = np.stack(
        [x * np.cos(turn) - y * np.sin(turn) + 60, x * np.sin(turn) + y * np.cos(turn) + 70],
        axis=1,
    )
    return line[::-1] if clockwise else line


def test_a_circle_is_curved_evenly():
    found = measure_contours(outlines(ellipse(8, 8), ellipse(8, 8, clockwise=True)), MPP_)
    for i in range(2):
        assert found["curvature_mean_per_um"][i] == pytest.approx(1 / 8, rel=1e-3)
        assert found["curvature_std_per_um"][i] < 2e-3
        assert found["bending_energy"][i] == pytest.approx(1, rel=1e-3)
        assert found["concave_share"][i] == 0
        assert found["fourier_2"][i] < 1e-6


def test_an_ellipse_is_curved_most_at_its_ends():
    a, b = 12.0, 8.0
    found = measure_contours(outlines(ellipse(a, b)), MPP_)
    assert found["curvature_max_per_um"][0] == pytest.approx(a / b**2, rel=0.06)
    assert found["curvature_min_per_um"][0] == pytest.approx(b / a**2, rel=0.06)
    assert found["bending_energy"][0] > 1.05


def test_a_bean_is_concave_in_one_place():
    t = np.linspace(0, 2 * np.pi, 300, endpoint=False)
    radius = 8 + 3 * np.cos(t) + 2 * np.cos(2 * t)
    bean = np.stack([radius * np.cos(t) + 40, radius * np.sin(t) + 40], axis=1)
    found = measure_contours(outlines(bean), MPP_)
    assert 0 < found["concave_share"][0] < 0.3
    assert found["curvature_min_per_um"][0] < 0


def test_neither_turn_nor_start_nor_size_changes_the_energies():
    one = outlines(ellipse(12, 7), ellipse(12, 7, turn=0.7, start=133), ellipse(24, 14))
    found = measure_contours(one, MPP_)
    names = [name for name in found if name.startswith("fourier") or name == "bending_energy"]
    assert len(names) == 6
    for name in names:
        np.testing.assert_allclose(found[name], found[name][0], rtol=0.02, atol=1e-6)


def test_harmonics_rebuild_the_line():
    t = np.linspace(0, 2 * np.pi, 600, endpoint=False)
    radius = 9 + np.cos(3 * t) + 0.5 * np.sin(2 * t)
    line = np.stack([radius * np.cos(t), radius * np.sin(t)], axis=1)
    steps = np.hypot(*(np.roll(line, -1, axis=0) - line).T)
    share = np.concatenate([[0], np.cumsum(steps)[:-1]]) / steps.sum()
    n = np.arange(1, 7)
    angle = 2 * np.pi * share[:, None] * n
    a, b, c, d = elliptic_harmonics(line).T
    x = np.cos(angle) @ a + np.sin(angle) @ b
    y = np.cos(angle) @ c + np.sin(angle) @ d
    # The constant is left out.
    rebuilt = np.stack([x, y], axis=1)
    rebuilt += line[0] - rebuilt[0]
    assert np.abs(rebuilt - line).max() < 0.1


def test_a_traced_disc_is_smooth():
    y, x = np.mgrid[:60, :60]
    labels = ((y - 30) ** 2 + (x - 30) ** 2 <= 20**2).astype(np.int32)
    traced = vectorize(labels, 1, (0, 0), (1.0, 1.0))
    found = measure_contours(traced.polygons, MPP_)
    assert found["curvature_mean_per_um"][0] == pytest.approx(1 / 5.1, rel=0.03)
    assert found["bending_energy"][0] == pytest.approx(1, abs=0.05)
    assert found["concave_share"][0] == 0


def test_an_outline_without_area_has_no_contour():
    flat = Polygons(
        np.array([[0, 0], [100, 0], [50, 0]], np.int32), np.array([0, 3]), np.array([0, 1])
    )
    found = measure_contours(flat, MPP_)
    assert all(np.isnan(values).all() for values in found.values())
    assert all(len(v) == 0 for v in measure_contours(Polygons.empty(), MPP_).values())
