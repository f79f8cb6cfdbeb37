"""What happened at the seams: every decision counted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields


@dataclass(slots=True)
class Ledger:
    """Counts of one tile, block or slide; they add up.

    Attributes
    ----------
    seen
        Instances in the windows of tiles, several times where windows overlap.
    emitted
        Candidates handed on by tiles.
    outside_tissue
        Instances not emitted because their anchor lies outside the tissue.
    incomplete
        Instances that reached the edge of a window and meet its tile's core.
    rereads
        Wider windows read for them.
    reread_whole
        Instances made whole by a wider window.
    vanished
        Incomplete instances that the wider window does not show.
    truncated
        Pieces cut on the lattice because the instance is larger than the largest window.
    dropped_fragments, dropped_px
        Parts of an instance not 4-connected to its largest part, and their pixels.
    """

    seen: int = 0
    emitted: int = 0
    outside_tissue: int = 0
    incomplete: int = 0
    rereads: int = 0
    reread_whole: int = 0
    vanished: int = 0
    truncated: int = 0
    dropped_fragments: int = 0
    dropped_px: int = 0

    def add(self, other: Ledger) -> None:
        """Add the counts of ``other``."""
        for item in fields(self):
            setattr(self, item.name, getattr(self, item.name) + getattr(other, item.name))

    def to_dict(self) -> dict[str, int]:
        """Plain numbers by name."""
        return asdict(self)

    @classmethod
    def total(cls, parts: Iterable[Mapping[str, int]]) -> Ledger:
        """The sum of many."""
        total = cls()
        for part in parts:
            total.add(cls(**part))
        return total
