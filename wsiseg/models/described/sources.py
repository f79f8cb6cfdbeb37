"""Which channels of an exported network are read, and what they still need."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

Map = NDArray[np.float32]
Maps = Mapping[str, Map]
"""``[channels, y, x]`` by the name of the field, after its activation."""


class Source(BaseModel):
    """Where something is read from.

    Attributes
    ----------
    output
        Which of the network's outputs: a number from 0, or its name (ONNX names them; TorchScript
        does where a dictionary is returned).
    channels
        Its channels, in the order that the kind asks for.
    activation
        What the network has left to do: ``sigmoid``, ``softmax`` over these channels, or nothing.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    output: int | str = 0
    channels: tuple[Annotated[int, Field(ge=0, le=4096)], ...] = Field(default=(0,), min_length=1)
    activation: Literal["none", "sigmoid", "softmax"] = "none"


class TypeSource(Source):
    """Where the classes are read from.

    ``background`` is the place in ``channels`` of the one that is no class, if there is one.
    """

    background: int | None = None


def activate(maps: Map, source: Source) -> Map:
    """Float32 ``[channels, y, x]`` after the activation that the network left to do."""
    if source.activation == "sigmoid":
        return np.asarray(1 / (1 + np.exp(-maps)), np.float32)
    if source.activation == "none":
        return maps
    raised = np.exp(maps - maps.max(axis=0))
    return np.asarray(raised / raised.sum(axis=0), np.float32)


def split(stacked: Map, sources: Mapping[str, Source]) -> dict[str, Map]:
    """The maps by name, from all channels stacked in the order of the sources."""
    found, at = {}, 0
    for name, source in sources.items():
        channels = len(source.channels)
        found[name] = activate(np.ascontiguousarray(stacked[at : at + channels]), source)
        at += channels
    return found
