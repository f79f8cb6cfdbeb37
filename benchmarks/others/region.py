"""The region, as a script for OpenSlide reads it. Imported by programs of other environments."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np

X, Y, SIDE = 5632, 15360, 8192
"""Level-0 pixels of the giardia slide."""

STRIP = 512


def read_half(path: str) -> Any:
    """RGB uint8 ``[y, x, 3]`` at half of level 0: read by OpenSlide, 2 x 2 pixels averaged."""
    import openslide

    half = np.empty((SIDE // 2, SIDE // 2, 3), np.uint8)
    with openslide.OpenSlide(path) as slide:
        for top in range(0, SIDE, STRIP):
            strip = slide.read_region((X, Y + top), 0, (SIDE, STRIP)).convert("RGB")
            small = strip.reduce(2)
            half[top // 2 : (top + STRIP) // 2] = np.asarray(small)
    return half


class Stages:
    """Seconds by stage, one after the other."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def done(self, stage: str) -> None:
        """Charge the time since the last stage."""
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now

    def print(self, tool: str, found: int, unit: str = "nuclei") -> None:
        """One line of JSON for the program that started this one and watches its memory."""
        stages = {k: round(v, 2) for k, v in self.seconds.items()}
        seconds = round(sum(self.seconds.values()), 2)
        told = {"tool": tool, "seconds": seconds, "stages": stages, "found": f"{found:,} {unit}"}
        print(json.dumps(told))


def write_geojson(path: Path, rings: list[Any]) -> None:
    """Polygons as QuPath's detections, the plain way: one object after the other."""
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [np.round(ring, 2).tolist()]},
            "properties": {"objectType": "detection"},
        }
        for ring in rings
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
