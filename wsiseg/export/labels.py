"""Nuclei and tissue as OME-Zarr label pyramids.

The root is the group of labels itself: without an image beside them, that is what readers of
OME-Zarr agree on. Both labels have the same number of levels, as the specification asks of
labels that belong together.

A level holds every second pixel of the one below. The levels are made in one pass from the
top: a shard asks for the four below it, so that at most one shard a level is in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import zarr
from numba import njit
from numpy.typing import NDArray
from zarr.codecs import ZstdCodec

from wsiseg import files
from wsiseg.cells.batch import CellSource
from wsiseg.cells.polygons import Polygons
from wsiseg.cells.rasterize import paint_order, rasterize
from wsiseg.geometry import HUNDREDTHS, Box, Frame, Size

Version = Literal["0.5", "0.4"]

_CHUNK = 512
_SHARD = 2048
_SMALLEST = 256
"""Levels go on until the longer side is no longer than this."""

_PARTS_IN_MEMORY = 6

# Zstandard without shuffling is the smallest and the fastest on labels, whose neighbouring
# bytes repeat as they are. Zarr 2 readers in Java know it inside of Blosc only.
_LAYOUTS: Mapping[Version, dict[str, Any]] = {
    "0.5": {
        "chunks": (_CHUNK, _CHUNK),
        "shards": (_SHARD, _SHARD),
        "compressors": ZstdCodec(level=1),
        "dimension_names": ("y", "x"),
    },
    "0.4": {
        # A chunk is a file here: larger ones keep their number down.
        "chunks": (2 * _CHUNK, 2 * _CHUNK),
        "compressors": {"id": "blosc", "cname": "zstd", "clevel": 1, "shuffle": 0},
        "chunk_key_encoding": {"name": "v2", "separator": "/"},
    },
}

_Draw = Callable[[Box], NDArray[Any] | None]
"""The pixels ``[y, x]`` of a box at full resolution; ``None`` where all are background."""


class Codes(Protocol):
    """Pixels uint8 ``[y, x]``: an array, or what gives its squares as one does."""

    @property
    def shape(self) -> tuple[int, ...]:
        """``(height, width)``."""
        ...

    def __getitem__(self, place: tuple[slice, slice], /) -> NDArray[np.uint8]:
        """The pixels of a square."""
        ...


@dataclass(frozen=True, slots=True)
class TissueLabels:
    """Tissue as a label image.

    Attributes
    ----------
    codes
        Why a pixel counts as tissue, or why not; 0 is background.
    frame
        The frame of ``codes``; shares its corner with the slide.
    values
        ``(code, meaning, (r, g, b, a))`` for every code there may be.
    """

    codes: Codes
    frame: Frame
    values: tuple[tuple[int, str, tuple[int, int, int, int]], ...]

    def __post_init__(self) -> None:
        if self.codes.shape != self.frame.box.shape:
            raise ValueError(f"codes {self.codes.shape} do not fill {self.frame.size}")


def write_labels(
    path: Path, source: CellSource, tissue: TissueLabels, *, ngff: Version = "0.5"
) -> None:
    """Write the labels ``nuclei`` (uint32, in ``source.info.frame``) and ``tissue`` (uint8).

    The value of a nucleus is its id; where nuclei overlap, see
    :func:`wsiseg.cells.rasterize.paint_order`. Shards and chunks that hold nothing but
    background are not written.

    Parameters
    ----------
    path
        The folder to make, whole or not at all; one that stands there is replaced.
    source
        The cells.
    tissue
        The tissue mask.
    ngff
        Version of the specification: 0.5 is Zarr format 3 with shards, 0.4 Zarr format 2 with
        plain chunks (https://ngff.openmicroscopy.org/0.5, https://ngff.openmicroscopy.org/0.4).

    Raises
    ------
    DiskFullError, StoreError
        If the folder cannot be written.
    """
    frame = source.info.frame
    levels = max(len(_sizes(frame.size)), 2)
    with files.writing(path) as temporary:
        root = zarr.open_group(str(temporary), mode="w", zarr_format=3 if ngff == "0.5" else 2)
        _describe(root, {"labels": ["nuclei", "tissue"]}, ngff)
        nuclei = _Pyramid(root.create_group("nuclei"), frame, levels, np.dtype(np.uint32), ngff)
        nuclei.write(_Nuclei(source).draw)
        nuclei.describe("nuclei", {})
        regions = _Pyramid(
            root.create_group("tissue"), tissue.frame, levels, np.dtype(np.uint8), ngff
        )
        regions.write(lambda box: tissue.codes[box.slices()])
        regions.describe("tissue", _legend(tissue))


def write_nuclei_pyramid(group: zarr.Group, source: CellSource) -> int:
    """Fill a group of Zarr format 3 with the label pyramid of the nuclei, without metadata.

    The arrays are named ``0``, ``1`` ... from full resolution up, each half as large as the one
    before; their number is returned.
    """
    frame = source.info.frame
    levels = max(len(_sizes(frame.size)), 2)
    _Pyramid(group, frame, levels, np.dtype(np.uint32), "0.5").write(_Nuclei(source).draw)
    return levels


def _sizes(size: Size, levels: int | None = None) -> list[Size]:
    """The sizes of so many levels, or of as many as it takes to get small."""
    sizes = [size]
    while len(sizes) < levels if levels else max(size.width, size.height) > _SMALLEST:
        size = Size(-(-size.width // 2), -(-size.height // 2))
        sizes.append(size)
    return sizes


def _describe(group: zarr.Group, metadata: dict[str, Any], ngff: Version) -> None:
    if ngff == "0.5":
        group.attrs.put({"ome": {"version": ngff, **metadata}})
    else:
        group.attrs.put(metadata)


def _legend(tissue: TissueLabels) -> dict[str, Any]:
    return {
        "colors": [{"label-value": code, "rgba": list(rgba)} for code, _, rgba in tissue.values],
        "properties": [{"label-value": code, "name": name} for code, name, _ in tissue.values],
    }


class _Pyramid:
    """One label: its arrays and how they are filled."""

    def __init__(
        self, group: zarr.Group, frame: Frame, levels: int, dtype: np.dtype[Any], ngff: Version
    ) -> None:
        self._group, self._frame, self._ngff = group, frame, ngff
        self._sizes = _sizes(frame.size, levels)
        self._arrays = [
            _create_array(group, str(level), size, dtype, ngff)
            for level, size in enumerate(self._sizes)
        ]

    def write(self, draw: _Draw) -> None:
        """Fill all levels."""
        top = len(self._sizes) - 1
        for cell in Box.of(self._sizes[top]).split(_SHARD):
            self._fill(top, cell.x0 // _SHARD, cell.y0 // _SHARD, draw)

    def describe(self, name: str, legend: dict[str, Any]) -> None:
        """Write the metadata of the label."""
        mpp, ngff = self._frame.mpp, self._ngff
        # Up to 0.4 every block of metadata names the version; from 0.5 on the group does.
        version = {"version": ngff} if ngff == "0.4" else {}
        multiscale = {
            **version,
            "name": name,
            "type": "nearest",
            "metadata": {"description": "every level holds every second pixel of the one before"},
            "axes": [{"name": a, "type": "space", "unit": "micrometer"} for a in ("y", "x")],
            "datasets": [
                {
                    "path": str(level),
                    "coordinateTransformations": [
                        {"type": "scale", "scale": [mpp.y * 2**level, mpp.x * 2**level]}
                    ],
                }
                for level in range(len(self._sizes))
            ],
        }
        label = {"version": ngff, **legend}
        _describe(self._group, {"multiscales": [multiscale], "image-label": label}, ngff)

    def _fill(self, level: int, column: int, row: int, draw: _Draw) -> NDArray[Any] | None:
        """Write one shard and all below it; its pixels, or ``None`` if all are background."""
        x, y = column * _SHARD, row * _SHARD
        cell = Box(x, y, x + _SHARD, y + _SHARD).intersection(Box.of(self._sizes[level]))
        if cell.empty:
            return None
        pixels = draw(cell) if level == 0 else self._reduced(level, cell, draw)
        if pixels is None:
            return None
        empty, squares = _empty_squares(pixels)
        if empty == squares:
            return None
        array = self._arrays[level]
        if not empty:
            # Spares zarr its own, slower search for chunks that need not be written.
            array = array.with_config({"write_empty_chunks": True})
        array[cell.slices()] = pixels
        return pixels

    def _reduced(self, level: int, cell: Box, draw: _Draw) -> NDArray[Any] | None:
        pixels = None
        column, row, half = cell.x0 // _SHARD, cell.y0 // _SHARD, _SHARD // 2
        for dy in (0, 1):
            for dx in (0, 1):
                below = self._fill(level - 1, 2 * column + dx, 2 * row + dy, draw)
                if below is None:
                    continue
                if pixels is None:
                    pixels = np.zeros(cell.shape, below.dtype)
                every_second = below[::2, ::2]
                height, width = every_second.shape
                top, left = dy * half, dx * half
                pixels[top : top + height, left : left + width] = every_second
                # Else the finished shard of every level would stay while the next is made.
                del below, every_second
        return pixels


@njit(cache=True, nogil=True)
def _empty_squares(pixels: NDArray[Any]) -> tuple[int, int]:
    """How many squares of a shard hold nothing but background, and how many there are."""
    height, width = pixels.shape
    empty, squares = 0, 0
    for y0 in range(0, height, _CHUNK):
        for x0 in range(0, width, _CHUNK):
            squares += 1
            empty += not _any(pixels[y0 : y0 + _CHUNK, x0 : x0 + _CHUNK])
    return empty, squares


@njit(cache=True, nogil=True)
def _any(pixels: NDArray[Any]) -> bool:
    for y in range(pixels.shape[0]):
        for x in range(pixels.shape[1]):
            if pixels[y, x]:
                return True
    return False


def _create_array(
    group: zarr.Group, name: str, size: Size, dtype: np.dtype[Any], ngff: Version
) -> zarr.Array[Any]:
    return group.create_array(
        name,
        shape=(size.height, size.width),
        dtype=dtype,
        fill_value=0,
        **_LAYOUTS[ngff],
    )


@dataclass(frozen=True, slots=True)
class _Part:
    """What painting needs of the cells of one part."""

    ids: NDArray[np.uint32]
    polygons: Polygons
    bounds: NDArray[np.float64]
    centroids: NDArray[np.float64]
    probabilities: NDArray[np.float32]

    def meeting(self, box: Box) -> _Part:
        """The cells whose bounds in frame pixels meet the box."""
        x0, y0, x1, y1 = self.bounds.T
        chosen = np.flatnonzero((x0 <= box.x1) & (x1 >= box.x0) & (y0 <= box.y1) & (y1 >= box.y0))
        return _Part(
            self.ids[chosen],
            self.polygons.take(chosen),
            self.bounds[chosen],
            self.centroids[chosen],
            self.probabilities[chosen],
        )


class _Nuclei:
    """The instances in any box of the frame; parts last used stay in memory."""

    def __init__(self, source: CellSource) -> None:
        info = source.info
        self._source = source
        self._extents: Sequence[Box] = source.extents
        self._scale = info.frame.scale_to(info.level0)
        self._part = lru_cache(_PARTS_IN_MEMORY)(self._read)

    def draw(self, box: Box) -> NDArray[np.uint32] | None:
        """uint32 ``[y, x]``, or ``None`` where no cell lies."""
        parts = [
            self._part(number).meeting(box)
            for number, extent in enumerate(self._extents)
            if extent.intersects(box)
        ]
        if not any(len(part.ids) for part in parts):
            return None
        order = paint_order(
            np.concatenate([part.probabilities for part in parts]),
            np.concatenate([part.centroids for part in parts]),
        )
        return rasterize(
            Polygons.concatenate([part.polygons for part in parts]),
            np.concatenate([part.ids for part in parts]),
            order,
            box,
            self._scale,
        )

    def _read(self, number: int) -> _Part:
        batch = self._source.read(number)
        per_pixel = np.tile(np.array(self._scale) * HUNDREDTHS, 2)
        return _Part(
            batch.ids,
            batch.polygons,
            batch.polygons.bounds() / per_pixel,
            batch.centroids,
            batch.probabilities,
        )
