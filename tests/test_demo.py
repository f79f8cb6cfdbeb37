"""The demonstration slide: what readers see of it, and that its joints do not show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openslide
import pytest
import tiffslide
from PIL import Image

from wsiseg.demo import DEMO_MPP, write_demo_slide
from wsiseg.errors import ConfigurationError

SIDE = 2048


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_demo_slide(tmp_path_factory.mktemp("demo") / "demo.tiff", side_px=SIDE)


@pytest.fixture(scope="module")
def pixels(demo: Path) -> np.ndarray:
    with openslide.OpenSlide(demo) as slide:
        return np.asarray(slide.read_region((0, 0), 0, (SIDE, SIDE)).convert("RGB"))


@pytest.mark.parametrize(
    ("opened", "prefix"), [(openslide.OpenSlide, "openslide"), (tiffslide.TiffSlide, "tiffslide")]
)
def test_readers_see_levels_and_pixel_size(demo: Path, opened: type, prefix: str) -> None:
    with opened(str(demo)) as slide:
        assert slide.level_dimensions == ((SIDE, SIDE), (SIDE // 4, SIDE // 4))
        assert slide.level_downsamples == (1.0, 4.0)
        assert float(slide.properties[f"{prefix}.mpp-x"]) == DEMO_MPP
        assert float(slide.properties[f"{prefix}.mpp-y"]) == DEMO_MPP
        assert not slide.associated_images


def test_a_coarse_level_is_the_fine_one_reduced(demo: Path, pixels: np.ndarray) -> None:
    with openslide.OpenSlide(demo) as slide:
        side = SIDE // 4
        coarse = np.asarray(slide.read_region((0, 0), 1, (side, side)).convert("RGB"))
    reduced = np.asarray(Image.fromarray(pixels).reduce(4)).astype(float)

    def error(dx: int, dy: int) -> float:
        return float(np.square(np.roll(coarse, (dy, dx), (0, 1)) - reduced).mean())

    assert abs(coarse.mean() - reduced.mean()) < 1
    assert min((error(dx, dy), (dx, dy)) for dx in (-1, 0, 1) for dy in (-1, 0, 1))[1] == (0, 0)
    assert error(0, 0) < 0.1 * reduced.var()


def test_tissue_lies_on_white_noisy_glass(pixels: np.ndarray) -> None:
    rim = np.concatenate([pixels[:64, :64].reshape(-1, 3), pixels[-64:, -64:].reshape(-1, 3)])
    assert rim.min() > 225
    assert 0.2 < rim.std(axis=0).mean() < 4
    stained = np.ptp(pixels.astype(int), axis=2) > 25
    assert 0.2 < stained.mean() < 0.8
    assert not stained[0].any()
    assert not stained[-1].any()


def test_joints_are_no_steeper_than_the_picture(pixels: np.ndarray) -> None:
    middle = pixels[SIDE // 4 : -SIDE // 4, SIDE // 4 : -SIDE // 4].astype(int)
    for axis in (0, 1):
        steps = np.abs(np.diff(middle, axis=axis)).mean(axis=(1 - axis, 2))
        assert steps.max() < 1.6 * np.median(steps)


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    names = {"one.tiff": 3, "two.tiff": 3, "three.tiff": 4}
    one, two, three = (
        write_demo_slide(tmp_path / name, side_px=1024, seed=seed).read_bytes()
        for name, seed in names.items()
    )
    assert one == two
    assert one != three


@pytest.mark.parametrize("side", [0, 512, 1000, 1 << 20])
def test_impossible_sides_are_refused(tmp_path: Path, side: int) -> None:
    with pytest.raises(ConfigurationError, match="multiple of 256 from 1024"):
        write_demo_slide(tmp_path / "demo.tiff", side_px=side)
    assert not list(tmp_path.iterdir())
