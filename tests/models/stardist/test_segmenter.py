"""StarDist models as segmenters: the contract, tiles that do not show, whole runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import wsiseg
from runs import job_of, slide_folder, wsiseg_command
from seams import assert_same, crowd, segment, segment_in_one_piece
from starred import CONFIG, blob_finder, drawn, write_model
from wsiseg.demo import write_demo_slide
from wsiseg.errors import ModelError
from wsiseg.models.segmenter import Instances, ModelSpec, Statistics
from wsiseg.models.stardist.network import measure_reach
from wsiseg.models.stardist.reading import read_model
from wsiseg.models.stardist.segmenter import StarDistSegmenter
from wsiseg.models.zoo import load_segmenter, settle_device
from wsiseg.slides.reader import Pixels
from wsiseg.testing.segmenters import check_segmenter

pytest.importorskip("h5py", reason="needs h5py: pip install 'wsiseg[stardist]'")

ABOUT = 'mpp = 0.5\nlicence = "CC0-1.0"\nlongest_ray_um = 8\n'


@pytest.fixture(scope="module")
def blobs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that finds what is dark."""
    return write_model(tmp_path_factory.mktemp("stardist") / "blobs", blob_finder(), ABOUT)


def windows(count: int, side: int, channels: int = 3) -> list[Pixels]:
    rng = np.random.default_rng(4)
    found = []
    for k in range(count):
        image = 255 - 200 * (crowd((side, side), 60, k) > 0)[..., None].repeat(channels, 2)
        found.append((image - rng.integers(0, 20, image.shape)).astype(np.uint8))
    return found


@pytest.mark.parametrize("runtime", ["openvino", "torch"])
def test_the_contract_is_kept(blobs: Path, runtime: str) -> None:
    if runtime == "torch":
        pytest.importorskip("torch", reason="needs torch: pip install 'wsiseg[train]'")
        segmenter = StarDistSegmenter(read_model(blobs), runtime="torch")
    else:
        segmenter = StarDistSegmenter(read_model(blobs))
    samples = windows(2, 192)
    check_segmenter(segmenter, samples)
    (found,) = segmenter.decode(segmenter.predict(samples[0][None], segmenter.calibrate(samples)))
    assert len(found) > 20
    assert segmenter.spec.licence == "CC0-1.0"
    assert segmenter.spec.exact


def test_classes_carry_the_names_that_were_given(tmp_path: Path) -> None:
    config = {**CONFIG, "n_classes": 2, "n_channel_in": 1}
    segmenter = load_segmenter(str(write_model(tmp_path / "model", drawn(config))), "cpu")
    assert [c.name for c in segmenter.spec.classes] == ["Nucleus", "Class 1", "Class 2"]
    assert segmenter.spec.illumination == "fluorescence"
    check_segmenter(segmenter, windows(2, 128, 1))


