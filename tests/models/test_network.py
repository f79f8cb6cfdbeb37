"""The bundled network: contract, exactness, runtimes, decoding."""

from __future__ import annotations

import importlib.util
import math
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from wsiseg.errors import ModelError
from wsiseg.models import zoo
from wsiseg.models.network import stars
from wsiseg.models.network.files import ModelFolder
from wsiseg.models.network.runtime import Pieces, run_in_pieces
from wsiseg.models.network.segmenter import NetworkSegmenter
from wsiseg.models.network.torch_runtime import TorchRuntime
from wsiseg.models.segmenter import Instances
from wsiseg.slides.slide import open_slide
from wsiseg.testing.segmenters import check_segmenter

WEIGHTS = Path(zoo.__file__).parent / "weights" / "nuclei-he"
RAYS, GRID = 32, 2
RULE = stars.StarRule(probability=0.5, overlap=0.4, foreground=0.0, least_area_px=1)


@pytest.fixture(scope="module")
def segmenter() -> NetworkSegmenter:
    return NetworkSegmenter(WEIGHTS)


@pytest.fixture(scope="module")
def tissue(slides: Path) -> NDArray[np.uint8]:
    """A square of H&E skin at 0.5 µm/px, 768 px a side."""
    with open_slide(slides / "CMU-1-Small-Region.svs") as slide:
        box = type(slide.level0.box)(700, 1500, 1468, 2268)
        return np.asarray(slide.read(box, slide.level0))


def needs_torch() -> None:
    for name in ("torch", "timm", "safetensors"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"needs {name}: pip install 'wsiseg[train]'")


def outputs_with(places: dict[tuple[int, int], tuple[float, float]], side: int) -> NDArray:
    """Outputs ``[.., side, side]`` with round stars: ``(y, x): (probability, radius in px)``."""
    outputs = np.full((1 + RAYS + GRID * GRID, side, side), -9.0, np.float32)
    outputs[1 + RAYS :] = 9.0
    for (y, x), (probability, radius) in places.items():
        outputs[0, y, x] = math.log(probability / (1 - probability))
        share = stars.RAY_SHARPNESS * radius / stars.RAY_UNIT
        outputs[1 : 1 + RAYS, y, x] = math.log(math.expm1(share)) / stars.RAY_SHARPNESS
    return outputs


def find(places: dict[tuple[int, int], tuple[float, float]], side: int = 64) -> Instances:
    return stars.find_stars(outputs_with(places, side), RAYS, GRID, RULE)


def test_contract(segmenter: NetworkSegmenter, tissue: NDArray[np.uint8]) -> None:
    check_segmenter(segmenter, [tissue[:320, :320], tissue[320:640, 320:640]])


def test_nuclei_are_found(segmenter: NetworkSegmenter, tissue: NDArray[np.uint8]) -> None:
    (found,) = segmenter.decode(segmenter.predict(tissue[np.newaxis], {}))
    areas = np.bincount(found.labels.ravel())[1:]
    assert len(found) > 100
    assert 40 < np.median(areas) < 250
    (empty,) = segmenter.decode(segmenter.predict(np.full((1, 320, 320, 3), 245, np.uint8), {}))
    assert len(empty) == 0


