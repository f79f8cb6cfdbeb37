"""Ki-67: the share of nuclei in the cell cycle."""

from __future__ import annotations

from wsiseg.biomarkers.intensity import Classes, Measured, measured
from wsiseg.regions.hotspot import HotSpotRule, find_hot_spot, most_cells
from wsiseg.statistics import Measure, Points, Resampling, Score, proportion
from wsiseg.statistics.estimate import UNVALIDATED

LEAST_CELLS = 500

_SOURCE = (
    "Dowsett et al., J. Natl. Cancer Inst. 103, 2011; Nielsen et al., J. Natl. Cancer Inst. 113, "
    "2021 (International Ki67 in Breast Cancer Working Group)"
)


def ki67(
    classes: Classes,
    points: Points | None = None,
    resampling: Resampling | None = None,
    hot_spot: HotSpotRule | None = None,
) -> Score:
    """The Ki-67 labelling index: stained nuclei of tumour cells in percent of all of them.

    Any brown above the threshold makes a nucleus positive, however weak (Dowsett et al. 2011;
    Nielsen et al. 2021); both ask for 500 cells at least. The index of the hot spot is that of
    the field that :class:`~wsiseg.regions.HotSpotRule` finds. The groups' own way of choosing
    fields by eye, and its weights, are not followed here: all cells given count alike.

    Formula verified, clinically unvalidated.

    Parameters
    ----------
    classes
        Of the nuclei that count, as of :func:`~wsiseg.biomarkers.intensity_classes` ``[n]``.
    points
        Where they lie; without, there is no hot spot and the interval takes cells as independent.
    resampling
        How intervals are made.
    hot_spot
        The rule; the default field is a circle of 0.196 mm².
    """
    how = resampling if resampling is not None else Resampling()
    rule = hot_spot if hot_spot is not None else HotSpotRule()
    own = measured(classes, points)
    measures = [
        Measure(
            "labelling_index",
            "%",
            proportion(own.classes > 0, own.points, how),
            "positive nuclei (1+ to 3+) among all measured nuclei",
        )
    ]
    counts = own.counts() | {"positive": int((own.classes > 0).sum())}
    warnings = list(own.warnings(LEAST_CELLS, "nuclei"))
    if own.points is not None and len(own.classes):
        found = find_hot_spot(own.points, own.classes > 0, rule)
        if found is None:
            most = most_cells(own.points, rule)
            warnings.append(
                f"no hot spot: no field of {rule.area_mm2:.3g} mm² holds {rule.least_cells} nuclei "
                f"(the fullest has {most})"
            )
        else:
            inside = Measured(own.classes[found.members], own.points.take(found.members), 0)
            measures.append(
                Measure(
                    "hot_spot_labelling_index",
                    "%",
                    proportion(inside.classes > 0, inside.points, how),
                    f"positive nuclei among those of the hot spot: {rule.text()}; the interval "
                    "does not know that it is the highest of many",
                )
            )
            counts |= {
                "hot_spot_cells": found.cells,
                "hot_spot_positive": found.positive,
                "hot_spot_x_um": round(found.x_um),
                "hot_spot_y_um": round(found.y_um),
            }
    return Score("ki67", _SOURCE, UNVALIDATED, counts, tuple(measures), warnings=tuple(warnings))
