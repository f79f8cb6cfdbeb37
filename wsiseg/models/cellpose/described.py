"""What is known of a model besides its weights: by its ``cellpose.toml``, or by its name."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from wsiseg.errors import ModelError
from wsiseg.models.cellpose.weights import PREFIX, named_weights
from wsiseg.slides.reader import Illumination

FILE = "cellpose.toml"

DIAMETER_UM = 8.0
"""Diameter of nuclei, unless another is stated."""

_MAX_BYTES = 1 << 16
DIAMETER_PX = 30.0
"""Diameter that networks are trained for, unless their weights say otherwise."""

_NUCLEI = ("nuclei", "nucleitorch_0")
_NUCLEI_PX = 17.0

# Maintainers have put the files of weights under BSD-3-Clause and leave open whether they inherit
# the terms of their training images (https://github.com/MouseLand/cellpose/issues/192, 2021);
# the README of cellpose 4 says that Cellpose-SAM was trained on data under CC-BY-NC and that
# cellpose's own data are CC-BY-NC.
_LICENCE = "BSD-3-Clause"
_DATA_LICENCE = "LicenseRef-CC-BY-NC"
_UNKNOWN = "LicenseRef-unknown-taken-as-non-commercial"
_PUBLISHED = {
    **dict.fromkeys(_NUCLEI, "nuclei"),
    **dict.fromkeys(("cyto", "cytotorch_0"), "cyto"),
    **dict.fromkeys(("cyto2", "cyto2torch_0", "cyto2_cp3"), "cyto2"),
    **{name: name for name in ("cyto3", "cpsam", "cpsam_v2")},
    **{name: name for name in ("tissuenet_cp3", "livecell_cp3", "CP", "CPx", "TN1", "TN2", "TN3")},
}
"""Files of weights that cellpose publishes."""

Channel = Annotated[int, Field(ge=0, le=3)]


class _File(BaseModel):
    """What a ``cellpose.toml`` holds, see :mod:`wsiseg.models.cellpose`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    weights: str = Field(min_length=1)
    illumination: Illumination = "brightfield"
    mpp: float | None = Field(default=None, gt=0, le=10)
    diameter_um: float | None = Field(default=None, gt=0, le=1000)
    channels: Literal["haematoxylin"] | tuple[Channel, Channel] = "haematoxylin"
    cellprob_threshold: float = Field(default=0.0, ge=-20, le=20)
    flow_threshold: float = Field(default=0.4, ge=0, le=4)
    licence: str = ""
    data_licence: str = ""
    trained_on: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _one_scale(self) -> _File:
        if self.mpp is not None and self.diameter_um is not None:
            raise ValueError("state mpp or diameter_um, not both: each follows from the other")
        return self


@dataclass(frozen=True, slots=True)
class Described:
    """How to use a file of weights.

    Attributes
    ----------
    name
        For people.
    weights
        The file.
    illumination
        The slides it is for.
    mpp
        Pixel size to work at, or ``None`` for that at which objects of ``diameter_um`` have the
        diameter that the network was trained for.
    channels
        What a network of two channels sees in brightfield, see :mod:`wsiseg.models.cellpose`.
    trained_px
        Diameter in pixels that the network was trained for; 0 if the weights say it.
    score, flow_error
        Fields of :class:`wsiseg.models.decoding.flows.FlowRule`.
    licence, data_licence, trained_on
        See :class:`wsiseg.models.segmenter.ModelSpec`; where nothing is known, a name that
        forbids commercial use.
    """

    name: str
    weights: Path
    illumination: Illumination = "brightfield"
    mpp: float | None = None
    diameter_um: float = DIAMETER_UM
    channels: Literal["haematoxylin"] | tuple[int, int] = "haematoxylin"
    trained_px: float = 0.0
    score: float = 0.0
    flow_error: float = 0.4
    licence: str = _UNKNOWN
    data_licence: str = _UNKNOWN
    trained_on: tuple[str, ...] = ()


def describe(path: Path) -> Described:
    """What is known of a file of weights, a ``cellpose.toml`` or a folder with one.

    Raises
    ------
    ModelError
        If the description is wrong or names no file of weights.
    """
    if path.is_dir():
        path = path / FILE
    if path.name != FILE:
        return _by_file(path)
    stated = _read(path)
    weights = named_weights(stated.weights) or path.parent / stated.weights
    if not weights.is_file():
        raise ModelError(
            f"{path} names the weights {stated.weights!r}, but there is no file {weights}; give "
            f"its place relative to {FILE}, or a name such as {PREFIX}nuclei"
        )
    known = _by_file(weights)
    return Described(
        name=f"{PREFIX}{path.resolve().parent.name}",
        weights=weights,
        illumination=stated.illumination,
        mpp=stated.mpp,
        diameter_um=stated.diameter_um or DIAMETER_UM,
        channels=stated.channels,
        trained_px=known.trained_px,
        score=stated.cellprob_threshold,
        flow_error=stated.flow_threshold,
        licence=stated.licence or known.licence,
        data_licence=stated.data_licence or known.data_licence,
        trained_on=stated.trained_on or known.trained_on,
    )


def _by_file(weights: Path) -> Described:
    published = weights.name in _PUBLISHED
    trained_px = _NUCLEI_PX if weights.name in _NUCLEI else DIAMETER_PX
    return Described(
        name=PREFIX + _PUBLISHED.get(weights.name, weights.name),
        weights=weights,
        trained_px=trained_px if published else 0.0,
        licence=_LICENCE if published else _UNKNOWN,
        data_licence=_DATA_LICENCE if published else _UNKNOWN,
    )


def _read(path: Path) -> _File:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise ModelError(f"{path} is too large for a description: at most {_MAX_BYTES} bytes")
        return _File.model_validate(tomllib.loads(content.decode()))
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"{path} is no TOML: {error}") from error
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(str(part) for part in fault['loc']) or FILE}: {fault['msg']}"
            for fault in error.errors()
        )
        raise ModelError(f"{path} does not describe a model of cellpose: {faults}") from error
