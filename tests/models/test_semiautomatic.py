"""The semi-automatic tools: right about simple nuclei, and the same bits in every window."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from skimage import data

import wsiseg
from runs import assert_equal_results, job_of
from wsiseg.demo import write_demo_slide
from wsiseg.errors import ModelError
from wsiseg.geometry import Box
from wsiseg.models.segmenter import Instances, Segmenter, Statistics
from wsiseg.models.semiautomatic.parameters import Parameters
from wsiseg.models.semiautomatic.segmenter import SemiAutomaticSegmenter
from wsiseg.models.zoo import MODELS, load_segmenter
from wsiseg.testing.segmenters import check_segmenter

TOOLS = ("otsu", "local-threshold", "watershed", "region-growing", "active-contours")
NAMES = tuple(f"{tool}-{kind}" for tool in TOOLS for kind in ("he", "fluo"))

Found = dict[tuple[object, ...], Box]


def blobs(seed: int, side: int = 300) -> NDArray[np.float64]:
    """Crowded, noisy, overlapping ellipses: depth of stain in 0..1."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    depth = np.zeros((side, side))
    for _ in range(side * side // 900):
        cy, cx, angle = rng.uniform(0, side), rng.uniform(0, side), rng.uniform(0, np.pi)
        u = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
        v = (y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)
        inside = (u / rng.uniform(5, 12)) ** 2 + (v / rng.uniform(4, 8)) ** 2 < 1
        depth[inside] = np.maximum(depth[inside], rng.uniform(0.4, 1.0))
    noisy = ndimage.gaussian_filter(depth, 1.0) + rng.normal(0, 0.04, depth.shape)
    return np.clip(noisy, 0, 1)


def stained(depth: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Depth of haematoxylin over a wash of eosin, as RGB."""
    density = depth[..., None] * np.array([0.55, 0.6, 0.25]) + np.array([0.02, 0.1, 0.05])
    return np.rint(250 * 10.0**-density).astype(np.uint8)


def glowing(depth: NDArray[np.float64]) -> NDArray[np.uint16]:
    return np.rint(400 + 9000 * depth**2).astype(np.uint16)[..., None]


def drawn(name: str, depth: NDArray[np.float64]) -> NDArray[np.generic]:
    return stained(depth) if name.endswith("-he") else glowing(depth)


def discs(centres: list[tuple[int, int]], radius: int, shape: tuple[int, int]) -> NDArray[np.bool_]:
    y, x = np.mgrid[: shape[0], : shape[1]]
    found = np.zeros(shape, np.bool_)
    for cx, cy in centres:
        found |= (y - cy) ** 2 + (x - cx) ** 2 <= radius**2
    return found


def run(segmenter: Segmenter, image: NDArray[np.generic], statistics: Statistics) -> Instances:
    (found,) = segmenter.decode(segmenter.predict(image[None], statistics))  # type: ignore[arg-type]
    return found


def complete(segmenter: Segmenter, found: Instances, window: Box) -> Found:
    """Instances whose support and reach lie in the window, by place, pixels and probability."""
    kept: Found = {}
    for index, place in enumerate(ndimage.find_objects(found.labels)):
        rows, columns = place
        support = (columns.start, rows.start, columns.stop, rows.stop)
        if found.supports is not None:
            support = tuple(int(v) for v in found.supports[index])
        needed = Box(*support).grown(segmenter.spec.reach_px)
        if Box(0, 0, window.width, window.height).contains(needed):
            mask = found.labels[place] == index + 1
            corner = (place[0].start + window.y0, place[1].start + window.x0)
            key = (*corner, mask.shape, mask.tobytes(), found.probabilities[index].tobytes())
            kept[key] = needed.shifted(window.x0, window.y0)
    return kept


def test_all_of_them_have_names() -> None:
    assert set(NAMES) <= set(MODELS)
    for name in NAMES:
        spec = load_segmenter(name).spec
        assert spec.name == name
        assert spec.exact == (not name.startswith("active-contours"))
    with pytest.raises(ModelError, match="watershed-he"):
        load_segmenter("watershed")


@pytest.mark.parametrize("name", NAMES)
def test_they_keep_the_contract(name: str) -> None:
    segmenter = load_segmenter(name)
    windows = [drawn(name, blobs(seed, 160)) for seed in (1, 2)]
    check_segmenter(segmenter, windows)  # type: ignore[arg-type]
    blank = np.full((1, 70, 80, segmenter.spec.channels), 255 if name.endswith("he") else 0)
    (none,) = segmenter.decode(segmenter.predict(blank.astype(np.uint8), segmenter.calibrate([])))
    assert len(none) == 0
    wrong = np.zeros((1, 20, 20, 4 - segmenter.spec.channels), np.uint8)
    with pytest.raises(ModelError, match=r"one channel|8-bit RGB"):
        segmenter.predict(wrong, segmenter.calibrate([]))


@pytest.mark.parametrize("name", NAMES)
def test_a_complete_nucleus_is_the_same_in_every_window(name: str) -> None:
    """Contours within the stated share, the other tools always."""
    segmenter = load_segmenter(name)
    share = 1.0 if segmenter.spec.exact else 0.995
    image = drawn(name, blobs(3, 400))
    statistics = segmenter.calibrate([image])  # type: ignore[list-item]
    rng = np.random.default_rng(11)
    windows = [Box(0, 0, 400, 400)]
    for _ in range(6):
        w, h = (int(v) for v in rng.integers(260, 380, 2))
        x, y = int(rng.integers(0, 400 - w + 1)), int(rng.integers(0, 400 - h + 1))
        windows.append(Box(x, y, x + w, y + h))
    results = [
        complete(segmenter, run(segmenter, image[w.slices()], statistics), w) for w in windows
    ]
    compared = same = 0
    for i in range(len(windows)):
        for j, second in enumerate(windows):
            common = {k for k, needed in results[i].items() if i != j and second.contains(needed)}
            same += len(common & results[j].keys())
            compared += len(common)
    assert same >= share * compared
    assert compared > 60


@pytest.mark.parametrize("name", [n for n in NAMES if n.endswith("-he")])
def test_nothing_beyond_the_reach_matters(name: str) -> None:
    segmenter = load_segmenter(name)
    image = stained(blobs(5, 360))
    statistics = segmenter.calibrate([image])
    whole = Box(0, 0, 360, 360)
    before = complete(segmenter, run(segmenter, image, statistics), whole)
    fills = (np.zeros_like(image), np.full_like(image, 255), image[::-1, ::-1])
    for index, (key, needed) in enumerate(list(before.items())[:12]):
        other = fills[index % 3].copy()
        other[needed.slices()] = image[needed.slices()]
        assert key in complete(segmenter, run(segmenter, other, statistics), whole)
    assert len(before) >= 12


@pytest.mark.parametrize("name", NAMES)
def test_separate_nuclei_come_out_one_by_one(name: str) -> None:
    centres = [(x, y) for x in range(30, 200, 45) for y in range(30, 200, 45)]
    shape = discs(centres, 8, (200, 200))
    image = drawn(name, ndimage.gaussian_filter(shape * 0.9, 0.8))
    segmenter = load_segmenter(name)
    found = run(segmenter, image, segmenter.calibrate([image]))  # type: ignore[list-item]
    assert len(found) == len(centres)
    for x, y in centres:
        assert found.labels[y, x] > 0
    areas = np.bincount(found.labels.ravel())[1:]
    assert (areas > 0.6 * np.pi * 64).all()
    assert (areas < 1.6 * np.pi * 64).all()


@pytest.mark.parametrize("kind", ["he", "fluo"])
def test_watershed_parts_what_a_threshold_leaves_joined(kind: str) -> None:
    shape = discs([(50, 60), (67, 60)], 10, (120, 120))
    image = drawn(f"otsu-{kind}", ndimage.gaussian_filter(shape * 0.9, 0.7))
    counts = {}
    for tool in ("otsu", "watershed"):
        segmenter = load_segmenter(f"{tool}-{kind}")
        counts[tool] = len(run(segmenter, image, segmenter.calibrate([image])))  # type: ignore[list-item]
    assert counts == {"otsu": 1, "watershed": 2}


def test_a_local_threshold_needs_no_even_background() -> None:
    """Pale nuclei on a pale ground, dark ones on a ground as dark as the pale nuclei."""
    centres = [(x, y) for x in range(30, 330, 50) for y in range(30, 200, 50)]
    ground = np.linspace(0.0, 0.55, 340)[None].repeat(200, 0)
    depth = ground + 0.4 * discs(centres, 7, (200, 340))
    image = stained(ndimage.gaussian_filter(depth, 0.7))
    found = {}
    for name in ("otsu-he", "local-threshold-he"):
        segmenter = SemiAutomaticSegmenter(
            name.removesuffix("-he"), "he", Parameters(floor=0.3, offset=0.2)
        )
        found[name] = run(segmenter, image, segmenter.calibrate([image]))
    assert len(found["local-threshold-he"]) == len(centres)
    assert len(found["otsu-he"]) < len(centres)


def test_contours_do_not_mind_what_other_threads_do() -> None:
    segmenter = load_segmenter("active-contours-he")
    image = stained(blobs(8, 200))
    statistics = segmenter.calibrate([image])
    alone = run(segmenter, image, statistics)
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda _: run(segmenter, image, statistics), range(8)))
    for found in together:
        np.testing.assert_array_equal(found.labels, alone.labels)


def test_parameters_are_part_of_what_a_model_is() -> None:
    usual = SemiAutomaticSegmenter("watershed", "he").spec
    other = SemiAutomaticSegmenter("watershed", "he", Parameters(notch_um=1.0)).spec
    assert usual.sha256 != other.sha256
    assert usual.sha256 == load_segmenter("watershed-he").spec.sha256


def test_whole_runs_do_not_show_the_tiles(tmp_path: Path) -> None:
    slide = write_demo_slide(tmp_path / "demo.tiff", side_px=1024)
    for core in (256, 512):
        job = job_of(slide, model="watershed-he", core=core, features=())
        assert not wsiseg.run(job, tmp_path / str(core), inline=True).failed
    assert_equal_results(tmp_path / "256", tmp_path / "512")


@pytest.mark.parametrize("name", [n for n in NAMES if n.endswith("-he")])
def test_real_tissue_has_nuclei(name: str) -> None:
    image = np.asarray(data.immunohistochemistry())
    segmenter = load_segmenter(name)
    found = run(segmenter, image, segmenter.calibrate([image]))
    assert len(found) > 50
    assert 40 < np.median(np.bincount(found.labels.ravel())[1:]) < 400
