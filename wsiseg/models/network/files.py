"""A trained network on disk: one folder, everything that is needed to use it rightly.

``model.json``
    What it is (:class:`ModelFile`).
``model.safetensors``
    The weights.
``model.xml``, ``model.bin``
    The same network and weights as OpenVINO reads them, so that running needs no torch.
``CARD.md``
    For people: data, training, scores, known failures.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from wsiseg.errors import ModelError
from wsiseg.slides.reader import Illumination

DESCRIPTION = "model.json"
WEIGHTS = "model.safetensors"
GRAPH = "model.xml"
GRAPH_WEIGHTS = "model.bin"
CARD = "CARD.md"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NetworkShape(_Part):
    """Fields of :class:`wsiseg.models.network.architecture.Architecture`, and what follows.

    ``crop`` pixels along each edge of a window have no outputs.
    """

    encoder: str
    stages: int
    widths: tuple[int, ...]
    head: int
    rays: int = Field(ge=8, le=128)
    channels: Literal[1, 3] = 3
    grid: int = Field(ge=1, le=8)
    stride: int = Field(ge=1, le=64)
    reach_px: int = Field(ge=0, le=2048)
    crop: int = Field(ge=0, le=2048, default=0)


class Decoding(_Part):
    """Fields of :class:`wsiseg.models.network.stars.StarRule`."""

    probability: float = Field(gt=0, lt=1)
    overlap: float = Field(gt=0, le=1)
    foreground: float = Field(ge=0, lt=1)
    least_area_px: int = Field(ge=1)


class ModelFile(_Part):
    """What ``model.json`` holds.

    ``illumination`` is that of the slides it is for: three channels as they are in brightfield;
    in fluorescence one, brought to levels by :mod:`wsiseg.models.network.intensity`. ``sha256``
    are the digests of the other files, by name; ``trained_on`` the data sets' names.
    """

    format: int = Field(ge=1, le=1)
    name: str
    illumination: Illumination = "brightfield"
    mpp: float = Field(gt=0)
    mpp_range: tuple[float, float]
    core: int
    halo: int
    licence: str
    data_licence: str
    trained_on: tuple[str, ...]
    network: NetworkShape
    decoding: Decoding
    sha256: dict[str, str]
    appearance: dict[str, tuple[float, float]] = {}

    @property
    def outputs(self) -> int | None:
        """How many of the network's outputs, from the first, the decoding reads; ``None``: all."""
        return 1 + self.network.rays if self.decoding.foreground == 0 else None


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A folder with a trained network and what its description says."""

    root: Path
    described: ModelFile

    @classmethod
    def open(cls, root: Path) -> ModelFolder:
        """Read and check the description.

        Raises
        ------
        ModelError
            If the folder holds no network, or a description that this version cannot use.
        """
        path = root / DESCRIPTION
        try:
            described = ModelFile.model_validate_json(path.read_bytes())
        except OSError as error:
            raise ModelError(f"{root} holds no trained network: {error}") from error
        except ValidationError as error:
            raise ModelError(f"{path} does not describe a usable network: {error}") from error
        return cls(root, described)

    def checked(self, name: str) -> Path:
        """The path of a file, its digest compared with the description's.

        Raises
        ------
        ModelError
            If the file is missing or another one than described.
        """
        return checked_file(self.root, name, self.described.sha256)


def checked_file(root: Path, name: str, sha256: Mapping[str, str]) -> Path:
    """The path of a file of a model, its digest compared with that in ``sha256``.

    Raises
    ------
    ModelError
        If the file is missing or another one than described.
    """
    path = root / name
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ModelError(f"the network {root} lacks {name}: {error}") from error
    if found != sha256.get(name):
        raise ModelError(
            f"{path} is not the file that {DESCRIPTION} describes (sha256 {found[:12]}...); "
            "install the model again"
        )
    return path


def digest(parts: dict[str, Any]) -> str:
    """sha256 of plain values, whatever their order."""
    import json

    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
