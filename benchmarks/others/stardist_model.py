"""A StarDist network whose answers on the region are plausible, made without training.

PYTHON_OF_STARDIST stardist_model.py SLIDE LABELS.npz FOLDER

The layout is that of ``2D_versatile_he`` (32 rays, grid 2, 3 levels) with its thresholds. The body
keeps its random weights; the last layers, probability and rays, are fitted to the given labels by
least squares on a quarter of the region. So StarDist and wsiseg run the same weights in full,
unaltered, and suppression and drawing see about as many candidates as a trained network gives.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
from region import read_half

THRESHOLDS = {"prob": 0.69, "nms": 0.3}
SIDE = 2048
RIDGE = 1e-3
STEEPNESS = 8.0
"""Of the logit over the fitted probability: what is trained is surer than what is fitted."""


def main() -> None:
    """Make the network and write it."""
    slide, labels_file, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    with contextlib.redirect_stdout(io.StringIO()):
        import tensorflow as tf
        from csbdeep.utils import normalize
        from stardist.geometry import star_dist
        from stardist.models import Config2D, StarDist2D
        from stardist.utils import edt_prob

        tf.keras.utils.set_random_seed(0)
        config = Config2D(n_rays=32, grid=(2, 2), n_channel_in=3)
        model = StarDist2D(config, name=folder.name, basedir=str(folder.parent))
    middle = slice(SIDE // 2, SIDE // 2 + SIDE)
    labels = np.load(labels_file)["labels"][middle, middle]
    image = normalize(read_half(slide), 1, 99.8, axis=(0, 1, 2)).astype(np.float32)
    network = model.keras_model
    features = _features(network, image[middle, middle])
    prob = edt_prob(labels)[::2, ::2].ravel()
    dist = star_dist(labels, 32, grid=(2, 2)).reshape(-1, 32)

    weights = _fitted(features, prob[:, None])
    found = features @ weights[0][:, 0] + weights[1][0]
    # As many candidates as pixels that StarDist would call probable enough.
    enough = THRESHOLDS["prob"]
    line = float(np.quantile(found, 1 - (prob > enough).mean()))
    shift = math.log(enough / (1 - enough)) - STEEPNESS * line
    _set(network, "prob", STEEPNESS * weights[0], STEEPNESS * weights[1] + shift)
    nuclear = prob > 0
    _set(network, "dist", *_fitted(features[nuclear], dist[nuclear]))
    network.save_weights(str(folder / "weights_best.h5"))
    (folder / "thresholds.json").write_text(json.dumps(THRESHOLDS))
    (folder / "wsiseg.toml").write_text("mpp = 0.5\njointly = true\n")


def _features(network: Any, image: np.ndarray) -> np.ndarray:
    """What goes into the last layers, float32 ``[n, channels]``."""
    last = network.get_layer("prob").input
    body = type(network)(network.input, last)
    found = body.predict(image[np.newaxis], verbose=0)[0]
    return np.asarray(found.reshape(-1, found.shape[-1]))


def _fitted(features: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Kernel ``[channels, outputs]`` and bias ``[outputs]`` of least squares."""
    mean, spread = features.mean(axis=0), features.std(axis=0) + 1e-9
    scaled = ((features - mean) / spread).astype(np.float64)
    gram = scaled.T @ scaled + RIDGE * len(scaled) * np.eye(scaled.shape[1])
    kernel = np.linalg.solve(gram, scaled.T @ (wanted - wanted.mean(axis=0))) / spread[:, None]
    return kernel, wanted.mean(axis=0) - mean @ kernel


def _set(network: Any, layer: str, kernel: np.ndarray, bias: np.ndarray) -> None:
    network.get_layer(layer).set_weights([kernel[np.newaxis, np.newaxis], bias])


if __name__ == "__main__":
    main()
