"""The segmenter: normalised once a slide, seamless, and whole slides through the line.

Where nuclei are to be found, a function stands in for the network: it draws flows from what a
square of 224 px shows, cut nuclei included, and everything around it is the true thing. Random
weights of the true format show that the network itself runs.
"""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

import wsiseg
from seams import Segmented, crowd, disc, segment
from wsiseg.errors import ModelError
from wsiseg.models.cellpose.described import Described
from wsiseg.models.cellpose.inputs import chosen_view, measure_range, scale
from wsiseg.models.cellpose.networks import TILINGS, CellposeNetwork, run_tiled
from wsiseg.models.cellpose.segmenter import CellposeSegmenter
from wsiseg.models.decoding.heat import mask_flows
from wsiseg.models.segmenter import Instances, ModelSpec, Statistics
from wsiseg.models.zoo import load_segmenter
from wsiseg.slides.reader import Pixels
from wsiseg.testing.segmenters import check_segmenter, numbers

torch = pytest.importorskip("torch")
pytest.importorskip("cellpose")
IS_3 = importlib.metadata.version("cellpose").startswith("3.")
needs_3 = pytest.mark.skipif(not IS_3, reason="needs cellpose 3")

TILING = TILINGS["3"]
GREYS = 5
"""Grey values in use: touching nuclei mostly have different ones."""


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from cellpose.resnet_torch import CPnet

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "nucleitorch_0"
    torch.save(CPnet([2, 32, 64, 128, 256], 3, sz=3).state_dict(), path)
    return path


def perfect(tiles: NDArray[np.float32]) -> NDArray[np.float32]:
    """The outputs a perfect network would give for what each square shows: one nucleus a connected
    patch of one grey."""
    found = np.empty((len(tiles), 3, *tiles.shape[2:]), np.float32)
    for outputs, tile in zip(found, tiles, strict=True):
        labels = np.zeros(tile.shape[1:], np.int32)
        for value in np.unique(tile[0])[1:] if tile[0].min() <= 0 else np.unique(tile[0]):
            patches, _ = ndimage.label(tile[0] == value)
            labels = np.where(patches > 0, patches + labels.max(), labels).astype(np.int32)
        outputs[:2] = 5 * mask_flows(labels)
        outputs[2] = np.where(labels > 0, 6, -6)
    return found


