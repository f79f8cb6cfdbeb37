"""What a model's makers and users say of it: thresholds, scale, licences, names of classes.

StarDist writes no pixel size, so it must be stated in ``wsiseg.toml``, in the model's folder or
archive (or beside an archive ``NAME.zip`` as ``NAME.toml``)::

    mpp = 0.5                        # µm a pixel that the network was trained at; needed
    licence = "BSD-3-Clause"         # SPDX, of the weights
    data_licence = "CC-BY-4.0"       # of what it was trained on

    # and if wanted
    name = "my-nuclei"
    illumination = "brightfield"     # or "fluorescence"; default: by the number of channels
    trained_on = ["TNBC"]
    classes = ["Neoplastic", "Inflammatory"]    # names of classes 1, 2, ... of the network
    percentiles = [1.0, 99.8]        # of the slide's tissue, brought to 0 and 1
    jointly = false                  # one pair of percentiles for all channels together
    probability = 0.5                # in place of thresholds.json
    overlap = 0.4
    longest_ray_um = 20.0            # longer rays are cut
"""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from wsiseg.errors import ModelError
from wsiseg.models.stardist.config import Config

ABOUT = "wsiseg.toml"
THRESHOLDS = "thresholds.json"

DEFAULT_PROBABILITY, DEFAULT_OVERLAP = 0.5, 0.4
"""StarDist's own, for models without ``thresholds.json``."""


class About(BaseModel):
    """What ``wsiseg.toml`` may say, see the module's docstring."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mpp: float = Field(gt=0.01, lt=20)
    name: str = Field(default="", max_length=100)
    licence: str = Field(default="", max_length=200)
    data_licence: str = Field(default="", max_length=200)
    illumination: Literal["brightfield", "fluorescence"] | None = None
    trained_on: tuple[str, ...] = Field(default=(), max_length=100)
    classes: tuple[str, ...] = Field(default=(), max_length=200)
    percentiles: tuple[float, float] = (1.0, 99.8)
    jointly: bool = False
    probability: float | None = Field(default=None, gt=0, lt=1)
    overlap: float | None = Field(default=None, gt=0, le=1)
    longest_ray_um: float = Field(default=20.0, gt=0, le=500)


_ON_DSB = ("a part of DSB2018",)
KNOWN = {
    "2D_versatile_he": About(
        mpp=0.5,
        licence="BSD-3-Clause",
        data_licence="CC-BY-NC-SA-4.0 AND CC-BY-4.0",
        trained_on=("MoNuSeg 2018", "TNBC"),
    ),
    "2D_versatile_fluo": About(
        mpp=0.5, licence="BSD-3-Clause", data_licence="CC0-1.0", trained_on=_ON_DSB
    ),
    "2D_paper_dsb2018": About(
        mpp=0.5, licence="BSD-3-Clause", data_licence="CC0-1.0", trained_on=_ON_DSB
    ),
}
"""The published models by the name of their folder or archive. Training sets: StarDist's README.
Their makers state no pixel size; 0.5 µm/px is what QuPath's documentation uses them at and calls
best (https://qupath.readthedocs.io, "StarDist")."""


@dataclass(frozen=True, slots=True)
class Description:
    """A model in settled values.

    Attributes
    ----------
    config
        Its network.
    about
        What is said of it.
    name
        What it is called.
    probability, overlap
        Its thresholds.
    remarks
        Sentences for reports on what had to be assumed.
    """

    config: Config
    about: About
    name: str
    probability: float
    overlap: float
    remarks: tuple[str, ...] = ()

    @property
    def illumination(self) -> Literal["brightfield", "fluorescence"]:
        """The slides it is for."""
        by_channels: Literal["brightfield", "fluorescence"] = (
            "brightfield" if self.config.n_channel_in == 3 else "fluorescence"
        )
        return self.about.illumination or by_channels


def parse_about(content: bytes, origin: str) -> About:
    """Read ``wsiseg.toml``.

    Raises
    ------
    ModelError
        If it cannot be used; the message says what to mend.
    """
    try:
        return About.model_validate(tomllib.loads(content.decode()))
    except (ValueError, RecursionError) as error:
        told = _first(error) if isinstance(error, ValidationError) else str(error)
        raise ModelError(f"{origin} cannot be used: {told}") from error


def parse_thresholds(content: bytes, origin: str) -> tuple[float, float]:
    """Probability and overlap of ``thresholds.json``.

    Raises
    ------
    ModelError
        If they are not two numbers in 0..1.
    """
    try:
        said: Any = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{origin} is not valid JSON: {error}") from error
    return thresholds_of(said, origin)


def thresholds_of(said: Any, origin: str) -> tuple[float, float]:
    """The thresholds in plain values; errors as :func:`parse_thresholds`."""
    try:
        probability, overlap = float(said["prob"]), float(said["nms"])
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{origin} must hold the numbers prob and nms: {error}") from error
    if not (0 < probability < 1 and 0 < overlap <= 1):
        raise ModelError(
            f"{origin}: prob must lie between 0 and 1 and nms be at most 1, not {probability} and "
            f"{overlap}"
        )
    return probability, overlap


def describe(
    config: Config, about: About, folder: str, thresholds: tuple[float, float] | None, origin: str
) -> Description:
    """Settle what was said of a model.

    Parameters
    ----------
    config, about, thresholds
        As read; ``thresholds`` is ``None`` where there are none.
    folder
        Name of its folder or archive.
    origin
        For messages.

    Raises
    ------
    ModelError
        If names of classes and the network's classes do not fit, or percentiles are none.
    """
    low, high = about.percentiles
    if not 0 <= low < high <= 100:
        raise ModelError(f"{origin}: percentiles must rise within 0..100, not {low} and {high}")
    if config.n_classes is None and about.classes:
        raise ModelError(f"{origin}: the network tells no classes, but classes names some")
    if config.n_classes is not None and len(about.classes) != config.n_classes:
        raise ModelError(
            f"the network in {origin} tells {config.n_classes} classes, but {len(about.classes)} "
            f'are named; write their names into its {ABOUT}: classes = ["...", ...]'
        )
    if len(set(about.classes)) != len(about.classes) or "" in about.classes:
        raise ModelError(f"{origin}: every class needs a name of its own in {ABOUT}")
    found = thresholds or (DEFAULT_PROBABILITY, DEFAULT_OVERLAP)
    probability = found[0] if about.probability is None else about.probability
    overlap = found[1] if about.overlap is None else about.overlap
    remarks: tuple[str, ...] = ()
    if thresholds is None and (about.probability is None or about.overlap is None):
        remarks = (
            f"the model has no {THRESHOLDS}: probability {probability:g} and overlap {overlap:g} "
            "were taken, StarDist's defaults",
        )
    return Description(config, about, about.name or folder, probability, overlap, remarks)


def require_about(about: About | None, folder: str, origin: str) -> About:
    """What is said of a model, or what is known of a published one.

    Raises
    ------
    ModelError
        If nothing is; the message says what to write.
    """
    found = about or KNOWN.get(folder)
    if found is None:
        raise ModelError(
            f"the pixel size that {origin} was trained at is not known, and StarDist models do not "
            f'state it; put a file {ABOUT} into the folder with "mpp = 0.5" (µm a pixel), '
            'and with licence = "..." and data_licence = "..." where they are known; the published '
            f"models are known by their folders' names: {', '.join(KNOWN)}"
        )
    return found


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False)[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
