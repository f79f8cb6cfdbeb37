"""The comparison of decodings: targets and decodings belong together, thresholds are not chosen on
what they are scored on."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from wsiseg.evaluation.matching import match
from wsiseg.evaluation.metrics import image_counts, image_scores
from wsiseg.training.sampling import FINE, MARGIN

SIZE = 128

if importlib.util.find_spec("torch") is None:
    pytest.skip("needs torch: pip install 'wsiseg[train]'", allow_module_level=True)


@pytest.fixture(scope="module")
def decodings() -> Iterator[ModuleType]:
    """The package ``benchmarks.decodings`` with its modules."""
    root = str(Path(__file__).resolve().parents[1])
    sys.path.insert(0, root)
    for name in ("targets", "decode", "variants", "scoring"):
        importlib.import_module(f"benchmarks.decodings.{name}")
    yield sys.modules["benchmarks.decodings"]
    sys.path.remove(root)


@pytest.fixture(scope="module")
def fine() -> NDArray[np.int32]:
    """Labels of a crop on the fine grid: ellipses 10 to 17 µm long, some of which touch."""
    side = FINE * (SIZE + 2 * MARGIN)
    y, x = np.mgrid[:side, :side]
    labels = np.zeros((side, side), np.int32)
    random = np.random.default_rng(3)
    for number, (row, column) in enumerate(np.ndindex(4, 4), 1):
        cy, cx = FINE * MARGIN + 36 + 60 * np.array([row, column]) + random.uniform(-6, 6, 2)
        a, b = random.uniform(20, 34, 2)
        turn = random.uniform(0, np.pi)
        u = (x - cx) * np.cos(turn) + (y - cy) * np.sin(turn)
        v = (y - cy) * np.cos(turn) - (x - cx) * np.sin(turn)
        labels[((u / a) ** 2 + (v / b) ** 2 < 1) & (labels == 0)] = number
    return labels


def perfect(name: str, target: NDArray[np.float32], modules: Any) -> NDArray[np.float32]:
    """Outputs of a network that has learnt its targets."""
    bounded = np.clip(target, 1e-4, 1 - 1e-4)
    outputs = np.log(bounded / (1 - bounded)).astype(np.float32)
    if name == "stars":
        rays = slice(1, 1 + modules.targets.RAYS)
        outputs[rays] = np.log(np.expm1(np.maximum(target[rays], 0.05) / 2)) / 4
    elif name == "offsets":
        outputs[1:3] = target[1:3] / modules.targets.OFFSET_UNIT
    elif name == "maps":
        outputs[1:3] = target[1:3]
    return outputs


@pytest.mark.parametrize("name", ["stars", "offsets", "maps", "boundaries"])
def test_what_is_taught_decodes_to_the_nuclei(
    name: str, decodings: Any, fine: NDArray[np.int32]
) -> None:
    way = decodings.variants.VARIANTS[name].way
    target = way.target(fine, SIZE)
    assert target.shape == (len(way.start), SIZE // 2, SIZE // 2)
    found = way.decode(perfect(name, target, decodings), (0.4, way.rules[0][1], 0.5))
    inner = slice(FINE * MARGIN, -FINE * MARGIN, FINE)
    counts = image_counts(match(np.ascontiguousarray(fine[inner, inner]), found), (0.5,))
    scores = image_scores(counts, (0.5,))
    assert float(scores["f1@0.50"]) > 0.95
    assert float(scores["aji"]) > 0.85


def test_a_nucleus_mirrored_at_its_tiles_border_has_two_centres(decodings: Any) -> None:
    labels = np.zeros((FINE * (SIZE + 2 * MARGIN),) * 2, np.int32)
    labels[150:170, 120:140] = labels[150:170, 240:260] = 7
    target = decodings.targets.offsets(labels, SIZE)
    assert np.abs(target[1:3]).max() < 20 / FINE


def test_thresholds_are_chosen_on_the_other_half(decodings: Any) -> None:
    truth = np.zeros((32, 32), np.int32)
    truth[8:24, 8:24] = 1
    outputs = [np.full((1, 16, 16), number % 2, np.float32) for number in range(4)]

    def right_for_half(given: NDArray[np.float32], rule: tuple[float, ...]) -> NDArray[np.int32]:
        return truth if given[0, 0, 0] == rule[0] else np.zeros_like(truth)

    stars = decodings.variants.STARS
    way = type(stars)(stars.start, stars.target, stars.loss, right_for_half, ((0.0,), (1.0,)), True)
    looks = [[decodings.scoring.Look("", one, truth, 1.0)] for one in outputs]
    scores, rules = decodings.scoring.cross_scores(decodings.variants.Variant(way), looks)
    # Every rule is right for one half and wrong for the other, so what is chosen on one half
    # must fail on the other.
    assert rules == [(1.0,), (0.0,)]
    assert scores.max() == 0
