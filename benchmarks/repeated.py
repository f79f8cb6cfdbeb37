"""Slides of any size from real tiles: squares of a slide, stored once and pointed to over and over.

The source must be an Aperio JPEG file with levels of 1, 4 and 16 and tiles of 256 px. What is
written is a BigTIFF of the same levels: tissue in the middle, glass around it.
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

TILE_PX = 256
SQUARE_PX = 4096
DOWNSAMPLES = (1, 4, 16)

_SHORT, _LONG, _RATIONAL, _UNDEFINED, _LONG8 = 3, 4, 5, 7, 16
_SIZES = {_SHORT: 2, _LONG: 4, _RATIONAL: 8, _UNDEFINED: 1, _LONG8: 8}
_Entry = tuple[int, int, int, bytes]


def write_repeated(
    source: Path, path: Path, side: int, tissue_squares: int, kinds: int = 4
) -> None:
    """Write a slide of ``side`` pixels a side with that many squares of tissue, of ``kinds``
    different ones: the fullest of ``source``."""
    with tifffile.TiffFile(source) as file, path.open("wb") as out:
        pages = {
            round(file.pages[0].imagewidth / p.imagewidth): p for p in file.pages if p.is_tiled
        }
        glass, *tissue = _squares(pages[DOWNSAMPLES[-1]], kinds)
        layout = _layout(side, tissue_squares, len(tissue))
        out.write(struct.pack("<2sHHHQ", b"II", 43, 8, 0, 0))
        link = 8
        for downsample in DOWNSAMPLES:
            page = pages[downsample]
            stored = [_store(file, out, page, place, downsample) for place in (glass, *tissue)]
            offsets, counts = _tiles(layout, stored, side, downsample)
            link = _directory(out, page, (offsets, counts), side // downsample, link)


def _squares(coarse: Any, kinds: int) -> list[tuple[int, int]]:
    """``(row, column)`` of the emptiest square of a slide, then of its fullest ones."""
    pixels = coarse.asarray()
    rows, columns = pixels.shape[0] // TILE_PX, pixels.shape[1] // TILE_PX
    whole = pixels[: rows * TILE_PX, : columns * TILE_PX].astype(np.int16)
    stained = (whole.max(axis=2) - whole.min(axis=2)) > 25
    marked = whole.min(axis=2) < 235
    cells = (rows, TILE_PX, columns, TILE_PX)
    fullest = np.argsort(stained.reshape(cells).mean(axis=(1, 3)), axis=None)[-kinds:]
    emptiest = int(np.argmin(marked.reshape(cells).mean(axis=(1, 3))))
    return [(i // columns, i % columns) for i in (emptiest, *fullest.tolist())]


def _layout(side: int, tissue_squares: int, kinds: int) -> NDArray[np.int64]:
    """For every square of the slide 0 for glass or the number of a square of tissue."""
    count = -(-side // SQUARE_PX)
    whole = side // SQUARE_PX
    if tissue_squares > (whole - 2) ** 2:
        sys.exit(f"{tissue_squares} squares of tissue do not fit on {side} px")
    across = int(np.ceil(np.sqrt(tissue_squares)))
    first = (whole - across) // 2
    numbers = np.arange(tissue_squares)
    layout = np.zeros((count, count), np.int64)
    layout[first + numbers // across, first + numbers % across] = 1 + numbers % kinds
    return layout


def _store(
    file: Any, out: Any, page: Any, place: tuple[int, int], downsample: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Copy the encoded tiles of a square; their offsets and sizes, ``[row, column]`` each."""
    across = SQUARE_PX // downsample // TILE_PX
    columns = -(-page.imagewidth // TILE_PX)
    offsets = np.empty((across, across), np.int64)
    counts = np.empty_like(offsets)
    for row, column in np.ndindex(across, across):
        index = (place[0] * across + row) * columns + place[1] * across + column
        file.filehandle.seek(page.dataoffsets[index])
        data = file.filehandle.read(page.databytecounts[index])
        offsets[row, column], counts[row, column] = out.tell(), len(data)
        out.write(data)
    return offsets, counts


def _tiles(
    layout: NDArray[np.int64],
    stored: list[tuple[NDArray[np.int64], NDArray[np.int64]]],
    side: int,
    downsample: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Offsets and sizes of all tiles of a level, row by row."""
    across = -(-(side // downsample) // TILE_PX)
    values = []
    for part in (0, 1):
        table = np.stack([square[part] for square in stored])[layout]
        flat = table.transpose(0, 2, 1, 3).reshape(layout.shape[0] * table.shape[2], -1)
        values.append(flat[:across, :across].ravel())
    return values[0], values[1]


def _directory(
    out: Any,
    page: Any,
    tiles: tuple[NDArray[np.int64], NDArray[np.int64]],
    side: int,
    link: int,
) -> int:
    """Append an image file directory and point ``link`` to it; where the next link stands."""
    level0 = link == 8
    horizontal, vertical = (int(v) for v in page.tags["YCbCrSubSampling"].value)
    tables = page.jpegtables
    entries: list[_Entry] = [
        (254, _LONG, 1, struct.pack("<I", 0 if level0 else 1)),
        (256, _LONG, 1, struct.pack("<I", side)),
        (257, _LONG, 1, struct.pack("<I", side)),
        (258, _SHORT, 3, struct.pack("<3H", 8, 8, 8)),
        (259, _SHORT, 1, struct.pack("<H", 7)),
        (262, _SHORT, 1, struct.pack("<H", int(page.photometric))),
        (277, _SHORT, 1, struct.pack("<H", 3)),
        (322, _LONG, 1, struct.pack("<I", TILE_PX)),
        (323, _LONG, 1, struct.pack("<I", TILE_PX)),
        (324, _LONG8, tiles[0].size, tiles[0].astype("<u8").tobytes()),
        (325, _LONG, tiles[1].size, tiles[1].astype("<u4").tobytes()),
        (347, _UNDEFINED, len(tables), tables),
        (530, _SHORT, 2, struct.pack("<2H", horizontal, vertical)),
    ]
    if level0:
        for tag in (282, 283):
            entries.append((tag, _RATIONAL, 1, struct.pack("<2I", *page.tags[tag].value)))
        entries.append((296, _SHORT, 1, struct.pack("<H", int(page.tags[296].value))))
    entries.sort()
    rows = []
    for tag, kind, count, data in entries:
        if count * _SIZES[kind] > 8:
            place = out.tell() + -out.tell() % 8
            out.seek(place)
            out.write(data)
            value = struct.pack("<Q", place)
        else:
            value = data.ljust(8, b"\0")
        rows.append(struct.pack("<HHQ", tag, kind, count) + value)
    start = out.tell() + -out.tell() % 8
    out.seek(start)
    out.write(struct.pack("<Q", len(rows)) + b"".join(rows) + struct.pack("<Q", 0))
    end = out.tell()
    out.seek(link)
    out.write(struct.pack("<Q", start))
    out.seek(end)
    return end - 8
