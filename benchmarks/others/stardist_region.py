"""StarDist's own prediction of a large image on the region, GeoJSON included.

PYTHON_OF_STARDIST stardist_region.py SLIDE LABELS.npz OUT.geojson

The network is that of ``2D_versatile_he`` with random weights: how long it takes does not hang on
them. It runs in full; what it finds is then replaced by probabilities and distances of the given
labels, so that suppression and drawing see as many nuclei as there are.
"""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
from region import Stages, read_half, write_geojson


def main() -> None:
    """Measure and print."""
    slide, labels_file, out = sys.argv[1:4]
    with contextlib.redirect_stdout(io.StringIO()):
        from csbdeep.utils import normalize
        from stardist.geometry import star_dist
        from stardist.models import Config2D, StarDist2D
        from stardist.utils import edt_prob

        config = Config2D(n_rays=32, grid=(2, 2), n_channel_in=3)
        model = StarDist2D(config, name=None, basedir=None)
    model.thresholds = {"prob": 0.69, "nms": 0.3}
    labels = np.load(labels_file)["labels"]
    prob = edt_prob(labels)[::2, ::2]
    dist = np.maximum(star_dist(labels, 32, grid=(2, 2)), 1e-3)

    stages = Stages()
    pixels = read_half(slide)
    stages.done("read")
    image = normalize(pixels, 1, 99.8, axis=(0, 1, 2)).astype(np.float32)
    stages.done("normalise")
    _replace(model, image, prob, dist)
    with contextlib.redirect_stdout(io.StringIO()):
        _, found = model.predict_instances_big(
            image, "YXC", block_size=2048, min_overlap=96, context=96, show_progress=False
        )
    stages.done("network, suppression, labels")
    rings = []
    for coordinates in found["coord"]:
        ring = 2 * np.asarray(coordinates).T[:, ::-1]
        rings.append(np.vstack([ring, ring[:1]]))
    write_geojson(Path(out), rings)
    stages.done("GeoJSON")
    stages.print("StarDist 0.9.2", len(rings), Path(out))


def _replace(model: Any, image: Any, prob: Any, dist: Any) -> None:
    """Let the network run, then take the labels' candidates under the same block."""
    base = image.__array_interface__["data"][0]
    ran = model._predict_sparse_generator

    def replaced(block: Any, *args: Any, **kwargs: Any) -> Any:
        offset = (block.__array_interface__["data"][0] - base) // image.itemsize // 3
        y, x = divmod(offset, image.shape[1])
        # A threshold above 1: the random network's own candidates are none.
        for _ in ran(block, *args, **{**kwargs, "prob_thresh": 1.1}):
            pass
        here = (
            slice(y // 2, (y + block.shape[0]) // 2),
            slice(x // 2, (x + block.shape[1]) // 2),
        )
        points = np.argwhere(prob[here] > model.thresholds.prob)
        yield prob[here][tuple(points.T)], dist[here][tuple(points.T)], points * 2

    model._predict_sparse_generator = replaced


if __name__ == "__main__":
    main()
