"""From maps to instances: the suppression by definition, drawing, and what an instance hangs on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from skimage.draw import polygon

from wsiseg.models.segmenter import Instances
from wsiseg.models.stardist.instances import Rule, find_instances
from wsiseg.models.stardist.overlap import describe_edges, polygon_area, shared_area
from wsiseg.models.stardist.suppression import suppress

RULE = Rule(rays=12, step=2, probability=0.5, overlap=0.4, longest=20)


def maps(seed: int, side: int = 48, *, ties: bool = False) -> NDArray[np.float32]:
    """Logits and rays of a crowd, smooth as a network's are."""
    rng = np.random.default_rng(seed)
    middles = rng.uniform(0, side, (side * side // 40, 2))
    radii = rng.uniform(4, 9, len(middles))
    places = np.stack(np.indices((side, side)), 2)[:, :, None]
    away = np.sqrt(((places - middles) ** 2).sum(-1))
    nearest = away.argmin(2)
    found = np.empty((1 + RULE.rays, side, side))
    nearness = np.take_along_axis(away, nearest[..., None], 2)[..., 0]
    found[0] = 2.5 - nearness + rng.normal(0, 0.5, nearness.shape)
    if ties:
        found[0] = np.round(found[0])
    found[1:] = radii[nearest] + rng.normal(0, 0.4, found[1:].shape)
    return found.astype(np.float32)


def corners_of(lengths: NDArray[np.float32], rule: Rule) -> NDArray[np.float64]:
    """Ends ``[rays, 2]`` (y, x) of rays from their middle."""
    angles = 2 * np.pi * np.arange(rule.rays) / rule.rays
    cut = np.clip(lengths.astype(np.float64), 1e-3, rule.longest)
    return cut[:, None] * np.round(np.stack([np.sin(angles), np.cos(angles)], 1), 15)


def by_definition(
    outputs: NDArray[np.float32], rule: Rule
) -> tuple[list[tuple[int, int]], NDArray[np.int32]]:
    """What stays, most probable first, and the labels: one pair of polygons after the other."""
    evidence = outputs[0]
    limit = np.log(rule.probability / (1 - rule.probability))
    places = [(int(y), int(x)) for y, x in np.argwhere(evidence > limit)]
    places.sort(key=lambda p: (-evidence[p], p))
    kept: list[tuple[tuple[int, int], shapely.Polygon]] = []
    for place in places:
        whole = np.floor(corners_of(outputs[1 : 1 + rule.rays, *place], rule))
        shape = shapely.Polygon(whole + np.array(place) * rule.step).buffer(0)
        if all(
            shape.intersection(other).area <= rule.overlap * min(shape.area, other.area)
            for _, other in kept
        ):
            kept.append((place, shape))
    labels = np.zeros([side * rule.step for side in evidence.shape], np.int32)
    for number, (place, _) in reversed(list(enumerate(kept))):
        found = corners_of(outputs[1 : 1 + rule.rays, *place], rule) + np.array(place) * rule.step
        rows, columns = polygon(found[:, 0], found[:, 1], labels.shape)
        labels[rows, columns] = number + 1
    return [place for place, _ in kept], labels


@given(st.integers(0, 10**6), st.integers(3, 40))
@settings(max_examples=60)
def test_shared_areas_are_exact(seed: int, rays: int) -> None:
    rng = np.random.default_rng(seed)
    angles = 2 * np.pi * np.arange(rays) / rays
    steps = np.stack([np.sin(angles), np.cos(angles)], 1)
    first, second = (
        np.floor(rng.uniform(2, 30, (rays, 1)) * steps).astype(np.int16) for _ in range(2)
    )
    move = rng.integers(-25, 26, 2)
    edges, others = np.empty((5, rays)), np.empty((5, rays))
    describe_edges(first, 0, 0, edges)
    describe_edges(second, int(move[0]), int(move[1]), others)
    one, two = shapely.Polygon(first), shapely.Polygon(second.astype(int) + move)
    if not (one.is_valid and two.is_valid):
        return
    assert polygon_area(first) == pytest.approx(one.area)
    found = shared_area(edges, others, np.empty(rays))
    assert found == pytest.approx(one.intersection(two).area, abs=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_instances_are_those_of_the_definition(seed: int) -> None:
    rule = replace(RULE, overlap=0.25 + 0.1 * seed, step=1 + seed % 2)
    outputs = maps(seed, ties=seed == 3)
    kept, labels = by_definition(outputs, rule)
    found = find_instances(outputs, rule)
    assert len(kept) > 15
    seen = np.unique(labels[labels > 0])
    assert len(found) == len(seen)
    known = outputs[0][tuple(np.array(kept).T)][seen - 1].astype(np.float64)
    assert np.allclose(found.probabilities, 1 / (1 + np.exp(-known)), atol=1e-6)
    numbers = np.zeros(len(kept) + 1, np.int32)
    numbers[seen] = np.arange(1, len(seen) + 1)
    assert np.array_equal(found.labels, numbers[labels])


@pytest.mark.parametrize("ties", [False, True])
def test_windows_that_show_a_support_show_the_same_instance(ties: bool) -> None:
    rule = replace(RULE, longest=10)
    compared = 0
    for seed in range(25):
        outputs = maps(seed, 72, ties=ties)
        whole = find_instances(outputs, rule)
        rng = np.random.default_rng(seed)
        y0, x0 = rng.integers(0, 16, 2)
        y1, x1 = rng.integers(56, 73, 2)
        part = find_instances(np.ascontiguousarray(outputs[:, y0:y1, x0:x1]), rule)
        extent = np.array([x0, y0, x1, y1]) * rule.step
        view = whole.labels[extent[1] : extent[3], extent[0] : extent[2]]
        corner = np.tile(extent[:2], 2)
        compared += same_where_supported(whole, view, part.labels, extent)
        compared += same_where_supported(part, part.labels, view, extent - corner)
    assert compared > 150


def same_where_supported(
    found: Instances,
    labels: NDArray[np.int32],
    others: NDArray[np.int32],
    extent: NDArray[np.int64],
) -> int:
    """How many instances have supports within a box; each must be one of the other labels, too."""
    assert found.supports is not None
    inside = (found.supports[:, :2] >= extent[:2]).all(1)
    inside &= (found.supports[:, 2:] <= extent[2:]).all(1)
    for number in np.flatnonzero(inside) + 1:
        mask = labels == number
        (counterpart,) = np.unique(others[mask])
        assert counterpart > 0
        assert np.array_equal(others == counterpart, mask)
    return int(inside.sum())


def test_supports_hold_chains_of_suppression() -> None:
    """C stays only because B, which would suppress it, is suppressed by A."""
    vertices = np.tile(np.array([[-4, -4], [-4, 4], [4, 4], [4, -4]], np.int16), (3, 1, 1))
    middles = np.array([[50, 30], [50, 35], [50, 40]], np.int32)
    keepers, supports = suppress(vertices, middles, 0.3, 10)
    assert keepers.tolist() == [0, 0, 2]
    assert supports[2].tolist() == [16, 36, 56, 66]
    assert supports[0].tolist() == [16, 36, 46, 66]


def test_what_is_most_probable_lies_on_top_and_what_is_covered_is_left_out() -> None:
    outputs = np.full((1 + RULE.rays, 20, 20), -9, np.float32)
    rule = replace(RULE, overlap=1.0)
    for place, logit, ray in (((10, 8), 3.0, 8), ((10, 11), 2.0, 8), ((10, 9), 1.0, 2)):
        outputs[0, place[0], place[1]] = logit
        outputs[1:, place[0], place[1]] = ray
    found = find_instances(outputs, rule)
    assert len(found) == 2
    assert found.labels[20, 18] == 1
    assert found.labels[20, 28] == 2
    assert found.probabilities[0] > found.probabilities[1]


def test_classes_come_with_the_middle() -> None:
    outputs = np.full((1 + RULE.rays + 3, 20, 20), -9, np.float32)
    outputs[1 : 1 + RULE.rays] = 4
    for place, class_ in (((4, 4), 2), ((4, 14), 1), ((14, 4), 0)):
        outputs[0, place[0], place[1]] = 1 + class_
        outputs[1 + RULE.rays + class_, place[0], place[1]] = 5
    found = find_instances(outputs, RULE)
    assert found.classes.tolist() == [2, 1, 0]
    assert found.classes.dtype == np.uint8


def test_nothing_and_nonsense_give_no_instances() -> None:
    outputs = np.full((1 + RULE.rays, 16, 16), -9, np.float32)
    found = find_instances(outputs, RULE)
    assert len(found) == 0
    assert found.supports is not None
    assert found.supports.shape == (0, 4)
    outputs[:] = np.nan
    assert len(find_instances(outputs, RULE)) == 0
    outputs[0] = 1
    many = find_instances(outputs, RULE)
    assert many.labels.max() == len(many)
    outputs[1:] = np.inf
    assert len(find_instances(outputs, RULE)) > 0
