"""The graph is the alpha complex by its definition, and the same in parts as in one piece."""

from __future__ import annotations

import itertools

import networkx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsiseg.features.graph import MARGIN_UM, alpha_complex, measure_graph


def ids(count):
    return np.arange(1, count + 1, dtype=np.uint32)


def centres(a, b, radius):
    """Centres of the circles of that radius through two points."""
    middle, half = (a + b) / 2, (b - a) / 2
    rest = radius**2 - half @ half
    if rest < 0:
        return []
    across = np.array([-half[1], half[0]]) / np.hypot(*half) * np.sqrt(rest)
    return [middle + across, middle - across]


def by_definition(points, alpha):
    """Edges that have an empty circle of at most that radius, sought among all that could be."""
    count, edges, triangles = len(points), [], []
    for i, j in itertools.combinations(range(count), 2):
        others = np.delete(points, [i, j], axis=0)
        half = np.hypot(*(points[i] - points[j])) / 2
        tries = [((points[i] + points[j]) / 2, half)] if half <= alpha else []
        for k in range(count):
            if k not in (i, j):
                centre, radius = circle(points[[i, j, k]])
                tries += [(centre, radius)] if radius <= alpha else []
        tries += [(centre, alpha) for centre in centres(points[i], points[j], alpha)]
        for centre, radius in tries:
            if (np.hypot(*(others - centre).T) >= radius - 1e-9).all():
                edges.append((i, j))
                break
    for corners in itertools.combinations(range(count), 3):
        centre, radius = circle(points[list(corners)])
        others = np.delete(points, corners, axis=0)
        if radius <= alpha and (np.hypot(*(others - centre).T) >= radius).all():
            triangles.append(corners)
    return edges, triangles


def circle(corners):
    a, b, c = corners
    system = 2 * np.array([b - a, c - a])
    if abs(np.linalg.det(system)) < 1e-12:
        return a, np.inf
    centre = np.linalg.solve(system, [b @ b - a @ a, c @ c - a @ a])
    return centre, float(np.hypot(*(centre - a)))


@pytest.mark.parametrize("seed", range(6))
def test_edges_and_triangles_are_those_of_the_definition(seed):
    points = np.random.default_rng(seed).uniform(0, 260, (18, 2))
    edges, triangles = alpha_complex(points, ids(18))
    wanted_edges, wanted_triangles = by_definition(points, 50.0)
    assert [tuple(edge) for edge in edges] == wanted_edges
    assert [tuple(triangle) for triangle in triangles] == wanted_triangles
    assert 0 < len(edges) < 18 * 17 / 2


def assert_parts_are_the_whole(points, side):
    numbers = ids(len(points))
    whole = measure_graph(points, numbers, slice(0, len(points)))
    part = np.floor(points / side).astype(int) @ [1000, 1]
    for one in np.unique(part):
        low = points[part == one].min(axis=0) - MARGIN_UM
        high = points[part == one].max(axis=0) + MARGIN_UM
        near = ((points >= low) & (points <= high)).all(axis=1) & (part != one)
        own = np.flatnonzero(part == one)
        some = np.concatenate([own, np.flatnonzero(near)])
        found = measure_graph(points[some], numbers[some], slice(0, len(own)))
        for name, values in found.items():
            np.testing.assert_allclose(values, whole[name][own], rtol=1e-6, err_msg=name)


def test_parts_give_the_graph_of_the_whole():
    rng = np.random.default_rng(8)
    dense, sparse = rng.uniform(0, 700, (900, 2)), rng.uniform(0, 1600, (250, 2))
    assert_parts_are_the_whole(np.concatenate([dense, sparse]), 300.0)


@settings(max_examples=25)
@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=60),
    st.sampled_from([8.0, 25.0, 40.0]),
)
def test_ties_on_lattices_are_broken_alike_in_every_part(places, spacing):
    assert_parts_are_the_whole(np.array(places, float) * spacing, 230.0)


def test_numbers_are_those_of_networkx():
    points = np.random.default_rng(4).uniform(0, 400, (150, 2))
    edges, triangles = alpha_complex(points, ids(150))
    graph = networkx.Graph()
    graph.add_nodes_from(range(150))
    graph.add_edges_from(edges.tolist())
    found = measure_graph(points, ids(150), slice(0, 150))
    clustering = networkx.clustering(graph)
    assert 0 < np.mean(list(clustering.values())) < 1
    for node in range(150):
        assert found["graph_degree"][node] == graph.degree[node]
        assert found["graph_clustering"][node] == pytest.approx(clustering[node])
        lengths = [np.hypot(*(points[node] - points[other])) for other in graph[node]]
        assert found["graph_edge_mean_um"][node] == pytest.approx(np.mean(lengths))
        assert found["graph_edge_std_um"][node] == pytest.approx(np.std(lengths), abs=1e-4)
        areas = [
            abs(np.linalg.det(np.stack([points[b] - points[a], points[c] - points[a]]))) / 2
            for a, b, c in triangles
            if node in (a, b, c)
        ]
        wanted = np.mean(areas) if areas else np.nan
        assert found["graph_triangle_area_mean_um2"][node] == pytest.approx(wanted, nan_ok=True)


def test_few_or_far_nuclei_have_a_graph_too():
    pair = np.array([[0.0, 0.0], [99.0, 0.0], [300.0, 0.0]])
    found = measure_graph(pair, ids(3), slice(0, 3))
    assert found["graph_degree"].tolist() == [1, 1, 0]
    assert found["graph_edge_mean_um"][0] == 99
    assert np.isnan(found["graph_edge_mean_um"][2])
    assert found["graph_clustering"].tolist() == [0, 0, 0]
    assert np.isnan(found["graph_triangle_area_mean_um2"]).all()
    alone = measure_graph(pair[:1], ids(1), slice(0, 1))
    assert alone["graph_degree"].tolist() == [0]
    row = np.stack([np.arange(6) * 30.0, np.zeros(6)], axis=1)
    in_line = measure_graph(row, ids(6), slice(0, 6))
    assert in_line["graph_degree"].tolist() == [1, 2, 2, 2, 2, 1]
