"""Columns from numpy to Arrow, and what the store can do without."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from wsiseg.store.parquet import arrow_column

RNG = np.random.default_rng(5)

COLUMNS = [
    RNG.integers(-9, 9, 13, dtype=np.int32),
    RNG.integers(0, 1 << 40, 13, dtype=np.int64),
    RNG.integers(0, 255, 13, dtype=np.uint8),
    RNG.random(13, dtype=np.float32),
    RNG.random((13, 2))[:, 1],
    RNG.random(13) < 0.5,
    np.empty(0, np.int64),
    np.empty(0, np.bool_),
]


@pytest.mark.parametrize("values", COLUMNS, ids=lambda v: f"{v.dtype}-{len(v)}")
def test_columns_are_those_of_arrow(values: NDArray[np.generic]) -> None:
    column = arrow_column(values)
    column.validate(full=True)
    assert column.equals(pa.array(values))


def test_blocks_go_without_arrow(tmp_path: Path) -> None:
    program = f"""
import sys
from pathlib import Path
from wsiseg.cells.candidates import Candidates
from wsiseg.store.blocks import BlockRecord, read_block, write_block
path = Path({str(tmp_path / "block.columns")!r})
write_block(path, Candidates.empty(), BlockRecord("k", "n", 0, (0, 0, 0, 0), {{}}, {{}}, ()))
assert read_block(path)[1].name == "n"
sys.exit("pandas" in sys.modules or "pyarrow" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
