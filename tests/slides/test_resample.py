"""Resampling: against a float64 reference, and byte equality of overlapping reads."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsiseg.geometry import Box
from wsiseg.slides.resample import resample, source_box

SCALES = [0.37, 1 / 3, 0.9, 1.0, 0.5 / 0.263018, 2.0, 2.5, 3.0, 7.9, 31.98]
scales = st.one_of(st.sampled_from(SCALES), st.floats(0.2, 9.0))


def noise(box: Box, dtype: type = np.uint8, channels: int = 3) -> np.ndarray:
    """Pixels that depend on their global place alone, negative places included."""
    y, x, c = np.meshgrid(
        np.arange(box.y0, box.y1),
        np.arange(box.x0, box.x1),
        np.arange(channels),
        indexing="ij",
    )
    mixed = (x * 73856093) ^ (y * 19349663) ^ (c * 83492791)
    return ((mixed * 2654435761) >> 7).astype(dtype)


def matrix(first: int, stop: int, low: int, high: int, scale: float) -> np.ndarray:
    """Dense weights [output, source] written straight from the definition."""
    width = max(scale, 1.0)
    centre = (np.arange(first, stop)[:, None] + 0.5) * scale
    pixel = np.arange(low, high)[None, :]
    overlap = np.minimum(centre + width / 2, pixel + 1) - np.maximum(centre - width / 2, pixel)
    return np.maximum(overlap, 0.0) / width


def reference(source: np.ndarray, origin: Box, box: Box, sx: float, sy: float) -> np.ndarray:
    along_y = matrix(box.y0, box.y1, origin.y0, origin.y1, sy)
    along_x = matrix(box.x0, box.x1, origin.x0, origin.x1, sx)
    return np.einsum("ij,jkc,lk->ilc", along_y, source.astype(np.float64), along_x)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("scale", SCALES)
def test_agrees_with_the_definition(dtype: type, channels: int, scale: float) -> None:
    box = Box(-3, 11, 14, 24)
    wide, high = scale, scale * 1.01
    origin = source_box(box, wide, high)
    source = noise(origin, dtype, channels)
    exact = reference(source, origin, box, wide, high)
    got = resample(source, origin, box, wide, high)
    assert got.dtype == dtype
    # Half a unit for rounding, and what single precision may lose before it.
    assert np.abs(got - exact).max() <= 0.5 + 1e-3
    sure = np.abs(exact % 1 - 0.5) > 1e-3
    assert np.array_equal(got[sure], np.floor(exact + 0.5).astype(dtype)[sure])


@settings(max_examples=60, deadline=None)
@given(
    scale_x=scales,
    scale_y=scales,
    x=st.integers(-40, 40_000),
    y=st.integers(-40, 40_000),
    dx=st.integers(0, 17),
    dy=st.integers(0, 17),
    dtype=st.sampled_from([np.uint8, np.uint16]),
)
def test_overlapping_reads_are_equal_byte_for_byte(
    scale_x: float, scale_y: float, x: int, y: int, dx: int, dy: int, dtype: type
) -> None:
    one, two = Box(x, y, x + 20, y + 20), Box(x + dx, y + dy, x + dx + 23, y + dy + 21)
    reads = []
    for box in (one, two):
        origin = source_box(box, scale_x, scale_y)
        reads.append(resample(noise(origin, dtype), origin, box, scale_x, scale_y))
    common = one.intersection(two)
    assert np.array_equal(reads[0][common.slices(one)], reads[1][common.slices(two)])


def test_more_source_than_needed_changes_nothing() -> None:
    box, scale = Box(5, 6, 30, 31), 0.5 / 0.263018
    origin = source_box(box, scale, scale)
    wide = origin.grown(9)
    assert np.array_equal(
        resample(noise(origin), origin, box, scale, scale),
        resample(noise(wide), wide, box, scale, scale),
    )


def test_scale_one_is_the_identity() -> None:
    box = Box(-2, 3, 40, 50)
    assert source_box(box, 1.0, 1.0) == box
    assert np.array_equal(resample(noise(box), box, box, 1.0, 1.0), noise(box))


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(("dtype", "top"), [(np.uint8, 255), (np.uint16, 65535)])
def test_flat_pictures_stay_flat(scale: float, dtype: type, top: int) -> None:
    box = Box(0, 0, 30, 30)
    origin = source_box(box, scale, scale)
    for value in (0, 1, top - 1, top):
        flat = np.full((*origin.shape, 3), value, dtype)
        assert (resample(flat, origin, box, scale, scale) == value).all()


def test_halves_round_up() -> None:
    source = np.array([[[0], [1]], [[1], [0]]], np.uint8)
    assert resample(source, Box(0, 0, 2, 2), Box(0, 0, 1, 1), 2.0, 2.0).item() == 1


def test_too_little_source_is_refused() -> None:
    with pytest.raises(ValueError, match="does not hold"):
        resample(noise(Box(0, 0, 4, 4)), Box(0, 0, 4, 4), Box(0, 0, 3, 2), 2.0, 2.0)
