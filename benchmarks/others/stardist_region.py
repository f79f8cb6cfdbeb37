"""StarDist's own prediction of a large image on the region, GeoJSON included.

PYTHON_OF_STARDIST stardist_region.py SLIDE MODEL OUT.geojson

MODEL is the folder that ``stardist_model.py`` writes: nothing of StarDist is replaced.
"""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path

import numpy as np
from region import Stages, read_half, write_geojson


def main() -> None:
    """Measure and print."""
    slide, folder, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    with contextlib.redirect_stdout(io.StringIO()):
        from csbdeep.utils import normalize
        from stardist import __version__
        from stardist.models import StarDist2D

        model = StarDist2D(None, name=folder.name, basedir=str(folder.parent))

    stages = Stages()
    pixels = read_half(slide)
    stages.done("read")
    image = normalize(pixels, 1, 99.8, axis=(0, 1, 2)).astype(np.float32)
    stages.done("normalise")
    with contextlib.redirect_stdout(io.StringIO()):
        _, found = model.predict_instances_big(
            image, "YXC", block_size=2048, min_overlap=96, context=96, show_progress=False
        )
    stages.done("network, suppression, labels")
    rings = []
    for coordinates in found["coord"]:
        ring = 2 * np.asarray(coordinates).T[:, ::-1]
        rings.append(np.vstack([ring, ring[:1]]))
    write_geojson(out, rings)
    stages.done("GeoJSON")
    stages.print(f"StarDist {__version__}", len(rings))


if __name__ == "__main__":
    main()
