"""What is compared: one thing changed at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from numpy.typing import NDArray

from benchmarks.decodings import decode, losses, targets
from benchmarks.decodings.decode import Labels, Outputs, Rule

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

FOREGROUNDS = (0.3, 0.4, 0.5, 0.6)


@dataclass(frozen=True, slots=True)
class Way:
    """Targets, loss and decoding that belong together.

    ``start`` are the outputs' biases at the start, so their number is that of the outputs.
    ``rules`` are the thresholds to choose from, as many for every way; ``bounded`` says whether a
    nucleus hangs on outputs within a fixed distance only.
    """

    start: tuple[float, ...]
    target: Callable[[NDArray[np.int32], int], NDArray[np.float32]]
    loss: Callable[[Tensor, Tensor], Tensor]
    decode: Callable[[Outputs, Rule], Labels]
    rules: tuple[Rule, ...]
    bounded: bool


STARS = Way(
    (-2.0, *(0.6,) * targets.RAYS, *(-1.0,) * 4),
    targets.stars,
    losses.stars,
    decode.stars,
    tuple(product((0.2, 0.3, 0.4, 0.5), (0.3, 0.4, 0.5), (0.0, 0.3, 0.4, 0.5))),
    bounded=True,
)
OFFSETS = Way(
    (-2.0, 0.0, 0.0, *(-1.0,) * 4),
    targets.offsets,
    losses.offsets,
    decode.offsets,
    tuple(product((0.1, 0.2, 0.3, 0.4), (2.0, 3.0, 4.0), FOREGROUNDS)),
    bounded=True,
)
MAPS = Way(
    (-2.0, 0.0, 0.0, *(-1.0,) * 4),
    targets.maps,
    losses.maps,
    decode.maps,
    tuple(product((0.3, 0.4, 0.5, 0.6), (0.0, 0.5, 1.0), FOREGROUNDS)),
    bounded=False,
)
BOUNDARIES = Way(
    (-1.0,) * 8,
    targets.boundaries,
    losses.boundaries,
    decode.boundaries,
    tuple(product((0.3, 0.4, 0.5, 0.6), (1.0, 2.0, 3.0), FOREGROUNDS)),
    bounded=False,
)


@dataclass(frozen=True, slots=True)
class Variant:
    """A way with a decoder, at a pixel size.

    ``mpp`` is that of the pixels read; an output pixel is 1 µm and a label pixel 0.5 µm at every
    ``mpp``, so a finer input changes neither targets nor decoding.
    """

    way: Way
    widths: tuple[int, ...] = (96, 64, 48)
    head: int = 64
    mpp: float = 0.5
    seed: int = 1

    @property
    def grid(self) -> int:
        """Input pixels an output pixel."""
        return round(1.0 / self.mpp)


VARIANTS = {
    "stars": Variant(STARS),
    "offsets": Variant(OFFSETS),
    "maps": Variant(MAPS),
    "boundaries": Variant(BOUNDARIES),
    "stars at 0.25": Variant(STARS, mpp=0.25),
    "stars, narrow": Variant(STARS, widths=(96, 64, 32), head=48),
    "stars, seed 2": Variant(STARS, seed=2),
}
