"""The classical segmenters: exact at every window, calibrated once, and right about nuclei."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from skimage import data

from wsiseg.errors import ModelError
from wsiseg.geometry import Box
from wsiseg.models.classical import BrightfieldSegmenter, FluorescenceSegmenter
from wsiseg.models.classical.basins import climb, join
from wsiseg.models.classical.filters import binomial, box_mean, capped_distance, majority
from wsiseg.models.classical.instances import tidy, trim
from wsiseg.models.classical.rule import otsu
from wsiseg.models.segmenter import Instances, Segmenter, Statistics
from wsiseg.models.zoo import MODELS, load_segmenter

CLASSICAL = tuple(name for name in MODELS if name.startswith("classical"))

Found = dict[tuple[object, ...], Box]


def blobs(seed: int, side: int = 420) -> NDArray[np.float64]:
    """Crowded, noisy, overlapping ellipses: depth of stain in 0..1."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    depth = np.zeros((side, side))
    for _ in range(side * side // 350):
        cy, cx, angle = rng.uniform(0, side), rng.uniform(0, side), rng.uniform(0, np.pi)
        long, short = rng.uniform(5, 14), rng.uniform(4, 8)
        u = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
        v = (y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)
        inside = (u / long) ** 2 + (v / short) ** 2 < 1
        depth[inside] = np.maximum(depth[inside], rng.uniform(0.3, 1.0))
    noisy = ndimage.gaussian_filter(depth, 1.0) + rng.normal(0, 0.06, depth.shape)
    return np.clip(noisy, 0, 1)


def stained(depth: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Depth of haematoxylin over a wash of eosin, as RGB."""
    density = depth[..., None] * np.array([0.55, 0.6, 0.25]) + np.array([0.02, 0.1, 0.05])
    return np.rint(250 * 10.0**-density).astype(np.uint8)


def glowing(depth: NDArray[np.float64]) -> NDArray[np.uint16]:
    return np.rint(400 + 9000 * depth**2).astype(np.uint16)[..., None]


def tissue_image() -> NDArray[np.uint8]:
    return np.asarray(data.immunohistochemistry())


IMAGES: dict[str, tuple[Callable[[], Segmenter], Callable[[], NDArray[np.generic]]]] = {
    "stained blobs": (BrightfieldSegmenter, lambda: stained(blobs(3))),
    "real tissue": (BrightfieldSegmenter, tissue_image),
    "noise": (
        BrightfieldSegmenter,
        lambda: np.random.default_rng(0).integers(120, 250, (360, 360, 3)).astype(np.uint8),
    ),
    "glowing blobs": (FluorescenceSegmenter, lambda: glowing(blobs(4))),
}


def run(segmenter: Segmenter, image: NDArray[np.generic], statistics: Statistics) -> Instances:
    (instances,) = segmenter.decode(segmenter.predict(image[None], statistics))  # type: ignore[arg-type]
    return instances


def complete(segmenter: Segmenter, instances: Instances, window: Box) -> Found:
    """Instances whose support and reach lie in the window, by all that can be said of them in
    the image's coordinates."""
    assert instances.supports is not None
    found: Found = {}
    for index, place in enumerate(ndimage.find_objects(instances.labels)):
        x0, y0, x1, y1 = (int(v) for v in instances.supports[index])
        needed = Box(x0, y0, x1, y1).grown(segmenter.spec.reach_px)
        if Box(0, 0, window.width, window.height).contains(needed):
            mask = instances.labels[place] == index + 1
            corner = (place[0].start + window.y0, place[1].start + window.x0)
            probability = instances.probabilities[index].tobytes()
            key = (*corner, mask.shape, mask.tobytes(), probability)
            found[key] = needed.shifted(window.x0, window.y0)
    return found


@pytest.mark.parametrize("name", IMAGES)
def test_a_complete_instance_is_the_same_in_every_window(name: str) -> None:
    make, draw = IMAGES[name]
    segmenter, image = make(), draw()
    height, width = image.shape[:2]
    statistics = segmenter.calibrate([image])  # type: ignore[list-item]
    rng = np.random.default_rng(11)
    windows = [Box(0, 0, width, height)]
    for _ in range(14):
        w, h = (int(v) for v in rng.integers(180, 340, 2))
        x, y = int(rng.integers(0, width - w + 1)), int(rng.integers(0, height - h + 1))
        windows.append(Box(x, y, x + w, y + h))
    results = [
        complete(segmenter, run(segmenter, image[w.slices()], statistics), w) for w in windows
    ]
    compared = 0
    for i, first in enumerate(windows):
        for j, second in enumerate(windows):
            common = {
                key for key, needed in results[i].items() if i != j and second.contains(needed)
            }
            assert common <= results[j].keys(), f"{first} and {second} disagree"
            compared += len(common)
    assert compared > 500


def survivors(segmenter: Segmenter, image: NDArray[np.uint8], reach: int) -> tuple[int, int]:
    """How many of some instances stay as they are when everything beyond their support and
    ``reach`` is replaced, and how many were tried."""
    height, width = image.shape[:2]
    whole = Box(0, 0, width, height)
    statistics = segmenter.calibrate([image])
    before = complete(segmenter, run(segmenter, image, statistics), whole)
    fills = (np.zeros_like(image), np.full_like(image, 255), image[::-1, ::-1])
    kept = tried = 0
    for index, (key, needed) in enumerate(list(before.items())[:30]):
        box = needed.grown(reach - segmenter.spec.reach_px)
        other = fills[index % 3].copy()
        other[box.slices()] = image[box.slices()]
        after = complete(segmenter, run(segmenter, other, statistics), whole)
        kept += key in after
        tried += 1
    return kept, tried


def test_nothing_beyond_the_reach_matters() -> None:
    """And what lies within does: a third of the reach would not be enough."""
    segmenter = BrightfieldSegmenter()
    reach = segmenter.spec.reach_px
    assert reach <= 48
    assert segmenter.spec.halo % 16 == 0
    assert segmenter.spec.halo >= reach + 48
    image = stained(blobs(5, 300))
    kept, tried = survivors(segmenter, image, reach)
    assert kept == tried > 20
    kept, tried = survivors(segmenter, image, reach // 3)
    assert kept < tried


@pytest.mark.parametrize("name", CLASSICAL)
def test_batches_and_repeats_change_nothing(name: str) -> None:
    segmenter = load_segmenter(name)
    depths = [blobs(seed, 200) for seed in (1, 2, 3)]
    draw = stained if segmenter.spec.channels == 3 else glowing
    windows = np.stack([draw(depth) for depth in depths])
    statistics = segmenter.calibrate(list(windows))
    assert segmenter.calibrate(list(windows)) == statistics
    together = segmenter.decode(segmenter.predict(windows, statistics))
    for window, instances in zip(windows, together, strict=True):
        alone = run(segmenter, window, statistics)
        np.testing.assert_array_equal(alone.labels, instances.labels)
        np.testing.assert_array_equal(alone.probabilities, instances.probabilities)


@pytest.mark.parametrize("name", CLASSICAL)
def test_instances_keep_the_contract(name: str) -> None:
    segmenter = load_segmenter(name)
    assert segmenter.spec.name == name
    assert segmenter.spec.exact
    image = stained(blobs(8)) if segmenter.spec.channels == 3 else glowing(blobs(8))
    found = run(segmenter, image, segmenter.calibrate([image]))
    count = len(found)
    assert count > 100
    assert found.labels.dtype == np.int32
    np.testing.assert_array_equal(np.unique(found.labels), np.arange(count + 1))
    assert found.probabilities.dtype == np.float32
    assert ((found.probabilities > 0) & (found.probabilities < 1)).all()
    assert found.classes.tolist() == [0] * count
    assert found.supports is not None
    for index, (rows, columns) in enumerate(ndimage.find_objects(found.labels)):
        mask = found.labels[rows, columns] == index + 1
        assert ndimage.label(mask)[1] == 1, "not 4-connected"
        x0, y0, x1, y1 = found.supports[index]
        assert x0 <= columns.start <= columns.stop <= x1
        assert y0 <= rows.start <= rows.stop <= y1


@pytest.mark.parametrize("name", CLASSICAL)
def test_no_tissue_gives_no_nuclei(name: str) -> None:
    segmenter = load_segmenter(name)
    channels = segmenter.spec.channels
    blank = np.full((1, 128, 160, channels), 255 if channels == 3 else 0, np.uint8)
    statistics = segmenter.calibrate([])
    (instances,) = segmenter.decode(segmenter.predict(blank, statistics))
    assert len(instances) == 0
    assert instances.labels.shape == (128, 160)
    assert not instances.labels.any()


def test_fallback_of_the_stains_is_told() -> None:
    assert BrightfieldSegmenter().calibrate([])["stains_measured"] == (0.0,)
    assert BrightfieldSegmenter().calibrate([tissue_image()])["stains_measured"] == (1.0,)


def test_separate_blobs_come_out_one_by_one() -> None:
    depth = np.zeros((200, 200))
    y, x = np.mgrid[:200, :200]
    for cy in range(25, 200, 50):
        for cx in range(25, 200, 50):
            depth[(y - cy) ** 2 + (x - cx) ** 2 <= 64] = 0.9
    image = stained(depth)
    segmenter = BrightfieldSegmenter()
    found = run(segmenter, image, segmenter.calibrate([image]))
    assert len(found) == 16
    areas = np.bincount(found.labels.ravel())[1:]
    np.testing.assert_allclose(areas, np.pi * 64, rtol=0.15)


def test_touching_discs_are_parted() -> None:
    y, x = np.mgrid[:120, :120]
    depth = np.zeros((120, 120))
    for cx in (50, 68):
        depth[(y - 60) ** 2 + (x - cx) ** 2 <= 100] = 0.9
    image = stained(depth)
    segmenter = BrightfieldSegmenter()
    found = run(segmenter, image, segmenter.calibrate([image]))
    assert len(found) == 2
    assert found.labels[60, 47] != found.labels[60, 71]


def test_brown_is_not_taken_for_blue() -> None:
    """Discs of DAB, brown and nearly black, among discs of haematoxylin: only these are nuclei."""
    y, x = np.mgrid[:200, :200]
    density = np.full((200, 200, 3), 0.02)
    for index, cx in enumerate(range(25, 200, 50)):
        for cy in range(25, 200, 50):
            disc = (y - cy) ** 2 + (x - cx) ** 2 <= 64
            color = (0.27, 0.57, 0.78) if index % 2 else (0.65, 0.70, 0.29)
            depth = 4.0 if index % 2 and cy > 100 else 0.6
            density[disc] += depth * np.array(color)
    image = np.rint(250 * 10.0**-density).astype(np.uint8)
    segmenter = BrightfieldSegmenter()
    found = run(segmenter, image, segmenter.calibrate([image]))
    assert len(found) == 8
    assert not found.labels[:, 50:100].any()
    assert not found.labels[:, 150:].any()


def test_scale_of_intensity_does_not_matter() -> None:
    segmenter = FluorescenceSegmenter()
    faint = glowing(blobs(9))
    bright = (faint * 5).astype(np.uint16)
    first = run(segmenter, faint, segmenter.calibrate([faint]))
    second = run(segmenter, bright, segmenter.calibrate([bright]))
    agree = np.count_nonzero((first.labels > 0) == (second.labels > 0)) / first.labels.size
    assert agree > 0.995


def test_wrong_pixels_are_refused() -> None:
    grey = np.zeros((1, 64, 64, 1), np.uint16)
    rgb = np.zeros((1, 64, 64, 3), np.uint8)
    he, fluo = BrightfieldSegmenter(), FluorescenceSegmenter()
    with pytest.raises(ModelError, match="8-bit RGB"):
        he.predict(grey, he.calibrate([]))
    with pytest.raises(ModelError, match="one channel"):
        fluo.predict(rgb, fluo.calibrate([]))


def test_unknown_models_are_refused_by_name() -> None:
    with pytest.raises(ModelError, match="classical-fluo"):
        load_segmenter("resnet")


def test_digest_follows_the_parameters() -> None:
    usual = BrightfieldSegmenter()
    other = BrightfieldSegmenter(replace(usual._rule, least_area=50))
    assert usual.spec.sha256 == BrightfieldSegmenter().spec.sha256
    assert usual.spec.sha256 != other.spec.sha256
    assert usual.spec.sha256 != FluorescenceSegmenter().spec.sha256


small_masks = st.integers(0, 2**32 - 1).map(
    lambda seed: np.random.default_rng(seed).random((23, 31)) < 0.8
)


@given(small_masks, st.integers(1, 9))
@settings(max_examples=25, deadline=None)
def test_capped_distance_is_exact(mask: NDArray[np.bool_], radius: int) -> None:
    expected = np.full(mask.shape, radius**2)
    if not mask.all():
        exact = np.rint(ndimage.distance_transform_edt(mask) ** 2).astype(int)
        expected = np.minimum(exact, radius**2)
    np.testing.assert_array_equal(capped_distance(mask, radius), expected)


@given(st.integers(0, 2**32 - 1), st.integers(1, 12))
@settings(max_examples=25, deadline=None)
def test_box_mean_is_exact(seed: int, radius: int) -> None:
    image = np.random.default_rng(seed).integers(0, 16000, (19, 27)).astype(np.int32)
    found = box_mean(image, radius)
    for y, x in ((0, 0), (9, 13), (18, 26), (3, 20)):
        square = image[max(y - radius, 0) : y + radius + 1, max(x - radius, 0) : x + radius + 1]
        assert found[y, x] == int(square.sum()) // square.size


def test_binomial_and_majority_are_what_they_say() -> None:
    point = np.zeros((9, 9), np.int32)
    point[4, 4] = 256 * 100
    row = np.array([1, 4, 6, 4, 1])
    np.testing.assert_array_equal(binomial(point, 1)[2:7, 2:7], np.outer(row, row) * 100)
    flat = np.full((7, 8), 1234, np.int32)
    np.testing.assert_array_equal(binomial(flat, 3), flat)
    mask = np.zeros((9, 9), np.bool_)
    mask[2:7, 2:7] = True
    mask[4, 4] = False
    voted = majority(mask, 1, 128)
    assert voted[4, 4]
    assert not voted[2, 2]
    assert voted[2, 4]


def test_basins_join_over_high_passes_only() -> None:
    relief = np.array([[0, 10, 20, 18, 21, 10, 2, 10, 20, 0]], np.int32)
    mask = relief > 0
    basins = climb(mask, relief)
    assert basins[0].tolist() == [0, 1, 1, 2, 2, 2, 2, 3, 3, 0]
    groups, supports = join(basins, relief, 3, 200)
    assert groups.tolist() == [0, 1, 1, 3]
    # The third basin touches the second: what it does belongs to the support of the first two.
    assert supports[1].tolist() == [1, 0, 9, 1]
    assert supports[3].tolist() == [3, 0, 9, 1]


def test_tidy_fills_holes_and_drops_scraps() -> None:
    labels = np.zeros((12, 12), np.int32)
    labels[1:8, 1:8] = 1
    labels[3:5, 3:5] = 0
    labels[9, 9] = 1
    ring = labels.copy()
    tidy(labels, 1, 10)
    expected = np.zeros((12, 12), np.int32)
    expected[1:8, 1:8] = 1
    np.testing.assert_array_equal(labels, expected)
    tidy(ring, 1, 3)
    assert not ring[3:5, 3:5].any()


def test_tidy_leaves_an_island_in_a_lake_alone() -> None:
    labels = np.zeros((11, 11), np.int32)
    labels[1:10, 1:10] = 1
    labels[3:8, 3:8] = 0
    labels[4:7, 4:7] = 2
    before = labels.copy()
    tidy(labels, 2, 100)
    np.testing.assert_array_equal(labels, before)


def test_trim_cuts_at_a_share_of_the_mean() -> None:
    labels = np.array([[1, 1, 1, 2, 2]], np.int32)
    stain = np.array([[100, 100, 40, 40, 40]], np.int32)
    np.testing.assert_array_equal(trim(labels, stain, 2, 128), [[1, 1, 0, 2, 2]])


def test_otsu_parts_two_heaps() -> None:
    histogram = np.zeros(100, np.int64)
    histogram[10:20] = 50
    histogram[60:70] = 30
    assert 19 <= otsu(histogram) < 60


def test_real_nuclei_are_found(shared: Path) -> None:
    """Half of the nuclei of a labelled image at least, and no more than twice as many."""
    folder = shared / "data" / "nuclei" / "TNBC"
    image = np.asarray(Image.open(folder / "images" / "07_1.png"))[..., :3]
    truth = np.asarray(Image.open(folder / "instances" / "07_1.png"))[::2, ::2]
    half = image.reshape(256, 2, 256, 2, 3).mean(axis=(1, 3)).round().astype(np.uint8)
    segmenter = BrightfieldSegmenter()
    found = run(segmenter, half, segmenter.calibrate([half]))
    nuclei = len(np.unique(truth)) - 1
    assert nuclei / 2 < len(found) < nuclei * 2
    overlap = np.count_nonzero((found.labels > 0) & (truth > 0))
    assert 2 * overlap / (np.count_nonzero(found.labels) + np.count_nonzero(truth)) > 0.65
