"""Tiled and plain TIFF slides through tiffslide, OME-TIFF pyramids and channels included.

tiffslide opens the file and reads its headers. The tiles are decoded here with the decoders of
tifffile that tiffslide stands on: tiffslide's own reading goes through a Zarr store, which
gives black for tiles that are not there, addresses levels in level-0 pixels, and is slower.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tiffslide
from numpy.typing import NDArray

from wsiseg.errors import DamagedPixelsError, SlideError, UnreadableSlideError
from wsiseg.geometry import Box, Size
from wsiseg.slides.alpha import over
from wsiseg.slides.chunks import ChunkCache
from wsiseg.slides.illumination import detect
from wsiseg.slides.jpeg import damage_of
from wsiseg.slides.levels import describe_levels
from wsiseg.slides.reader import Illumination, Pixels, SlideFacts
from wsiseg.slides.tiff_facts import TiffFacts, read_tiff_facts

CHUNK = 512
"""Reads come in squares of this side; tiles that divide it are never decoded twice."""

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
class _Plane:
    """One page of a level: where its tiles (or strips) lie and how they are decoded."""

    page: Any
    decode: Any
    tables: dict[str, Any]
    offsets: tuple[int, ...]
    lengths: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Store:
    """One level. ``side`` is a tile's ``(width, height)``; each plane holds ``samples``
    channels in every tile, and one page may hold several planes one after another."""

    size: Size
    planes: tuple[_Plane, ...]
    parts: int
    samples: int
    side: tuple[int, int]
    jpeg: bool


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
        self._tiles = ChunkCache(TILE_CACHE_BYTES)
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

    def read_level(self, level: int, box: Box) -> Pixels:
        """The pixels ``[y, x, c]`` of ``box``; tiles that are not stored are background.

        Raises
        ------
        DamagedPixelsError
            If a tile cannot be decoded.
        """
        store = self._stores[level]
        channels = store.samples * store.parts * len(store.planes)
        out = np.empty((*box.shape, channels), self._dtype)
        wide, high = store.side
        across, down = -(-store.size.width // wide), -(-store.size.height // high)
        channel = 0
        for p, plane in enumerate(store.planes):
            for part in range(store.parts):
                own = slice(channel, channel + store.samples)
                for row in range(box.y0 // high, -(-box.y1 // high)):
                    for column in range(box.x0 // wide, -(-box.x1 // wide)):
                        index = (part * down + row) * across + column
                        x, y = column * wide, row * high
                        tile = self._tile((level, p, index), plane, store)
                        self._place(out[..., own], box, tile, Box(x, y, x + wide, y + high))
                channel += store.samples
        return self._finished(out)

    def close(self) -> None:
        """Release the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        self._slide.close()

    def _open(self) -> None:
        series = self._slide.ts_tifffile.series[0]
        keyframe = series.keyframe
        self._check_kind(series, keyframe)
        self._stores = tuple(self._store(level) for level in series.levels)
        self._dtype = np.dtype(keyframe.dtype.name)
        self._inverted = keyframe.photometric.name == "MINISWHITE"
        alpha = [int(sample) for sample in keyframe.extrasamples]
        interleaved = self._stores[0].samples
        self._alpha = alpha[0] if interleaved in (2, 4) and alpha[:1] in ([1], [2]) else 0
        self._descriptor = os.open(self._path, os.O_RDONLY)
        with warnings.catch_warnings():
            # tiffslide warns that it reads some vendors' headers in part only.
            warnings.simplefilter("ignore")
            told = read_tiff_facts(self._slide, self._channel_count())
        illumination = detect([store.size for store in self._stores], self.read_level)
        if illumination == "brightfield":
            self._background = int(np.iinfo(self._dtype).max)
        self._facts = self._assemble(told, illumination)

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

    def _store(self, level: Any) -> _Store:
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
        jpeg = key.compression.name == "JPEG"
        planes = tuple(
            _Plane(
                page,
                key.decode,
                {"jpegtables": page.jpegtables, "jpegheader": key.jpegheader} if jpeg else {},
                tuple(page.dataoffsets),
                tuple(page.databytecounts),
            )
            for page in pages
        )
        size = Size(key.imagewidth, key.imagelength)
        return _Store(size, planes, parts, samples, side, jpeg)

    def _place(self, out: Pixels, box: Box, tile: NDArray[Any] | None, cell: Box) -> None:
        """Put what a tile has for its ``cell`` into ``out``, which holds ``box``."""
        stored = Box(cell.x0, cell.y0, cell.x0, cell.y0)
        if tile is not None:
            stored = Box(cell.x0, cell.y0, cell.x0 + tile.shape[1], cell.y0 + tile.shape[0])
        wanted, common = cell.intersection(box), stored.intersection(box)
        if common != wanted:
            out[wanted.slices(box)] = self._background
        if tile is not None:
            out[common.slices(box)] = tile[common.slices(stored)]

    def _tile(self, key: tuple[int, int, int], plane: _Plane, store: _Store) -> NDArray[Any] | None:
        index = key[2]
        if index >= len(plane.lengths) or plane.lengths[index] == 0:
            return None
        # A tile that does not divide the chunk is wanted by several of them.
        shared = CHUNK % store.side[0] != 0 or CHUNK % store.side[1] != 0
        tile = self._tiles.get(key) if shared else None
        if tile is None:
            tile = self._decoded(key, plane, store)
            if shared:
                self._tiles.put(key, tile)
        return tile

    def _decoded(self, key: tuple[int, int, int], plane: _Plane, store: _Store) -> NDArray[Any]:
        level, _, index = key
        offset, length = plane.offsets[index], plane.lengths[index]
        data = os.pread(self._descriptor, length, offset)
        fault = f"only {len(data)} of {length} bytes are there" if len(data) < length else ""
        # Tiles that bring their own header; Hamamatsu's strips are mere parts of one image.
        if not fault and (not store.jpeg or plane.tables["jpegheader"] is None):
            fault = damage_of(data, store.side, jpeg=store.jpeg)
        if not fault:
            try:
                decoded = plane.decode(data, index, **plane.tables)[0]
            # Decoders raise their own exceptions, one class for each library.
            except Exception as error:  # noqa: BLE001
                fault = _said(error)
            else:
                tile: NDArray[Any] = decoded.reshape(decoded.shape[-3:])
                if tile.shape[2] == store.samples:
                    return tile
                fault = f"it decodes to {tile.shape[2]} channels instead of {store.samples}"
        raise DamagedPixelsError(
            f"{self._path}: level {level}, tile {index} at byte {offset}: {fault}"
        )

    def _finished(self, pixels: Pixels) -> Pixels:
        if self._inverted:
            pixels = np.iinfo(pixels.dtype).max - pixels
        if self._alpha:
            pixels = over(pixels, self._background, premultiplied=self._alpha == 1)
        return pixels

    def _channel_count(self) -> int:
        store = self._stores[0]
        return store.samples * store.parts * len(store.planes) - bool(self._alpha)

    def _assemble(self, told: TiffFacts, illumination: Illumination) -> SlideFacts:
        return SlideFacts(
            path=self._path,
            reader="tiffslide",
            vendor=told.vendor,
            levels=describe_levels([store.size for store in self._stores]),
            mpp=told.verdict.mpp,
            mpp_source=told.verdict.source,
            objective=told.objective,
            channels=told.channels,
            illumination=illumination,
            dtype="uint8" if self._dtype == np.uint8 else "uint16",
            bounds=None,
            problems=told.verdict.problems,
        )

    def _refusal(self, why: str) -> UnreadableSlideError:
        return UnreadableSlideError(f"{self._path}: {why}")


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__
