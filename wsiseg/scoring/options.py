"""What is to be scored, and how."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from wsiseg.biomarkers import Thresholds
from wsiseg.errors import ConfigurationError
from wsiseg.regions import HotSpotRule
from wsiseg.statistics import Resampling

Biomarker = Literal["ki67", "er", "pr", "h-score", "allred", "pdl1", "her2", "til", "grading"]
BIOMARKERS: tuple[Biomarker, ...] = get_args(Biomarker)

NUCLEUS_DAB = "nucleus_dab_od_mean"
RING_DAB = "ring_dab_od_mean"
DEFAULT_COLUMN: dict[Biomarker, str] = {
    "ki67": NUCLEUS_DAB,
    "er": NUCLEUS_DAB,
    "pr": NUCLEUS_DAB,
    "h-score": NUCLEUS_DAB,
    "allred": NUCLEUS_DAB,
    "pdl1": RING_DAB,
    "her2": RING_DAB,
}
"""Which column says how strongly a cell is stained; those without one need none."""


@dataclass(frozen=True, slots=True)
class ScoreOptions:
    """How a slide is scored.

    Attributes
    ----------
    biomarkers
        Which; none gives the tables of regions only.
    tumour
        Classes of cells that count as tumour cells; with none, all cells do, and it is said.
    immune
        Classes of cells that count as lymphocytes (for CPS: and macrophages).
    thresholds
        Of optical density.
    column
        Column to take the density from, in place of the biomarker's own.
    hot_spot
        The rule of Ki-67's hot spot.
    resampling
        How intervals are made.

    Raises
    ------
    ConfigurationError
        If a biomarker is unknown, or needs classes that are not named.
    """

    biomarkers: tuple[Biomarker, ...] = ()
    tumour: tuple[str, ...] = ()
    immune: tuple[str, ...] = ()
    thresholds: Thresholds = field(default_factory=Thresholds)
    column: str | None = None
    hot_spot: HotSpotRule = field(default_factory=HotSpotRule)
    resampling: Resampling = field(default_factory=Resampling)

    def __post_init__(self) -> None:
        unknown = [name for name in self.biomarkers if name not in BIOMARKERS]
        if unknown:
            raise ConfigurationError(
                f"there is no biomarker {unknown[0]!r}; there are {', '.join(BIOMARKERS)}"
            )
        if "til" in self.biomarkers and not self.immune:
            raise ConfigurationError(
                "til needs the classes that are lymphocytes: name them with --immune CLASS"
            )
        if "pdl1" in self.biomarkers and not self.tumour:
            raise ConfigurationError(
                "pdl1 needs the classes that are tumour cells: name them with --tumour CLASS, and "
                "lymphocytes and macrophages with --immune CLASS"
            )

    def column_of(self, biomarker: Biomarker) -> str | None:
        """The column that a biomarker's intensity is taken from."""
        return (self.column or DEFAULT_COLUMN[biomarker]) if biomarker in DEFAULT_COLUMN else None

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        columns = {name: self.column_of(name) for name in self.biomarkers}
        return {
            "biomarkers": list(self.biomarkers),
            "tumour": list(self.tumour),
            "immune": list(self.immune),
            "thresholds_od": asdict(self.thresholds),
            "columns": {name: column for name, column in columns.items() if column},
            "hot_spot": asdict(self.hot_spot) | {"rule": self.hot_spot.text()},
            "resampling": asdict(self.resampling),
        }
