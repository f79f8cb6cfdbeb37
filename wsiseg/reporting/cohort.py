"""What the slides of a run are held against each other by, group by group."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from wsiseg.errors import StoreError
from wsiseg.execution.results import Run
from wsiseg.quality.fields import Fault
from wsiseg.reporting.fields import SlideFields, read_fields
from wsiseg.reporting.score_parts import titled
from wsiseg.reporting.scored import Scored, read_scored
from wsiseg.statistics import Measure, Score
from wsiseg.store.folders import RunFolder
from wsiseg.summary.outliers import COLOUR, Comparison
from wsiseg.summary.page import Summary

MOST_LANES = 20
OTHERS = "(other groups)"
NO_GROUP = "(no group)"


@dataclass(frozen=True, slots=True)
class CohortSlide:
    """What a cohort needs of a slide besides its row.

    Attributes
    ----------
    flagged_percent
        Fields of tissue that are flagged for any reason; ``None`` where they were not looked at.
    scored
        Its biomarkers; ``None`` where it was not scored, or another segmentation was.
    faults
        Flagged fields by fault.
    problem
        What could not be read.
    """

    flagged_percent: float | None
    scored: Scored | None
    faults: dict[Fault, int] = field(default_factory=dict)
    problem: str = ""

    @property
    def scores(self) -> tuple[Score, ...]:
        """Biomarkers of the whole slide."""
        return self.scored.places[0].scores if self.scored else ()

    def value(self, biomarker: str, name: str) -> float:
        """A measure of a biomarker on the whole slide; NaN where there is none."""
        for score in self.scores:
            for measure in score.measures:
                if (score.biomarker, measure.name) == (biomarker, name):
                    return measure.estimate.value
        return math.nan


@dataclass(frozen=True, slots=True)
class Measured:
    """One measure of all slides.

    Attributes
    ----------
    name, unit, meaning
        In words.
    values
        float64 ``[n]``, NaN where not known.
    out
        bool ``[n]``: which stand out, by the rule of the summary; none where it does not apply.
    """

    name: str
    unit: str
    meaning: str
    values: NDArray[np.float64]
    out: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Cohort:
    """All that the page of a cohort is made of.

    Attributes
    ----------
    summary
        Slides, comparisons, when and by which wsiseg.
    slides
        What is known of each besides, in the order of ``summary.rows``.
    reports
        Names of the slides that have a report beside the page.
    """

    summary: Summary
    slides: tuple[CohortSlide, ...]
    reports: frozenset[str]

    def groups(self) -> dict[str, list[int]]:
        """Places of the whole slides by group, in the order of names, slides without one last;
        one nameless group where none is named. Beyond ``MOST_LANES`` groups the smallest are
        taken together."""
        rows = self.summary.rows
        whole = self.summary.of_state("whole")
        if not any(rows[i].group for i in whole):
            return {"": whole}
        found: dict[str, list[int]] = {}
        for i in whole:
            found.setdefault(rows[i].group or NO_GROUP, []).append(i)
        if len(found) > MOST_LANES:
            largest = sorted(found, key=lambda name: -len(found[name]))[: MOST_LANES - 1]
            rest = [i for name, of in found.items() if name not in largest for i in of]
            found = {name: found[name] for name in largest} | {OTHERS: rest}
        return dict(sorted(found.items(), key=lambda item: (item[0] in (OTHERS, NO_GROUP), item)))

    def measures(self) -> tuple[Measured, ...]:
        """Measures that at least one slide has: the summary's, flagged fields, biomarkers."""
        none = np.zeros(len(self.slides), np.bool_)
        found = [_compared(one) for one in self.summary.comparisons]
        flagged = [s.flagged_percent for s in self.slides]
        found.append(
            Measured(
                "fields flagged",
                "%",
                "fields of tissue that look blurred, folded, grey or oddly stained",
                np.array([math.nan if v is None else v for v in flagged], np.float64),
                none,
            )
        )
        for (biomarker, name), (score, measure) in self._main_measures().items():
            values = [slide.value(biomarker, name) for slide in self.slides]
            title = titled(score, measure)
            found.append(Measured(title, measure.unit, measure.definition, np.array(values), none))
        return tuple(one for one in found if np.isfinite(one.values).any())

    def biomarkers(self) -> dict[str, list[str]]:
        """Biomarkers that any slide was scored for, and the names of their measures."""
        found: dict[str, dict[str, None]] = {}
        for slide in self.slides:
            for score in slide.scores:
                names = found.setdefault(score.biomarker, {})
                names |= dict.fromkeys(measure.name for measure in score.measures)
        return {biomarker: list(names) for biomarker, names in found.items()}

    def _main_measures(self) -> dict[tuple[str, str], tuple[Score, Measure]]:
        every = (score for slide in self.slides for score in slide.scores if score.measures)
        found: dict[tuple[str, str], tuple[Score, Measure]] = {}
        for score in every:
            found.setdefault((score.biomarker, score.measures[0].name), (score, score.measures[0]))
        return found


def read_slide(run: Run, name: str) -> CohortSlide:
    """What a cohort needs of a finished slide. What is damaged is told, not raised."""
    try:
        fields = read_fields(RunFolder(run.path).slide(name))
        scored = read_scored(run, name)
        if scored is not None and scored.segment_key != str(run.report(name).get("segment_key")):
            return CohortSlide(_share(fields), None, problem="its scores are out of date")
    except StoreError as error:
        return CohortSlide(None, None, problem=str(error))
    if fields is None:
        return CohortSlide(None, scored)
    return CohortSlide(_share(fields), scored, {f: fields.count(f) for f in fields.flags})


def middle_half(values: NDArray[np.float64], of: Iterable[int]) -> tuple[int, float, float, float]:
    """Of some slides, how many have a value; its median and quartiles, NaN without any."""
    found = values[list(of)]
    found = found[np.isfinite(found)]
    if not len(found):
        return 0, math.nan, math.nan, math.nan
    low, middle, high = np.percentile(found, [25, 50, 75]).tolist()
    return len(found), middle, low, high


def _share(fields: SlideFields | None) -> float | None:
    return 100 * fields.flagged / len(fields) if fields is not None and len(fields) else None


def _compared(one: Comparison) -> Measured:
    of = one.measure
    least = f"{of.least:g}°" if of is COLOUR else f"a factor of {of.least:g}"
    meaning = f"{of.meaning}; least difference to stand out: {least}"
    return Measured(of.name, of.unit, meaning, one.values, one.out)
