"""Nuclei from horizontal and vertical maps: against the published rule, and window by window."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from skimage.measure import label as connected_parts
from skimage.segmentation import watershed

from wsiseg.models.decoding.hover import HoverRule, decode_hover
from wsiseg.models.decoding.slopes import sobel
from wsiseg.models.segmenter import Instances

Map = NDArray[np.float32]
Labels = NDArray[np.int32]


@pytest.fixture(scope="module")
def nuclei(shared: Path) -> list[Labels]:
    """Labelled nuclei of two 1000 px tiles at 0.25 µm, crowded ones among them."""
    files = sorted((shared / "data/nuclei/MoNuSeg_train30/instances").glob("*.png"))[:2]
    found = [np.asarray(Image.open(file)).astype(np.int32) for file in files]
    return [connected_parts(v, background=0, connectivity=1).astype(np.int32) for v in found]


def maps_of(labels: Labels, blur: float = 0.0, noise: float = 0.0) -> tuple[Map, Map, Map]:
    """Probability, horizontal and vertical map that a network is taught (Graham et al. 2019): from
    -1 to 1 with the distance to the centroid; blurred and with noise, as a network's are."""
    rows, columns = np.nonzero(labels)
    which = labels[rows, columns]
    count = int(labels.max()) + 1
    share = np.maximum(np.bincount(which, minlength=count), 1)
    maps = [(labels > 0).astype(np.float32)]
    for place in (columns, rows):
        away = place - np.rint(np.bincount(which, place, count) / share)[which]
        low, high = np.zeros(count), np.zeros(count)
        np.minimum.at(low, which, away)
        np.maximum.at(high, which, away)
        room = np.where(away < 0, -low[which], high[which])
        image = np.zeros(labels.shape, np.float32)
        image[rows, columns] = away / np.maximum(room, 1e-9)
        maps.append(image)
    if blur:
        rng = np.random.default_rng(0)
        maps = [ndimage.gaussian_filter(image, blur) for image in maps]
        for place in (1, 2):
            rough = ndimage.gaussian_filter(rng.normal(size=labels.shape), 2) / 0.14
            maps[place] = (maps[place] + noise * rough).astype(np.float32)
    return maps[0], maps[1], maps[2]


def published(nucleus: Map, horizontal: Map, vertical: Map) -> Labels:
    """The post-processing that HoVer-Net's authors describe, in one window, written plainly."""

    def stretched(image: NDArray[np.floating]) -> NDArray[np.floating]:
        return (image - image.min()) / (image.max() - image.min())

    def large(image: NDArray[np.integer], least: int) -> NDArray[np.integer]:
        kept = np.bincount(image.ravel()) >= least
        kept[0] = False
        return np.where(kept[image], image, 0)

    blob = large(ndimage.label(nucleus >= 0.5)[0], 10) > 0
    steep = [
        1 - stretched(plain_sobel(stretched(image), 21, axis))
        for image, axis in ((horizontal, 1), (vertical, 0))
    ]
    energy = np.maximum(np.maximum(*steep) - ~blob, 0)
    distance = (1 - energy) * blob
    for axis in (0, 1):
        distance = ndimage.correlate1d(distance, [0.25, 0.5, 0.25], axis=axis)
    marker = ndimage.binary_fill_holes(blob & (energy < 0.4))
    disc = np.ones((5, 5), bool)
    disc[[0, -1]] = False
    disc[[0, -1], 2] = True
    markers = large(ndimage.label(ndimage.binary_opening(marker, disc))[0], 10)
    return np.asarray(watershed(-distance, markers, mask=blob), np.int32)


def plain_sobel(image: NDArray[np.floating], side: int, axis: int) -> NDArray[np.float64]:
    """Sobel's kernel of any side: [1, 1] convolved with itself, and with [-1, 1] along ``axis``."""
    smooth = np.ones(1)
    for _ in range(side - 2):
        smooth = np.convolve(smooth, [1, 1])
    slope, smooth = np.convolve(smooth, [-1, 1]), np.convolve(smooth, [1, 1])
    found = ndimage.correlate1d(image.astype(np.float64), slope, axis=axis, mode="nearest")
    return np.asarray(ndimage.correlate1d(found, smooth, axis=1 - axis, mode="nearest"))


def matched(found: Labels, truth: Labels, least: float) -> tuple[int, int, int]:
    """Pairs of instances whose overlap over union exceeds ``least``, and how many there are."""
    width = int(truth.max()) + 1
    flat = found.ravel().astype(np.int64) * width + truth.ravel()
    shared = np.bincount(flat, minlength=(int(found.max()) + 1) * width).reshape(-1, width)
    ones, others = shared.sum(axis=1), shared.sum(axis=0)
    i, j = np.nonzero(shared[1:, 1:])
    both = shared[1:, 1:][i, j]
    pairs = int((both / (ones[i + 1] + others[j + 1] - both) > least).sum())
    return pairs, int((ones[1:] > 0).sum()), int((others[1:] > 0).sum())


def decode(maps: tuple[Map, Map, Map]) -> Instances:
    return decode_hover(*maps, None, HoverRule())


