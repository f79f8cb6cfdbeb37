"""The size that nuclei are compared with: lymphocytes of the same slide."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEAST_REFERENCE = 30
"""From fewer nuclei no reference is taken."""

LEAST_AREA_UM2 = 15.0
MOST_AREA_UM2 = 45.0
LEAST_SOLIDITY = 0.9
MOST_ELONGATION = 0.3

_SHAPE_RULE = (
    f"lymphocyte-like nuclei: {LEAST_AREA_UM2:g} to {MOST_AREA_UM2:g} µm², solidity "
    f"{LEAST_SOLIDITY:g} or more, minor axis at least {1 - MOST_ELONGATION:g} of the major one"
)
_DARK_RULE = ", mean haematoxylin above the slide's median"

Floats = NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class Reference:
    """Nuclei that others are compared with.

    Attributes
    ----------
    area_um2
        Median area; NaN where there are too few.
    haematoxylin_od
        Median of their mean haematoxylin; NaN where not known.
    cells
        How many they are.
    rule
        How they were chosen, in words.
    """

    area_um2: float
    haematoxylin_od: float
    cells: int
    rule: str

    @property
    def known(self) -> bool:
        """Whether there are enough of them."""
        return not math.isnan(self.area_um2)


def lymphocyte_like(
    area_um2: Floats, solidity: Floats, elongation: Floats, haematoxylin_od: Floats | None
) -> tuple[NDArray[np.bool_], str]:
    """Nuclei that look like small lymphocytes, bool ``[n]``, and the rule in words.

    Small, round and dark: 15 to 45 µm² (a diameter of 4.4 to 7.6 µm), a solidity of 0.9 and
    axes within 30 % of each other, and darker than half the slide's nuclei, where that is known.
    A convention of this program, not validated: small dark nuclei of other cells, and pieces of
    large ones, pass too. Give a class of lymphocytes instead where there is one.

    Parameters
    ----------
    area_um2, solidity, elongation
        ``[n]``; elongation is 1 less the minor by the major axis. NaN passes no limit.
    haematoxylin_od
        ``[n]``, mean over the nucleus; or ``None``.
    """
    found: NDArray[np.bool_] = (
        (area_um2 >= LEAST_AREA_UM2)
        & (area_um2 <= MOST_AREA_UM2)
        & (solidity >= LEAST_SOLIDITY)
        & (elongation <= MOST_ELONGATION)
    )
    if haematoxylin_od is None or not np.isfinite(haematoxylin_od).any():
        return found, _SHAPE_RULE
    return found & (haematoxylin_od > np.nanmedian(haematoxylin_od)), _SHAPE_RULE + _DARK_RULE


def find_reference(
    chosen: NDArray[np.bool_], area_um2: Floats, haematoxylin_od: Floats | None, rule: str
) -> Reference:
    """The reference of a slide, unknown with fewer than 30 nuclei.

    Parameters
    ----------
    chosen
        bool ``[n]``: nuclei of the reference.
    area_um2, haematoxylin_od
        ``[n]`` of all nuclei.
    rule
        How they were chosen, in words.
    """
    areas = area_um2[chosen & np.isfinite(area_um2)]
    if len(areas) < LEAST_REFERENCE:
        return Reference(math.nan, math.nan, len(areas), rule)
    od = math.nan
    if haematoxylin_od is not None and np.isfinite(haematoxylin_od[chosen]).any():
        od = float(np.nanmedian(haematoxylin_od[chosen]))
    return Reference(float(np.median(areas)), od, len(areas), rule)
