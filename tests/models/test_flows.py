"""Flows to labels: against cellpose's own dynamics, and the same bits wherever the window lies."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from wsiseg.models.classical.instances import tidy
from wsiseg.models.decoding.flows import FlowRule, find_flow_instances
from wsiseg.models.decoding.heat import flow_errors, mask_flows


def crowd(seed: int, side: int = 256) -> NDArray[np.int32]:
    """Ellipses at random, many of them touching, each 4-connected and without holes."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((side, side), np.int32)
    y, x = np.mgrid[:side, :side]
    for number in range(1, side * side // 300):
        cy, cx, angle = rng.uniform(0, side), rng.uniform(0, side), rng.uniform(0, np.pi)
        u = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
        v = (y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)
        inside = (u / rng.uniform(5, 12)) ** 2 + (v / rng.uniform(4, 9)) ** 2 < 1
        if (labels[inside] > 0).mean() <= 0.3:
            labels[inside & (labels == 0)] = number
    tidy(labels, int(labels.max()), 1000)
    area = np.bincount(labels.ravel())
    labels[area[labels] < 30] = 0
    _, numbered = np.unique(labels, return_inverse=True)
    return numbered.reshape(labels.shape).astype(np.int32)


def score_of(labels: NDArray[np.int32]) -> NDArray[np.float32]:
    return np.where(labels > 0, np.float32(6), np.float32(-6))


def agreement(a: NDArray[np.integer], b: NDArray[np.integer], iou: float) -> float:
    """F1 of one label image against another."""
    pairs = np.zeros((int(a.max()) + 1, int(b.max()) + 1), np.int64)
    np.add.at(pairs, (a.ravel(), b.ravel()), 1)
    shared = pairs[1:, 1:]
    union = pairs[1:].sum(axis=1)[:, None] + pairs[:, 1:].sum(axis=0)[None] - shared
    matched = int((shared > iou * union).sum())
    return 2 * matched / (int(a.max()) + int(b.max()))


def disturbed(
    labels: NDArray[np.int32], flows: NDArray[np.float32], seed: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Flows and score as a bad network would give them."""
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.normal(0, 1.2, flows.shape), (0, 1, 1))
    blotches = ndimage.gaussian_filter(rng.normal(0, 6, labels.shape), 1.5)
    score = score_of(labels) / 3 + blotches
    return (flows + noise).astype(np.float32), score.astype(np.float32)


@pytest.mark.parametrize("seed", range(3))
def test_masks_come_back_from_their_own_flows(seed: int) -> None:
    labels = crowd(seed)
    found = find_flow_instances(mask_flows(labels), score_of(labels), FlowRule())
    assert labels.max() > 120
    assert agreement(found.labels, labels, 0.9) >= 0.98
    assert found.probabilities.min() > 0.99


@pytest.mark.parametrize("seed", range(3))
def test_the_decoder_agrees_with_cellposes_own(seed: int) -> None:
    """On its own flows, clean and disturbed; cellpose 3 on the processor."""
    dynamics = pytest.importorskip("cellpose.dynamics")
    torch = pytest.importorskip("torch")
    if not hasattr(dynamics, "masks_to_flows"):
        pytest.skip("cellpose 4 takes flows half a pixel beside, depending on the image's size")
    labels = crowd(seed)
    flows = dynamics.masks_to_flows(labels.astype(np.int64)).astype(np.float32)
    assert np.abs(flows - mask_flows(labels)).mean() < 1e-3
    cases = [(flows, score_of(labels)), disturbed(labels, flows, seed)]
    for given, score in cases:
        theirs = dynamics.compute_masks(
            5 * given, score, niter=200, min_size=15, device=torch.device("cpu")
        )
        masks = np.asarray(theirs[0] if isinstance(theirs, tuple) else theirs, np.int64)
        ours = find_flow_instances(given, score, FlowRule())
        assert len(ours) > 80
        assert agreement(ours.labels, masks, 0.5) >= 0.98
        assert agreement(ours.labels, masks, 0.9) >= 0.97


def test_nuclei_away_from_the_edge_are_the_same_bits_in_every_window() -> None:
    labels = crowd(7, 320)
    flows, score = disturbed(labels, mask_flows(labels), 7)
    whole = find_flow_instances(flows, score, FlowRule())
    part = find_flow_instances(
        np.ascontiguousarray(flows[:, 37:301, 21:290]), score[37:301, 21:290], FlowRule()
    )
    assert part.supports is not None
    height, width = part.labels.shape
    compared = 0
    for index in range(len(part)):
        x0, y0, x1, y1 = part.supports[index]
        if x0 < 12 or y0 < 12 or x1 > width - 12 or y1 > height - 12:
            continue
        mask = part.labels == index + 1
        there = np.zeros(labels.shape, np.bool_)
        there[37:301, 21:290] = mask
        (number,) = np.unique(whole.labels[there])
        assert number > 0
        np.testing.assert_array_equal(whole.labels == number, there)
        assert whole.probabilities[number - 1] == part.probabilities[index]
        compared += 1
    assert compared > 60


def test_supports_hold_their_nuclei_and_the_touching_ones() -> None:
    labels = np.zeros((60, 90), np.int32)
    labels[20:40, 20:35] = 1
    labels[22:38, 35:52] = 2
    labels[20:40, 65:80] = 3
    found = find_flow_instances(mask_flows(labels), score_of(labels), FlowRule())
    assert found.supports is not None
    assert len(found) == 3
    for index, (rows, columns) in enumerate(ndimage.find_objects(found.labels)):
        x0, y0, x1, y1 = found.supports[index]
        assert x0 <= columns.start < columns.stop <= x1
        assert y0 <= rows.start < rows.stop <= y1
    joined, second, alone = found.supports[found.labels[30, [25, 45, 70]] - 1]
    np.testing.assert_array_equal(joined, second)
    assert joined.tolist() == [20, 20, 52, 40]
    assert alone.tolist() == [65, 20, 80, 40]


def test_masks_that_contradict_their_flows_are_dropped() -> None:
    """Flows that lead sideways to a far end make one mask, whose own flows are others."""
    labels = np.zeros((60, 120), np.int32)
    labels[10:30, 10:30] = 1
    labels[10:30, 50:110] = 2
    flows = mask_flows(labels)
    flows[:, labels == 2] = np.array([[0.0], [1.0]], np.float32)
    score = score_of(labels)
    kept = find_flow_instances(flows, score, FlowRule(flow_error=0.0))
    checked = find_flow_instances(flows, score, FlowRule())
    assert len(kept) > len(checked) == 1
    assert (checked.labels > 0).sum() == (labels == 1).sum()
    errors = flow_errors(labels, 2, np.ascontiguousarray(np.moveaxis(flows, 0, 2)))
    assert errors[1] < 1e-6
    assert errors[2] > 0.4


def test_nothing_above_the_threshold_gives_nothing() -> None:
    flows = np.zeros((2, 40, 50), np.float32)
    found = find_flow_instances(flows, np.full((40, 50), -1, np.float32), FlowRule())
    assert len(found) == 0
    assert found.labels.shape == (40, 50)
    assert not found.labels.any()
