"""Stain normalisation against the published formulas, and on known mixtures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from scipy.optimize import nnls
from skimage.color import rgb2gray

from wsiseg.errors import ModelError, SlideError
from wsiseg.models.normalised import NormalisedSegmenter
from wsiseg.models.zoo import load_segmenter
from wsiseg.normalisation import reinhard, stains
from wsiseg.testing.segmenters import check_segmenter

HAEMATOXYLIN, EOSIN = np.array([0.58, 0.70, 0.42]), np.array([0.18, 0.83, 0.53])


def unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    return vector / np.linalg.norm(vector)


def angle_deg(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return float(np.degrees(np.arccos(np.clip(unit(a) @ unit(b), -1, 1))))


def mixture(count: int, seed: int = 0, gain: float = 1.0) -> NDArray[np.uint8]:
    """Pixels of nuclei, of cytoplasm and of some of both, with amounts that are known."""
    random = np.random.default_rng(seed)
    found = random.gamma(4.0, 0.25 * gain, (count, 2))
    kind = random.integers(0, 3, count)
    found[kind == 0, 1] *= 0.02
    found[kind == 1, 0] *= 0.02
    density = found @ np.stack([unit(HAEMATOXYLIN), unit(EOSIN)])
    pixels = (stains.WHITE + 1) * np.exp(-density) - 1
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("fit", [stains.macenko_profile, stains.vahadane_profile])
def test_known_stains_are_found(fit) -> None:
    profile = fit(mixture(20_000))
    assert angle_deg(profile.vectors[0], HAEMATOXYLIN) < 4
    assert angle_deg(profile.vectors[1], EOSIN) < 4
    np.testing.assert_allclose(np.linalg.norm(profile.vectors, axis=1), 1)


def test_macenko_is_the_published_sequence_of_steps() -> None:
    """Written anew with singular values in place of eigenvectors of the covariance."""
    pixels = mixture(8_000, seed=3)
    density = -np.log((pixels + 1.0) / (stains.WHITE + 1))
    density = density[(density >= 0.15).all(axis=1)]
    axes = np.linalg.svd(density - density.mean(axis=0), full_matrices=False)[2][:2]
    axes = np.array([axis if axis.sum() > 0 else -axis for axis in axes])
    shown = density @ axes.T
    angles = np.arctan2(shown[:, 1], shown[:, 0])
    ends = [np.percentile(angles, p) for p in (1, 99)]
    found = [axes[0] * np.cos(end) + axes[1] * np.sin(end) for end in ends]
    found.sort(key=lambda vector: -vector[0])
    profile = stains.macenko_profile(pixels)
    np.testing.assert_allclose(profile.vectors, found, atol=1e-9)
    amounts = np.array([nnls(profile.vectors.T, row)[0] for row in density])
    np.testing.assert_allclose(profile.strengths, np.percentile(amounts, 99, axis=0), atol=1e-9)


def test_vahadane_lowers_what_it_minimises() -> None:
    pixels = mixture(8_000, seed=4)
    density = stains.densities(pixels)
    density = density[stains.is_stained(density)]

    def cost(vectors: NDArray[np.float64]) -> float:
        found = stains.amounts(density, vectors, stains.SPARSITY)
        rest = density - found @ vectors
        return float((rest**2).sum() / 2 + stains.SPARSITY * found.sum())

    assert cost(stains.vahadane_profile(pixels).vectors) < cost(
        stains.macenko_profile(pixels).vectors
    )


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(0, 3), min_size=3, max_size=3),
    st.floats(0.05, 1.4),
)
def test_amounts_are_the_best_that_are_not_negative(density: list[float], turn: float) -> None:
    vectors = np.array([[1.0, 0.0, 0.0], [np.cos(turn), np.sin(turn), 0.1]])
    found = stains.amounts(np.array([density]), vectors)[0]
    expected, rest = nnls(vectors.T, np.array(density))
    assert np.linalg.norm(np.array(density) - found @ vectors) == pytest.approx(rest, abs=1e-7)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_slide_brought_to_its_own_profile_stays_as_it_is() -> None:
    pixels = mixture(10_000).reshape(100, 100, 3)
    profile = stains.macenko_profile(pixels.reshape(-1, 3))
    exact = stains.StainProfile(np.stack([unit(HAEMATOXYLIN), unit(EOSIN)]), profile.strengths)
    same = stains.restain(pixels, exact, exact)
    assert np.abs(same.astype(int) - pixels).max() <= 1
    colours = reinhard.reinhard_profile(pixels.reshape(-1, 3))
    np.testing.assert_array_equal(reinhard.recolour(pixels, colours, colours), pixels)


def test_a_pale_slide_gets_the_strength_of_the_reference() -> None:
    pale = mixture(20_000, gain=0.5).reshape(100, 200, 3)
    source = stains.macenko_profile(pale.reshape(-1, 3))
    shown = stains.restain(pale, source, stains.REFERENCE)
    density = stains.densities(shown.reshape(-1, 3))
    found = stains.amounts(density[stains.is_stained(density)], stains.REFERENCE.vectors)
    strengths = np.percentile(found, 99, axis=0)
    np.testing.assert_allclose(strengths, stains.REFERENCE.strengths, rtol=0.1)


def test_reinhard_gives_mean_and_spread_of_the_target() -> None:
    pixels = mixture(20_000, gain=0.6).reshape(100, 200, 3)
    source = reinhard.reinhard_profile(pixels.reshape(-1, 3))
    target = reinhard.ColourProfile(
        source.mean + np.array([0.05, 0.01, 0.002]), source.spread * 0.8
    )
    shown = reinhard.recolour(pixels, source, target)
    found = reinhard.reinhard_profile(shown.reshape(-1, 3))
    np.testing.assert_allclose(found.mean, target.mean, atol=0.005)
    np.testing.assert_allclose(found.spread, target.spread, rtol=0.1)


def test_grey_has_no_colour_in_reinhards_space() -> None:
    grey = np.repeat(np.arange(0, 256, 15, dtype=np.uint8), 3).reshape(-1, 3)
    found = reinhard.lab(grey)
    assert np.abs(found[:, 1:]).max() < 0.01
    assert (np.diff(found[:, 0]) > 0).all()
    assert np.allclose(rgb2gray(grey[np.newaxis]).ravel() * 255, grey[:, 0])


@pytest.mark.parametrize(
    "fit", [stains.macenko_profile, stains.vahadane_profile, reinhard.reinhard_profile]
)
def test_too_little_tissue_is_refused(fit) -> None:
    with pytest.raises(SlideError, match="normalisation"):
        fit(mixture(100))


def test_only_sections_can_be_normalised() -> None:
    with pytest.raises(ModelError, match="not for stained sections"):
        load_segmenter("classical-fluo+macenko")
    with pytest.raises(ModelError, match="no model"):
        load_segmenter("classical-he+unknown")


@pytest.mark.parametrize("method", ["macenko", "vahadane", "reinhard"])
def test_a_normalised_model_is_a_segmenter_like_any_other(shared: Path, method: str) -> None:
    tile = shared / "data/nuclei/TNBC/images/01_1.png"
    with Image.open(tile) as image:
        pixels = np.asarray(image.convert("RGB"))[::2, ::2]
    segmenter = load_segmenter(f"classical-he+{method}")
    assert isinstance(segmenter, NormalisedSegmenter)
    assert segmenter.spec.name == f"classical-he+{method}"
    assert segmenter.spec.parameters != load_segmenter("classical-he").spec.parameters
    check_segmenter(segmenter, [pixels, pixels[::-1, ::-1]])


def test_a_slide_without_tissue_stays_as_it_is_and_says_so() -> None:
    segmenter = load_segmenter("classical-he+reinhard")
    statistics = segmenter.calibrate([])
    assert any("normalise" in remark for remark in segmenter.remarks(statistics))
    white = np.full((1, 128, 128, 3), 255, np.uint8)
    (found,) = segmenter.decode(segmenter.predict(white, statistics))
    assert len(found) == 0