def test_percentiles_are_taken_once_of_all_samples(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    samples = [(rng.gamma(2, 30, (50, 40, 3)) % 256).astype(np.uint8) for _ in range(3)]
    network = drawn(CONFIG)
    apart = load_segmenter(str(write_model(tmp_path / "apart", network)), "cpu")
    statistics = apart.calibrate(samples)
    every = np.concatenate(samples)
    expected = np.percentile(every, [1, 99.8], axis=(0, 1))
    assert np.allclose([statistics["low"], statistics["high"]], expected)
    about = "mpp = 0.5\njointly = true\npercentiles = [2, 98]\n"
    together = load_segmenter(str(write_model(tmp_path / "jointly", network, about)), "cpu")
    low, high = np.percentile(every, [2, 98])
    statistics = together.calibrate(samples)
    assert np.allclose(statistics["low"], [low] * 3)
    assert np.allclose(statistics["high"], [high] * 3)
    assert apart.spec.parameters != together.spec.parameters
    assert apart.spec.sha256 == together.spec.sha256
    deep = np.full((8, 8, 3), 40_000, np.uint16)
    assert apart.calibrate([deep])["high"] == (40_008.0,) * 3


@pytest.mark.parametrize(
    "change", [{}, {"unet_n_depth": 2, "grid": [1, 1]}, {"unet_kernel_size": [4, 5]}]
)
def test_the_reach_is_what_the_outputs_depend_on(change: dict[str, object], tmp_path: Path) -> None:
    """Every path open: of the pixels that change an output the farthest lies at the reach."""
    torch = pytest.importorskip("torch", reason="needs torch: pip install 'wsiseg[train]'")
    from wsiseg.models.stardist.module import StarModule

    config = {**CONFIG, **change, "unet_activation": "linear", "unet_last_activation": "linear"}
    network = read_model(write_model(tmp_path / "model", drawn(config))).network
    module = StarModule(network).double()
    for parameter in module.parameters():
        parameter.fill_(0.1)
    reach, stride, step = measure_reach(network), network.config.stride, network.config.step
    side = -(-2 * (reach + stride) // stride) * stride * 2
    found = 0
    for phase in range(stride // step):
        place = side // 2 // step + phase
        low, high = 0, 0
        for _ in range(4):
            pixels = torch.rand((1, side, side, 3), dtype=torch.float64, requires_grad=True)
            (slope,) = torch.autograd.grad(module(pixels)[0, :, place, place].sum(), pixels)
            touched = slope[0].abs().sum(-1).nonzero()
            low = max(low, place * step - int(touched.min()))
            high = max(high, int(touched.max()) - place * step)
        found = max(found, low, high)
    assert reach - step * 2 <= found <= reach


@dataclass(frozen=True)
class Calibrated:
    """A segmenter that knows its statistics, for helpers that give it none."""

    inner: StarDistSegmenter
    statistics: Statistics

    @property
    def spec(self) -> ModelSpec:
        return self.inner.spec

    def calibrate(self, samples: Sequence[Pixels]) -> Statistics:
        return self.statistics

    def remarks(self, statistics: Statistics) -> tuple[str, ...]:
        return ()

    def predict(self, pixels: Pixels, statistics: Statistics) -> object:
        return self.inner.predict(pixels, self.statistics)

    def decode(self, prediction: object) -> list[Instances]:
        return self.inner.decode(prediction)  # type: ignore[arg-type]


def test_tiles_do_not_show(blobs: Path, tmp_path: Path) -> None:
    labels = crowd((300, 340), 260, 6)
    extremes = {"low": (0.0,) * 3, "high": (255.0,) * 3}
    segmenter = Calibrated(StarDistSegmenter(read_model(blobs)), extremes)
    whole = segment_in_one_piece(labels, segmenter, tmp_path / "whole", segmenter.spec.halo)
    assert whole.count > 100
    for core, halo, seed in ((64, 64, None), (128, segmenter.spec.halo, 3)):
        parts = segment(labels, segmenter, tmp_path / f"{core}", core=core, halo=halo, seed=seed)
        assert parts.ledger.truncated == 0
        assert_same(parts, whole)


def test_large_windows_are_run_in_pieces_with_the_same_bits(
    blobs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (image,) = windows(1, 384)
    whole = StarDistSegmenter(read_model(blobs))
    statistics = whole.calibrate([image])
    expected = whole.predict(image[None], statistics)[0]
    monkeypatch.setattr("wsiseg.models.stardist.segmenter.PIECE_PX", 128)
    pieces = StarDistSegmenter(read_model(blobs))
    assert pieces._pieces.side < 256
    assert np.array_equal(pieces.predict(image[None], statistics)[0], expected)


def test_a_slide_is_segmented_the_same_whatever_the_tiles(blobs: Path, tmp_path: Path) -> None:
    slide = write_demo_slide(tmp_path / "demo.tiff", side_px=1024)
    for core in (256, 1024):
        job = job_of(slide, model=str(blobs), core=core)
        wsiseg.run(job, tmp_path / f"{core}", inline=True)
    one, two = (
        pq.read_table(slide_folder(tmp_path / name).root / "cells.parquet")
        for name in ("256", "1024")
    )
    assert one.num_rows == two.num_rows > 100
    for name in one.column_names:
        # What a nucleus is too small for, or has nothing around it for, is no number.
        a, b = (
            pc.fill_null(pc.if_else(pc.is_nan(t[name]), None, t[name]), -1)
            if pa.types.is_floating(t[name].type)
            else t[name]
            for t in (one, two)
        )
        assert a.equals(b), name


def test_the_command_line_runs_a_model_by_its_path_and_says_what_is_missing(
    blobs: Path, tmp_path: Path
) -> None:
    slide = write_demo_slide(tmp_path / "demo.tiff", side_px=1024)
    done = wsiseg_command("run", slide, "--out", tmp_path / "out", "--model", blobs)
    assert done.returncode == 0, done.stderr
    bare = write_model(tmp_path / "bare", blob_finder())
    (bare / "wsiseg.toml").unlink()
    done = wsiseg_command("run", slide, "--out", tmp_path / "other", "--model", bare)
    assert done.returncode != 0
    assert "mpp = 0.5" in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


def test_windows_that_do_not_fit_are_refused(blobs: Path) -> None:
    segmenter = load_segmenter(str(blobs), "cpu")
    statistics = segmenter.calibrate([])
    with pytest.raises(ModelError, match="RGB pixels, not 1 channels"):
        segmenter.predict(np.zeros((1, 64, 64, 1), np.uint8), statistics)
    with pytest.raises(ModelError, match="multiples of 4 px"):
        segmenter.predict(np.zeros((1, 62, 64, 3), np.uint8), statistics)
    assert settle_device(str(blobs), "cuda:1") == "cuda:1"
