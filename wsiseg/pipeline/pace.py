"""How windows are handed to a model: settings that change how fast it goes, and nothing else."""

from __future__ import annotations

import math
import os
from dataclasses import asdict, dataclass, replace

from wsiseg.models.network.runtime import inference_threads

MOST_READERS = 8
"""Threads that read at most: a disk is rarely faster for more."""


@dataclass(frozen=True, slots=True)
class Pace:
    """What a process goes by on a slide.

    Attributes
    ----------
    threads
        Threads that one prediction is spread over on a processor.
    batch
        Windows predicted together.
    readers
        Threads that read and decode the next windows meanwhile.
    """

    threads: int
    batch: int
    readers: int

    @property
    def ahead(self) -> int:
        """Windows read but not yet predicted, at most."""
        return self.batch * self.readers

    def plain(self) -> dict[str, int]:
        """As blocks keep it."""
        return asdict(self)


class Pacer:
    """The pace of a process on a slide: it begins with one reader, and learns from each block.

    Parameters
    ----------
    batch
        Windows predicted together.
    readers
        As the user stated it, then it stays; ``None``: learnt.
    """

    def __init__(self, batch: int, readers: int | None) -> None:
        self._stated = readers is not None
        self.pace = Pace(inference_threads(), batch, readers or 1)

    def learn(self, read_seconds: float, predict_seconds: float) -> None:
        """Take as many readers as keep up with the model, by what a block's windows took.

        Parameters
        ----------
        read_seconds
            Of all reading threads together.
        predict_seconds
            Of the model.
        """
        if self._stated or predict_seconds <= 0:
            return
        needed = math.ceil(read_seconds / predict_seconds)
        most = min(len(os.sched_getaffinity(0)), MOST_READERS)
        self.pace = replace(self.pace, readers=max(1, min(needed, most)))
