"""Deciding the pixel size of level 0 from what a file says; arithmetic only.

A wrong pixel size spoils every result without a sign, so what is missing or cannot be true is
refused with the numbers, and the user may state it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from wsiseg.errors import ResolutionError
from wsiseg.geometry import MPP
from wsiseg.slides.reader import SlideFacts

SMALLEST_MPP, LARGEST_MPP = 0.02, 50.0
"""µm/px: no light microscope samples finer, no file that holds nuclei or tissue is coarser."""

OBJECTIVE_MPP = 10.0
"""µm/px times nominal magnification: 10x is about 1 µm/px on every scanner's sensor."""

OBJECTIVE_FACTOR = 2.5
"""Scanners with a 1.6x adapter behind a 20x objective reach 0.23 µm/px, a factor of 2.15 from
the nominal 0.5; a factor of 4 is one of the usual mistakes."""

LEVEL_TOLERANCE = 0.05

STATED_TOLERANCE = 0.1
"""A stated pixel size that differs by more than this share from the file's is worth a word."""

NOT_STATED = "the file does not state its pixel size"

HOW_TO_STATE = "state the pixel size in micrometres (--mpp, or a column `mpp` in a CSV of slides)"


@dataclass(frozen=True, slots=True)
class Claim:
    """A pixel size as the file has it: µm/px along x and y, and where it was read."""

    x: float
    y: float
    source: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The pixel size to believe, or ``None`` and why."""

    mpp: MPP | None
    source: str
    problems: tuple[str, ...] = ()


def judge(
    claim: Claim | None,
    objective: float | None,
    levels: Sequence[tuple[float, float]] = (),
) -> Verdict:
    """Weigh a file's claim.

    Parameters
    ----------
    claim
        Pixel size of level 0, where the file gives one.
    objective
        Nominal magnification, where the file gives one.
    levels
        ``(downsample, µm/px)`` of the levels that carry a pixel size of their own.
    """
    if claim is None:
        return Verdict(None, "", (NOT_STATED,))
    numbers = f"{claim.x:g} x {claim.y:g} µm/px ({claim.source})"
    for value in (claim.x, claim.y):
        if not (math.isfinite(value) and SMALLEST_MPP <= value <= LARGEST_MPP):
            return _refused(
                f"the file states {numbers}, which cannot be true: scanned slides lie between "
                f"{SMALLEST_MPP:g} and {LARGEST_MPP:g} µm/px"
            )
    try:
        mpp = MPP(claim.x, claim.y)
    except ResolutionError:
        return _refused(f"the file states {numbers}: pixels that are not square")
    if objective is not None and math.isfinite(objective) and objective > 0:
        expected = OBJECTIVE_MPP / objective
        if max(mpp.mean / expected, expected / mpp.mean) > OBJECTIVE_FACTOR:
            return _refused(
                f"the file states {numbers} and a {objective:g}x objective, which contradict "
                f"each other: {objective:g}x is about {expected:g} µm/px"
            )
    for downsample, stated in levels:
        if not SMALLEST_MPP <= stated <= LARGEST_MPP * downsample:
            continue  # a default such as 72 dpi
        ratio = stated / claim.x
        # Many writers copy level 0's tag to every level unchanged; that claims nothing.
        copied = math.isclose(ratio, 1.0, rel_tol=1e-3)
        if not copied and abs(ratio / downsample - 1) > LEVEL_TOLERANCE:
            return _refused(
                f"the file states {numbers} for level 0 and {stated:g} µm/px for a level that "
                f"is {downsample:g} times smaller, which contradict each other"
            )
    return Verdict(mpp, claim.source)


def settle(facts: SlideFacts, stated: float | None = None) -> SlideFacts:
    """The facts with a pixel size that may be used.

    Parameters
    ----------
    facts
        What the file says.
    stated
        Pixel size in µm/px that the user states; it overrides the file's.

    Raises
    ------
    ResolutionError
        If the file's pixel size is missing or not to be believed and none is stated, or the
        stated one cannot be true.
    """
    if stated is not None:
        if not (math.isfinite(stated) and SMALLEST_MPP <= stated <= LARGEST_MPP):
            raise ResolutionError(
                f"{facts.path}: the stated pixel size of {stated:g} µm/px cannot be true: "
                f"slides lie between {SMALLEST_MPP:g} and {LARGEST_MPP:g} µm/px"
            )
        problems = facts.problems
        if facts.mpp is not None and abs(stated / facts.mpp.mean - 1) > STATED_TOLERANCE:
            problems += (
                f"the stated pixel size of {stated:g} µm/px stands in for the file's own "
                f"{facts.mpp.mean:g} µm/px ({facts.mpp_source})",
            )
        return replace(facts, mpp=MPP.square(stated), mpp_source="stated", problems=problems)
    if facts.mpp is None:
        why = "; ".join(facts.problems) or NOT_STATED
        raise ResolutionError(f"{facts.path}: {why}; {HOW_TO_STATE}")
    return facts


def _refused(problem: str) -> Verdict:
    return Verdict(None, "", (problem,))
