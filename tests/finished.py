"""Run directories as a finished run leaves them, without running anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from wsiseg.export.overview import SLIDE_PANEL
from wsiseg.store.folders import RunFolder


def report(**changes: Any) -> dict[str, Any]:
    """A report of a slide like many others, with some members in other words."""
    return {
        "state": "complete",
        "counts": {"nuclei": 40_000, "truncated": 1, "damaged_places": 0},
        "area_mm2": {"tissue": 20.0, "pen": 0.0},
        "nuclei_per_mm2": 2000.0,
        "nuclear_area_um2": 40.0,
        "seconds": {"prepare": {"open": 1.0}, "blocks": {"predict": 60.0}, "stitch": 3.0},
        "seams": {"rereads": 12, "settled": 5},
        "exports": {"table": {"seconds": 2.0}, "overview": {"seconds": 4.0}},
        "resolution": {"level0": {"mpp_x": 0.25, "mpp_y": 0.25}, "mpp_source": "aperio.MPP"},
        "model": {"name": "nuclei-he"},
        "appearance": {
            "sharpness": [0.3],
            "haematoxylin_od": [0.3],
            "counterstain_od": [0.2],
            "density": [0.25, 0.4, 0.25],
        },
        "wall_seconds": 50.0,
        "warnings": [],
        **changes,
    }


def wobbling(rng: np.random.Generator, **changes: Any) -> dict[str, Any]:
    """A report whose measures differ a little from the next one's."""
    f = np.exp(rng.normal(0, 0.06, 8)).tolist()
    density = (np.array([0.25, 0.4, 0.25]) * np.exp(rng.normal(0, 0.03, 3))).tolist()
    base = report()
    return {
        **base,
        "nuclei_per_mm2": 2000 * f[0],
        "nuclear_area_um2": 40 * f[1],
        "area_mm2": {"tissue": 20 * f[2]},
        "counts": {**base["counts"], "nuclei": int(40_000 * f[0] * f[2])},
        "appearance": {
            "sharpness": [0.3 * f[3]],
            "haematoxylin_od": [0.3 * f[4]],
            "counterstain_od": [0.2 * f[5]],
            "density": density,
        },
        **changes,
    }


def write_plainly(path: Path, value: object) -> None:
    """A JSON file, without waiting for the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


class FinishedRun:
    """A run directory that is filled slide by slide."""

    def __init__(self, root: Path) -> None:
        self.folder = RunFolder(root)
        self.slides: dict[str, Any] = {}

    def add(self, name: str, state: str = "pending", **entry: Any) -> Path:
        """A slide of the manifest; its folder, which is not made."""
        self.slides[name] = {
            "path": f"/slides/{name}",
            "state": state,
            "entry": {"mpp": None, **entry},
            "job": {"model": "nuclei-he"},
        }
        write_plainly(self.folder.manifest, {"format": 1, "slides": self.slides})
        return self.folder.slide(name).root

    def whole(self, name: str, told: dict[str, Any] | None = None, **entry: Any) -> None:
        """A slide that is whole."""
        self.add(name, "complete", **entry)
        write_plainly(self.folder.slide(name).report, told or report())

    def failed(self, name: str, reason: str, **entry: Any) -> None:
        """A slide that failed."""
        self.add(name, "failed", **entry)
        write_plainly(self.folder.slide(name).failure, {"reason": reason})

    def overview(self, name: str, slide: Image.Image) -> None:
        """An overview with a picture of the slide on it."""
        page = Image.new("RGB", (slide.width + 100, slide.height + 100), "white")
        page.paste(slide, (60, 40))
        texts = PngInfo()
        texts.add_text(SLIDE_PANEL, f"60 40 {60 + slide.width} {40 + slide.height}")
        page.save(self.folder.slide(name).root / "overview.png", pnginfo=texts)
