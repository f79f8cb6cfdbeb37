"""The configuration of a training, read from TOML; unknown keys are refused."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from wsiseg.errors import ConfigurationError

Config = TypeVar("Config", bound=BaseModel)


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataSet(_Section):
    """A folder with ``images/NAME.png`` and ``instances/NAME.png``.

    ``folder`` is relative to the configuration file, by default ``name`` in the data's root.
    Where ``part`` is given all images of the folder belong to it, else the split decides.
    ``mpp`` is the pixel size in µm; where it is unknown or mixed, ``median_area_um2`` brings
    every tile to the scale at which its median nucleus has that area. ``weight`` is the share of
    the samples drawn from this set, relative to the others.
    """

    name: str
    folder: Path | None = None
    part: Literal["train", "val"] | None = None
    mpp: float | None = Field(default=None, gt=0)
    median_area_um2: float | None = Field(default=None, gt=0)
    weight: float = Field(default=1.0, ge=0)
    licence: str

    @model_validator(mode="after")
    def _one_scale(self) -> DataSet:
        if (self.mpp is None) == (self.median_area_um2 is None):
            raise ValueError(f"{self.name}: give either mpp or median_area_um2")
        return self


class AnnotatedSlide(_Section):
    """A slide and a GeoJSON of QuPath's with the outlines of all nuclei within some rectangles.

    Paths are relative to the configuration file. ``area`` is the class or name of the
    rectangles; ``channel`` the nuclear one of a fluorescence slide, by name or number from 1;
    ``mpp`` overrides the slide's own; ``weight`` as in :class:`DataSet`.
    """

    name: str
    slide: Path
    annotations: Path
    area: str
    channel: str | None = None
    part: Literal["train", "val"] = "train"
    mpp: float | None = Field(default=None, gt=0)
    weight: float = Field(default=1.0, ge=0)
    licence: str


class Data(_Section):
    """What to train on: tiles, annotated slides, or both.

    ``root`` (relative to the configuration file) holds one folder a set. ``splits`` (relative to
    the configuration file, by default ``splits.json`` in ``root``) is a JSON file whose entry
    ``split`` lists ``train`` and ``val`` as ``SET/NAME``.
    """

    root: Path = Path()
    splits: Path | None = None
    split: str = ""
    sets: tuple[DataSet, ...] = ()
    slides: tuple[AnnotatedSlide, ...] = ()

    @model_validator(mode="after")
    def _something(self) -> Data:
        if not self.sets and not self.slides:
            raise ValueError("give data.sets or data.slides")
        names = [entry.name for entry in self.sources]
        if len(set(names)) < len(names):
            raise ValueError("every set and slide needs a name of its own")
        return self

    @property
    def sources(self) -> tuple[DataSet | AnnotatedSlide, ...]:
        """Sets and slides."""
        return (*self.sets, *self.slides)


class Model(_Section):
    """Name, licence and shape of the network.

    ``illumination`` says what slides it is for: three channels of 8 bits in brightfield, one
    channel of any range in fluorescence. ``start`` is a model to start from, by name or folder
    (relative to the configuration file): all of its weights whose name and shape are the same
    are taken.
    """

    name: str
    licence: str = "Apache-2.0"
    illumination: Literal["brightfield", "fluorescence"] = "brightfield"
    start: str | None = None
    mpp: float = Field(default=0.5, gt=0)
    encoder: str = "efficientnet_lite0"
    encoder_weights: Path | Literal["package", "none"] = "package"
    stages: int = Field(default=4, ge=3)
    widths: tuple[int, ...] = (96, 64, 48)
    head: int = Field(default=64, ge=8)
    rays: int = Field(default=32, ge=8, le=128)


class Schedule(_Section):
    """Length and speed of the training."""

    steps: int = Field(ge=1)
    batch: int = Field(default=8, ge=1)
    crop_px: int = Field(default=192, ge=64, multiple_of=32)
    rate: float = Field(default=1e-3, gt=0)
    encoder_rate: float = Field(default=0.5, gt=0)
    weight_decay: float = Field(default=0.02, ge=0)
    warmup: int = Field(default=200, ge=1)
    average: float = Field(default=0.998, ge=0, lt=1)
    precision: Literal["bf16", "float32"] = "bf16"
    device: str = "cpu"
    threads: int = Field(default=1, ge=1)
    workers: int = Field(default=1, ge=0)
    checkpoint_every: int = Field(default=250, ge=1)
    validate_every: int = Field(default=500, ge=1)
    seed: int = 0


class Augmentation(_Section):
    """How far samples are taken from their tile; every strength is a range's half-width."""

    scale: tuple[float, float] = (0.7, 1.5)
    stain_gain: float = Field(default=0.35, ge=0, lt=1)
    stain_shift: float = Field(default=0.05, ge=0)
    stain_turn: float = Field(default=0.12, ge=0)
    channel_gain: float = Field(default=0.1, ge=0, lt=1)
    brightness: float = Field(default=0.12, ge=0)
    contrast: float = Field(default=0.25, ge=0, lt=1)
    gamma: float = Field(default=0.3, ge=0)
    saturation: float = Field(default=0.5, ge=0)
    grey: float = Field(default=0.05, ge=0, le=1)
    blur_px: float = Field(default=1.2, ge=0)
    sharpen: float = Field(default=0.6, ge=0)
    noise: float = Field(default=8.0, ge=0)
    jpeg: tuple[int, int] = (30, 95)


