"""Nuclei and tissue as OME-Zarr label pyramids.

The root is the group of labels itself: without an image beside them, that is what readers of
OME-Zarr agree on. Both labels have the same number of levels, as the specification asks of
labels that belong together.

A level holds every second pixel of the one below. The levels are made in one pass from the
top: a shard is written after the four below it, which leave it their pixels, chunk by chunk and
where there are any. So at most one shard a level is in memory, and of the lowest one chunk.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import ZstdCodec
from zarr.storage import LocalStore

from wsiseg import files
from wsiseg.cells.batch import CellSource
from wsiseg.export._painting import SHARD_PX, NucleiPainter, Shown
from wsiseg.export._shards import encode_chunk, join_chunks
from wsiseg.geometry import Box, Frame, Size

Version = Literal["0.5", "0.4"]

_CHUNK = 512
_SMALLEST = 256
"""Levels go on until the longer side is no longer than this."""

_ZSTD_LEVEL = 1

# Zstandard without shuffling is the smallest and the fastest on labels, whose neighbouring
# bytes repeat as they are. Zarr 2 readers in Java know it inside of Blosc only.
_LAYOUTS: Mapping[Version, dict[str, Any]] = {
    "0.5": {
        "chunks": (_CHUNK, _CHUNK),
        "shards": (SHARD_PX, SHARD_PX),
        "compressors": ZstdCodec(level=_ZSTD_LEVEL),
        "dimension_names": ("y", "x"),
    },
    "0.4": {
        # A chunk is a file here: larger ones keep their number down.
        "chunks": (2 * _CHUNK, 2 * _CHUNK),
        "compressors": {"id": "blosc", "cname": "zstd", "clevel": 1, "shuffle": 0},
        "chunk_key_encoding": {"name": "v2", "separator": "/"},
    },
}

_Draw = Callable[[Box], Shown | None]
"""What a shard shows at full resolution; ``None`` where all is background."""


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
        nuclei.write(NucleiPainter(source).draw)
        nuclei.describe("nuclei", {})
        regions = _Pyramid(
            root.create_group("tissue"), tissue.frame, levels, np.dtype(np.uint8), ngff
        )
        regions.write(lambda shard: _window(tissue.codes[shard.slices()], shard))
        regions.describe("tissue", _legend(tissue))


def write_nuclei_pyramid(group: zarr.Group, source: CellSource) -> int:
    """Fill a group of Zarr format 3 with the label pyramid of the nuclei, without metadata.

    The arrays are named ``0``, ``1`` ... from full resolution up, each half as large as the one
    before; their number is returned.
    """
    frame = source.info.frame
    levels = max(len(_sizes(frame.size)), 2)
    _Pyramid(group, frame, levels, np.dtype(np.uint32), "0.5").write(NucleiPainter(source).draw)
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
        self._folder = _folder(group)
        self._chunk = _LAYOUTS[ngff]["chunks"][0]
        self._sizes = _sizes(frame.size, levels)
        self._arrays = [
            _create_array(group, str(level), size, dtype, ngff)
            for level, size in enumerate(self._sizes)
        ]
        blank = partial(np.zeros, (self._chunk, self._chunk), dtype)
        # For every level what the one below has left for its chunks, by row and column.
        self._waiting: list[dict[tuple[int, int], NDArray[Any]]] = [
            defaultdict(blank) for _ in self._sizes
        ]

    def write(self, draw: _Draw) -> None:
        """Fill all levels."""
        top = len(self._sizes) - 1
        for shard in Box.of(self._sizes[top]).split(SHARD_PX):
            self._fill(top, shard, draw)

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

    def _fill(self, level: int, shard: Box, draw: _Draw) -> None:
        """Write a shard, after all below it."""
        if level > 0:
            below = Box(2 * shard.x0, 2 * shard.y0, 2 * shard.x1, 2 * shard.y1)
            for quarter in below.intersection(Box.of(self._sizes[level - 1])).split(SHARD_PX):
                self._fill(level - 1, quarter, draw)
        shown = draw(shard) if level == 0 else partial(self._left, level)
        if shown is None:
            return
        chunks: dict[tuple[int, int], bytes] = {}
        for square in shard.split(self._chunk):
            pixels = shown(square)
            if pixels is None or not pixels.max():
                continue
            self._leave(level + 1, square, pixels)
            if self._ngff == "0.4":
                self._arrays[level][square.slices()] = pixels[: square.height, : square.width]
            else:
                rows, columns = square.slices(shard)
                at = rows.start // self._chunk, columns.start // self._chunk
                chunks[at] = encode_chunk(pixels, self._chunk, _ZSTD_LEVEL)
        if chunks:
            row, column = str(shard.y0 // SHARD_PX), str(shard.x0 // SHARD_PX)
            file = self._folder / str(level) / "c" / row / column
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(join_chunks(chunks, SHARD_PX // self._chunk))

    def _leave(self, level: int, square: Box, pixels: NDArray[Any]) -> None:
        """Leave a level every second pixel of a chunk of the one below."""
        if level == len(self._sizes):
            return
        every_second = pixels[::2, ::2]
        height, width = every_second.shape
        (row, top), (column, left) = (
            divmod(start // 2, self._chunk) for start in (square.y0, square.x0)
        )
        chunk = self._waiting[level][row, column]
        chunk[top : top + height, left : left + width] = every_second

    def _left(self, level: int, square: Box) -> NDArray[Any] | None:
        """What was left for a chunk, all of it: background follows where the level ends in it."""
        return self._waiting[level].pop((square.y0 // self._chunk, square.x0 // self._chunk), None)


def _window(pixels: NDArray[Any], shard: Box) -> Shown:
    """The squares of a shard whose pixels are there."""
    return lambda square: pixels[square.slices(shard)]


def _folder(group: zarr.Group) -> Path:
    """Where a group lies on the disk."""
    if not isinstance(group.store, LocalStore):
        raise TypeError(f"{group.store} is no folder")
    return group.store.root / group.path


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
