"""Filters of small pictures, against slower ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from wsiseg.geometry import MPP, Box, Frame, Size
from wsiseg.tissue import TissueCode, TissueMask, mask_frame
from wsiseg.tissue.areas import Mask, closed, grown, touching_border
from wsiseg.tissue.smoothing import smoothed

SHAPES = st.tuples(st.integers(1, 40), st.integers(1, 40))


def mask_of(shape: tuple[int, int], share: float, seed: int) -> Mask:
    mask: Mask = np.random.default_rng(seed).random(shape) < share
    return mask


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 30, 3), (40, 3, 4), (37, 53, 3)])
@pytest.mark.parametrize("sigma", [1.0, 2.3, 4.0])
def test_smoothing_is_scipys_to_the_last_bit(shape: tuple[int, int, int], sigma: float) -> None:
    values = np.random.default_rng(1).uniform(0, 255, shape).astype(np.float32)
    expected = ndimage.gaussian_filter(values, (sigma, sigma, 0.0))
    assert np.array_equal(smoothed(values, sigma), expected)


@settings(max_examples=60)
@given(SHAPES, st.sampled_from([0.01, 0.1, 0.6, 0.97]), st.integers(0, 9), st.integers(0, 99))
def test_discs_grow_by_distance(
    shape: tuple[int, int], share: float, radius: int, seed: int
) -> None:
    mask = mask_of(shape, share, seed)
    near = ndimage.distance_transform_edt(~mask) <= radius if mask.any() else mask
    assert np.array_equal(grown(mask, radius), near)


@settings(max_examples=60)
@given(SHAPES, st.sampled_from([0.01, 0.1, 0.6]), st.integers(1, 6), st.integers(0, 99))
def test_closing_adds_and_closes_once_and_for_all(
    shape: tuple[int, int], share: float, radius: int, seed: int
) -> None:
    mask = mask_of(shape, share, seed)
    once = closed(mask, radius)
    assert not (mask & ~once).any()
    assert not (once & ~grown(mask, radius)).any()
    assert np.array_equal(closed(once, radius), once)


@given(SHAPES, st.integers(0, 99))
def test_pieces_at_the_border(shape: tuple[int, int], seed: int) -> None:
    mask = mask_of(shape, 0.3, seed)
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    edge = np.ones(shape, np.bool_)
    edge[1:-1, 1:-1] = False
    expected = np.isin(labels, np.setdiff1d(labels[edge], 0)) if count else mask
    assert np.array_equal(touching_border(mask), expected)


def share_of(mask: TissueMask, box: Box, frame: Frame) -> float:
    """How much of a box of another frame is tissue."""
    here = frame.box_in(box, mask.frame).intersection(mask.frame.box)
    codes = mask.codes[here.slices()]
    return int(np.count_nonzero(codes == TissueCode.TISSUE)) / codes.size if codes.size else 0.0


@given(st.integers(40, 3000), st.integers(40, 3000), st.sampled_from([0.25, 0.263, 0.5, 1.7]))
def test_shares_of_all_cells_are_those_of_each(width: int, height: int, mpp: float) -> None:
    level0 = Frame(Size(width, height), MPP.square(mpp))
    frame = mask_frame(level0)
    mask = TissueMask(mask_of(frame.box.shape, 0.5, width).astype(np.uint8), frame, "made")
    for other, side in ((level0.reduced(2), 97), (level0.at(MPP.square(0.9)), 128)):
        each = [share_of(mask, cell, other) for cell in other.box.split(side)]
        assert np.array_equal(mask.shares(other, side), each)
