"""A number and how sure it is; a number with its definition; several that make a score."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from wsiseg.errors import ConfigurationError

Method = Literal["spatial block bootstrap", "Wilson", "none"]
"""How an interval was made: see :mod:`wsiseg.statistics.blocks` and
:func:`wsiseg.statistics.wilson.wilson`; ``"none"`` where none can be told."""

UNVALIDATED = "formula verified, clinically unvalidated"
"""Said of every score that was not compared with pathologists' readings."""

_MOST_RESAMPLES = 100_000


@dataclass(frozen=True, slots=True)
class Resampling:
    """How intervals are made.

    Attributes
    ----------
    block_um
        Side of the square blocks in µm that are drawn as a whole. It should exceed the distance
        over which neighbouring cells resemble each other.
    resamples
        How often the blocks are drawn.
    seed
        Equal seeds give equal intervals.
    confidence
        Between 0 and 1.

    Raises
    ------
    ConfigurationError
        If one of them is out of range.
    """

    block_um: float = 200.0
    resamples: int = 2000
    seed: int = 0
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if not (math.isfinite(self.block_um) and self.block_um > 0):
            raise ConfigurationError(f"the side of a block must be positive, not {self.block_um}")
        if not 100 <= self.resamples <= _MOST_RESAMPLES:
            raise ConfigurationError(
                f"there must be 100 to {_MOST_RESAMPLES:,} resamples, not {self.resamples}"
            )
        if not 0.5 <= self.confidence < 1:
            raise ConfigurationError(
                f"the confidence must lie between 0.5 and 1, not {self.confidence}"
            )
        if self.seed < 0:
            raise ConfigurationError(f"the seed must not be negative, not {self.seed}")


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value and its interval; NaN where not defined.

    Attributes
    ----------
    value, low, high
        In the unit of the value.
    confidence
        Of the interval.
    method
        How the interval was made.
    blocks
        Number of blocks that were drawn from; 0 where none were.
    """

    value: float
    low: float
    high: float
    confidence: float
    method: Method
    blocks: int

    def to_dict(self) -> dict[str, object]:
        """As JSON, ``null`` where not defined."""
        return {
            "value": _number(self.value),
            "low": _number(self.low),
            "high": _number(self.high),
            "confidence": self.confidence,
            "method": self.method,
            "blocks": self.blocks,
        }


def undefined(resampling: Resampling) -> Estimate:
    """No value at all, as of no cells."""
    return Estimate(math.nan, math.nan, math.nan, resampling.confidence, "none", 0)


@dataclass(frozen=True, slots=True)
class Measure:
    """A number with its unit, its interval and what it is.

    Attributes
    ----------
    name
        In lower case with underscores.
    unit
        ``"%"``, ``"1/mm²"``, ``"µm²"`` ...; empty for plain numbers.
    estimate
        Value and interval.
    definition
        One sentence.
    """

    name: str
    unit: str
    estimate: Estimate
    definition: str

    def to_dict(self) -> dict[str, object]:
        """As JSON."""
        return {
            "name": self.name,
            "unit": self.unit,
            **self.estimate.to_dict(),
            "definition": self.definition,
        }


@dataclass(frozen=True, slots=True)
class Score:
    """What a biomarker came to in one place.

    Attributes
    ----------
    biomarker
        Its name as for ``wsiseg score --biomarker``.
    source
        The publication that defines it.
    validation
        What it was compared with.
    counts
        Numbers of cells that it rests on.
    measures
        The main one first.
    bands
        Where published cut-offs place a value, in the words of the source. A band describes the
        number computed; it is no diagnosis.
    warnings
        Sentences for the user.
    """

    biomarker: str
    source: str
    validation: str
    counts: Mapping[str, int]
    measures: tuple[Measure, ...]
    bands: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Estimate:
        """The estimate of the measure of that name; ``KeyError`` if there is none."""
        for measure in self.measures:
            if measure.name == name:
                return measure.estimate
        raise KeyError(name)

    def to_dict(self) -> dict[str, object]:
        """As JSON."""
        return {
            "biomarker": self.biomarker,
            "source": self.source,
            "validation": self.validation,
            "counts": dict(self.counts),
            "measures": [measure.to_dict() for measure in self.measures],
            "bands": dict(self.bands),
            "warnings": list(self.warnings),
        }


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
