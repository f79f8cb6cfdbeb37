"""What ``model.toml`` says of an exported network: how to feed it and how to read what it gives.

The file lies beside the network, in one folder::

    name = "nuclei-of-our-lab"
    file = "network.onnx"              # or TorchScript: network.pt
    mpp = 0.25
    licence = "CC-BY-4.0"

    [input]
    stride = 32
    reach = 92
    divide = 255.0

    [outputs]
    kind = "hover"
    nucleus = { output = "np", channels = [0, 1], activation = "softmax" }
    directions = { output = "hv", channels = [0, 1] }
    types = { output = "tp", channels = [0, 1, 2], background = 0 }

    [[classes]]
    name = "Tumour"
    colour = [200, 0, 0]

    [[classes]]
    name = "Immune"
    colour = [0, 0, 200]

Files for published networks lie under ``workflows/models``. Unknown keys are refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from wsiseg.cells.batch import CellClass
from wsiseg.errors import ModelError
from wsiseg.models.described.folder import DESCRIPTION, description_of, read_table
from wsiseg.models.described.outputs import Outputs
from wsiseg.models.segmenter import NUCLEUS
from wsiseg.slides.reader import Illumination

MOST_CLASSES = 255

_Pair = tuple[float, float]


class Part(BaseModel):
    """A table of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class NamedClass(Part):
    """A class of nuclei.

    ``name`` as in every output, ``colour`` red, green and blue in 0..255.
    """

    name: str = Field(min_length=1, max_length=100)
    colour: tuple[
        Annotated[int, Field(ge=0, le=255)],
        Annotated[int, Field(ge=0, le=255)],
        Annotated[int, Field(ge=0, le=255)],
    ]