def test_slopes_are_those_of_the_sobel_kernel() -> None:
    rng = np.random.default_rng(1)
    image = rng.normal(size=(40, 57)).astype(np.float32)
    for side in (5, 11, 21):
        for along_x, axis in ((True, 1), (False, 0)):
            plain = plain_sobel(image, side, axis)
            ramp = np.indices((60, 60))[axis].astype(np.float32)
            assert np.allclose(sobel(ramp, side, along_x=along_x)[30, 30], 1, atol=1e-4)
            unit = plain_sobel(ramp, side, axis)[30, 30]
            assert np.allclose(sobel(image, side, along_x=along_x), plain / unit, atol=1e-5)


@pytest.mark.parametrize(
    ("blur", "noise", "alike", "loss"), [(0.0, 0.0, 0.98, 0.005), (1.5, 0.1, 0.94, 0.005)]
)
def test_nuclei_are_those_of_the_published_rule(
    nuclei: list[Labels], blur: float, noise: float, alike: float, loss: float
) -> None:
    """At least ``alike`` of the nuclei coincide (overlap over union above 0.7), and no more than
    ``loss`` of the true ones are found less."""
    same, right, published_right = np.zeros(3), np.zeros(3), np.zeros(3)
    for truth in nuclei:
        maps = maps_of(truth, blur, noise)
        ours, theirs = decode(maps).labels, published(*maps)
        same += matched(ours, theirs, 0.7)
        right += matched(ours, truth, 0.5)
        published_right += matched(theirs, truth, 0.5)
    assert same[2] > 500
    assert 2 * same[0] / (same[1] + same[2]) > alike
    assert f1(right) > f1(published_right) - loss


def f1(counts: NDArray[np.float64]) -> float:
    return float(2 * counts[0] / (counts[1] + counts[2]))


def test_a_nucleus_hangs_on_its_support_alone(nuclei: list[Labels]) -> None:
    """In a smaller window every instance that it shows whole is the very same, pixel by pixel."""
    maps = maps_of(nuclei[0], 1.5, 0.1)
    whole = decode(maps)
    reach, compared = HoverRule().reach_px, 0
    for x0, y0, side in ((0, 0, 333), (301, 287, 402), (555, 123, 288), (640, 640, 360)):
        window = decode(tuple(image[y0 : y0 + side, x0 : x0 + side] for image in maps))
        seen = whole.labels[y0 : y0 + side, x0 : x0 + side]
        for number, (left, top, right, bottom) in enumerate(window.supports, 1):
            if min(left, top) < reach or max(right, bottom) > side - reach:
                continue
            mine = window.labels == number
            (other,) = np.unique(seen[mine])
            assert other > 0
            assert np.array_equal(whole.labels == other, place(mine, x0, y0, whole.labels.shape))
            assert window.probabilities[number - 1] == whole.probabilities[other - 1]
            compared += 1
    assert compared > 80


def place(mask: NDArray[np.bool_], x0: int, y0: int, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    image = np.zeros(shape, bool)
    image[y0 : y0 + mask.shape[0], x0 : x0 + mask.shape[1]] = mask
    return image


def test_supports_stay_small_in_a_crowd(nuclei: list[Labels]) -> None:
    """A clump goes on and on; what a nucleus hangs on does not."""
    distance, (rows, columns) = ndimage.distance_transform_edt(nuclei[0] == 0, return_indices=True)
    crowded = np.where(distance <= 6, nuclei[0][rows, columns], 0).astype(np.int32)
    clumps, _ = ndimage.label(crowded > 0)
    widest = max(b[0].stop - b[0].start for b in ndimage.find_objects(clumps))
    found = decode(maps_of(crowded))
    sides = found.supports[:, 2:] - found.supports[:, :2]
    assert widest > 500
    assert np.median(sides.max(axis=1)) < widest / 4
    assert np.percentile(sides.max(axis=1), 99) < widest / 2


def test_classes_are_voted_for() -> None:
    labels = np.zeros((64, 96), np.int32)
    y, x = np.indices(labels.shape)
    for number, middle in enumerate((16, 48, 80), 1):
        labels[(x - middle) ** 2 + (y - 32) ** 2 < 144] = number
    types = np.zeros((3, *labels.shape), np.float32)
    types[0] = 5  # background everywhere
    types[2, labels == 1] = 9
    types[1, labels == 2] = 9
    types[1, :, 80:] = 2  # never above background, but best of the rest on one half
    types[1, :, 70:80] = 3
    found = decode_hover(*maps_of(labels), types, HoverRule(), background=0)
    assert len(found) == 3
    assert [found.classes[found.labels[32, m] - 1] for m in (16, 48, 80)] == [1, 0, 0]
    assert found.probabilities.min() > 0.99


def test_nothing_in_an_empty_window() -> None:
    empty = np.zeros((70, 50), np.float32)
    found = decode_hover(empty, empty, empty, None, HoverRule())
    assert len(found) == 0
    assert found.labels.shape == (70, 50)
    assert found.supports is not None
    assert found.supports.shape == (0, 4)
