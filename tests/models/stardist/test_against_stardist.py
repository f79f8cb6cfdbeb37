"""Number for number against the package stardist, in an environment of its own.

``WSISEG_STARDIST_PYTHON`` names its Python::

    python3 -m venv there
    there/bin/pip install stardist tensorflow-cpu tf-keras
    there/bin/pip install --no-deps tensorflowjs        # if wanted
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from wsiseg.models.network.runtime import import_openvino
from wsiseg.models.stardist.graph import build_graph
from wsiseg.models.stardist.instances import Rule, find_instances
from wsiseg.models.stardist.reading import read_model

PYTHON = os.environ.get("WSISEG_STARDIST_PYTHON", "")
REFERENCE = Path(__file__).parent / "reference.py"

pytestmark = pytest.mark.skipif(
    not PYTHON, reason="WSISEG_STARDIST_PYTHON names no Python that has stardist and TensorFlow"
)

CLOSE, CLOSE_IN_16_BITS = 1e-4, 0.1
KEPT, PIXELS = 0.98, 0.999
"""Least part of polygons kept by both, and of pixels with the same label. StarDist rounds the
corners of intersections to whole pixels, so that a polygon in a hundred is decided otherwise."""


def refer(mode: str, folder: Path) -> Path:
    done = subprocess.run(
        [PYTHON, str(REFERENCE), mode, str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.parametrize("mode", ["keras2", "keras3"])
def test_maps_are_the_same(mode: str, tmp_path: Path) -> None:
    refer(mode, tmp_path / mode)
    core, compared = import_openvino().Core(), 0
    for folder in sorted(path for path in (tmp_path / mode).iterdir() if path.is_dir()):
        network = read_model(folder).network
        known = np.load(tmp_path / mode / f"{folder.name.partition('-')[0]}.npz")
        settings = {"INFERENCE_PRECISION_HINT": "f32"}
        found = core.compile_model(build_graph(network), "CPU", settings)({0: known["x"]})[0][0]
        rays = network.config.n_rays
        scores = np.exp(found[1 + rays :].astype(np.float64))
        parts = [1 / (1 + np.exp(-found[:1])), found[1 : 1 + rays]]
        parts += [scores / scores.sum(0)] if len(scores) else []
        close = CLOSE_IN_16_BITS if folder.name.endswith("16") else CLOSE
        for k, part in enumerate(parts):
            expected = known[f"y{k}"][0]
            assert expected.std() > 0.01
            assert np.abs(part.transpose(1, 2, 0) - expected).max() < close, folder.name
            compared += 1
    assert compared >= 12


def test_instances_of_the_same_maps_are_the_same(tmp_path: Path) -> None:
    refer("instances", tmp_path / "maps")
    for file in sorted((tmp_path / "maps").glob("*.npz")):
        known = np.load(file)
        step, rays, overlap, probability = known["settings"]
        outputs = np.concatenate([known["logits"][None], known["dist"].transpose(2, 0, 1)])
        rule = Rule(int(rays), int(step), float(probability), float(overlap), 200)
        found = find_instances(np.ascontiguousarray(outputs), rule)
        same, shared = agreement(found.labels, known["labels"])
        assert same > PIXELS, file.name
        assert shared > KEPT * max(len(found), len(known["points"])), file.name


def agreement(a: NDArray[np.int32], b: NDArray[np.int32]) -> tuple[float, int]:
    """Part of the pixels that lie in counterparts or in none, and the number of counterparts:
    labels that share nine tenths of their pixels."""
    pairs, counts = np.unique(np.stack([a.ravel(), b.ravel()]), axis=1, return_counts=True)
    size_a, size_b = np.bincount(a.ravel()), np.bincount(b.ravel())
    larger = np.maximum(size_a[pairs[0]], size_b[pairs[1]])
    both = (pairs > 0).all(0)
    counterparts = both & (counts >= 0.9 * larger)
    nothing = (pairs == 0).all(0)
    return float(counts[counterparts | nothing].sum() / a.size), int(counterparts.sum())
