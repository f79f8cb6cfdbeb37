"""The cells of a slide are there as a whole or not at all."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from wsiseg.cells.batch import CellBatch, places_of
from wsiseg.cells.polygons import Polygons
from wsiseg.cells.simple import plainly_valid
from wsiseg.errors import StoreError
from wsiseg.files import read_json, write_json
from wsiseg.store.cells import StoredCells, write_cells
from wsiseg.testing.sources import synthetic_cells

WHOLE = synthetic_cells(4000, seed=2)
PARTS = 7


def part(number: int) -> CellBatch:
    """Every seventh cell."""
    return WHOLE.read(0).take(np.arange(number, WHOLE.count, PARTS))


def test_parts_made_at_a_time_are_those_made_in_turn(tmp_path: Path) -> None:
    for threads in (1, 3):
        with ThreadPoolExecutor(threads) as pool:
            folder = tmp_path / str(threads)
            assert write_cells(folder, WHOLE.info, part, range(PARTS), pool) == WHOLE.count
        stored = StoredCells(folder)
        assert [stored.read(n).ids[0] for n in range(PARTS)] == list(range(1, PARTS + 1))
    for path in (tmp_path / "1").iterdir():
        assert path.read_bytes() == (tmp_path / "3" / path.name).read_bytes()


def test_a_part_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    def failing(number: int) -> CellBatch:
        if number == 1:
            raise ValueError("this one")
        time.sleep(0.05)
        return part(number)

    folder = tmp_path / "cells"
    with ThreadPoolExecutor(3) as pool:
        write_cells(folder, WHOLE.info, part, range(2), pool)
        before = StoredCells(folder).count
        with pytest.raises(ValueError, match="this one"):
            write_cells(folder, WHOLE.info, failing, range(PARTS), pool)
        # The others were not under way any more when their folder was removed.
        assert [path.name for path in tmp_path.iterdir()] == ["cells"]
    assert StoredCells(folder).count == before


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with ThreadPoolExecutor(1) as pool:
        write_cells(tmp_path / "cells", WHOLE.info, part, range(PARTS), pool)
    return tmp_path / "cells"


def test_what_is_read_alone_is_what_all_is_read_with(folder: Path) -> None:
    stored, bare = StoredCells(folder), StoredCells(folder, features=())
    for number in range(PARTS):
        batch, written = stored.read(number), part(number)
        assert np.array_equal(batch.centroids, written.centroids)
        assert np.array_equal(batch.uuids, written.uuids)
        assert list(batch.features) == list(written.features) != []
        for name, values in batch.features.items():
            assert np.array_equal(stored.feature(number, name), values, equal_nan=True)
        places = places_of(stored, number)
        assert np.array_equal(places.centroids, batch.centroids)
        assert np.array_equal(places.class_index, batch.class_index)
        assert bare.read(number).features == {}
        assert np.array_equal(bare.read(number).ids, batch.ids)
    with pytest.raises(StoreError, match="no_such_um"):
        stored.feature(0, "no_such_um")
    assert np.array_equal(places_of(WHOLE, 0).centroids, WHOLE.read(0).centroids)


def test_outlines_say_what_was_found_of_them(folder: Path) -> None:
    polygons = StoredCells(folder).read(2).polygons
    assert polygons.plain is not None
    assert np.array_equal(polygons.plain, plainly_valid(part(2).polygons))
    chosen = np.array([5, 1, 9])
    taken = polygons.take(chosen).plain
    assert taken is not None
    assert np.array_equal(taken, polygons.plain[chosen])
    joined = Polygons.concatenate([polygons, polygons.take(chosen)]).plain
    assert joined is not None
    assert len(joined) == len(polygons) + 3
    assert Polygons.concatenate([polygons, part(2).polygons]).plain is None


def test_cells_of_another_version_are_refused(folder: Path) -> None:
    index = folder / "index.json"
    value = read_json(index)
    assert isinstance(value, dict)
    write_json(index, {name: one for name, one in value.items() if name != "layout"})
    with pytest.raises(StoreError, match="as another version of wsiseg keeps them"):
        StoredCells(folder)
