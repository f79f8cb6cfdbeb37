"""Nuclei from a map of their inside and a map of their border.

As U-Nets with a border class and HoVer-NeXt's networks give them (Baumann et al., MIDL 2024: of its
first five outputs the last three are background, inside and border). Foreground is inside or
border; connected parts of what is surely inside are markers; the foreground is shared out among
them along the probability of the inside (:mod:`wsiseg.models.decoding.growing`). The published code
floods instead, clump by clump, and drops clumps of few pixels by their box.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsiseg.models.decoding.classing import Map, make_instances, pick_class
from wsiseg.models.decoding.growing import GROWING_REACH, grow
from wsiseg.models.decoding.markers import number_parts
from wsiseg.models.segmenter import Instances

_UNIT = 65536


@dataclass(frozen=True, slots=True)
class BoundaryRule:
    """How the maps are decoded.

    Attributes
    ----------
    foreground
        Least probability of a nucleus's pixel; one, or one a class, which then counts where the
        class is the likeliest (HoVer-NeXt chooses them so).
    marker
        Least probability of the inside in a marker; one, or one a class.
    least_marker_px
        Smaller markers are dropped.
    least_area_px
        Smaller instances are dropped.
    """

    foreground: tuple[float, ...] = (0.5,)
    marker: tuple[float, ...] = (0.5,)
    least_marker_px: int = 1
    least_area_px: int = 10

    @property
    def reach_px(self) -> int:
        """How far around an instance's support its answer depends on the maps."""
        return GROWING_REACH


def decode_boundary(
    foreground: Map,
    inside: Map,
    types: Map | None,
    rule: BoundaryRule,
    background: int | None = None,
) -> Instances:
    """The instances of one window.

    Parameters
    ----------
    foreground
        float32 ``[y, x]``: probability of nucleus, border included.
    inside
        float32 ``[y, x]``: probability of nucleus, border excluded.
    types, background
        See :func:`wsiseg.models.decoding.classing.make_instances`.
    """
    likeliest = None
    if types is not None and max(len(rule.foreground), len(rule.marker)) > 1:
        likeliest = pick_class(types, background)
    mask = foreground > _limits(rule.foreground, likeliest)
    marked = mask & (inside > _limits(rule.marker, likeliest))
    markers, count = number_parts(marked, rule.least_marker_px, True)
    relief = np.rint(inside * np.float32(_UNIT)).astype(np.int32)
    labels, supports = grow(mask, relief, markers, count)
    return make_instances(
        labels,
        count,
        foreground,
        types,
        background=background,
        least_px=rule.least_area_px,
        supports=supports,
    )


def _limits(
    limits: tuple[float, ...], likeliest: NDArray[np.uint8] | None
) -> np.float32 | NDArray[np.float32]:
    if len(limits) == 1 or likeliest is None:
        return np.float32(limits[0])
    found: NDArray[np.float32] = np.array(limits, np.float32)[likeliest]
    return found
