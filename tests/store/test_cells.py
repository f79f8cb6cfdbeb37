"""The cells of a slide are there as a whole or not at all."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from wsiseg.cells.batch import CellBatch
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
