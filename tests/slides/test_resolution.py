"""Levels and pixel sizes: arithmetic on facts."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsiseg.errors import ResolutionError
from wsiseg.geometry import MPP, Size
from wsiseg.slides.levels import exact_downsample
from wsiseg.slides.reader import Level, SlideFacts
from wsiseg.slides.resolution import Claim, judge, settle


def facts(mpp: MPP | None, problems: tuple[str, ...] = ()) -> SlideFacts:
    return SlideFacts(
        path=Path("a.svs"),
        reader="array",
        vendor="array",
        levels=(Level(Size(10, 10), 1.0),),
        mpp=mpp,
        mpp_source="" if mpp is None else "aperio.MPP",
        objective=None,
        channels=("red", "green", "blue"),
        illumination="brightfield",
        dtype="uint8",
        problems=problems,
    )


@given(
    width=st.integers(3000, 200_000),
    height=st.integers(3000, 200_000),
    by=st.sampled_from([2, 3, 4, 5, 8, 10, 16]),
    up=st.booleans(),
)
def test_rounded_levels_have_their_whole_reduction(
    width: int, height: int, by: int, up: bool
) -> None:
    size = Size(-(-width // by), -(-height // by)) if up else Size(width // by, height // by)
    assert exact_downsample(Size(width, height), size) == by


def test_other_levels_have_the_ratio_of_sizes() -> None:
    assert exact_downsample(Size(10_000, 10_000), Size(3_000, 3_000)) == pytest.approx(10 / 3)


def test_a_plain_claim_is_believed() -> None:
    verdict = judge(Claim(0.2631, 0.2630, "aperio.MPP"), 40.0)
    assert verdict.mpp == MPP(0.2631, 0.2630)
    assert (verdict.source, verdict.problems) == ("aperio.MPP", ())


@pytest.mark.parametrize(
    ("claim", "objective", "levels", "word"),
    [
        (None, 40.0, (), "does not state"),
        (Claim(1000.0, 1000.0, "tiff.XResolution"), None, (), "1000 x 1000"),
        (Claim(0.001, 0.001, "tiff.XResolution"), None, (), "cannot be true"),
        (Claim(float("nan"), 0.5, "tiff.XResolution"), None, (), "cannot be true"),
        (Claim(1.0, 1.0, "aperio.MPP"), 40.0, (), "40x"),
        (Claim(0.25, 0.25, "aperio.MPP"), 5.0, (), "contradict"),
        (Claim(0.25, 0.26, "tiff.XResolution"), None, (), "not square"),
        (Claim(0.5, 0.5, "tiff.XResolution"), None, ((4.0, 1.0),), "contradict"),
    ],
)
def test_what_cannot_be_true_is_not_believed(
    claim: Claim | None,
    objective: float | None,
    levels: tuple[tuple[float, float], ...],
    word: str,
) -> None:
    verdict = judge(claim, objective, levels)
    assert verdict.mpp is None
    assert verdict.source == ""
    assert word in verdict.problems[0]


@pytest.mark.parametrize(
    ("mpp", "objective"), [(0.2325, 20.0), (0.499, 20.0), (0.228, 40.0), (28.97, None)]
)
def test_true_scanners_are_believed(mpp: float, objective: float | None) -> None:
    assert judge(Claim(mpp, mpp, "x"), objective).mpp == MPP.square(mpp)


@pytest.mark.parametrize(
    "levels", [((4.0, 2.0),), ((4.0, 0.5), (16.0, 0.5)), ((4.0, 1.98),), ((4.0, 352.8),)]
)
def test_levels_that_scale_repeat_or_lack_the_tag_agree(
    levels: tuple[tuple[float, float], ...],
) -> None:
    assert judge(Claim(0.5, 0.5, "tiff.XResolution"), None, levels).mpp is not None


def test_a_missing_pixel_size_says_what_to_pass() -> None:
    with pytest.raises(ResolutionError, match=r"a\.svs: no size.*--mpp.*column `mpp`.*CSV"):
        settle(facts(None, ("no size",)))


def test_a_stated_pixel_size_overrides() -> None:
    for given_facts in (facts(None, ("no size",)), facts(MPP.square(0.5))):
        settled = settle(given_facts, 0.25)
        assert (settled.mpp, settled.mpp_source) == (MPP.square(0.25), "stated")


@pytest.mark.parametrize("stated", [0.0, -1.0, 1000.0, float("nan")])
def test_a_stated_pixel_size_must_be_possible(stated: float) -> None:
    with pytest.raises(ResolutionError, match="stated"):
        settle(facts(MPP.square(0.5)), stated)
