"""Tiled and plain TIFF slides: Aperio, generic, OME-TIFF pyramids and channels included.

tiffslide opens the file and reads its headers. The tiles are read and decoded here: tiffslide's own
reading goes through a Zarr store, which gives black for tiles that are not there, addresses
levels in level-0 pixels, and is slower.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import tiffslide
from numpy.typing import NDArray

from wsiseg.errors import DamagedPixelsError, SlideError, UnreadableSlideError
from wsiseg.geometry import Box, Size
from wsiseg.slides.alpha import over
from wsiseg.slides.chunks import ChunkCache
from wsiseg.slides.illumination import detect
from wsiseg.slides.jpeg import Encoded
from wsiseg.slides.levels import describe_levels
from wsiseg.slides.reader import Illumination, Pixels, SlideFacts, Source
from wsiseg.slides.tiff_bytes import Extent, read_extents
from wsiseg.slides.tiff_facts import TiffFacts, read_tiff_facts
from wsiseg.slides.tiff_tiles import Plane, TileKey, TileStore
from wsiseg.slides.tile_decoders import UndecodableTileError, choose_decoder

CHUNK = 512
"""Reads come in squares of this side of a whole level; tiles that divide it are decoded once
without being kept."""

TILE_CACHE_BYTES = 32 << 20
MAX_SEGMENT_BYTES = 1 << 29

_AXES = {"YXS", "CYX", "SYX", "YX"}
_COMPRESSIONS = {
    "NONE",
    "LZW",
    "DEFLATE",
    "ADOBE_DEFLATE",
    "PACKBITS",
    "ZSTD",
    "JPEG",
    "JPEG2000",
    "JPEG_2000_LOSSY",
    "APERIO_JP2000_RGB",
    "WEBP",
}
"""Decoders whose output is bounded, by the tile's size or by the format itself, and whose
colours are known."""

_PHOTOMETRICS = {"MINISBLACK", "MINISWHITE", "RGB", "YCBCR"}


@dataclass(frozen=True, slots=True)
class ReadCounts:
    """Work done so far: reads of the file and bytes they gave, tiles decoded, and how often
    pixels of a decoded tile were copied into what was asked for."""

    reads: int = 0
    bytes: int = 0
    tiles: int = 0
    copies: int = 0


class TiffSlideReader:
    """A :class:`~wsiseg.slides.reader.SlideReader` over TIFF.

    Raises
    ------
    UnreadableSlideError
        If the file is not a TIFF, or one of a kind that cannot be read rightly (stacks in depth
        or time, floating point, palettes); the message says which.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1
        self._background = 0
        self._kept = ChunkCache(TILE_CACHE_BYTES)
        self._counting = Lock()
        self._counts = ReadCounts()
        try:
            self._slide = tiffslide.TiffSlide(path)
        # Over a damaged header tifffile fails with whatever its arithmetic runs into.
        except Exception as error:
            raise self._refusal(f"tiffslide cannot open it: {_said(error)}") from error
        try:
            self._open()
        except SlideError:
            self.close()
            raise
        except Exception as error:
            self.close()
            raise self._refusal(f"its headers cannot be understood: {_said(error)}") from error

    @property
    def facts(self) -> SlideFacts:
        """What the file says of itself."""
        return self._facts

    @property
    def counts(self) -> ReadCounts:
        """Work done so far; opening counts."""
        with self._counting:
            return self._counts

    def read_level(self, level: int, box: Box) -> Pixels:
        """The pixels ``[y, x, c]`` of ``box``; tiles that are not stored are background.

        Raises
        ------
        DamagedPixelsError
            If a tile cannot be decoded.
        """
        (found,) = self.read_boxes(Source(level), (box,))
        if isinstance(found, DamagedPixelsError):
            raise found
        return found

    def read_boxes(self, source: Source, boxes: Sequence[Box]) -> list[Pixels | DamagedPixelsError]:
        """As :meth:`wsiseg.slides.reader.BatchReader.read_boxes`.

        Every tile that is needed is read and decoded once, in the order of the file.
        """
        store = self._stores[source.level]
        found: list[Pixels | DamagedPixelsError] = [
            np.empty((*box.shape, store.channels), self._dtype) for box in boxes
        ]
        users = store.tiles_of(boxes, source.reduction)
        copies = 0
        for key, tile in self._tiles(source, store, users):
            place, own = store.place(key, source.reduction)
            for number in users[key]:
                out = found[number]
                if isinstance(out, DamagedPixelsError):
                    continue
                if isinstance(tile, DamagedPixelsError):
                    found[number] = tile
                else:
                    copies += tile is not None
                    self._place(out[..., own], boxes[number], tile, place)
        self._count(copies=copies)
        return [
            pixels if isinstance(pixels, DamagedPixelsError) else self._finished(pixels)
            for pixels in found
        ]

    def close(self) -> None:
        """Release the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        self._slide.close()

    def _open(self) -> None:
        series = self._slide.ts_tifffile.series[0]
        keyframe = series.keyframe
        for level in series.levels:
            self._check_kind(level, level.keyframe)
        self._stores = tuple(self._store(level) for level in series.levels)
        if len({store.channels for store in self._stores}) > 1:
            raise self._refusal("its levels differ in their channels")
        self._dtype = np.dtype(keyframe.dtype.name)
        self._descriptor = os.open(self._path, os.O_RDONLY)
        self._decoder = choose_decoder(self._stores, self._bytes)
        self._inverted = keyframe.photometric.name == "MINISWHITE"
        alpha = [int(sample) for sample in keyframe.extrasamples]
        interleaved = self._stores[0].samples
        self._alpha = alpha[0] if interleaved in (2, 4) and alpha[:1] in ([1], [2]) else 0
        with warnings.catch_warnings():
            # tiffslide warns that it reads some vendors' headers in part only.
            warnings.simplefilter("ignore")
            told = read_tiff_facts(self._slide, self._channel_count())
        illumination = detect([store.size for store in self._stores], self._scanned)
        if illumination == "brightfield":
            self._background = int(np.iinfo(self._dtype).max)
        self._facts = self._assemble(told, illumination)

    def _scanned(self, level: int, box: Box) -> Pixels:
        """The pixels that were ever written, ``[n, 1, c]`` where some were not."""
        pixels = self.read_level(level, box)
        if all(plane.lengths.all() for plane in self._stores[level].planes):
            return pixels
        before, self._background = self._background, int(np.iinfo(self._dtype).max)
        other = self.read_level(level, box)
        self._background = before
        written: Pixels = pixels[(pixels == other).all(axis=2)][:, None]
        return written

    def _check_kind(self, series: Any, keyframe: Any) -> None:
        if series.axes not in _AXES:
            raise self._refusal(
                f"its axes are {series.axes}: only one plane with channels can be read, no stack "
                "in depth or time"
            )
        if keyframe.dtype is None or keyframe.dtype.name not in ("uint8", "uint16"):
            raise self._refusal(f"its pixels are {keyframe.dtype}, not 8 or 16 bits whole numbers")
        if keyframe.compression.name not in _COMPRESSIONS:
            raise self._refusal(f"its compression {keyframe.compression.name} is not supported")
        photometric = keyframe.photometric.name
        if photometric not in _PHOTOMETRICS or (
            photometric == "YCBCR" and keyframe.compression.name != "JPEG"
        ):
            raise self._refusal(f"its colours are stored as {photometric}, which is not supported")

    def _store(self, level: Any) -> TileStore:
        pages = list(level.pages)
        if any(page is None for page in pages):
            raise self._refusal("some of its planes are not in the file")
        key = level.keyframe
        parts = key.samplesperpixel if key.planarconfig == 2 else 1
        samples = key.samplesperpixel // parts
        side = (
            (key.tilewidth, key.tilelength)
            if key.is_tiled
            else (key.imagewidth, min(key.rowsperstrip, key.imagelength))
        )
        if side[0] * side[1] * samples * key.dtype.itemsize > MAX_SEGMENT_BYTES:
            raise self._refusal(
                f"it is stored in pieces of {side[0]} x {side[1]} pixels; convert it to a tiled, "
                "pyramidal TIFF first"
            )
        planes = tuple(
            Plane(
                page,
                key,
                np.asarray(page.dataoffsets, np.uint64),
                np.asarray(page.databytecounts, np.uint64),
            )
            for page in pages
        )
        size = Size(key.imagewidth, key.imagelength)
        return TileStore(size, planes, parts, samples, side, key.dtype.itemsize)

    def _place(self, out: Pixels, box: Box, tile: NDArray[Any] | None, cell: Box) -> None:
        """Put what a tile has for its ``cell`` into ``out``, which holds ``box``."""
        if tile is not None and tile.shape[:2] == cell.shape and box.contains(cell):
            out[cell.slices(box)] = tile
            return
        stored = Box(cell.x0, cell.y0, cell.x0, cell.y0)
        if tile is not None:
            stored = Box(cell.x0, cell.y0, cell.x0 + tile.shape[1], cell.y0 + tile.shape[0])
        wanted, common = cell.intersection(box), stored.intersection(box)
        if common != wanted:
            out[wanted.slices(box)] = self._background
        if tile is not None:
            out[common.slices(box)] = tile[common.slices(stored)]

    def _tiles(
        self, source: Source, store: TileStore, keys: Iterable[TileKey]
    ) -> Iterator[tuple[TileKey, NDArray[Any] | DamagedPixelsError | None]]:
        """Tiles in the order of the file: decoded, damaged, or ``None`` if never written."""
        # A tile that does not divide the chunk is wanted by several of them.
        kept = any(CHUNK % side for side in store.side)
        wanted: dict[Extent, list[TileKey]] = {}
        for key in keys:
            extent = store.extent(key)
            tile = self._kept.get((*_place_of(source), key.plane, key.index)) if kept else None
            if tile is not None or extent[1] == 0:
                yield key, tile
            elif extent[1] > store.most_bytes:
                yield key, self._damage(source, key, extent, f"it claims {extent[1]:,} bytes")
            else:
                wanted.setdefault(extent, []).append(key)
        for extent, data, fresh in read_extents(self._descriptor, list(wanted)):
            self._count(reads=int(fresh > 0), bytes=fresh, tiles=len(wanted[extent]))
            for key in wanted[extent]:
                decoded = self._decoded(source, store, key, extent, data)
                if kept and not isinstance(decoded, DamagedPixelsError):
                    self._kept.put((*_place_of(source), key.plane, key.index), decoded)
                yield key, decoded

    def _decoded(
        self, source: Source, store: TileStore, key: TileKey, extent: Extent, data: Encoded
    ) -> NDArray[Any] | DamagedPixelsError:
        if len(data) < extent[1]:
            fault = f"only {len(data)} of {extent[1]} bytes are there"
            return self._damage(source, key, extent, fault)
        try:
            return self._decoder.decode(store, key, data, source.reduction)
        except UndecodableTileError as error:
            return self._damage(source, key, extent, str(error))

    def _damage(
        self, source: Source, key: TileKey, extent: Extent, fault: str
    ) -> DamagedPixelsError:
        return DamagedPixelsError(
            f"{self._path}: level {source.level}, tile {key.index} at byte {extent[0]}: {fault}"
        )

    def _bytes(self, store: TileStore, key: TileKey) -> Encoded | None:
        """The bytes of a tile; ``None`` if it was never written or cannot be read as a whole."""
        extent = store.extent(key)
        if not 0 < extent[1] <= store.most_bytes:
            return None
        ((_, data, fresh),) = read_extents(self._descriptor, [extent])
        self._count(reads=1, bytes=fresh)
        return data if len(data) == extent[1] else None

    def _count(self, *, reads: int = 0, bytes: int = 0, tiles: int = 0, copies: int = 0) -> None:
        with self._counting:
            old = self._counts
            self._counts = ReadCounts(
                old.reads + reads, old.bytes + bytes, old.tiles + tiles, old.copies + copies
            )

    def _finished(self, pixels: Pixels) -> Pixels:
        if self._inverted:
            pixels = np.iinfo(pixels.dtype).max - pixels
        if self._alpha:
            pixels = over(pixels, self._background, premultiplied=self._alpha == 1)
        return pixels

    def _channel_count(self) -> int:
        store = self._stores[0]
        return store.channels - bool(self._alpha)

    def _assemble(self, told: TiffFacts, illumination: Illumination) -> SlideFacts:
        return SlideFacts(
            path=self._path,
            reader="tiffslide",
            vendor=told.vendor,
            levels=tuple(
                replace(level, reductions=self._decoder.reductions(store))
                for level, store in zip(
                    describe_levels([store.size for store in self._stores]),
                    self._stores,
                    strict=True,
                )
            ),
            mpp=told.verdict.mpp,
            mpp_source=told.verdict.source,
            objective=told.objective,
            channels=told.channels,
            illumination=illumination,
            dtype="uint8" if self._dtype == np.uint8 else "uint16",
            bounds=None,
            problems=told.verdict.problems,
            decoder=self._decoder.name,
        )

    def _refusal(self, why: str) -> UnreadableSlideError:
        return UnreadableSlideError(f"{self._path}: {why}")


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__


def _place_of(source: Source) -> tuple[int, int]:
    return source.level, source.reduction
