"""A job: what to do with which slides. Every way into wsiseg builds one."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from wsiseg.errors import ConfigurationError

Export = Literal["table", "geojson", "tissue", "labels", "overview"]
ALL_EXPORTS: tuple[Export, ...] = ("table", "geojson", "tissue", "labels", "overview")

DEFAULT_MODEL = "nuclei-he"

TISSUE_METHODS = ("auto", "none")

_COLUMNS = ("path", "mpp", "channel", "tissue")


def _known_tissue(value: str) -> str:
    """A method, or the full path of a file of regions."""
    if value in TISSUE_METHODS:
        return value
    path = Path(value)
    if not path.is_file():
        raise ValueError(f"{value} is neither {' nor '.join(TISSUE_METHODS)}, nor a file")
    return str(path.resolve())


TissueSource = Annotated[str, AfterValidator(_known_tissue)]


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
        ``"auto"``, ``"none"`` or a GeoJSON of regions, in place of the job's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Path
    mpp: Annotated[float, Field(gt=0)] | None = None
    channel: str | None = None
    tissue: TissueSource | None = None


def _as_entry(value: object) -> object:
    return SlideEntry(path=Path(value)) if isinstance(value, str | Path) else value


class Job(BaseModel):
    """Everything that decides the results of a run. Unknown keys are refused.

    Attributes
    ----------
    slides
        The slides, or plain paths.
    model
        Name of the segmenter.
    channel, mpp, tissue
        What holds for every slide that has no entry of its own.
    include, exclude
        Classes or names of the regions in a tissue file that count as tissue (all, where
        empty) and that are cut out of it.
    reader
        ``"auto"`` or the name of a reader.
    damaged
        ``"fail"``: a slide with pixels that cannot be decoded fails, with their number and
        places; ``"fill"``: they are filled with background and reported.
    exports
        What to write for each slide.
    ngff
        Version of the OME-Zarr label pyramids.
    split_um
        Side of the square regions that the GeoJSON is split into; ``None``: one file.
    core
        Side of a tile in frame pixels; ``None``: the model's own.
    commercial
        Refuse a model whose weights or training data forbid commercial use.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    slides: tuple[Annotated[SlideEntry, BeforeValidator(_as_entry)], ...] = Field(min_length=1)
    model: str = DEFAULT_MODEL
    channel: str | None = None
    mpp: Annotated[float, Field(gt=0)] | None = None
    tissue: TissueSource = "auto"
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    reader: str = "auto"
    damaged: Literal["fail", "fill"] = "fail"
    exports: tuple[Export, ...] = ALL_EXPORTS
    ngff: Literal["0.5", "0.4"] = "0.5"
    split_um: Annotated[float, Field(gt=0)] | None = None
    core: Annotated[int, Field(ge=64, le=4096)] | None = None
    commercial: bool = False

    @classmethod
    def of(cls, *paths: str | Path, **settings: object) -> Job:
        """A job over slide files and CSV lists of slides.

        Raises
        ------
        ConfigurationError
            If a path is missing, a list is malformed or a setting is unknown or wrong.
        """
        entries = [entry for path in paths for entry in _entries(Path(path))]
        return cls.checked({"slides": entries, **settings})

    @classmethod
    def checked(cls, values: Mapping[str, object]) -> Job:
        """A job from plain values.

        Raises
        ------
        ConfigurationError
            If a key is unknown or a value is wrong.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise ConfigurationError(_readable(error)) from error

    def settled(self, entry: SlideEntry) -> SlideEntry:
        """The entry with the job's values where it has none of its own."""
        return SlideEntry(
            path=entry.path,
            mpp=entry.mpp if entry.mpp is not None else self.mpp,
            channel=entry.channel if entry.channel is not None else self.channel,
            tissue=entry.tissue if entry.tissue is not None else self.tissue,
        )


def _entries(path: Path) -> list[SlideEntry]:
    if not path.exists():
        raise ConfigurationError(f"{path} does not exist")
    if path.suffix.lower() == ".csv":
        return _read_list(path)
    if path.is_dir():
        raise ConfigurationError(f"{path} is a folder; name the slide files, or a CSV list of them")
    return [SlideEntry(path=path)]


def _read_list(path: Path) -> list[SlideEntry]:
    """Slides of a CSV with the column ``path`` and any of ``mpp``, ``channel``, ``tissue``.

    Relative paths count from the list's own folder.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigurationError(f"cannot read the list {path}: {error}") from error
    if not rows:
        raise ConfigurationError(f"the list {path} names no slide")
    unknown = sorted(set(rows[0]) - set(_COLUMNS), key=str)
    if "path" not in rows[0] or unknown:
        raise ConfigurationError(
            f"the list {path} must have the column 'path' and may have "
            f"{', '.join(_COLUMNS[1:])}; it has {', '.join(map(str, rows[0]))}"
        )
    entries = []
    for line, row in enumerate(rows, start=2):
        if None in row:
            raise ConfigurationError(f"{path}, line {line}: more values than the list has columns")
        values = {key: value.strip() for key, value in row.items() if value and value.strip()}
        if values.get("tissue", "auto") not in TISSUE_METHODS:
            values["tissue"] = str(path.parent / values["tissue"])
        try:
            entry = SlideEntry.model_validate(values)
        except ValidationError as error:
            raise ConfigurationError(f"{path}, line {line}: {_readable(error)}") from error
        slide = path.parent / entry.path
        if not slide.exists():
            raise ConfigurationError(f"{path}, line {line}: {slide} does not exist")
        entries.append(entry.model_copy(update={"path": slide}))
    return entries


def _readable(error: ValidationError) -> str:
    parts = []
    for item in error.errors():
        place = ".".join(str(part) for part in item["loc"])
        message = item["msg"].removeprefix("Value error, ")
        parts.append(f"{place}: {message[:1].lower()}{message[1:]}")
    return "; ".join(parts)
