"""Windows on cells."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from wsiseg.testing.sources import synthetic_cells


@pytest.mark.parametrize(("start", "stop"), [(0, 300), (0, 1), (17, 120), (299, 300), (40, 40)])
def test_a_window_is_what_taking_its_cells_gives(start: int, stop: int) -> None:
    batch = synthetic_cells(300).read(0)
    window, taken = batch.between(start, stop), batch.take(np.arange(start, stop))
    for field in dataclasses.fields(batch):
        if field.name not in ("polygons", "features"):
            one, other = getattr(window, field.name), getattr(taken, field.name)
            np.testing.assert_array_equal(one, other)
            assert np.shares_memory(one, getattr(batch, field.name)) == (stop > start)
    for name in ("vertices", "ring_offsets", "polygon_offsets"):
        one, other = getattr(window.polygons, name), getattr(taken.polygons, name)
        np.testing.assert_array_equal(one, other)
    assert window.features.keys() == taken.features.keys()
    for name, values in window.features.items():
        np.testing.assert_array_equal(values, taken.features[name])