@pytest.mark.parametrize("runtime", ["openvino", "torch"])
def test_outputs_beyond_the_reach_of_the_edge_are_the_same_bits(
    runtime: str, segmenter: NetworkSegmenter, tissue: NDArray[np.uint8]
) -> None:
    if runtime == "torch":
        needs_torch()
        runs = TorchRuntime(ModelFolder.open(WEIGHTS))
    else:
        runs = segmenter.runtime
    stride, reach = segmenter.spec.stride, segmenter.spec.reach_px
    shift, side = 5 * stride, 448
    windows = (tissue[:side, :side], tissue[shift : shift + side, stride : stride + side])
    first, second = runs.run(np.stack(windows))
    crop = ModelFolder.open(WEIGHTS).described.network.crop
    low_y, low_x = -(-(shift + reach - crop) // GRID), -(-(stride + reach - crop) // GRID)
    high = (side - reach - crop) // GRID
    expected = first[:, low_y:high, low_x:high]
    moved = second[
        :,
        low_y - shift // GRID : high - shift // GRID,
        low_x - stride // GRID : high - stride // GRID,
    ]
    assert expected.size > 100_000
    assert np.array_equal(expected, moved)


def test_windows_of_all_sizes_give_the_same_bits(
    segmenter: NetworkSegmenter, tissue: NDArray[np.uint8]
) -> None:
    # Kernels may go over large windows in pieces, and along those round otherwise.
    sides = (1216, 1472)
    large = np.tile(
        tissue, [-(-side // have) for side, have in zip(sides, tissue.shape[:2], strict=True)] + [1]
    )
    crop = ModelFolder.open(WEIGHTS).described.network.crop
    spoilt = -(-(segmenter.spec.reach_px - crop) // GRID)

    def sure(y: int, x: int, height: int, width: int) -> NDArray[np.uint16]:
        window = np.ascontiguousarray(large[np.newaxis, y : y + height, x : x + width])
        return segmenter.runtime.run(window)[0, :, spoilt:-spoilt, spoilt:-spoilt]

    whole = sure(0, 0, *sides)
    for y, x, height, width in [
        (512, 128, 640, 1344),
        (0, 336, 448, 1088),
        (48, 32, 1152, 1280),
        (160, 192, 1024, 960),
        (64, 400, 1152, 576),
    ]:
        part = sure(y, x, height, width)
        top, left = y // GRID, x // GRID
        expected = whole[:, top : top + part.shape[1], left : left + part.shape[2]]
        assert np.array_equal(part, expected), (y, x, height, width)


def test_whole_instances_do_not_depend_on_the_window(
    segmenter: NetworkSegmenter, tissue: NDArray[np.uint8]
) -> None:
    dx, dy, side = 112, 48, 640
    windows = np.stack([tissue[:side, :side], tissue[dy : dy + side, dx : dx + side]])
    one, two = segmenter.decode(segmenter.predict(windows, {}))
    first, second = whole(one, segmenter, (0, 0)), whole(two, segmenter, (dx, dy))
    inner = (dx, dy, side, side)
    shared_first = {k: v for k, v in first.items() if inside(k, inner, segmenter)}
    shared_second = {k: v for k, v in second.items() if inside(k, inner, segmenter)}
    assert len(shared_first) > 10
    assert shared_first == shared_second


def whole(
    found: Instances, segmenter: NetworkSegmenter, corner: tuple[int, int]
) -> dict[tuple[int, ...], tuple[float, bytes]]:
    """Instances that the window shows whole: support in common coordinates to what was found."""
    reach, side = segmenter.spec.reach_px, found.labels.shape[0]
    assert found.supports is not None
    kept = {}
    for number, (x0, y0, x1, y1) in enumerate(found.supports.tolist()):
        if min(x0, y0) - reach < 0 or max(x1, y1) + reach > side:
            continue
        mask = found.labels[y0:y1, x0:x1] == number + 1
        place = (x0 + corner[0], y0 + corner[1], x1 + corner[0], y1 + corner[1])
        kept[place] = (float(found.probabilities[number]), mask.tobytes())
    return kept


def inside(support: tuple[int, ...], box: tuple[int, ...], segmenter: NetworkSegmenter) -> bool:
    """Whether a support with the reach lies in what both windows show."""
    reach = segmenter.spec.reach_px
    low = support[0] - reach >= box[0] and support[1] - reach >= box[1]
    return low and support[2] + reach <= box[2] and support[3] + reach <= box[3]


def test_large_windows_in_pieces_give_the_same_bits(
    segmenter: NetworkSegmenter, tissue: NDArray[np.uint8]
) -> None:
    window = np.ascontiguousarray(tissue[np.newaxis, :512, :704])
    once = segmenter.runtime.run(window)
    crop = ModelFolder.open(WEIGHTS).described.network.crop
    pieces = run_in_pieces(segmenter.runtime, window, Pieces(GRID, crop, 112, 384))
    assert np.array_equal(once, pieces)


def test_only_what_the_edge_spoils_is_left_out() -> None:
    needs_torch()
    import torch

    from wsiseg.models.network.architecture import PixelNetwork
    from wsiseg.models.network.torch_runtime import load_network

    cropped = load_network(ModelFolder.open(WEIGHTS))
    crop, reach = cropped.crop, ModelFolder.open(WEIGHTS).described.network.reach_px
    assert 0 < crop < reach
    pixels = torch.randint(0, 256, (1, 320, 320, 3), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        whole = PixelNetwork(cropped.network).eval()(pixels.to(torch.uint8))
        found = cropped(pixels.to(torch.uint8))
    assert found.shape[-1] == (320 - 2 * crop) // GRID
    edge, near = reach // GRID, (reach - crop) // GRID
    expected = whole[:, : found.shape[1], edge:-edge, edge:-edge]
    assert torch.equal(found[:, :, near:-near, near:-near], expected)


def test_decoding_without_the_edge_finds_the_same_where_it_lies() -> None:
    places = {(20, 20): (0.9, 8.0), (24, 40): (0.8, 6.0), (25, 42): (0.7, 6.0)}
    outputs = outputs_with(places, 64)
    whole = stars.find_stars(outputs, RAYS, GRID, RULE)
    inner = stars.find_stars(outputs[: 1 + RAYS, 8:-8, 8:-8], RAYS, GRID, RULE, crop=16)
    assert len(whole) == len(inner) > 1
    assert np.array_equal(whole.labels, inner.labels)
    assert whole.supports is not None
    assert inner.supports is not None
    assert np.array_equal(whole.supports, inner.supports)


def test_reach_is_what_the_gradient_says(segmenter: NetworkSegmenter) -> None:
    needs_torch()
    from wsiseg.models.network.architecture import Architecture, StarNetwork, measure_reach

    shape = ModelFolder.open(WEIGHTS).described.network
    network = StarNetwork(Architecture(shape.encoder, shape.stages, (8, 8, 8), 8, RAYS))
    assert network.stride == segmenter.spec.stride
    assert measure_reach(network) == segmenter.spec.reach_px


def test_runtimes_agree_on_instances(
    segmenter: NetworkSegmenter, tissue: NDArray[np.uint8]
) -> None:
    needs_torch()
    other = NetworkSegmenter(WEIGHTS, runtime="torch")
    assert other.spec.sha256 == segmenter.spec.sha256
    assert other.spec.runtime != segmenter.spec.runtime
    (one,), (two,) = (s.decode(s.predict(tissue[np.newaxis], {})) for s in (segmenter, other))
    overlap = np.zeros((len(one) + 1, len(two) + 1))
    np.add.at(overlap, (one.labels, two.labels), 1)
    areas = overlap.sum(1)[1:, None] + overlap.sum(0)[None, 1:]
    iou = overlap[1:, 1:] / (areas - overlap[1:, 1:])
    assert (iou > 0.7).sum() > 0.95 * max(len(one), len(two))


def test_of_two_that_overlap_much_the_likelier_stays() -> None:
    found = find({(20, 20): (0.9, 8.0), (20, 22): (0.8, 8.0)})
    assert len(found) == 1
    assert found.probabilities[0] == pytest.approx(0.9)


def test_of_two_that_overlap_little_both_stay_and_the_likelier_is_on_top() -> None:
    found = find({(20, 20): (0.8, 8.0), (20, 26): (0.9, 8.0)})
    assert found.probabilities.tolist() == pytest.approx([0.9, 0.8])
    assert found.labels[41, 45] == 1
    assert found.labels[41, 36] == 2
    assert (found.labels == 1).sum() > (found.labels == 2).sum()


def test_one_dropped_does_not_drop_another() -> None:
    # Each conflicts with the next; the first drops the second, so the third stays.
    found = find({(20, 20): (0.9, 8.0), (20, 24): (0.8, 8.0), (20, 28): (0.7, 8.0)})
    assert found.probabilities.tolist() == pytest.approx([0.9, 0.7])


def test_equal_probabilities_go_to_the_first_in_reading_order() -> None:
    outputs = outputs_with({(20, 20): (0.9, 8.0), (20, 21): (0.9, 5.0), (21, 20): (0.9, 4.0)}, 64)
    found = stars.find_stars(outputs, RAYS, GRID, RULE)
    assert len(found) == 1
    assert (found.labels > 0).sum() == pytest.approx(math.pi * 64, rel=0.05)


def test_a_crowd_is_settled_as_the_rule_says() -> None:
    # Far more pairs overlap than there are stars, and small ones lie below many.
    rng = np.random.default_rng(4)
    places = {
        (int(y), int(x)): (float(rng.uniform(0.55, 0.95)), float(rng.uniform(3, 29)))
        for y in range(18, 50, 3)
        for x in range(18, 50, 3)
    }
    ranked = sorted(places, key=lambda place: -places[place][0])
    masks = [find({place: places[place]}).labels > 0 for place in ranked]
    sizes = [mask.sum() for mask in masks]
    conflicts = [
        [
            j
            for j in range(i)
            if (masks[i] & masks[j]).sum() > RULE.overlap * min(sizes[i], sizes[j])
        ]
        for i in range(len(ranked))
    ]
    stay = [True] * len(ranked)
    for number in range(stars.ROUNDS):
        stay = [not any(number == 0 or stay[j] for j in higher) for higher in conflicts]
    painted = np.zeros(masks[0].shape, int)
    for i in np.flatnonzero(stay)[::-1]:
        painted[masks[i]] = i + 1
    least = 120
    shown = [i for i in np.flatnonzero(stay) if (painted == i + 1).sum() >= least]
    expected = np.zeros_like(painted)
    for number, i in enumerate(shown):
        expected[painted == i + 1] = number + 1
    rule = stars.StarRule(RULE.probability, RULE.overlap, 0.0, least)
    found = stars.find_stars(outputs_with(places, 64), RAYS, GRID, rule)
    overlapping = sum((a & b).any() for i, a in enumerate(masks) for b in masks[:i])
    assert overlapping > 4 * len(ranked)
    assert 0 < len(shown) < sum(stay)
    np.testing.assert_array_equal(found.labels, expected)


@pytest.mark.parametrize("halved", [True, False])
def test_lengths_of_rays_are_calculated_number_by_number(halved: bool) -> None:
    # Of either sign and alike in the upper bits, as a network in bfloat16 and one in float32 give.
    numbers = np.random.default_rng(1).normal(0, 2, (50, RAYS)).astype(np.float32)
    numbers[25:] = -numbers[:25] * np.float32(1.0001)
    if halved:
        numbers = (numbers.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
    expected = [min(max(stars.ray_length(float(v)), 0.5), stars.MAX_RAY) for v in numbers.ravel()]
    np.testing.assert_array_equal(stars._ray_lengths(numbers).ravel(), expected)


def test_no_support_is_longer_than_is_told() -> None:
    # Chains of the longest stars along both axes, each one touching the next and ranked below it.
    places: dict[tuple[int, int], tuple[float, float]] = {}
    for k in range(24):
        places[8 + 18 * k, 200] = (0.51 + 0.01 * k, 40.0)
        places[400, 8 + 18 * k] = (0.99 - 0.01 * k, 40.0)
    found = stars.find_stars(outputs_with(places, 768), RAYS, GRID, RULE)
    assert found.supports is not None
    sides = found.supports[:, 2:] - found.supports[:, :2]
    assert sides.max() <= stars.longest_support(GRID)
    # More than that of a star that touches none.
    assert sides.max() > 2 * (stars.MAX_RAY + stars.MAX_RAY + 2 * GRID)


def test_foreground_trims() -> None:
    outputs = outputs_with({(20, 20): (0.9, 8.0)}, 64)
    outputs[1 + RAYS :, :, 20:] = -9.0
    rule = stars.StarRule(0.5, 0.4, 0.5, 1)
    found = stars.find_stars(outputs, RAYS, GRID, rule)
    assert not found.labels[:, 40:].any()
    assert found.labels[41, 38] == 1


def test_nothing_gives_no_instances() -> None:
    found = find({})
    assert len(found) == 0
    assert found.supports is not None
    assert found.supports.shape == (0, 4)


@given(st.lists(st.floats(0.6, 30.0), min_size=RAYS, max_size=RAYS))
@settings(max_examples=40, deadline=None)
def test_rasters_hold_the_pixels_whose_centre_lies_inside(lengths: list[float]) -> None:
    outputs = outputs_with({(20, 20): (0.9, 8.0)}, 64)
    shares = stars.RAY_SHARPNESS * np.array(lengths) / stars.RAY_UNIT
    outputs[1 : 1 + RAYS, 20, 20] = np.log(np.expm1(shares)) / stars.RAY_SHARPNESS
    found = stars.find_stars(outputs, RAYS, GRID, RULE)
    # The polygon from the numbers as float32 holds them.
    used = [stars.ray_length(float(v)) for v in outputs[1 : 1 + RAYS, 20, 20]]
    angles = 2 * np.pi * np.arange(RAYS) / RAYS
    polygon = shapely.Polygon(
        np.stack([41 + used * np.cos(angles), 41 + used * np.sin(angles)], axis=1)
    )
    x, y = np.meshgrid(np.arange(128) + 0.5, np.arange(128) + 0.5)
    expected = shapely.contains_xy(polygon, x, y)
    near = shapely.distance(polygon.boundary, shapely.points(x, y)) < 1e-6
    assert np.array_equal((found.labels == 1)[~near], expected[~near])


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(WEIGHTS, folder)
    data = bytearray((folder / "model.bin").read_bytes())
    data[1000] ^= 1
    (folder / "model.bin").write_bytes(bytes(data))
    broken = NetworkSegmenter(folder)
    with pytest.raises(ModelError, match=r"model\.bin"):
        broken.predict(np.zeros((1, 256, 256, 3), np.uint8), {})


def test_a_folder_of_a_training_is_a_model(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(WEIGHTS, folder)
    assert zoo.load_segmenter(str(folder)).spec == zoo.load_segmenter("nuclei-he").spec


def test_unknown_keys_and_missing_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no trained network"):
        NetworkSegmenter(tmp_path / "none")
    folder = tmp_path / "model"
    shutil.copytree(WEIGHTS, folder)
    path = folder / "model.json"
    path.write_text(path.read_text().replace('"name"', '"nom"'))
    with pytest.raises(ModelError, match="nom"):
        NetworkSegmenter(folder)


def test_windows_it_cannot_take_are_refused(segmenter: NetworkSegmenter) -> None:
    with pytest.raises(ModelError, match="8-bit RGB"):
        segmenter.predict(np.zeros((1, 64, 64, 1), np.uint8), {})
    with pytest.raises(ModelError, match="multiples of 16"):
        segmenter.predict(np.zeros((1, 64, 72, 3), np.uint8), {})
    with pytest.raises(ModelError, match="more than 160 px a side"):
        segmenter.predict(np.zeros((1, 256, 160, 3), np.uint8), {})


def test_without_openvino_the_message_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ModelError, match="pip install openvino"):
        NetworkSegmenter(WEIGHTS)
