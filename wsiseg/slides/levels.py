"""Facts about levels that every reader derives in the same way; arithmetic only."""

from __future__ import annotations

from collections.abc import Sequence

from wsiseg.geometry import Size
from wsiseg.slides.reader import Level


def describe_levels(sizes: Sequence[Size]) -> tuple[Level, ...]:
    """Levels with their exact downsample, finest first.

    Writers round the size of a reduced level down, up or to the nearest, so the ratio of two
    sizes is near the true reduction but not equal to it. If a whole number ``r`` explains the
    size along both axes, ``floor(W / r) <= w <= ceil(W / r)``, it is ``r``; else the ratio.
    """
    return tuple(Level(size, exact_downsample(sizes[0], size)) for size in sizes)


def exact_downsample(base: Size, size: Size) -> float:
    """Level-0 pixels per pixel of a level of ``size``."""
    ratio = (base.width / size.width + base.height / size.height) / 2
    whole = round(ratio)
    # A size of few pixels fits several whole numbers; writers halve, so powers of two go first.
    power = 1 << max(whole.bit_length() - 1, 0)
    powers = sorted((power, 2 * power), key=lambda candidate: abs(candidate - ratio))
    for candidate in (*powers, whole):
        if candidate >= 1 and _explains(base, size, candidate):
            return float(candidate)
    return ratio


def _explains(base: Size, size: Size, by: int) -> bool:
    return base.width // by <= size.width <= -(
        -base.width // by
    ) and base.height // by <= size.height <= -(-base.height // by)
