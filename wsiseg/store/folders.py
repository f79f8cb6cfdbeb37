"""Where everything lies in a run directory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsiseg.errors import StoreError
from wsiseg.files import read_json, write_json


@dataclass(frozen=True, slots=True)
class SlideFolder:
    """The place of one slide in a run directory."""

    root: Path

    @property
    def name(self) -> str:
        """Name of the slide within the run."""
        return self.root.name

    @property
    def plan(self) -> Path:
        """What will be done, and the segment key."""
        return self.root / "plan.json"

    @property
    def tissue(self) -> Path:
        """The tissue mask with reason codes."""
        return self.root / "tissue.npz"

    @property
    def quality(self) -> Path:
        """Focus, folds and stain of the tissue, field by field; brightfield only."""
        return self.root / "quality.parquet"

    @property
    def blocks(self) -> Path:
        """Committed blocks."""
        return self.root / "blocks"

    @property
    def cells(self) -> Path:
        """Stitched cells in parts."""
        return self.root / "cells"

    @property
    def report(self) -> Path:
        """Counts, times, seams, versions, warnings."""
        return self.root / "report.json"

    @property
    def failure(self) -> Path:
        """Why the slide failed, while it has."""
        return self.root / "failure.json"

    @property
    def log(self) -> Path:
        """What happened to the slide, an event a line."""
        return self.root / "log.jsonl"

    @property
    def thumbnail(self) -> Path:
        """The slide small, cut from its overview."""
        return self.root / "thumbnail.jpg"

    def committed(self) -> list[Path]:
        """Files of the committed blocks, in order of their names."""
        return sorted(self.blocks.glob("[0-9]*.columns"))

    def block(self, name: str) -> Path:
        """File of a committed block."""
        return self.blocks / f"{name}.columns"


@dataclass(frozen=True, slots=True)
class RunFolder:
    """A run directory."""

    root: Path

    @property
    def manifest(self) -> Path:
        """What the run is."""
        return self.root / "manifest.json"

    @property
    def lock(self) -> Path:
        """The driver at work."""
        return self.root / "run.lock"

    @property
    def log(self) -> Path:
        """What happened in the run, an event a line."""
        return self.root / "log.jsonl"

    def summary(self, kind: str) -> Path:
        """The summary of all slides: ``"csv"``, ``"json"`` or ``"html"``."""
        return self.root / f"summary.{kind}"

    def slide(self, name: str) -> SlideFolder:
        """The place of a slide."""
        return SlideFolder(self.root / "slides" / name)


def read_manifest(run: RunFolder) -> dict[str, Any]:
    """The manifest of a run directory.

    Raises
    ------
    StoreError
        If the folder is not a run directory.
    """
    if not run.manifest.is_file():
        raise StoreError(f"{run.root} is not a run directory: it has no manifest.json")
    value = read_json(run.manifest)
    if not isinstance(value, dict) or not isinstance(value.get("slides"), dict):
        raise StoreError(f"{run.manifest} is not a manifest of wsiseg; delete it and run again")
    return value


def write_manifest(run: RunFolder, manifest: Mapping[str, object]) -> None:
    """Write the manifest."""
    write_json(run.manifest, manifest)
