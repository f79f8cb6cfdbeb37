"""PNG files, as Pillow reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsiseg.export.png import write_png


@pytest.mark.parametrize("shape", [(1, 1, 3), (7, 300, 3), (257, 33, 3)])
def test_pictures_and_texts_come_back(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    pixels[: shape[0] // 2] = 255
    texts = {"slide panel": "72 380 1092 1155", "where": "Zürich"}
    write_png(tmp_path / "page.png", pixels, texts)
    with Image.open(tmp_path / "page.png", formats=("PNG",)) as picture:
        # Checks what the file says of its own bytes.
        picture.verify()
    with Image.open(tmp_path / "page.png") as picture:
        assert picture.mode == "RGB"
        assert picture.info == texts
        np.testing.assert_array_equal(np.asarray(picture), pixels)
