"""Size, shape, darkness and crowding of the nuclei of one place."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsiseg.grading.reference import LEAST_SOLIDITY, Reference
from wsiseg.regions.areas import Area, density
from wsiseg.statistics import (
    Estimate,
    Measure,
    Points,
    Resampling,
    Score,
    bootstrap,
    bootstrap_quantiles,
    proportion,
)
from wsiseg.statistics.blocks import percentage, ratio
from wsiseg.statistics.estimate import UNVALIDATED

LEAST_CELLS = 100

_SOURCE = (
    "for research; stands for parts of Nottingham nuclear pleomorphism (Elston and Ellis, "
    "Histopathology 19, 1991) and WHO/ISUP nuclear grade (Delahunt et al., Am. J. Surg. Pathol. "
    "37, 2013), and replaces neither"
)

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Nuclei:
    """Nuclei of one place; NaN, or ``None`` for a whole column, where not measured.

    Attributes
    ----------
    points
        Where they lie ``[n]``.
    area_um2
        float64 ``[n]``.
    solidity, elongation
        float64 ``[n]``; elongation is 1 less the minor by the major axis.
    haematoxylin_od
        float64 ``[n]``: mean over the nucleus.
    nearest_um
        float64 ``[n]``: distance of the nearest other nucleus's centroid.
    """

    points: Points
    area_um2: Floats
    solidity: Floats | None = None
    elongation: Floats | None = None
    haematoxylin_od: Floats | None = None
    nearest_um: Floats | None = None

    def take(self, chosen: NDArray[np.integer] | NDArray[np.bool_]) -> Nuclei:
        """Some of them."""

        def part(values: Floats | None) -> Floats | None:
            return None if values is None else values[chosen]

        return Nuclei(
            self.points.take(chosen),
            self.area_um2[chosen],
            part(self.solidity),
            part(self.elongation),
            part(self.haematoxylin_od),
            part(self.nearest_um),
        )


def grading(
    nuclei: Nuclei, reference: Reference, area: Area, resampling: Resampling | None = None
) -> Score:
    """Measures of nuclear atypia, for research; see :mod:`wsiseg.grading` for what they are not.

    Anisokaryosis: coefficient of variation of the areas, and their 90th by their 10th
    percentile. Size: median area, and the median diameter by that of the slide's lymphocytes.
    Shape: mean solidity, share of nuclei below 0.9, spread of elongation. Hyperchromasia: mean
    haematoxylin, its spread, and its mean by the lymphocytes'. Crowding: nuclei a mm² of tissue,
    median distance to the nearest, share of nuclei nearer to another one than their own diameter.

    Formula verified, clinically unvalidated.

    Parameters
    ----------
    nuclei
        The nuclei that count, as those of the tumour.
    reference
        Of the slide; taken as known exactly in the intervals.
    area
        Tissue of the place.
    resampling
        How intervals are made.
    """
    how = resampling if resampling is not None else Resampling()
    known = np.isfinite(nuclei.area_um2)
    own = nuclei.take(known)
    measures = [*_size(own, how), *_against(own, reference, how), *_shape(own, how)]
    measures += [*_staining(own, reference, how), *_crowding(nuclei, area, how)]
    return Score(
        "grading",
        _SOURCE,
        UNVALIDATED,
        {
            "cells": len(nuclei.points),
            "unmeasured": int(np.count_nonzero(~known)),
            "reference_cells": reference.cells,
        },
        tuple(measures),
        warnings=_warnings(len(own.points), reference),
    )


def _warnings(cells: int, reference: Reference) -> tuple[str, ...]:
    found = ["for research only: no grade, and no stand-in for one"]
    if not cells:
        found.append("there are no nuclei")
    elif cells < LEAST_CELLS:
        found.append(f"only {cells} nuclei; spreads of fewer than {LEAST_CELLS} are uncertain")
    if not reference.known:
        found.append(
            f"only {reference.cells} reference nuclei on the slide, hence no comparison with them "
            f"({reference.rule})"
        )
    return tuple(found)


def _size(own: Nuclei, how: Resampling) -> list[Measure]:
    return [
        Measure("area_median_um2", "µm²", _median(own, own.area_um2, how), "median nuclear area"),
        Measure(
            "area_cv",
            "%",
            _variation(own, own.area_um2, how),
            "anisokaryosis: standard deviation of the nuclear areas by their mean",
        ),
        Measure(
            "area_p90_p10",
            "",
            bootstrap_quantiles(
                own.points, own.area_um2, (0.1, 0.9), lambda q: ratio(q[:, ::-1]), how
            ),
            "anisokaryosis: 90th by 10th percentile of the nuclear areas",
        ),
    ]


def _against(own: Nuclei, reference: Reference, how: Resampling) -> list[Measure]:
    if not reference.known:
        return []
    limit = reference.area_um2
    return [
        Measure(
            "diameter_ratio",
            "",
            bootstrap_quantiles(
                own.points, own.area_um2, (0.5,), lambda q: np.sqrt(q[:, 0] / limit), how
            ),
            f"square root of median area by that of {reference.cells} reference nuclei "
            f"({limit:.1f} µm²); {reference.rule}",
        ),
        Measure(
            "large_share",
            "%",
            proportion(own.area_um2 > 4 * limit, own.points, how),
            "nuclei of more than twice the diameter of the reference",
        ),
    ]


def _shape(own: Nuclei, how: Resampling) -> list[Measure]:
    found = []
    if own.solidity is not None:
        some, values = _finite(own, own.solidity)
        found.append(Measure("solidity_mean", "", _mean(some, values, how), "mean solidity"))
        found.append(
            Measure(
                "irregular_share",
                "%",
                proportion(values < LEAST_SOLIDITY, some.points, how),
                f"nuclei with a solidity below {LEAST_SOLIDITY:g}",
            )
        )
    if own.elongation is not None:
        some, values = _finite(own, own.elongation)
        found.append(
            Measure(
                "elongation_sd",
                "",
                _over_sums(some, values, _deviation, how),
                "standard deviation of 1 less minor by major axis",
            )
        )
    return found


def _staining(own: Nuclei, reference: Reference, how: Resampling) -> list[Measure]:
    if own.haematoxylin_od is None:
        return []
    some, values = _finite(own, own.haematoxylin_od)
    found = [
        Measure(
            "haematoxylin_mean",
            "OD",
            _mean(some, values, how),
            "hyperchromasia: mean optical density of haematoxylin over the nuclei",
        ),
        Measure(
            "haematoxylin_cv",
            "%",
            _variation(some, values, how),
            "spread of that density between nuclei, by its mean",
        ),
    ]
    od = reference.haematoxylin_od
    if od > 0:
        found.append(
            Measure(
                "haematoxylin_ratio",
                "",
                _mean(some, values / od, how),
                f"that mean by the reference nuclei's median ({od:.3f})",
            )
        )
    return found


def _crowding(nuclei: Nuclei, area: Area, how: Resampling) -> list[Measure]:
    found = [
        Measure(
            "density",
            "1/mm²",
            density(nuclei.points, area, how),
            "nuclei by the area of tissue",
        )
    ]
    if nuclei.nearest_um is None:
        return found
    some, values = _finite(nuclei, nuclei.nearest_um)
    diameter = np.sqrt(some.area_um2 * (4 / math.pi))
    return [
        *found,
        Measure(
            "nearest_median_um",
            "µm",
            _median(some, values, how),
            "median distance to the nearest other nucleus, centre to centre",
        ),
        Measure(
            "crowded_share",
            "%",
            proportion(values < diameter, some.points, how),
            "nuclei whose nearest one's centre is closer than their own diameter",
        ),
    ]


def _finite(own: Nuclei, values: Floats) -> tuple[Nuclei, Floats]:
    known = np.isfinite(values)
    return own.take(known), values[known]


def _median(own: Nuclei, values: Floats, how: Resampling) -> Estimate:
    return bootstrap_quantiles(own.points, values, (0.5,), lambda q: q[:, 0], how)


def _mean(own: Nuclei, values: Floats, how: Resampling) -> Estimate:
    sums = np.stack([values, np.ones(len(values))], axis=1)
    return bootstrap(own.points, sums, ratio, how)


def _variation(own: Nuclei, values: Floats, how: Resampling) -> Estimate:
    def coefficient(sums: Floats) -> Floats:
        return percentage(np.stack([_deviation(sums) * sums[:, 0], sums[:, 1]], axis=1))

    return _over_sums(own, values, coefficient, how)


def _over_sums(
    own: Nuclei, values: Floats, statistic: Callable[[Floats], Floats], how: Resampling
) -> Estimate:
    """A statistic of count, sum and sum of squares."""
    return bootstrap(
        own.points, np.stack([np.ones(len(values)), values, values**2], axis=1), statistic, how
    )


def _deviation(sums: Floats) -> Floats:
    """Standard deviation (of all, not of a sample) of count, sum, squares; NaN of fewer than 2."""
    count = np.where(sums[:, 0] >= 2, sums[:, 0], np.nan)
    mean = sums[:, 1] / count
    # Rounding may leave a hair below nothing where all are equal.
    deviation: Floats = np.sqrt(np.maximum(sums[:, 2] / count - mean**2, 0))
    return deviation
