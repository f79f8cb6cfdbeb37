"""Files of flat columns: what was written comes back, and no damage goes unseen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from wsiseg.cells.polygons import Polygons
from wsiseg.errors import StoreError
from wsiseg.store.columns import open_columns, write_columns
from wsiseg.store.outlines import column_outlines, outline_columns
from wsiseg.testing.sources import synthetic_cells

RNG = np.random.default_rng(5)

COLUMNS: dict[str, NDArray[Any]] = {
    "small": RNG.integers(-9, 9, 13),
    "bytes": RNG.integers(0, 255, (13, 16), dtype=np.uint8),
    "signed": np.array([-32768, 32767], np.int64),
    "edge": np.array([0, 65536], np.int64),
    "large": RNG.integers(-(1 << 40), 1 << 40, 7),
    "float": RNG.random((13, 2)),
    "single": RNG.random(13, dtype=np.float32),
    "flags": RNG.random(13) < 0.5,
    "none": np.empty((0, 4), np.int64),
    "turned": RNG.random((3, 5)).T,
}


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    write_columns(tmp_path / "a.columns", COLUMNS, {"key": "k", "list": [1, "ä"]})
    return tmp_path / "a.columns"


def assert_columns(path: Path) -> None:
    with open_columns(path) as file:
        assert file.about == {"key": "k", "list": [1, "ä"]}
        assert file.names == tuple(COLUMNS)
        for name, values in COLUMNS.items():
            back: NDArray[np.generic] = file[name]
            assert back.dtype == values.dtype
            assert np.array_equal(back, values)


def test_columns_come_back_as_they_were(stored: Path) -> None:
    assert_columns(stored)
    assert stored.stat().st_size < 4096


def test_every_byte_that_counts_is_checked(stored: Path) -> None:
    data = stored.read_bytes()
    seen = 0
    for place in range(len(data)):
        stored.write_bytes(data[:place] + bytes([data[place] ^ 64]) + data[place + 1 :])
        try:
            with open_columns(stored) as file:
                file.verify()
        except StoreError:
            seen += 1
        else:
            # Between columns only.
            assert data[place] == 0
            assert_columns(stored)
    assert seen > len(data) / 2


@pytest.mark.parametrize("kept", [0, 10, 24, 100, 0.5, -1])
def test_files_that_are_cut_off_are_damaged(stored: Path, kept: float) -> None:
    data = stored.read_bytes()
    stored.write_bytes(data[: int(kept if kept != 0.5 else len(data) / 2)])
    with (
        pytest.raises(StoreError, match=r"is damaged .*; delete it and run again"),
        open_columns(stored),
    ):
        pass


def test_what_is_missing_or_of_others_is_refused(stored: Path) -> None:
    with pytest.raises(StoreError, match="No such file"), open_columns(stored.parent / "b"):
        pass
    with pytest.raises(StoreError, match="another"), open_columns(stored) as file:
        file["another"]
    stored.write_bytes(b"PAR1" + stored.read_bytes())
    with pytest.raises(StoreError, match="another version of wsiseg"), open_columns(stored):
        pass


def assert_outlines(path: Path, polygons: Polygons) -> None:
    write_columns(path, outline_columns(polygons), {})
    with open_columns(path) as file:
        back = column_outlines(file)
    for name in ("vertices", "ring_offsets", "polygon_offsets"):
        assert getattr(back, name).dtype == getattr(polygons, name).dtype
        assert np.array_equal(getattr(back, name), getattr(polygons, name)), name


def test_outlines_take_two_bytes_a_coordinate(tmp_path: Path) -> None:
    polygons = synthetic_cells(500, seed=3, holed=0.3).read(0).polygons
    assert_outlines(tmp_path / "a", polygons)
    rings = len(polygons.ring_offsets)
    assert (tmp_path / "a").stat().st_size < 4 * len(polygons.vertices) + 16 * rings + 1024


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.lists(
            st.lists(
                st.tuples(*[st.integers(-(2**31), 2**31 - 1)] * 2),
                min_size=1,
                max_size=5,
            ),
            max_size=3,
        ),
        max_size=4,
    )
)
def test_any_outlines_come_back(
    tmp_path_factory: pytest.TempPathFactory, shapes: list[list[list[tuple[int, int]]]]
) -> None:
    rings = [ring for shape in shapes for ring in shape]
    points = [point for ring in rings for point in ring]
    polygons = Polygons(
        np.array(points, np.int32).reshape(-1, 2),
        np.cumsum([0, *map(len, rings)]),
        np.cumsum([0, *map(len, shapes)]),
    )
    assert_outlines(tmp_path_factory.mktemp("outlines") / "a", polygons)