class PerfectNetwork(CellposeNetwork):
    """The perfect network in place of weights."""

    def run(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        return run_tiled(perfect, image, TILING, 3)


def perfect_segmenter(path: Path) -> CellposeSegmenter:
    path.write_bytes(b"")
    described = Described("cellpose:perfect", path, illumination="fluorescence", mpp=0.5)
    return CellposeSegmenter(described, "3", PerfectNetwork(path, "3", "cpu"))


@dataclass(frozen=True)
class FromPaint:
    """Shows painted numbers to a segmenter as greys."""

    inner: CellposeSegmenter

    @property
    def spec(self) -> ModelSpec:
        return self.inner.spec

    def calibrate(self, samples: list[Pixels]) -> Statistics:
        return {}

    def remarks(self, statistics: Statistics) -> tuple[str, ...]:
        return ()

    def predict(self, pixels: Pixels, statistics: Statistics) -> list[NDArray[np.float32]]:
        painted = np.stack([numbers(window) for window in pixels])
        greys = np.where(painted > 0, 1 + painted % GREYS, 0).astype(np.uint8)[..., None]
        return self.inner.predict(greys, {"low": (0.0,), "high": (float(GREYS),)})

    def decode(self, prediction: list[NDArray[np.float32]]) -> list[Instances]:
        return self.inner.decode(prediction)


def overlaps(a: Segmented, b: Segmented) -> NDArray[np.float64]:
    """For every cell of ``a`` the best IoU with one of ``b``."""
    one, two = a.raster().astype(np.int64), b.raster().astype(np.int64)
    _, one = np.unique(one, return_inverse=True)
    _, two = np.unique(two, return_inverse=True)
    pairs = np.zeros((one.max() + 1, two.max() + 1), np.int64)
    np.add.at(pairs, (one.ravel(), two.ravel()), 1)
    union = pairs.sum(axis=1)[1:, None] + pairs.sum(axis=0)[None, 1:] - pairs[1:, 1:]
    best: NDArray[np.float64] = (pairs[1:, 1:] / np.maximum(union, 1)).max(axis=1)
    return best


def test_nuclei_on_tile_borders_are_neither_cut_nor_doubled(tmp_path: Path) -> None:
    """Cellpose's own stitching of images cuts every nucleus at the border of its tiles."""
    core = TILING.step * 2
    labels = np.zeros((2 * core + 60, 2 * core + 80), np.int32)
    number = 0
    for along in range(20, labels.shape[0] - 20, 24):
        for across in (core - 6, core, core + 5, 2 * core):
            number += 1
            disc(labels, number, (min(across, labels.shape[1] - 12), along), 8)
    labels[:] = np.where(ndimage.minimum_filter(labels, 3) == labels, labels, 0)
    _, labels = np.unique(labels, return_inverse=True)
    labels = labels.reshape(2 * core + 60, -1).astype(np.int32)
    segmenter = FromPaint(perfect_segmenter(tmp_path / "w"))
    tiled = segment(labels, segmenter, tmp_path / "tiled", core=core)
    parts = ndimage.label(labels > 0)[1]
    assert tiled.count == parts
    assert not tiled.column("truncated").any()
    image = tiled.raster()
    # Where a border runs through a nucleus, the same number is on both sides.
    for border in (core, 2 * core):
        left, right = image[:, border - 1], image[:, border]
        both = (labels[:, border - 1] > 0) & (labels[:, border - 1] == labels[:, border])
        assert both.sum() > 100
        assert (left[both] > 0).all()
        assert (left[both] == right[both]).all()


def test_tiles_agree_with_one_piece_and_with_other_tiles(tmp_path: Path) -> None:
    """Within 99.5 % of cells at IoU 0.9; the same bits whatever the order."""
    labels = crowd((430, 520), 400, 3)
    segmenter = FromPaint(perfect_segmenter(tmp_path / "w"))
    step = TILING.step
    whole = segment(labels, segmenter, tmp_path / "whole", core=4 * step, tiles_per_block=1)
    tiled = segment(labels, segmenter, tmp_path / "tiled", core=step)
    shuffled = segment(labels, segmenter, tmp_path / "shuffled", core=step, seed=5)
    assert tiled.outlines() == shuffled.outlines()
    assert whole.count > 120
    for a, b in ((whole, tiled), (tiled, whole)):
        assert (overlaps(a, b) >= 0.9).mean() >= 0.995


def test_squares_on_the_lattice_give_the_same_wherever_the_window_lies() -> None:
    rng = np.random.default_rng(0)
    image = ndimage.gaussian_filter(rng.random((2, 1152, 1152)), (0, 2, 2)).astype(np.float32)

    def forward(tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        # As networks do, each answer hangs on the whole square.
        style = tiles.mean(axis=(1, 2, 3), keepdims=True)
        return np.concatenate([tiles, tiles[:, :1] * style], axis=1)

    whole = run_tiled(forward, image, TILING, 4)
    part = run_tiled(forward, image[:, 192:960, 384:1152], TILING, 1)
    assert whole.shape == (3, 1152, 1152)
    inner = slice(208, 560)
    np.testing.assert_array_equal(part[:, inner, inner], whole[:, 192:, 384:][:, inner, inner])
    np.testing.assert_allclose(whole[:2], image, atol=1e-5)
    assert run_tiled(forward, image[:, :50, :31], TILING, 2).shape == (3, 50, 31)


def test_intensities_are_scaled_by_the_slide_not_by_the_tile() -> None:
    rng = np.random.default_rng(1)
    dim, bright = (rng.integers(0, top, (64, 64, 1)).astype(np.uint16) for top in (300, 5000))
    view = chosen_view("fluorescence", "3", "haematoxylin")
    drawn = [view.draw(sample, {}) for sample in (dim, bright)]
    statistics = measure_range(drawn)
    both = np.concatenate([dim.ravel(), bright.ravel()])
    assert statistics["low"][0] == pytest.approx(np.percentile(both, 1), abs=1)
    assert statistics["high"][0] == pytest.approx(np.percentile(both, 99), abs=20)
    scaled = scale(drawn[0], statistics)
    assert scaled.max() < 0.1
    flat = scale(drawn[0], {"low": (5.0,), "high": (5.0,)})
    assert not flat.any()


def test_views_are_as_cellpose_numbers_them() -> None:
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[...] = (10, 20, 40)
    assert chosen_view("brightfield", "3", (0, 0)).draw(pixels, {})[:, 0, 0].tolist() == [70]
    assert chosen_view("brightfield", "3", (1, 3)).draw(pixels, {})[:, 0, 0].tolist() == [10, 40]
    colours = chosen_view("brightfield", "4", "haematoxylin").draw(pixels, {})
    assert colours[:, 0, 0].tolist() == [10, 20, 40]
    with pytest.raises(ModelError, match="8-bit RGB"):
        chosen_view("brightfield", "3", (0, 0)).draw(pixels[..., :1], {})
    with pytest.raises(ModelError, match="one channel"):
        chosen_view("fluorescence", "3", (0, 0)).draw(pixels, {})


@needs_3
def test_the_network_itself_keeps_the_contract(weights: Path) -> None:
    rng = np.random.default_rng(2)
    smooth = ndimage.gaussian_filter(rng.random((2, 160, 150, 3)), (0, 3, 3, 0))
    windows = (200 * (smooth - smooth.min()) / np.ptp(smooth) + 40).astype(np.uint8)
    segmenter = load_segmenter(str(weights), "cpu")
    assert segmenter.spec.runtime == "torch-cpu-f32-cellpose3"
    check_segmenter(segmenter, list(windows))


def shaded(tiles: NDArray[np.float32]) -> NDArray[np.float32]:
    """Stands in for the small network on stained slides: up the smoothed signal, where there is
    much of it."""
    smooth = ndimage.gaussian_filter(tiles[:, 0], (0, 2.5, 2.5))
    flows = np.stack(np.gradient(smooth, axis=(1, 2)), axis=1)
    length = np.sqrt((flows**2).sum(axis=1, keepdims=True)) + 1e-6
    score = 20 * (ndimage.gaussian_filter(tiles[:, 0], (0, 1, 1)) - 0.55)
    return np.concatenate([5 * flows / length, score[:, None]], axis=1).astype(np.float32)


@needs_3
def test_a_real_slide_goes_through_the_whole_line(
    slides: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With weights of the true format, whose network is stood in for; by tiles of two sizes."""
    monkeypatch.setattr(CellposeNetwork, "_forward", lambda _, tiles: shaded(tiles))
    monkeypatch.setattr("wsiseg.models.cellpose.networks._build", lambda *_: object())
    found = []
    for core in (768, 1344):
        out = tmp_path / str(core)
        job = wsiseg.Job.of(
            slides / "CMU-1-Small-Region.svs",
            model=str(weights),
            core=core,
            exports=("table",),
            features=(),
        )
        assert not wsiseg.run(job, out, inline=True).failed
        run = wsiseg.open_run(out)
        (name,) = run.slides
        assert run.report(name)["counts"]["truncated"] == 0
        found.append(run.cells(name))
    counts = [cells.num_rows for cells in found]
    assert min(counts) > 800
    assert max(counts) - min(counts) <= 0.005 * max(counts)
