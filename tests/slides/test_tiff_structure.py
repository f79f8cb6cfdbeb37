"""Truncated, looping and absurd TIFF files, made here byte by byte."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import tifffile

from wsiseg.errors import UnreadableSlideError
from wsiseg.slides.probe import open_reader
from wsiseg.slides.tiff_structure import check_tiff, is_tiff

LONG = 4


def directory(entries: dict[int, int], following: int) -> bytes:
    """A classic little-endian directory of single LONG values."""
    body = b"".join(
        struct.pack("<HHII", tag, LONG, 1, value) for tag, value in sorted(entries.items())
    )
    return struct.pack("<H", len(entries)) + body + struct.pack("<I", following)


def classic(*directories: bytes, first: int = 8) -> bytes:
    return b"II*\0" + struct.pack("<I", first) + b"".join(directories)


IMAGE = {256: 64, 257: 64, 322: 64, 323: 64, 324: 8, 325: 4}
STEP = len(directory(IMAGE, 0))


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (classic(), "directory 0 at byte 8"),
        (classic(first=0), "names no directory"),
        (b"II*\0", "header"),
        (classic(directory(IMAGE, 8)), "circle at byte 8"),
        (classic(directory(IMAGE, 8 + STEP), directory(IMAGE, 8)), "circle at byte 8"),
        (classic(directory(IMAGE, 9999)), "directory 1 at byte 9999"),
        (classic(struct.pack("<H", 65535)), "65535 entries"),
        (classic(directory({**IMAGE, 324: 1 << 20}, 0)), "tile 0 should be 4 bytes"),
        (classic(directory({**IMAGE, 325: (1 << 32) - 1}, 0)), "beyond its end"),
        (classic(directory({**IMAGE, 256: 1 << 30, 257: 1 << 30}, 0)), "lists 1 of the"),
        (classic(directory({**IMAGE, 322: 1 << 30, 323: 1 << 30}, 0)), "tiles of 1073741824"),
        (classic(directory({**IMAGE, 322: 0}, 0)), "tiles of 0"),
        (
            classic(
                struct.pack("<HHHII", 1, 324, LONG, 1 << 30, 8) + struct.pack("<I", 0),
            ),
            "tag 324",
        ),
    ],
)
def test_broken_structures_are_refused_at_their_place(
    tmp_path: Path, content: bytes, word: str
) -> None:
    path = tmp_path / "broken.svs"
    path.write_bytes(content)
    assert is_tiff(path)
    tracemalloc.start()
    with pytest.raises(UnreadableSlideError, match=word) as raised:
        open_reader(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "broken.svs" in str(raised.value)
    assert peak < 64 << 20


def pyramid(path: Path) -> None:
    array = np.full((300, 300, 3), 200, np.uint8)
    with tifffile.TiffWriter(path) as file:
        for by in (1, 2, 4):
            file.write(array[::by, ::by], photometric="rgb", tile=(64, 64), compression="jpeg")


def test_cut_anywhere_a_file_is_refused(tmp_path: Path) -> None:
    whole = tmp_path / "whole.tif"
    pyramid(whole)
    check_tiff(whole)
    data = whole.read_bytes()
    path = tmp_path / "cut.tif"
    for share in (0.01, 0.3, 0.5, 0.7, 0.9, 0.99):
        path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(UnreadableSlideError, match=r"cut\.tif"):
            open_reader(path)
    path.write_bytes(data[:-2])
    with pytest.raises(UnreadableSlideError, match="beyond its end"):
        check_tiff(path)


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_whole_files_of_every_layout_pass(tmp_path: Path, big: bool, order: str) -> None:
    path = tmp_path / "whole.tif"
    with tifffile.TiffWriter(path, bigtiff=big, byteorder=order) as file:
        array = np.full((300, 300, 3), 200, np.uint16)
        file.write(array, photometric="rgb", tile=(64, 64), subifds=2)
        file.write(array[::2, ::2], photometric="rgb", subfiletype=1)
        file.write(array[::4, ::4], photometric="rgb", subfiletype=1)
        file.write(array, photometric="rgb", planarconfig="contig", rowsperstrip=9)
    check_tiff(path)
    reader = open_reader(path)
    assert len(reader.facts.levels) == 3


def test_random_damage_never_crashes(tmp_path: Path) -> None:
    whole = tmp_path / "whole.tif"
    pyramid(whole)
    data = np.frombuffer(whole.read_bytes(), np.uint8)
    rng = np.random.default_rng(3)
    path = tmp_path / "hit.tif"
    refused = 0
    for _ in range(60):
        hit = data.copy()
        places = rng.integers(0, len(hit), 40)
        hit[places] = rng.integers(0, 256, 40)
        path.write_bytes(hit.tobytes())
        try:
            open_reader(path).close()
        except UnreadableSlideError:
            refused += 1
    assert refused > 0