class Input(Part):
    """How pixels become what the network takes.

    A value ``v`` becomes ``(v / divide - mean) / std``; where ``percentiles`` are stated,
    ``(v - low) / (high - low)`` takes the place of ``v / divide``.

    Attributes
    ----------
    channels
        3 for RGB, 1 for one fluorescence channel.
    layout
        ``nchw`` or ``nhwc``.
    dtype
        ``float32``, or ``uint8`` for a network that scales pixels itself; then nothing is done.
    divide
        255 brings bytes to 0..1; 1 leaves them.
    mean, std
        One a channel.
    percentiles
        Two percentiles a channel, measured once a slide on samples of its tissue, never window by
        window.
    clip
        Bounds of the value at last.
    side
        Side of the only input that the network takes, in pixels; without it any multiple of
        ``stride`` will do.
    stride
        Total stride: the network's answer moves with the image by multiples of it.
    step
        Pixels an output pixel along each axis; more than 1 only for ``stars``.
    lost
        Pixels that the output lacks on every side of the input (95 where 270 become 80).
    margin
        Pixels of the output on every side that are not used, because the network saw too little
        around them; by default what ``reach`` asks for beyond ``lost``, else ``stride``.
    reach
        How far, in pixels, an output depends on the input. Only a network of convolutions has
        one; leave it out for attention, normalisation by the image at hand or global pooling. With
        it, answers do not hang on how the slide is cut.
    """

    channels: Literal[1, 3] = 3
    layout: Literal["nchw", "nhwc"] = "nchw"
    dtype: Literal["float32", "uint8"] = "float32"
    divide: float = Field(default=1.0, gt=0)
    mean: tuple[float, ...] = (0.0,)
    std: tuple[Annotated[float, Field(gt=0)], ...] = (1.0,)
    percentiles: _Pair | None = None
    clip: _Pair | None = None
    side: int | None = Field(default=None, ge=32, le=4096)
    stride: int = Field(default=1, ge=1, le=256)
    step: Literal[1, 2, 4, 8] = 1
    lost: int = Field(default=0, ge=0, le=1024)
    margin: int | None = Field(default=None, ge=0, le=1024)
    reach: int | None = Field(default=None, ge=0, le=2048)

    @model_validator(mode="after")
    def _checked(self) -> Self:
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, self.channels):
                raise ValueError(f"{name} needs one number, or one for each of the channels")
        if (
            self.percentiles is not None
            and not 0 <= self.percentiles[0] < self.percentiles[1] <= 100
        ):
            raise ValueError("percentiles are two rising numbers in 0 to 100")
        if self.clip is not None and self.clip[0] >= self.clip[1]:
            raise ValueError("clip needs two rising numbers")
        scaled = self.divide != 1.0 or self.percentiles or self.clip
        if self.dtype == "uint8" and (scaled or any(self.mean) or set(self.std) != {1.0}):
            raise ValueError("a network that takes uint8 scales pixels itself: leave scaling out")
        if self.side is not None and self.side - 2 * (self.lost + self.cut) < self.stride:
            raise ValueError("lost and margin leave nothing of an input of that side")
        if self.stride % self.step or self.cut % self.step:
            raise ValueError("stride and margin must be multiples of step")
        return self

    @property
    def cut(self) -> int:
        """Pixels of an output on every side that are not used where it stands for a piece."""
        if self.margin is not None:
            return self.margin
        if self.reach is None:
            return self.stride
        beyond = max(self.reach - self.lost, 0)
        return -(-(beyond + self.lost) // self.stride) * self.stride - self.lost


class Description(Part):
    """What the file says.

    Attributes
    ----------
    name
        As reports and tables call the model.
    file
        Name of the network's file in the same folder: ``.pt`` (TorchScript) or ``.onnx``.
    sha256
        Its digest; another file is refused.
    mpp, mpp_range
        Pixel size in µm that it works at, and the range within which pixels are not resampled (by
        default 10 % either way).
    illumination
        ``brightfield`` or ``fluorescence``: the slides it is for.
    core, halo
        Default tile core and halo in pixels, multiples of the stride; by default about 1,024 and
        what the reach asks for plus the room of a nucleus.
    precision
        ``float32``, or ``bfloat16`` where an ONNX file runs on a processor that calculates in it:
        faster, and not the very numbers.
    licence, data_licence
        SPDX expressions of the weights and of the data they were trained on.
    trained_on
        Names of those data sets.
    input, outputs, classes
        See :class:`Input`, :mod:`wsiseg.models.described.outputs` and :class:`NamedClass`.
        Without classes every nucleus is of class Nucleus.
    """

    name: str = Field(min_length=1, max_length=100)
    file: str
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    mpp: float = Field(ge=0.05, le=20)
    mpp_range: _Pair | None = None
    illumination: Illumination = "brightfield"
    core: int | None = Field(default=None, ge=64, le=4096)
    halo: int | None = Field(default=None, ge=0, le=1024)
    precision: Literal["float32", "bfloat16"] = "float32"
    licence: str
    data_licence: str = ""
    trained_on: tuple[str, ...] = ()
    input: Input = Input()
    outputs: Outputs
    classes: tuple[NamedClass, ...] = Field(default=(), max_length=MOST_CLASSES)

    @field_validator("file")
    @classmethod
    def _beside(cls, name: str) -> str:
        if not name or Path(name).name != name or name in (".", ".."):
            raise ValueError("the file must lie in the same folder: give its bare name")
        return name

    @model_validator(mode="after")
    def _fits(self) -> Self:
        low, high = self.range
        if not low <= self.mpp <= high:
            raise ValueError("mpp must lie inside mpp_range")
        if self.illumination == "brightfield" and self.input.channels != 3:
            raise ValueError("brightfield slides have three channels")
        if self.illumination == "fluorescence" and self.input.channels != 1:
            raise ValueError("in fluorescence a model takes one channel, the nuclear one")
        self.outputs.check_classes(len(self.classes))
        if self.input.step > 1 and self.outputs.kind != "stars":
            raise ValueError(
                f"{self.outputs.kind} needs an output for every pixel: export the network with its "
                "upsampling, and leave input.step out"
            )
        for name, pixels in (("core", self.core), ("halo", self.halo)):
            if pixels is not None and pixels % self.input.stride:
                raise ValueError(f"{name} must be a multiple of the stride")
        return self

    @property
    def range(self) -> tuple[float, float]:
        """``mpp_range``, or its default."""
        return self.mpp_range or (0.9 * self.mpp, 1.1 * self.mpp)

    @property
    def cell_classes(self) -> tuple[CellClass, ...]:
        """What ``Instances.classes`` means."""
        named = tuple(CellClass(c.name, c.colour) for c in self.classes)
        return named or (NUCLEUS,)


def read_description(path: Path) -> tuple[Description, Path]:
    """The description in a folder or file, and the network's file, checked.

    Raises
    ------
    ModelError
        If it cannot be read or describes nothing usable, or the network's file is missing or
        another one; the message says what to mend.
    """
    source = description_of(path)
    try:
        described = Description.model_validate(read_table(source))
    except ValidationError as error:
        raise ModelError(f"{source} does not describe a usable network: {_told(error)}") from error
    network = source.parent / described.file
    if not network.is_file():
        raise ModelError(
            f"{source} names the network {described.file}, which does not lie beside it"
        )
    if not path.is_dir() and described.sha256 is None:
        # Trust is given to what a path holds: here the description alone.
        raise ModelError(
            f"{source} must state the sha256 of {described.file} to be used by itself; or give the "
            f"folder that holds both, with the description as {DESCRIPTION}"
        )
    return described, network


def _told(error: ValidationError) -> str:
    """Every fault with the place it is at."""
    faults = []
    for fault in error.errors(include_url=False, include_context=False, include_input=False):
        place = ".".join(str(part) for part in fault["loc"])
        faults.append(f"{place}: {fault['msg']}" if place else fault["msg"])
    return "; ".join(faults)
