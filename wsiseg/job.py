"""A job: what to do with which slides. Every way into wsiseg builds one."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from wsiseg.errors import ConfigurationError
from wsiseg.features.definitions import DEFAULT_SETS
from wsiseg.features.plugged import in_order, set_names
from wsiseg.features.vectors import stated_stains
from wsiseg.listing.entry import (
    TISSUE_METHODS,
    SlideEntry,
    entry_from,
    from_folder,
    readable,
    whole_path,
)
from wsiseg.listing.paths import list_slides
from wsiseg.models.device import AUTO, is_device
from wsiseg.models.semantic.files import is_semantic_folder
from wsiseg.models.zoo import settle_name
from wsiseg.plugins import plugins
from wsiseg.quality.fields import Fault
from wsiseg.stain import Vector

__all__ = [
    "DEFAULT_EXPORTS",
    "DEFAULT_MODEL",
    "EXPORTS",
    "TISSUE_METHODS",
    "Export",
    "Job",
    "SlideEntry",
    "read_job",
]

Export = str
"""Name of an export: one of ``EXPORTS``, or of a plug-in."""

EXPORTS: tuple[Export, ...] = (
    "table",
    "geojson",
    "tissue",
    "labels",
    "overview",
    "csv",
    "anndata",
    "anndata-zarr",
    "spatialdata",
    "annotations",
    "tissue-table",
)
DEFAULT_EXPORTS: tuple[Export, ...] = ("table", "geojson", "tissue", "labels", "overview")

DEFAULT_MODEL = "nuclei-he"

MAX_JOB_BYTES = 64 << 20
"""Size of a TOML file at most."""


def _known_tissue(value: str) -> str:
    """A method, or the full path of a file of regions or of a tissue network that is there."""
    path = Path(value)
    if value not in TISSUE_METHODS and not path.is_file() and not is_semantic_folder(path):
        raise ValueError(
            f"{value} is none of {', '.join(TISSUE_METHODS)}, nor a file of regions, nor the "
            "folder of a tissue network"
        )
    return whole_path(value)


def _known_device(value: str) -> str:
    if not is_device(value):
        raise ValueError(f"{value!r} is no device; give auto, cpu, cuda or cuda:N")
    return value


def _feature_sets(value: object) -> object:
    """Sets of features in their usual order, once each; ``none`` stands for no set."""
    if not isinstance(value, list | tuple):
        return value
    names = [str(name).strip().lower() for name in value]
    if "none" in names:
        if len(names) > 1:
            raise ValueError("none cannot be combined with other sets of features")
        return ()
    unknown = [name for name in names if name not in set_names()]
    if unknown:
        raise ValueError(
            f"there is no set of features {', '.join(unknown)}; there are {', '.join(set_names())} "
            "and none"
        )
    return in_order(names)


def _known_export(name: str) -> str:
    there = (*EXPORTS, *plugins("exporters"))
    if name not in there:
        raise ValueError(f"there is no export {name!r}; there are {', '.join(there)}")
    return name


def _settled_model(name: str) -> str:
    return settle_name(name)


def _usable(vectors: tuple[Vector, Vector]) -> tuple[Vector, Vector]:
    try:
        stated_stains(vectors, None, (255.0, 255.0, 255.0))
    except ConfigurationError as error:
        raise ValueError(str(error)) from error
    return vectors


def _known_file(value: str) -> str:
    """The full path of a file that is there."""
    path = Path(value)
    if not path.is_file():
        raise ValueError(f"{value} is not a file")
    return str(path.resolve())


def _as_entry(value: object) -> object:
    return SlideEntry(path=Path(value)) if isinstance(value, str | Path) else value


class Job(BaseModel):
    """Everything that decides the results of a run. Unknown keys are refused.

    Attributes
    ----------
    slides
        The slides, or plain paths.
    model
        Name of the segmenter, or the file or folder of one.
    channel, mpp, tissue
        What holds for every slide that has no entry of its own.
    include, exclude
        Classes or names of the regions in a tissue file, or classes of a tissue network, that
        count as tissue (all, or those the network says, where empty) and that are cut out of it.
    reader
        ``"auto"`` or the name of a reader.
    damaged
        ``"fail"``: a slide with pixels that cannot be decoded fails, with their number and
        places; ``"fill"``: they are filled with background and reported.
    gate
        Faults of the scan or the section whose fields are left out of the tissue, each with its
        code in the tissue mask (:mod:`wsiseg.quality.fields`).
    features
        Sets of features to measure of every nucleus (:mod:`wsiseg.features.definitions`); shapes
        are measured always. ``"none"``: no others.
    stain_vectors
        Optical densities ``(red, green, blue)`` of haematoxylin and of the counterstain, for
        all slides, in place of those estimated on each.
    classifier
        A file of ``wsiseg classify``: the classes that cells get in all exports, in place of the
        model's.
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
    trust
        Run a model that can run code of its maker's (:mod:`wsiseg.models.trust`).
    device
        What the model runs on: ``"auto"`` (a graphics card where there is one that it can use),
        ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
    batch
        Windows predicted together; ``None``: as many as the model prefers.
    readers
        Threads of each process that read pixels; ``None``: as many as keep up with the model.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    slides: tuple[Annotated[SlideEntry, BeforeValidator(_as_entry)], ...] = Field(min_length=1)
    model: Annotated[str, AfterValidator(_settled_model)] = DEFAULT_MODEL
    channel: str | None = None
    mpp: Annotated[float, Field(gt=0)] | None = None
    tissue: Annotated[str, AfterValidator(_known_tissue)] = "auto"
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    reader: str = "auto"
    damaged: Literal["fail", "fill"] = "fail"
    gate: tuple[Fault, ...] = ()
    features: Annotated[tuple[str, ...], BeforeValidator(_feature_sets)] = DEFAULT_SETS
    stain_vectors: Annotated[tuple[Vector, Vector], AfterValidator(_usable)] | None = None
    classifier: Annotated[str, AfterValidator(_known_file)] | None = None
    exports: tuple[Annotated[Export, AfterValidator(_known_export)], ...] = DEFAULT_EXPORTS
    ngff: Literal["0.5", "0.4"] = "0.5"
    split_um: Annotated[float, Field(gt=0)] | None = None
    core: Annotated[int, Field(ge=64, le=4096)] | None = None
    commercial: bool = False
    trust: bool = False
    device: Annotated[str, AfterValidator(_known_device)] = AUTO
    batch: Annotated[int, Field(ge=1, le=64)] | None = None
    readers: Annotated[int, Field(ge=1, le=64)] | None = None

    @classmethod
    def of(cls, *paths: str | Path, **settings: object) -> Job:
        """A job over slide files, folders and globs of them, and lists of slides.

        Slides found in a folder or by a glob count once, however often they are found or named.

        Raises
        ------
        ConfigurationError
            If a path is missing, a list is malformed or a setting is unknown or wrong.
        """
        return cls.checked({"slides": list_slides(paths), **settings})

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
            raise ConfigurationError(readable(error)) from error

    def settled(self, entry: SlideEntry) -> SlideEntry:
        """The entry with the job's values where it has none of its own."""
        given = {"mpp": self.mpp, "channel": self.channel, "tissue": self.tissue}
        missing = {k: value for k, value in given.items() if getattr(entry, k) is None}
        return entry.model_copy(update=missing)

    def alone(self, entry: SlideEntry) -> Job:
        """The job as it is for one slide: what travels to the process that works on it."""
        return self.model_copy(update={"slides": (entry,)})


