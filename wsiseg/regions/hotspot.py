"""Hot spots: the field in which a share or a density is highest, by a stated rule."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from wsiseg.errors import ConfigurationError
from wsiseg.statistics.blocks import Points

FIELD_MM2 = math.pi * 0.25**2
"""A high-power field of 0.5 mm diameter: 0.196 mm²."""

_STEPS = 8
_AT_ONCE = 100_000


@dataclass(frozen=True, slots=True)
class HotSpotRule:
    """Which field is the hot spot.

    Fields of one size are centred on a lattice through the slide's corner, whose step is an
    eighth of the radius (of a square: of half its side), wherever a counted cell is nearest to
    that node. Of the fields that hold ``least_cells`` counted cells or more, the hot spot has the
    highest share of positive ones (``by="share"``), or the most positive ones
    (``by="density"``). Ties go to the field with more counted cells, then to the upper, then to
    the left one. Cells on the border count.

    Attributes
    ----------
    area_mm2
        Area of the field.
    shape
        ``"circle"`` or ``"square"``.
    least_cells
        500 as asked for by Dowsett et al., J. Natl. Cancer Inst. 103, 2011 (Ki-67 in breast
        cancer).
    by
        What is highest.

    Raises
    ------
    ConfigurationError
        If the area or the number of cells is not positive.
    """

    area_mm2: float = FIELD_MM2
    shape: Literal["circle", "square"] = "circle"
    least_cells: int = 500
    by: Literal["share", "density"] = "share"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.area_mm2) and self.area_mm2 > 0):
            raise ConfigurationError(f"a hot spot's area must be positive, not {self.area_mm2}")
        if self.least_cells < 1:
            raise ConfigurationError(f"a hot spot needs a cell at least, not {self.least_cells}")

    @property
    def reach_um(self) -> float:
        """The circle's radius, or half the square's side."""
        um2 = self.area_mm2 * 1e6
        return math.sqrt(um2 / math.pi) if self.shape == "circle" else math.sqrt(um2) / 2

    def text(self) -> str:
        """The rule in words."""
        what = "share of positive cells" if self.by == "share" else "number of positive cells"
        return (
            f"{self.shape} of {self.area_mm2:.3g} mm² with the highest {what} among those with "
            f"{self.least_cells} cells or more, centres every {self.reach_um / _STEPS:.3g} µm"
        )


@dataclass(frozen=True, slots=True)
class HotSpot:
    """The field found.

    Attributes
    ----------
    x_um, y_um
        Its centre.
    cells, positive
        Counted cells in it.
    members
        int64 ``[cells]``: their places among the points given, rising.
    """

    x_um: float
    y_um: float
    cells: int
    positive: int
    members: NDArray[np.int64]


def find_hot_spot(points: Points, positive: NDArray[np.bool_], rule: HotSpotRule) -> HotSpot | None:
    """The hot spot of counted cells, or ``None`` where no field holds enough of them.

    Its value is the highest of many, so it overstates what another such field would show; an
    interval from its own cells does not tell that.

    Parameters
    ----------
    points
        Where the counted cells lie ``[n]``.
    positive
        bool ``[n]``.
    """
    if len(points) < rule.least_cells:
        return None
    reach, norm = rule.reach_um, 2.0 if rule.shape == "circle" else math.inf
    step = reach / _STEPS
    places = np.stack([points.x_um, points.y_um], axis=1)
    # Rows first, so that the first of equal fields is the upper, then the left one.
    nodes = np.unique(np.rint(places[:, ::-1] / step).astype(np.int64), axis=0)
    centres = nodes[:, ::-1].astype(np.float64) * step
    # A hair more, for the border: node and cell are both rounded.
    radius = reach * (1 + 1e-12)
    cells = _counted(cKDTree(places), centres, radius, norm)
    enough = np.flatnonzero(cells >= rule.least_cells)
    if not len(enough):
        return None
    centres, cells = centres[enough], cells[enough]
    found = np.zeros(len(cells), np.int64)
    if positive.any():
        found = _counted(cKDTree(places[positive]), centres, radius, norm)
    rank = found / cells if rule.by == "share" else found.astype(np.float64)
    best = int(np.lexsort((np.arange(len(cells)), -cells, -rank))[0])
    members = cKDTree(places).query_ball_point(centres[best], radius, p=norm, return_sorted=True)
    return HotSpot(
        float(centres[best, 0]),
        float(centres[best, 1]),
        int(cells[best]),
        int(found[best]),
        np.asarray(members, np.int64),
    )


def most_cells(points: Points, rule: HotSpotRule) -> int:
    """The most counted cells that a field of the rule holds, to say why there is no hot spot."""
    if not len(points):
        return 0
    everything = HotSpotRule(rule.area_mm2, rule.shape, 1, "density")
    spot = find_hot_spot(points, np.ones(len(points), np.bool_), everything)
    return spot.cells if spot is not None else 0


def _counted(
    tree: cKDTree, centres: NDArray[np.float64], radius: float, norm: float
) -> NDArray[np.int64]:
    parts = [
        tree.query_ball_point(centres[start : start + _AT_ONCE], radius, p=norm, return_length=True)
        for start in range(0, len(centres), _AT_ONCE)
    ]
    return np.concatenate(parts).astype(np.int64)
