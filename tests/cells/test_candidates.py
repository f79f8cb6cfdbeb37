"""Equal candidates, anchors, and where labels are."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from wsiseg.cells.candidates import Candidates
from wsiseg.cells.extent import label_boxes, shown_in
from wsiseg.cells.polygons import Polygons
from wsiseg.geometry import Box

FIELDS = st.tuples(
    st.integers(1, 2),  # area
    st.integers(0, 1),  # sum of columns
    st.integers(0, 1),  # sum of rows
    st.integers(0, 1),  # class
    st.booleans(),  # truncated
    st.sampled_from([((0, 0), (1, 0), (1, 1)), ((0, 0), (1, 1), (0, 1)), ((0, 0),) * 4]),
    st.tuples(st.integers(0, 2), st.integers(0, 2)),  # tile
)


def candidates(rows: list[tuple]) -> Candidates:
    """Candidates from rows of ``FIELDS``."""
    sizes = [len(row[5]) for row in rows]
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    vertices = np.array([v for row in rows for v in row[5]], np.int32).reshape(-1, 2)
    return Candidates(
        Polygons(vertices, offsets, np.arange(len(rows) + 1)),
        np.zeros((len(rows), 4), np.int64),
        np.array([row[0] for row in rows], np.int64),
        np.array([row[1] for row in rows], np.int64),
        np.array([row[2] for row in rows], np.int64),
        np.array([row[3] for row in rows], np.uint8),
        np.zeros(len(rows), np.float32),
        np.array([row[4] for row in rows], bool),
        np.array([row[6] for row in rows], np.int32).reshape(-1, 2),
    )


@settings(max_examples=200, deadline=None)
@given(st.lists(FIELDS, max_size=30))
def test_of_equal_candidates_the_one_of_the_lowest_tile_stays(rows: list[tuple]) -> None:
    best: dict[tuple, tuple] = {}
    for i, row in enumerate(rows):
        column, line = row[6]
        best[row[:6]] = min(best.get(row[:6], (line, column, i)), (line, column, i))
    found = candidates(rows).first_of_equals()
    assert found.tolist() == sorted(i for _, _, i in best.values())


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 10**6), st.integers(-(10**9), 10**9), st.integers(1, 4096))
def test_anchors_are_exact(area: int, total: int, step: int) -> None:
    found = candidates([(area, total, -total, 0, False, ((0, 0),) * 3, (0, 0))])
    x, y = Fraction(total, area) + Fraction(1, 2), Fraction(-total, area) + Fraction(1, 2)
    assert found.anchor_cells(step).tolist() == [[x // step, y // step]]
    column, row = int(x // step), int(y // step)
    cell = Box(column * step, row * step, (column + 1) * step, (row + 1) * step)
    assert found.anchors_in(cell).tolist() == [True]
    assert found.anchors_in(cell.shifted(step, 0)).tolist() == [False]
    assert found.anchors()[0] == pytest.approx([float(x), float(y)])


@settings(max_examples=100, deadline=None)
@given(arrays(np.int32, (7, 9), elements=st.integers(-1, 5)), st.data())
def test_labels_and_their_boxes(labels: np.ndarray, data: st.DataObject) -> None:
    boxes = label_boxes(labels, 4)
    for label in range(1, 5):
        y, x = np.nonzero(labels == label)
        expected = [x.min(), y.min(), x.max() + 1, y.max() + 1] if len(x) else [0] * 4
        assert boxes[label - 1].tolist() == expected
    asked = st.tuples(*[st.integers(0, 9), st.integers(0, 7)] * 2)
    places = np.array(data.draw(st.lists(asked, min_size=4, max_size=4)), np.int64)
    which = np.array([1, 2, 3, 4])
    shown = shown_in(labels, which, places)
    for label, (x0, y0, x1, y1), found in zip(which, places, shown, strict=True):
        assert found == (labels[y0:y1, x0:x1] == label).any()
