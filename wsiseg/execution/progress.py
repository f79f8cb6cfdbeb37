"""What a run tells whoever watches."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receives the events of a run, in the driver's thread."""

    def slide_started(self, name: str, blocks_total: int, blocks_already_done: int) -> None:
        """A slide is planned; some of its blocks may be there from an earlier run."""

    def block_done(self, name: str, nuclei: int, mm2: float) -> None:
        """A block is committed."""

    def slide_stage(self, name: str, stage: str) -> None:
        """A slide enters a stage after its blocks."""

    def slide_done(self, name: str, nuclei: int, seconds: float) -> None:
        """A slide is whole."""

    def slide_failed(self, name: str, reason: str) -> None:
        """A slide has failed; the rest go on."""

    def message(self, text: str) -> None:
        """Something worth a line."""


class Quiet:
    """Tells nobody."""

    def slide_started(self, name: str, blocks_total: int, blocks_already_done: int) -> None:
        """Nothing."""

    def block_done(self, name: str, nuclei: int, mm2: float) -> None:
        """Nothing."""

    def slide_stage(self, name: str, stage: str) -> None:
        """Nothing."""

    def slide_done(self, name: str, nuclei: int, seconds: float) -> None:
        """Nothing."""

    def slide_failed(self, name: str, reason: str) -> None:
        """Nothing."""

    def message(self, text: str) -> None:
        """Nothing."""
