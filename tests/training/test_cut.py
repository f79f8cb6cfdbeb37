"""Tiles out of finished runs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import wsiseg
from runs import job_of, wsiseg_command
from wsiseg.errors import ConfigurationError
from wsiseg.geometry import MPP, Box
from wsiseg.slides.slide import open_slide
from wsiseg.training.config import Data, DataSet
from wsiseg.training.cut import Cut, cut_tiles
from wsiseg.training.sources import load_part

SLIDE = "CMU-1-Small-Region.svs"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, slides: Path) -> Path:
    out = tmp_path_factory.mktemp("cut") / "run"
    wsiseg.run(job_of(slides / SLIDE, exports=("table",)), out, inline=True)
    return out


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.png"))


def test_tiles_show_the_slide_and_its_nuclei(run: Path, slides: Path, tmp_path: Path) -> None:
    out = tmp_path / "tiles"
    written = cut_tiles(run, out, Cut(count=5, side=256, seed=3))
    assert len(written) == 5
    assert names(out / "images") == names(out / "instances") == sorted(f"{n}.png" for n in written)
    assert json.loads((out / "meta.json").read_text())["mpp"] == 0.5
    cells = wsiseg.open_run(run).cells(SLIDE)
    x, y = (cells[f"centroid_{axis}_px"].to_numpy() for axis in "xy")
    with open_slide(slides / SLIDE) as slide:
        frame = slide.level0.at(MPP.square(0.5))
        fx, fy = slide.level0.scale_to(frame)
        for name in written:
            x0, y0 = map(int, name.rsplit("_", 2)[1:])
            box = Box(x0, y0, x0 + 256, y0 + 256)
            pixels = np.asarray(Image.open(out / "images" / f"{name}.png"))
            labels = np.asarray(Image.open(out / "instances" / f"{name}.png"))
            assert np.array_equal(pixels, slide.read(box, frame))
            assert labels.dtype == np.uint16
            within = (x * fx >= x0) & (x * fx < x0 + 256) & (y * fy >= y0) & (y * fy < y0 + 256)
            at = (y[within] * fy - y0).astype(int), (x[within] * fx - x0).astype(int)
            # A centroid may lie beside a bent nucleus, or under a neighbour.
            assert (labels[at] > 0).mean() > 0.95
            assert len(np.unique(labels)) - 1 >= within.sum() >= 10
            assert labels.max() == len(np.unique(labels)) - 1
    described = DataSet(name="cut", folder=out, part="train", mpp=0.5, licence="CC0-1.0")
    assert len(load_part(Data(sets=(described,)), "train")) == 5


def test_the_seed_chooses_and_sure_tiles_alone_are_kept(run: Path, tmp_path: Path) -> None:
    chosen = {
        name: cut_tiles(run, tmp_path / name, Cut(count=4, side=256, seed=seed))
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    }
    assert chosen["a"] == chosen["b"] != chosen["c"]
    everything = cut_tiles(run, tmp_path / "all", Cut(count=1000, side=256))
    sure = cut_tiles(run, tmp_path / "sure", Cut(count=1000, side=256, most_doubtful=0.1))
    assert set(sure) < set(everything)
    strict = Cut(count=1000, side=256, least_probability=0.9)
    assert cut_tiles(run, tmp_path / "strict", strict) == everything
    name = f"{everything[0]}.png"
    labels, fewer = (
        np.asarray(Image.open(tmp_path / folder / "instances" / name))
        for folder in ("all", "strict")
    )
    assert 0 <= fewer.max() < labels.max()
    assert not fewer[labels == 0].any()


def test_what_cannot_be_cut_is_said(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no tile of 512 px"):
        cut_tiles(run, tmp_path / "none", Cut(count=1, least_nuclei=100_000))
    assert not (tmp_path / "none").exists()
    with pytest.raises(ConfigurationError, match=f"has no slide other; it has {SLIDE}"):
        cut_tiles(run, tmp_path / "none", Cut(count=1, slides=("other",)))
    (tmp_path / "full" / "images").mkdir(parents=True)
    with pytest.raises(ConfigurationError, match="holds tiles already"):
        cut_tiles(run, tmp_path / "full", Cut(count=1))


def test_the_command_cuts(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "tiles"
    arguments = [run, "-o", out, "--count", "3", "--side", "128", "--mpp", "1.0", "--nuclei", "5"]
    found = wsiseg_command("tiles", *map(str, arguments))
    assert found.returncode == 0, found.stderr
    assert "3 tiles" in found.stdout
    with Image.open(next((out / "images").glob("*.png"))) as image:
        assert image.size == (128, 128)
