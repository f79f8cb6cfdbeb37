"""A semantic network on disk: one folder, everything that is needed to use it rightly.

``model.json``
    What it is (:class:`SemanticFile`); its ``kind`` is ``"semantic"``.
``model.safetensors``
    The weights.
``model.xml``, ``model.bin``
    The same as OpenVINO reads them; absent where it cannot run the network: then torch does.
``CARD.md``
    For people.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from wsiseg.errors import ModelError
from wsiseg.models.network.files import DESCRIPTION, WEIGHTS, checked_file, digest

KIND = "semantic"
MAX_DESCRIPTION_BYTES = 1 << 20

BUNDLED: tuple[str, ...] = ("tissue",)
"""Names of the tissue networks that come with the package."""

_WEIGHTS_FOLDER = Path(__file__).parents[1] / "weights"

Counts = Literal["tissue", "other", "background"]
"""What pixels of a class are: tissue; something named that is no tissue (ink, say); or nothing."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SemanticClass(_Part):
    """A class of tissue, with the colour ``(r, g, b)`` it is drawn in."""

    name: str = Field(min_length=1, max_length=200)
    color: tuple[int, int, int]
    counts: Counts = "tissue"

    @model_validator(mode="after")
    def _a_colour(self) -> SemanticClass:
        if not all(0 <= value <= 255 for value in self.color):
            raise ValueError(f"{self.name}: a colour is three numbers of 0 to 255")
        return self


class SemanticShape(_Part):
    """What must be known to build a network that given weights fit, and how it is run.

    Attributes
    ----------
    encoder, encoder_options
        Name of a timm model, and what is passed to it on top.
    levels
        Feature maps of the encoder that are used, fine to coarse.
    decoder, widths, head
        ``unet``: channels coarse to fine, one a map but the coarsest; ``fpn``: one width for all.
        Channels before the outputs.
    grid
        Input pixels a pixel of the class map, along each axis.
    mean, std
        What is taken from, and what divides, the channels (values of 0 to 1).
    window
        Side of the window that the encoder is made for; ``None``: any.
    stride, reach_px
        Total stride; how far an answer depends on the image, ``None`` where the whole window
        counts (attention, statistics of the window).
    """

    encoder: str
    encoder_options: dict[str, str | int | float | bool] = {}
    levels: int = Field(ge=1, le=6)
    decoder: Literal["unet", "fpn"]
    widths: tuple[int, ...] = Field(min_length=1)
    head: int = Field(ge=4, le=1024)
    grid: int = Field(ge=1, le=64)
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    window: int | None = None
    stride: int = Field(ge=1, le=256)
    reach_px: int | None = Field(ge=0, le=8192)


class Tidying(_Part):
    """How the mask of the tissue, not the map of classes, is tidied.

    Holes up to an area are filled, smaller pieces left out, and the rest grown by a margin.
    """

    filled_hole_um2: float = Field(default=0.0, ge=0)
    least_piece_um2: float = Field(default=0.0, ge=0)
    margin_um: float = Field(default=0.0, ge=0, le=1000)


class SemanticFile(_Part):
    """What ``model.json`` holds. ``sha256`` are the digests of the other files, by name."""

    format: Literal[1]
    kind: Literal["semantic"]
    name: str
    illumination: Literal["brightfield"] = "brightfield"
    mpp: float = Field(gt=0)
    mpp_range: tuple[float, float]
    core: int = Field(ge=16, le=8192)
    halo: int = Field(ge=0, le=8192)
    classes: tuple[SemanticClass, ...] = Field(min_length=2, max_length=64)
    network: SemanticShape
    tidying: Tidying = Tidying()
    licence: str
    data_licence: str
    trained_on: tuple[str, ...]
    sha256: dict[str, str]

    @model_validator(mode="after")
    def _fits(self) -> SemanticFile:
        names = [entry.name.casefold() for entry in self.classes]
        if len(set(names)) < len(names):
            raise ValueError("two classes have the same name")
        if not any(entry.counts == "tissue" for entry in self.classes):
            raise ValueError("no class counts as tissue")
        if self.core % self.network.stride or self.halo % self.network.stride:
            raise ValueError("core and halo must be multiples of the stride")
        if self.network.stride % self.network.grid:
            raise ValueError("the stride must be a multiple of the grid")
        if not 0 < self.mpp_range[0] <= self.mpp <= self.mpp_range[1]:
            raise ValueError("mpp does not lie within mpp_range")
        return self


@dataclass(frozen=True, slots=True)
class SemanticFolder:
    """A folder with a semantic network and what its description says."""

    root: Path
    described: SemanticFile

    @classmethod
    def open(cls, root: Path) -> SemanticFolder:
        """Read and check the description.

        Raises
        ------
        ModelError
            If the folder holds no semantic network, or a description that cannot be used.
        """
        path = root / DESCRIPTION
        try:
            if path.stat().st_size > MAX_DESCRIPTION_BYTES:
                raise ModelError(f"{path} is too large to describe a network")
            text = path.read_bytes()
            plain = json.loads(text)
        except (OSError, ValueError) as error:
            raise ModelError(f"{root} holds no tissue network: {error}") from error
        if not isinstance(plain, dict) or plain.get("kind") != KIND:
            raise ModelError(
                f"{root} holds a model that does not find tissue: {DESCRIPTION} says no "
                f'kind "{KIND}"; models of nuclei are given with --model'
            )
        try:
            described = SemanticFile.model_validate_json(text)
        except ValidationError as error:
            raise ModelError(
                f"{path} does not describe a usable tissue network: {error}"
            ) from error
        return cls(root, described)

    def checked(self, name: str) -> Path:
        """The path of a file, its digest compared with the description's.

        Raises
        ------
        ModelError
            If the file is missing or another one than described.
        """
        return checked_file(self.root, name, self.described.sha256)

    @property
    def digest(self) -> str:
        """Hash of everything that decides the answers, but not of names, licences and colours."""
        described = self.described
        return digest(
            {
                "weights": described.sha256.get(WEIGHTS, ""),
                "mpp": [described.mpp, *described.mpp_range],
                "lattice": [described.core, described.halo],
                "network": described.network.model_dump(mode="json"),
                "classes": [[c.name, c.counts] for c in described.classes],
                "tidying": described.tidying.model_dump(mode="json"),
            }
        )


def find_semantic(name: str) -> SemanticFolder:
    """The tissue network of a name that comes with the package, or of a folder.

    Raises
    ------
    ModelError
        If there is none.
    """
    return SemanticFolder.open(_WEIGHTS_FOLDER / name if name in BUNDLED else Path(name))


def is_semantic_folder(path: Path) -> bool:
    """Whether a folder looks like a model, of whatever kind."""
    return (path / DESCRIPTION).is_file()
