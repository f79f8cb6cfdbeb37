"""A slide as it is named: in a list, in a file of settings, in Python."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from wsiseg.errors import ConfigurationError
from wsiseg.listing.table import MAX_COLUMNS, MAX_FIELD

TISSUE_METHODS = ("auto", "classical", "none", "tissue")
"""Ways to find tissue that need no file: what suits best, by optical density or glow, everything,
and the tissue network of the package."""

Stain = Literal["HE", "HDAB"]

COLUMNS = ("path", "mpp", "channel", "stain", "tissue", "group")
"""Columns of a list of slides that have a meaning; every other one is metadata."""


def _real(path: Path) -> Path:
    # Unlike Path.resolve, it lets links that lead in a circle stand.
    return Path(os.path.realpath(path))


def whole_path(value: str) -> str:
    """A method, or the full path of a file of regions or of a network."""
    return value if value in TISSUE_METHODS else str(_real(Path(value)))


def _plain_stain(value: object) -> object:
    """``H&E``, ``h-dab`` and the like as the words that are known."""
    if not isinstance(value, str):
        return value
    word = re.sub(r"[^A-Z]", "", value.upper())
    if word not in ("HE", "HDAB"):
        raise ValueError(
            f"{value!r} is neither HE nor HDAB; leave the stain empty, and keep other names in a "
            "column of your own, such as 'marker'"
        )
    return word


def _bounded(values: Mapping[str, str]) -> Mapping[str, str]:
    if len(values) > MAX_COLUMNS or any(len(t) > MAX_FIELD for kv in values.items() for t in kv):
        raise ValueError(
            f"more than {MAX_COLUMNS} members, or one of more than {MAX_FIELD:,} characters"
        )
    return values


Metadata = Annotated[Mapping[str, str], AfterValidator(_bounded)]


class SlideEntry(BaseModel):
    """One slide of a job, with what its header does not say or says wrongly.

    Attributes
    ----------
    path
        The slide file.
    mpp
        Pixel size of level 0 in µm/px, in place of the header's.
    channel
        Name or number (from 1) of the fluorescence channel to segment.
    tissue
        One of ``TISSUE_METHODS``, a GeoJSON of regions or the folder of a tissue network, in place
        of the job's. One that is not there fails the slide, not the job.
    stain
        ``"HE"`` (haematoxylin and eosin) or ``"HDAB"`` (haematoxylin and DAB), where it is known:
        then it is not guessed from the colours.
    group
        What the slide belongs to: a patient, a batch.
    metadata
        Whatever else is known of it, carried into its report and tables.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Path
    mpp: Annotated[float, Field(gt=0)] | None = None
    channel: str | None = None
    tissue: Annotated[str, AfterValidator(whole_path)] | None = None
    stain: Annotated[Stain, BeforeValidator(_plain_stain)] | None = None
    group: Annotated[str, Field(max_length=MAX_FIELD)] | None = None
    metadata: Metadata = Field(default_factory=dict)

    def __hash__(self) -> int:
        # Metadata cannot be hashed; the rest tells slides apart.
        return hash((self.path, self.mpp, self.channel, self.tissue, self.stain, self.group))

    @property
    def place(self) -> Path:
        """The full path of the slide file, links followed as far as they lead."""
        return _real(self.path)

    @property
    def about(self) -> dict[str, object]:
        """What only describes the slide and decides nothing: group, stain, metadata; none of
        them where nothing is said."""
        told = {"group": self.group, "stain": self.stain, "metadata": dict(self.metadata)}
        return {name: value for name, value in told.items() if value}


def entry_from(values: Mapping[str, Any], base: Path, where: str) -> SlideEntry:
    """A slide from plain values.

    Parameters
    ----------
    values
        Fields of :class:`SlideEntry`.
    base
        The folder that relative paths count from.
    where
        Where the values come from, for messages.

    Raises
    ------
    ConfigurationError
        If a field is unknown or a value is wrong.
    """
    values = {**values, "path": base / values["path"]}
    if isinstance(values.get("tissue"), str):
        values["tissue"] = from_folder(base, values["tissue"])
    try:
        return SlideEntry.model_validate(values)
    except ValidationError as error:
        raise ConfigurationError(f"{where}: {readable(error)}") from error


def from_folder(base: Path, tissue: str) -> str:
    """A method as it is, or a path that counts from a folder."""
    return tissue if tissue in TISSUE_METHODS else str(base / tissue)


def readable(error: ValidationError) -> str:
    """What is wrong with some values, for the user."""
    parts = []
    for item in error.errors():
        place = ".".join(str(part) for part in item["loc"])
        message = item["msg"].removeprefix("Value error, ")
        parts.append(f"{place}: {message[:1].lower()}{message[1:]}")
    return "; ".join(parts)
