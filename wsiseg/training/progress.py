"""How far a training is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Step:
    """Steps done and in all, mean loss of the last steps, seconds since the (re)start."""

    step: int
    steps: int
    loss: float
    seconds: float


Progress = Callable[[Step], None]
"""Told now and then, in the training's own thread."""
