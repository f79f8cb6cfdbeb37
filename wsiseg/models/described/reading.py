"""What an exported network gives, checked against its description."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from wsiseg.errors import ModelError
from wsiseg.models.described.description import Input
from wsiseg.models.described.sources import Source

Values = NDArray[Any]
"""What the network takes: float32 or uint8 in its layout."""

Stacked = NDArray[np.float32]
"""``[n, channels, y, x]``: all described channels, in the order of the description."""


class Network(Protocol):
    """An exported network; safe to use from several threads."""

    @property
    def identity(self) -> str:
        """What runs it, in which precision."""
        ...

    @property
    def remarks(self) -> tuple[str, ...]:
        """Sentences for the report on how it ran, if there is anything to say."""
        ...

    def run(self, values: Values) -> Stacked:
        """The described channels for a batch. Raises :class:`ModelError`."""
        ...


def stack_sources(
    path: Path,
    fed: Input,
    sources: Mapping[str, Source],
    given: Mapping[str, NDArray[Any]],
    values: Values,
) -> Stacked:
    """The described channels of a batch.

    Parameters
    ----------
    path
        The network's file, for messages.
    fed, sources
        What the description says of the input and of the outputs, by name.
    given
        The outputs that the sources name, ``[n, c, y, x]`` or ``[n, y, x]``, by name of the source.
    values
        What came in.

    Raises
    ------
    ModelError
        If they are others than described, or no numbers.
    """
    height, width = values.shape[2:] if fed.layout == "nchw" else values.shape[1:3]
    wanted = ((height - 2 * fed.lost) // fed.step, (width - 2 * fed.lost) // fed.step)
    parts = []
    for name, source in sources.items():
        maps = given[name]
        if maps.ndim == 3:
            maps = maps[:, np.newaxis]
        elif maps.ndim == 4 and fed.layout == "nhwc":
            maps = maps.transpose(0, 3, 1, 2)
        if maps.ndim != 4 or len(maps) != len(values):
            raise ModelError(
                f"{path}: output {source.output!r} has the shape {given[name].shape}, and "
                f"outputs.{name} needs images, with as many in the batch as came in"
            )
        if maps.shape[2:] != wanted:
            raise ModelError(
                f"{path}: output {source.output!r} gives {maps.shape[3]} x {maps.shape[2]} px for "
                f"an input of {width} x {height}; {_mend(fed, (height, width), maps.shape[2:])}"
            )
        if max(source.channels) >= maps.shape[1]:
            raise ModelError(
                f"{path}: output {source.output!r} has {maps.shape[1]} channels, and "
                f"outputs.{name} reads {max(source.channels)} (channels are counted from 0)"
            )
        parts.append(maps[:, list(source.channels)].astype(np.float32, copy=False))
    stacked = np.concatenate(parts, axis=1)
    if not np.isfinite(stacked).all():
        raise ModelError(
            f"{path} gives values that are no numbers; see whether input.divide, mean and std are "
            "those that it was trained with"
        )
    return stacked


def _mend(fed: Input, size: tuple[int, ...], found: tuple[int, ...]) -> str:
    lost = (size[0] - fed.step * found[0]) // 2
    if size[0] - size[1] == fed.step * (found[0] - found[1]) and lost >= 0:
        return f"input.lost should then be {lost}, not {fed.lost}, or input.step another"
    return "see input.lost and input.step"


def refusal(path: Path, values: Values, error: Exception) -> ModelError:
    """What to say of a network that cannot be run on what the description feeds it."""
    return ModelError(
        f"{path} cannot be run on {values.dtype} {values.shape}: {last_line(error)}; see whether "
        "channels, layout, dtype, side and stride under [input] are the network's"
    )


def first_line(error: Exception) -> str:
    """The first line of a library's message, where it says what is wrong there."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__


def last_line(error: Exception) -> str:
    """The last line of a library's message, where it says what is wrong there."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__
