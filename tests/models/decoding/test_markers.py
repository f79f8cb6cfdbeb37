"""The steps between maps and instances, each against plain code."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from wsiseg.models.decoding.boundary import BoundaryRule, decode_boundary
from wsiseg.models.decoding.distances import DistanceRule, decode_distances
from wsiseg.models.decoding.growing import GROWING_REACH, grow
from wsiseg.models.decoding.instances import decode_labels
from wsiseg.models.decoding.markers import HOLE_PX, fill_holes, number_parts, open_disc

SEEDS = st.integers(0, 2**32 - 1)


def blobs(seed: int, shape: tuple[int, int] = (48, 60), share: float = 0.5) -> NDArray[np.bool_]:
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(size=shape), rng.uniform(0.5, 3))
    return np.asarray(smooth > np.quantile(smooth, 1 - share))


@settings(max_examples=25)
@given(SEEDS, st.booleans(), st.integers(1, 12))
def test_parts_are_those_of_scipy(seed: int, diagonal: bool, least: int) -> None:
    mask = blobs(seed)
    labels, count = number_parts(mask, least, diagonal)
    plain, _ = ndimage.label(mask, np.ones((3, 3)) if diagonal else None)
    areas = np.bincount(plain.ravel())
    kept = np.where(areas[plain] >= least, plain, 0)
    assert count == len(np.unique(kept[kept > 0]))
    assert np.array_equal(labels > 0, kept > 0)
    pairs = np.unique(np.stack([labels[labels > 0], kept[labels > 0]]), axis=1)
    assert pairs.shape[1] == count
    # Numbers rise in reading order.
    first = [int(np.flatnonzero(labels == n)[0]) for n in range(1, count + 1)]
    assert first == sorted(first)


@settings(max_examples=25)
@given(SEEDS)
def test_opening_is_scipys(seed: int) -> None:
    mask = blobs(seed)
    disc = np.ones((5, 5), bool)
    disc[[0, -1]] = False
    disc[[0, -1], 2] = True
    padded = np.pad(mask, 4, constant_values=True)
    eroded = ndimage.binary_erosion(padded, disc)[4:-4, 4:-4]
    assert np.array_equal(open_disc(mask), ndimage.binary_dilation(eroded, disc))


def test_only_small_closed_holes_are_filled() -> None:
    within = np.zeros((60, 80), bool)
    within[2:58, 2:78] = True
    mask = within.copy()
    mask[10:20, 10:20] = False  # closed
    mask[30 : 30 + HOLE_PX + 1, 10:14] = False  # too high
    mask[40:44, 60:78] = False  # open towards what is not in `within`
    mask[20, 40], within[20, 40] = False, False  # not in `within`
    filled = mask.copy()
    fill_holes(filled, within)
    assert filled[10:20, 10:20].all()
    assert not filled[30 : 30 + HOLE_PX + 1, 10:14].any()
    assert not filled[40:44, 60:78].any()
    assert not filled[20, 40]
    assert np.array_equal(filled[mask], mask[mask])


@settings(max_examples=25)
@given(SEEDS)
def test_growing_hangs_on_supports_alone(seed: int) -> None:
    """With markers missing, too, so that basins join others round by round."""
    rng = np.random.default_rng(seed)
    shape = (90, 110)
    mask = blobs(seed, shape, 0.6)
    height = ndimage.gaussian_filter(rng.normal(size=shape), 2.0)
    relief = np.rint(height * 2000).astype(np.int32)
    peaks = (height == ndimage.maximum_filter(height, 5)) & mask & (rng.random(shape) < 0.6)
    markers, count = number_parts(ndimage.binary_dilation(peaks, iterations=1) & mask, 1, False)
    whole, _ = grow(mask, relief, markers, count)
    x0, y0, x1, y1 = 21, 17, 93, 80
    view = np.s_[y0:y1, x0:x1]
    part, numbers = number_parts((markers > 0)[view], 1, False)
    labels, supports = grow(mask[view], relief[view], part, numbers)
    assert set(np.unique(labels)) <= set(range(numbers + 1))
    for number in range(1, numbers + 1):
        left, top, right, bottom = supports[number - 1]
        if min(left, top) < GROWING_REACH or right > x1 - x0 - GROWING_REACH:
            continue
        if bottom > y1 - y0 - GROWING_REACH or right <= left:
            continue
        mine = labels == number
        (other,) = np.unique(whole[view][mine])
        assert np.array_equal(whole[view] == other, mine)
        assert (whole == other).sum() == mine.sum()


def discs(*places: tuple[int, int, int], shape: tuple[int, int] = (80, 120)) -> NDArray[np.int32]:
    image = np.zeros(shape, np.int32)
    y, x = np.indices(shape)
    for number, (cx, cy, radius) in enumerate(places, 1):
        image[((x - cx) ** 2 + (y - cy) ** 2 <= radius**2) & (image == 0)] = number
    return image


TOUCHING = discs((30, 40, 14), (57, 40, 14), (95, 30, 10))


def border_of(labels: NDArray[np.int32]) -> NDArray[np.bool_]:
    inner = ndimage.minimum_filter(labels, 5) == ndimage.maximum_filter(labels, 5)
    return (labels > 0) & ~inner


def test_a_border_parts_nuclei_in_contact() -> None:
    border = border_of(TOUCHING)
    inside = ndimage.gaussian_filter(((TOUCHING > 0) & ~border).astype(np.float32), 1)
    foreground = (TOUCHING > 0).astype(np.float32)
    found = decode_boundary(foreground, inside, None, BoundaryRule())
    assert len(found) == 3
    for number in (1, 2, 3):
        mine = found.labels == found.labels[number == TOUCHING][0]
        assert (mine & (number == TOUCHING)).sum() > 0.95 * (number == TOUCHING).sum()


def test_thresholds_may_be_one_a_class() -> None:
    border = border_of(TOUCHING)
    inside = 0.6 * ((TOUCHING > 0) & ~border).astype(np.float32)
    foreground = 0.8 * (TOUCHING > 0).astype(np.float32)
    types = np.zeros((2, *TOUCHING.shape), np.float32)
    types[0, :, :70], types[1, :, 70:] = 1, 1
    rule = BoundaryRule(foreground=(0.5, 0.9), marker=(0.5, 0.5))
    found = decode_boundary(foreground, inside, types, rule)
    assert len(found) == 2
    assert found.classes.tolist() == [0, 0]
    rule = BoundaryRule(foreground=(0.5, 0.5), marker=(0.5, 0.7))
    assert len(decode_boundary(foreground, inside, types, rule)) == 2


def test_distances_part_nuclei_at_the_waist() -> None:
    distance = ndimage.distance_transform_edt(TOUCHING > 0).astype(np.float32)
    found = decode_distances(distance, None, None, DistanceRule(foreground=1.0, marker=3.0))
    assert len(found) == 3
    assert found.labels[40, 30] != found.labels[40, 57]
    nucleus = (TOUCHING != 3).astype(np.float32) * (TOUCHING > 0)
    found = decode_distances(distance, nucleus, None, DistanceRule(marker=3.0))
    assert len(found) == 2
    assert found.probabilities.tolist() == [1.0, 1.0]
    assert len(decode_distances(distance, None, None, DistanceRule(1.0, marker=12.0))) == 2


def test_labels_are_taken_as_they_come() -> None:
    labels = np.where(TOUCHING == 2, 7, TOUCHING).astype(np.float32)
    found = decode_labels(labels, None, 1)
    assert len(found) == 3
    assert found.labels[40, 57] == 3
    assert found.labels.dtype == np.int32
    assert len(decode_labels(np.zeros((4, 4), np.float32), None, 1)) == 0
