"""The configuration of a training of classes of tissue, read from TOML."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from wsiseg.models.semantic.files import Counts, SemanticClass, Tidying
from wsiseg.training.config import Augmentation, Schedule, read_checked

UNLABELLED = 255
"""Value of pixels that say nothing, in mask folders and within."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TrainedClass(_Section):
    """A class to be told apart.

    ``annotations`` are the classes or names that its regions have in QuPath (whatever the case;
    by default its own name), ``value`` its pixels' value in mask folders (by default its place in
    the list, from 0).
    """

    name: str
    color: tuple[int, int, int]
    counts: Counts = "tissue"
    annotations: tuple[str, ...] = ()
    value: int | None = Field(default=None, ge=0, lt=UNLABELLED)


class MaskFolder(_Section):
    """A folder with ``images/NAME.png`` and ``classes/NAME.png``, 8 bits a pixel.

    ``folder`` is relative to the configuration file; ``mpp`` the images' pixel size in µm;
    ``weight`` the share of the samples drawn from it, relative to the others.
    """

    name: str
    folder: Path
    part: Literal["train", "val"]
    mpp: float = Field(gt=0)
    weight: float = Field(default=1.0, ge=0)
    licence: str


class AnnotatedRegions(_Section):
    """A slide and a GeoJSON of QuPath's with regions of the classes; the rest is unlabelled.

    Where regions overlap, the later one of the file counts.
    """

    name: str
    slide: Path
    annotations: Path
    part: Literal["train", "val"]
    mpp: float | None = Field(default=None, gt=0)
    weight: float = Field(default=1.0, ge=0)
    licence: str


class SemanticData(_Section):
    """What to train on: mask folders, annotated slides, or both."""

    sets: tuple[MaskFolder, ...] = ()
    slides: tuple[AnnotatedRegions, ...] = ()

    @property
    def sources(self) -> tuple[MaskFolder | AnnotatedRegions, ...]:
        """Folders and slides."""
        return (*self.sets, *self.slides)

    @model_validator(mode="after")
    def _both_parts(self) -> SemanticData:
        names = [entry.name for entry in self.sources]
        if len(set(names)) < len(names):
            raise ValueError("every set and slide needs a name of its own")
        for part in ("train", "val"):
            if not any(entry.part == part for entry in self.sources):
                raise ValueError(f'no set and no slide has part = "{part}"')
        return self


class SemanticModel(_Section):
    """Name, licence and shape of the network, see
    :class:`wsiseg.models.semantic.files.SemanticShape`.

    ``encoder_weights``: ``package`` (ImageNet, for efficientnet_lite0), ``none``, or a file of
    timm's weights for the encoder (.safetensors, or .pth and .bin with plain tensors).
    """

    name: str
    licence: str = "Apache-2.0"
    mpp: float = Field(gt=0)
    encoder: str = "efficientnet_lite0"
    encoder_options: dict[str, str | int | float | bool] = {}
    encoder_weights: Path | Literal["package", "none"] = "package"
    levels: int = Field(default=4, ge=1, le=6)
    decoder: Literal["unet", "fpn"] = "unet"
    widths: tuple[int, ...] = (64, 48, 32)
    head: int = Field(default=32, ge=4)
    grid: int = Field(default=2, ge=1)
    tidying: Tidying = Tidying()


class SemanticConfig(_Section):
    """All of a training."""

    kind: Literal["semantic"]
    model: SemanticModel
    classes: tuple[TrainedClass, ...] = Field(min_length=2, max_length=64)
    data: SemanticData
    schedule: Schedule
    augmentation: Augmentation = Augmentation()

    @property
    def described(self) -> tuple[SemanticClass, ...]:
        """The classes as a model has them."""
        return tuple(
            SemanticClass(name=c.name, color=c.color, counts=c.counts) for c in self.classes
        )

    def class_of(self, label: str) -> int:
        """Place of the class that an annotation belongs to; -1 if there is none."""
        for number, entry in enumerate(self.classes):
            names = entry.annotations or (entry.name,)
            if label.casefold() in (name.casefold() for name in names):
                return number
        return -1

    @model_validator(mode="after")
    def _told_apart(self) -> SemanticConfig:
        names = [entry.name.casefold() for entry in self.classes]
        values = [c.value if c.value is not None else k for k, c in enumerate(self.classes)]
        if len(set(names)) < len(names) or len(set(values)) < len(values):
            raise ValueError("two classes have the same name or value")
        return self


def read_semantic_config(path: Path) -> SemanticConfig:
    """Read and check a configuration; relative paths are taken from its folder.

    Raises
    ------
    ConfigurationError
        If the file cannot be read, is not TOML, or holds unknown keys or impossible values.
    """
    return _placed(read_checked(path, SemanticConfig), path.parent)


def _placed(config: SemanticConfig, folder: Path) -> SemanticConfig:
    sets = tuple(
        entry.model_copy(update={"folder": (folder / entry.folder).resolve()})
        for entry in config.data.sets
    )
    slides = tuple(
        entry.model_copy(
            update={
                "slide": (folder / entry.slide).resolve(),
                "annotations": (folder / entry.annotations).resolve(),
            }
        )
        for entry in config.data.slides
    )
    model = config.model
    if isinstance(model.encoder_weights, Path):
        model = model.model_copy(
            update={"encoder_weights": (folder / model.encoder_weights).resolve()}
        )
    data = config.data.model_copy(update={"sets": sets, "slides": slides})
    return config.model_copy(update={"data": data, "model": model})