def read_job(path: str | Path, paths: Iterable[str | Path] = (), **settings: object) -> Job:
    """A job from a TOML file whose keys are the fields of :class:`Job`.

    ``slides`` holds paths (files, folders, globs, lists) or tables with the fields of
    :class:`SlideEntry`. Relative paths count from the file's own folder.

    Parameters
    ----------
    path
        The file.
    paths
        Slides in place of the file's own, as for :meth:`Job.of`; none: the file's.
    settings
        Values in place of the file's own.

    Raises
    ------
    ConfigurationError
        If the file cannot be read, a key is unknown or a value is wrong.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_JOB_BYTES:
            raise ConfigurationError(f"{path} is larger than {MAX_JOB_BYTES >> 20} MB")
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"cannot read the job {path}: {error}") from error
    base = path.parent
    if isinstance(values.get("tissue"), str):
        values["tissue"] = from_folder(base, values["tissue"])
    if isinstance(values.get("classifier"), str):
        values["classifier"] = str(base / values["classifier"])
    if isinstance(values.get("model"), str):
        values["model"] = settle_name(values["model"], base)
    named = list_slides(paths)
    try:
        slides = values.pop("slides", None)
        values["slides"] = named or list(_stated(slides, base))
        return Job.checked({**values, **settings})
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from error


def _stated(slides: object, base: Path) -> Iterator[SlideEntry]:
    """The slides of a TOML file: what its paths stand for, then its tables."""
    if not isinstance(slides, list) or not slides:
        raise ConfigurationError('slides: name at least one, e.g. slides = ["slides/*.svs"]')
    paths = [base / item for item in slides if isinstance(item, str)]
    yield from list_slides(paths)
    for number, item in enumerate(slides, start=1):
        if isinstance(item, str):
            continue
        if not isinstance(item, dict) or not isinstance(item.get("path"), str):
            raise ConfigurationError(f"slides, number {number}: neither a path nor a table of one")
        yield entry_from(item, base, f"slides, number {number}")
