"""Blur, folds, grey artefacts and odd stain, put into real and made tissue."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, laplace

from wsiseg.pipeline.quality import measure_quality
from wsiseg.quality.fields import FieldMeasures, collect, flag, measure_field, sharpness
from wsiseg.quality.shift import ranges_of, shifts
from wsiseg.slides.slide import open_slide
from wsiseg.stain import default_stains, optical_density
from wsiseg.tissue import TissueCode
from wsiseg.tissue.find import find_tissue

Tiles = list[NDArray[np.uint8]]
STAINS = default_stains()


@pytest.fixture(scope="module")
def tissue(slides: Path) -> Tiles:
    """Fields of 128 µm of real skin."""
    with open_slide(slides / "CMU-1-Small-Region.svs") as slide:
        frame = slide.level0.reduced(2)
        mask = find_tissue(slide)
        boxes = [
            box
            for box in frame.box.split(128)
            if mask.codes[frame.box_in(box, mask.frame).slices()].mean() > 0.9
        ]
        return [np.ascontiguousarray(slide.read(box, frame)) for box in boxes]


def measured(tiles: Tiles) -> FieldMeasures:
    return collect([measure_field(tile, STAINS) for tile in tiles])


def test_real_tissue_in_focus_is_not_flagged(tissue: Tiles) -> None:
    flags = flag(measured(tissue), "eosin")
    assert len(tissue) > 20
    assert not (flags.blurred | flags.folded | flags.grey | flags.odd_stain).any()


def test_blur_is_told(tissue: Tiles) -> None:
    blurred = [gaussian_filter(tile, (1.5, 1.5, 0)) for tile in tissue]
    assert flag(measured(blurred), "eosin").blurred.mean() > 0.9


def test_two_layers_are_told_from_one(tissue: Tiles) -> None:
    """Two layers weaken light twice; the fields of the palest half are doubled."""
    dense = measured(tissue).dense
    pale = [tile for tile, value in zip(tissue, dense, strict=True) if value <= np.median(dense)]
    doubled = [(tile.astype(float) ** 2 / 255).astype(np.uint8) for tile in pale[:3]]
    darkest = [tissue[int(np.argmax(dense))]]
    twice = [(tile.astype(float) ** 2 / 255).astype(np.uint8) for tile in darkest]
    flags = flag(measured(tissue + doubled + twice), "eosin")
    assert flags.folded[-1]
    assert not flags.folded[: len(tissue)].any()


def test_grey_and_odd_stain_are_told(tissue: Tiles) -> None:
    random = np.random.default_rng(0)
    grey = random.integers(90, 180, (128, 128, 1)).repeat(3, axis=2).astype(np.uint8)
    green = np.stack([np.full((128, 128), v, np.uint8) for v in (90, 190, 90)], axis=2)
    flags = flag(measured([*tissue, grey, green]), "eosin")
    assert flags.grey[-2]
    assert not flags.grey[: len(tissue)].any()
    assert flags.odd_stain[-1]


def test_strong_dab_is_no_fault(tissue: Tiles) -> None:
    dark = [np.full((128, 128, 3), 40, np.uint8)]
    flags = flag(measured(tissue + dark), "DAB")
    assert not (flags.folded | flags.grey | flags.odd_stain).any()


def test_nothing_and_glass_have_no_faults_but_no_numbers_either() -> None:
    assert not flag(measured([]), "eosin").blurred.any()
    glass = measured([np.full((64, 64, 3), 250, np.uint8)])
    assert np.isnan(glass.sharpness).all()
    flags = flag(glass, "eosin")
    assert not (flags.blurred | flags.folded | flags.grey | flags.odd_stain).any()


def test_what_is_gated_gets_its_code(slides: Path) -> None:
    with open_slide(slides / "CMU-1-Small-Region.svs") as slide:
        mask = find_tissue(slide)
        quality = measure_quality(slide, mask)
    assert quality is not None
    assert quality.warnings() == ()
    quality.flags.blurred[:10] = True
    assert any("--gate blurred" in told for told in quality.warnings())
    assert (quality.gated(mask, ()).codes == mask.codes).all()
    gated = quality.gated(mask, ("blurred",))
    lost = mask.area_mm2() - gated.area_mm2()
    assert gated.area_mm2(TissueCode.BLURRED) == pytest.approx(lost)
    assert 0.05 < lost <= 10 * 0.128**2 * 1.3
    assert ((gated.codes == mask.codes) | (gated.codes == TissueCode.BLURRED)).all()


def test_a_slide_unlike_the_training_tiles_is_named() -> None:
    tiles = [{"haematoxylin_od": (0.2 + 0.01 * k,), "sharpness": (1.0,)} for k in range(20)]
    seen = ranges_of(tiles)
    assert shifts({"haematoxylin_od": (0.3,), "sharpness": (1.0,)}, seen) == ()
    (sentence,) = shifts({"haematoxylin_od": (0.9,)}, seen)
    assert "haematoxylin" in sentence
    assert "above" in sentence
    assert shifts({"haematoxylin_od": (0.9,)}, {}) == ()


def test_sharpness_is_numpys_to_the_last_bit(tissue: Tiles) -> None:
    """Sums are taken in the order of numpy's."""
    for tile in (*tissue[:4], tissue[0][:5, :7], tissue[0][:1, :1]):
        green = tile[..., 1].astype(np.float32)
        variance = float(green.var())
        expected = float(laplace(green).var()) / variance if variance > 0 else np.nan
        assert np.array_equal(sharpness(tile[..., 1]), expected, equal_nan=True)


def test_dense_is_the_ninetieth_percentile(tissue: Tiles) -> None:
    for tile in tissue[:4]:
        densities = np.mean(optical_density(tile), axis=-1)
        stained = densities[densities > 0.1]
        assert measure_field(tile, STAINS)[-1] == pytest.approx(np.percentile(stained, 90), 1e-6)
