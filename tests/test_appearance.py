"""What a slide's tissue looks like, in numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from wsiseg.pipeline.appearance import measure_appearance
from wsiseg.slides.slide import open_slide
from wsiseg.stain import HAEMATOXYLIN_DAB, HAEMATOXYLIN_EOSIN


def tissue(
    haematoxylin: float = 0.5,
    other: float = 0.3,
    vectors: tuple[tuple[float, float, float], ...] = HAEMATOXYLIN_EOSIN,
    seed: int = 0,
) -> NDArray[np.uint8]:
    """Blots of two stains as scanners see them: RGB ``[512, 512, 3]``."""
    rng = np.random.default_rng(seed)
    amounts = []
    for most, side in ((haematoxylin, 4), (other, 12)):
        blots = gaussian_filter(rng.normal(size=(512, 512)), side)
        amounts.append(most * np.clip(blots / blots.std(), 0, 2))
    unit = [np.array(v) / np.linalg.norm(v) for v in vectors]
    density = amounts[0][..., None] * unit[0] + amounts[1][..., None] * unit[1]
    return np.clip(255 * 10**-density, 0, 255).astype(np.uint8)


def blurred(pixels: NDArray[np.uint8], sigma: float) -> NDArray[np.uint8]:
    return gaussian_filter(pixels.astype(np.float64), (sigma, sigma, 0)).round().astype(np.uint8)


def test_no_tissue_no_numbers() -> None:
    assert measure_appearance([], "brightfield") == {}


def test_blur_lowers_sharpness_of_real_tissue(slides: Path) -> None:
    with open_slide(slides / "CMU-1-Small-Region.svs") as slide:
        pixels = slide.read(slide.level0.box, slide.level0)[1000:1512, 1000:1512]
    sharpness = [
        measure_appearance([blurred(pixels.astype(np.uint8), sigma)], "brightfield")["sharpness"][0]
        for sigma in (0, 0.5, 1, 2)
    ]
    assert sharpness == sorted(sharpness, reverse=True)
    assert sharpness[0] > 4 * sharpness[2]


def test_sharpness_knows_neither_brightness_nor_contrast() -> None:
    pixels = tissue()
    paler = (255 - (255 - pixels.astype(np.float64)) * 0.5).round().astype(np.uint8)
    one, two = (measure_appearance([p], "brightfield")["sharpness"][0] for p in (pixels, paler))
    assert two == pytest.approx(one, rel=0.1)


def test_amounts_of_stain_are_seen() -> None:
    pale, dark = (measure_appearance([tissue(h)], "brightfield") for h in (0.3, 0.6))
    assert dark["haematoxylin_od"][0] > 1.3 * pale["haematoxylin_od"][0]
    assert dark["brown"] == (0.0,)
    assert len(dark["density"]) == 3
    assert dark["density"][1] == max(dark["density"])


def test_the_counterstain_is_told_by_its_colour() -> None:
    found = measure_appearance([tissue(0.4, 0.6, HAEMATOXYLIN_DAB)], "brightfield")
    assert found["brown"] == (1.0,)
    eosin = measure_appearance([tissue(0.4, 0.6)], "brightfield")
    blue = [one["density"][2] / one["density"][1] for one in (found, eosin)]
    assert blue[0] > blue[1]


def test_fluorescence_has_a_signal() -> None:
    grey = tissue()[..., :1]
    eight = measure_appearance([grey], "fluorescence")
    sixteen = measure_appearance([grey.astype(np.uint16) * 257], "fluorescence")
    assert set(eight) == set(sixteen) == {"sharpness", "signal"}
    assert eight["signal"][0] == pytest.approx(grey.mean() / 255)
    assert sixteen["signal"][0] == pytest.approx(eight["signal"][0])
    assert sixteen["sharpness"][0] == pytest.approx(eight["sharpness"][0], rel=1e-4)


def test_an_empty_window_has_no_stain() -> None:
    found = measure_appearance([np.full((64, 64, 3), 250, np.uint8)], "brightfield")
    assert found == {"sharpness": (0.0,)}
