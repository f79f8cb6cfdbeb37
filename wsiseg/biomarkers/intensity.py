"""How strongly a cell is stained: 0, 1+, 2+, 3+ by thresholds of optical density."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsiseg.errors import ConfigurationError
from wsiseg.statistics import Measure, Points, Resampling, Score, proportion
from wsiseg.statistics.estimate import UNVALIDATED

Classes = NDArray[np.int8]

UNMEASURED = -1
"""Class of a cell whose density is not known (NaN); it counts nowhere."""

_LEAST_CELLS = 100
CLASS_NAMES = ("0", "1+", "2+", "3+")

_SOURCE = (
    "thresholds of the mean optical density, as in QuPath's positive cell detection (Bankhead et "
    "al., Sci. Rep. 7, 2017)"
)


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Least optical density of a weak (1+), moderate (2+) and strong (3+) stain.

    A density at a threshold reaches it. The defaults are those that QuPath offers for the mean
    density of DAB in a nucleus, 0.2, 0.4 and 0.6: a convention, no measurement. What is weak
    depends on antibody, staining and scanner, so calibrate them on controls or on cells that a
    pathologist has read.

    Raises
    ------
    ConfigurationError
        If they are not finite, positive and rising.
    """

    weak: float = 0.2
    moderate: float = 0.4
    strong: float = 0.6

    def __post_init__(self) -> None:
        values = self.weak, self.moderate, self.strong
        if not (all(map(math.isfinite, values)) and 0 < values[0] < values[1] < values[2]):
            raise ConfigurationError(
                "thresholds of optical density must be positive and rise from weak to strong, not "
                + ", ".join(f"{v:g}" for v in values)
            )


def intensity_classes(
    density: NDArray[np.floating], thresholds: Thresholds | None = None
) -> Classes:
    """The class 0 to 3 of every cell, -1 where the density is not finite: int8 ``[n]``.

    Parameters
    ----------
    density
        Optical density of the stain ``[n]``, of the nucleus or of the ring around it.
    """
    limits = thresholds if thresholds is not None else Thresholds()
    edges = np.array([limits.weak, limits.moderate, limits.strong], np.float64)
    values = np.asarray(density, np.float64)
    classes = np.searchsorted(edges, values, side="right").astype(np.int8)
    classes[~np.isfinite(values)] = UNMEASURED
    return classes


@dataclass(frozen=True, slots=True)
class Measured:
    """The cells of a place whose density is known.

    Attributes
    ----------
    classes
        int8 ``[n]`` in 0..3.
    points
        Where they lie, or ``None``.
    unmeasured
        How many were left out.
    """

    classes: Classes
    points: Points | None
    unmeasured: int

    def counts(self) -> dict[str, int]:
        """Cells, cells by class, and those left out."""
        held = np.bincount(self.classes, minlength=len(CLASS_NAMES))
        named = {name: int(count) for name, count in zip(CLASS_NAMES, held, strict=True)}
        return {"cells": len(self.classes), **named, "unmeasured": self.unmeasured}

    def warnings(self, least: int, what: str = "cells") -> tuple[str, ...]:
        """What is doubtful about the counts.

        Parameters
        ----------
        least
            Fewer measured cells than this are said to be few.
        what
            How they are called.
        """
        found = []
        if not len(self.classes):
            found.append(f"there are no {what} with a measured stain")
        elif len(self.classes) < least:
            found.append(f"only {len(self.classes)} {what}; {least} are asked for")
        if self.unmeasured:
            found.append(f"{self.unmeasured} {what} without a measured stain were left out")
        return tuple(found)


def measured(classes: Classes, points: Points | None) -> Measured:
    """Leave out cells that are not measured.

    Raises
    ------
    ValueError
        If classes are not -1 to 3, or not as many as points.
    """
    if points is not None and len(points) != len(classes):
        raise ValueError(f"{len(classes)} classes for {len(points)} points")
    if len(classes) and (classes.min() < UNMEASURED or classes.max() >= len(CLASS_NAMES)):
        raise ValueError("intensity classes are -1 (unmeasured), 0, 1, 2 and 3")
    known = classes >= 0
    own = points.take(known) if points is not None else None
    return Measured(classes[known], own, int(np.count_nonzero(~known)))


def intensity_shares(
    classes: Classes, points: Points | None = None, resampling: Resampling | None = None
) -> Score:
    """The share of cells of each class, in percent.

    Parameters
    ----------
    classes
        As of :func:`intensity_classes`.
    points
        Where the cells lie; without, intervals take cells as independent.
    """
    how = resampling if resampling is not None else Resampling()
    own = measured(classes, points)
    return Score(
        "intensity",
        _SOURCE,
        UNVALIDATED,
        own.counts(),
        class_measures(own, how),
        warnings=own.warnings(_LEAST_CELLS),
    )


def class_measures(own: Measured, resampling: Resampling) -> tuple[Measure, ...]:
    """The share of each class."""
    words = ("unstained", "weak", "moderate", "strong")
    return tuple(
        Measure(
            f"{word}_share",
            "%",
            proportion(own.classes == rank, own.points, resampling),
            f"cells of class {CLASS_NAMES[rank]} among all measured cells",
        )
        for rank, word in enumerate(words)
    )
