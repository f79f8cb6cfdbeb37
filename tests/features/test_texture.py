"""Texture agrees with scikit-image's co-occurrence matrices and numpy's gradients."""

from __future__ import annotations

import numpy as np
import pytest
from features.fields import blobs
from scipy import ndimage
from skimage.feature import graycomatrix, graycoprops

from wsiseg.features.texture import LEVELS, Raster, grey_levels, pair_offsets, texture_statistics
from wsiseg.geometry import MPP, Box

PROPERTIES = ("contrast", "correlation", "energy", "homogeneity", "entropy")
HALF = MPP.square(0.5)
ANGLES = [0, np.pi / 4, np.pi / 2, 3 * np.pi / 4]


def statistics(labels, plane, mpp=HALF, limits=(0.0, 1600.0), scale=1.0):
    box = Box(0, 0, labels.shape[1], labels.shape[0])
    boxes = [[s[1].start, s[0].start, s[1].stop, s[0].stop] for s in ndimage.find_objects(labels)]
    raster = Raster(labels, box, mpp)
    members = np.arange(len(boxes))
    return texture_statistics(raster, plane, members, np.array(boxes), limits, scale)


def by_skimage(labels, label, levels, pixels):
    """Properties of the matrix of one nucleus: what lies outside takes a level of its own."""
    rows, columns = ndimage.find_objects(labels)[label - 1]
    crop = np.where(labels[rows, columns] == label, levels[rows, columns] + 1, 0).astype(np.uint8)
    matrix = graycomatrix(crop, [pixels], ANGLES, LEVELS + 1, symmetric=True)[1:, 1:]
    used = matrix.sum(axis=(0, 1))[0] > 0
    if not used.any():
        return dict.fromkeys(PROPERTIES, np.nan)
    return {name: graycoprops(matrix, name)[0, used].mean() for name in PROPERTIES}


@pytest.mark.parametrize("mpp", [0.25, 0.3, 0.5, 1.0])
def test_properties_are_those_of_scikit_image(mpp):
    labels = blobs(3, 90)
    noise = np.random.default_rng(1).normal(800, 900, labels.shape)
    plane = ndimage.gaussian_filter(noise, 1).astype(np.int16)
    found = statistics(labels, plane, MPP.square(mpp))
    levels = grey_levels(plane, (0.0, 1600.0))
    assert len(np.unique(levels)) > 8
    pixels = max(1, round(1 / mpp))
    for label in range(1, labels.max() + 1):
        for name, value in by_skimage(labels, label, levels, pixels).items():
            assert found[f"texture_{name}"][label - 1] == pytest.approx(
                value, rel=1e-4, abs=1e-6, nan_ok=True
            ), name


@pytest.mark.parametrize("pixels", [1, 2, 3, 4, 5])
def test_pairs_lie_where_scikit_image_seeks_them(pixels):
    offsets = pair_offsets(MPP.square(1 / pixels))
    for angle, (dy, dx) in zip(ANGLES, offsets, strict=True):
        picture = np.zeros((13, 13), np.uint8)
        picture[6, 6], picture[6 + dy, 6 + dx] = 1, 2
        assert graycomatrix(picture, [pixels], [angle], 3)[1, 2, 0, 0] == 1


def test_an_even_nucleus_has_no_texture():
    labels = np.zeros((20, 20), np.int32)
    labels[4:12, 4:12] = 1
    labels[15, 15] = 2
    found = statistics(labels, np.full(labels.shape, 700, np.int16))
    assert [found[f"texture_{n}"][0] for n in PROPERTIES] == [0, 1, 1, 1, 0]
    assert found["gradient_mean_per_um"].tolist() == [0, 0]
    assert all(np.isnan(found[f"texture_{n}"][1]) for n in PROPERTIES)


def test_gradients_are_central_differences_by_length():
    labels = blobs(4, 60)
    plane = np.random.default_rng(2).integers(0, 1000, labels.shape).astype(np.int16)
    found = statistics(labels, plane, MPP(0.5, 0.505), scale=0.001)
    along, across = np.gradient(plane * 0.001, 0.505, 0.5)
    length = np.hypot(along, across)
    for label in range(1, labels.max() + 1):
        inside = labels == label
        if (inside[0] | inside[-1]).any() or inside[:, [0, -1]].any():
            continue
        assert found["gradient_mean_per_um"][label - 1] == pytest.approx(
            length[inside].mean(), rel=1e-5
        )
        assert found["gradient_std_per_um"][label - 1] == pytest.approx(
            length[inside].std(), rel=1e-4, abs=1e-6
        )


def test_levels_are_even_and_bounded():
    plane = np.array([[-50, 0, 99, 100, 1599, 1600, 9000]])
    assert grey_levels(plane, (0.0, 1600.0)).tolist() == [[0, 0, 0, 1, 15, 15, 15]]