class Fluorescence(_Section):
    """How far samples of fluorescence are changed.

    ``range`` and ``offset`` move the brightest and the darkest intensity, the first as the
    half-width of a logarithm, the second in shares of the range; ``haze`` and ``unevenness`` are
    the greatest shares added of what lies out of focus and of a background that rises and falls;
    ``noise`` is the greatest standard deviation in shares of the range.
    """

    range: float = Field(default=0.6, ge=0)
    offset: float = Field(default=0.05, ge=0)
    gamma: float = Field(default=0.3, ge=0)
    haze: float = Field(default=0.4, ge=0)
    unevenness: float = Field(default=0.15, ge=0)
    blur_px: float = Field(default=1.5, ge=0)
    sharpen: float = Field(default=0.6, ge=0)
    noise: float = Field(default=0.08, ge=0)


class TrainingConfig(_Section):
    """All of a training; ``augmentation`` but for its scale is for brightfield."""

    kind: Literal["nuclei"] = "nuclei"
    data: Data
    model: Model
    schedule: Schedule
    augmentation: Augmentation = Augmentation()
    fluorescence: Fluorescence = Fluorescence()


def kind_of(path: Path) -> str:
    """What a configuration trains, by its ``kind``: ``"semantic"``, else ``"nuclei"``.

    A file that cannot be read is of the latter kind: reading it tells what is wrong.
    """
    try:
        with path.open("rb") as file:
            return str(tomllib.load(file).get("kind", "nuclei"))
    except (OSError, tomllib.TOMLDecodeError):
        return "nuclei"


def read_config(path: Path) -> TrainingConfig:
    """Read and check a configuration; relative paths are taken from its folder.

    Raises
    ------
    ConfigurationError
        If the file cannot be read, is not TOML, or holds unknown keys or impossible values.
    """
    return _placed(read_checked(path, TrainingConfig), path.parent)


def read_checked(path: Path, schema: type[Config]) -> Config:
    """A configuration of a training as the file has it. Raises as :func:`read_config`."""
    try:
        with path.open("rb") as file:
            return schema.model_validate(tomllib.load(file))
    except OSError as error:
        raise ConfigurationError(
            f"cannot read the training configuration {path}: {error}"
        ) from error
    except (tomllib.TOMLDecodeError, ValidationError) as error:
        raise ConfigurationError(
            f"{path} is not a usable training configuration: {error}"
        ) from error


def _placed(config: TrainingConfig, folder: Path) -> TrainingConfig:
    """With paths that do not depend on the working directory."""
    data, model = config.data, config.model
    slides = tuple(
        entry.model_copy(
            update={
                "slide": (folder / entry.slide).resolve(),
                "annotations": (folder / entry.annotations).resolve(),
            }
        )
        for entry in data.slides
    )
    sets = tuple(
        entry.model_copy(
            update={"folder": (folder / (entry.folder or data.root / entry.name)).resolve()}
        )
        for entry in data.sets
    )
    splits = (folder / (data.splits or data.root / "splits.json")).resolve()
    root = (folder / data.root).resolve()
    update: dict[str, object] = {
        "data": data.model_copy(
            update={"root": root, "splits": splits, "sets": sets, "slides": slides}
        )
    }
    if model.start is not None and (folder / model.start).is_dir():
        place = str((folder / model.start).resolve())
        update["model"] = model.model_copy(update={"start": place})
    return config.model_copy(update=update)
