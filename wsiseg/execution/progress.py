"""What a run tells whoever watches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Start:
    """A run that begins.

    Attributes
    ----------
    slides
        Number of slides asked for.
    workers
        Number of worker processes; 0 where the driver does everything itself.
    planned_bytes
        Planned peak memory of all processes together.
    peak_bytes
        Says the highest resident memory of all processes together so far.
    dashboard
        Address of the scheduler's dashboard, where there is one.
    """

    slides: int
    workers: int
    planned_bytes: int
    peak_bytes: Callable[[], int]
    dashboard: str | None = None


class Progress:
    """Receives the events of a run, in the driver's thread; by itself it tells nobody."""

    def started(self, start: Start) -> None:
        """The run begins."""

    def slide_planning(self, name: str) -> None:
        """A slide is taken up: its tissue is sought, its blocks are counted."""

    def slide_started(self, name: str, blocks_total: int, blocks_already_done: int) -> None:
        """A slide is planned; some of its blocks may be there from an earlier run."""

    def block_done(self, name: str, block: str, nuclei: int, mm2: float, seconds: float) -> None:
        """A block is committed: its candidates, its share of the tissue, its busy time."""

    def slide_stage(self, name: str, stage: str) -> None:
        """A slide enters a stage after its blocks."""

    def slide_warning(self, name: str, text: str) -> None:
        """Something about a slide that is worth a line."""

    def slide_done(self, name: str, nuclei: int, seconds: float) -> None:
        """A slide is whole; 0 seconds where it was so before."""

    def slide_failed(self, name: str, reason: str) -> None:
        """A slide has failed; the rest go on."""

    def message(self, text: str) -> None:
        """Something worth a line."""
