"""How dark a nucleus is in its middle, and how many corners it has."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsiseg.features.definitions import Feature
from wsiseg.features.measure import Neighbourhood, Surroundings
from wsiseg.geometry import Box

FEATURES = (
    Feature("example_darkness", "example", "", "255 less the mean of RGB at the centroid."),
    Feature("example_corners", "example", "", "Vertices of the outline, holes included."),
)
MARGIN_UM = 1.0
PIXELS = True


def measure(around: Neighbourhood, place: Surroundings) -> dict[str, NDArray[np.float32]]:
    """Both columns of the cells to measure."""
    polygons = around.cells.polygons
    rings = np.diff(polygons.ring_offsets[polygons.polygon_offsets])
    scale = place.info.level0.scale_to(place.info.frame)
    points = np.floor(around.cells.centroids[around.own] * scale).astype(int)
    darkness = np.full(len(points), np.nan, np.float32)
    for number, (x, y) in enumerate(points.tolist()):
        if place.read is not None:
            darkness[number] = 255 - place.read(Box(x, y, x + 1, y + 1)).mean()
    corners = rings[around.own].astype(np.float32)
    return {"example_darkness": darkness, "example_corners": corners}
