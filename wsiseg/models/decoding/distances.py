"""Nuclei from the distance of every pixel to its nucleus's border.

Pixels climb the distance to a summit; summits with hardly a pass between them are joined
(:mod:`wsiseg.models.classical.basins`, whose rule has no look beyond an instance's neighbours).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wsiseg.models.classical.basins import BASIN_REACH, climb, join
from wsiseg.models.decoding.classing import Map, make_instances
from wsiseg.models.segmenter import Instances

_UNIT = 4096


@dataclass(frozen=True, slots=True)
class DistanceRule:
    """How the map is decoded.

    Attributes
    ----------
    foreground
        Least probability of a nucleus's pixel, where the network gives one; else the least
        distance.
    marker
        Least distance at a nucleus's summit, in the map's own unit.
    joined
        Two summits are one nucleus where the pass between them is higher than this share of the
        lower one.
    least_area_px
        Smaller instances are dropped.
    """

    foreground: float = 0.5
    marker: float = 0.0
    joined: float = 0.9
    least_area_px: int = 10

    @property
    def reach_px(self) -> int:
        """How far around an instance's support its answer depends on the maps."""
        return BASIN_REACH


def decode_distances(
    distance: Map,
    nucleus: Map | None,
    types: Map | None,
    rule: DistanceRule,
    background: int | None = None,
) -> Instances:
    """The instances of one window.

    Parameters
    ----------
    distance
        float32 ``[y, x]``: distance to the border, in any unit, highest in the middle.
    nucleus
        float32 ``[y, x]`` or ``None``: probability of nucleus.
    types, background
        See :func:`wsiseg.models.decoding.classing.make_instances`.
    """
    mask = (distance if nucleus is None else nucleus) >= np.float32(rule.foreground)
    limit = np.float32(2**31 / _UNIT - 1)
    relief = np.rint(np.clip(distance, 0, limit) * np.float32(_UNIT)).astype(np.int32)
    basins = climb(mask, relief)
    count = int(basins.max(initial=0))
    groups, boxes = join(basins, relief, count, round(rule.joined * 256))
    summits = np.zeros(count + 1, np.int32)
    np.maximum.at(summits, groups[basins.ravel()], relief.ravel())
    kept = (np.arange(count + 1) == groups) & (summits >= rule.marker * _UNIT)
    kept[0] = False
    numbers = np.where(kept, np.cumsum(kept), 0).astype(np.int32)
    return make_instances(
        numbers[groups][basins],
        int(kept.sum()),
        nucleus,
        types,
        background=background,
        least_px=rule.least_area_px,
        supports=boxes[kept],
    )
