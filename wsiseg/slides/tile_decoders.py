"""Decoders of encoded tiles, and which of them a slide is read with.

:class:`ReferenceDecoder` knows every compression that tifffile knows, through imagecodecs.
:class:`JpegDecoder` knows JPEG alone, through libjpeg-turbo without detours, and decodes to a
half, a quarter or an eighth, too: an inverse transform of reduced size gives the mean over every
square of pixels, before rounding and clipping (libjpeg-turbo, jidctred.c), and leaves out the work
on what the mean hides. Chrominance that is stored at half the resolution is not interpolated
there, which is where the two differ by more than rounding.

JPEG 2000 is decoded at its full size only. A coarser level of its wavelets is no mean: it lies
half a pixel off and is sharper (4 of 255 grey levels on average, 70 at most, on a slide at hand,
against 0.6 and 30 for JPEG).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from wsiseg.geometry import Box
from wsiseg.slides.jpeg import (
    START_OF_IMAGE,
    Encoded,
    look_at_jpeg,
    look_at_jpeg2000,
    table_segments,
    without_application_data,
)
from wsiseg.slides.resample import resample
from wsiseg.slides.tiff_tiles import Plane, TileKey, TileStore

REDUCTIONS = (2, 4, 8)

TRIED = 8
"""Tiles of a level that both decoders are tried on before a slide is read."""

_ADOBE_RGB = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"
"""An application segment of Adobe's that says: three components, not transformed."""

_COLOUR_SPACES = {1: "GRAY", 3: "RGB"}


class UndecodableTileError(Exception):
    """Why a tile cannot be decoded."""


class TileDecoder(Protocol):
    """Turns the bytes of a tile into pixels. Safe to call from several threads."""

    @property
    def name(self) -> str:
        """What decodes, for reports."""
        ...

    def reductions(self, store: TileStore) -> tuple[int, ...]:
        """Whole factors by which tiles of a level can be decoded smaller."""
        ...

    def decode(
        self, store: TileStore, tile: TileKey, data: Encoded, reduction: int
    ) -> NDArray[Any]:
        """The pixels ``[y, x, c]`` of a tile, as many as it has.

        Raises
        ------
        UndecodableTileError
            If it is damaged.
        """
        ...


class ReferenceDecoder:
    """Whatever tifffile can decode.

    Parameters
    ----------
    compression
        As tifffile calls it.
    reason
        Why nothing faster is used, where it might have been.
    """

    def __init__(self, compression: str, reason: str = "") -> None:
        self._name = f"imagecodecs ({compression}{f', as {reason}' if reason else ''})"

    @property
    def name(self) -> str:
        """imagecodecs, the compression, and why nothing faster is used."""
        return self._name

    def reductions(self, store: TileStore) -> tuple[int, ...]:
        """None."""
        return ()

    def decode(
        self, store: TileStore, tile: TileKey, data: Encoded, reduction: int
    ) -> NDArray[Any]:
        """As :meth:`TileDecoder.decode`; ``reduction`` is 1."""
        plane = store.planes[tile.plane]
        jpeg = plane.key.compression.name == "JPEG"
        # Hamamatsu's strips are mere parts of one image, without a header of their own.
        if not jpeg:
            fault = look_at_jpeg2000(data, store.side).fault
        else:
            fault = "" if plane.key.jpegheader else look_at_jpeg(data, store.side).fault
        if fault:
            raise UndecodableTileError(fault)
        tables = (
            {"jpegtables": plane.page.jpegtables, "jpegheader": plane.key.jpegheader}
            if jpeg
            else {}
        )
        try:
            decoded = plane.key.decode(bytes(data), tile.index, **tables)[0]
        # Decoders raise their own exceptions, one class for each library.
        except Exception as error:
            raise UndecodableTileError(str(error) or type(error).__name__) from error
        pixels: NDArray[Any] = decoded.reshape(decoded.shape[-3:])
        if pixels.shape[2] != store.samples:
            raise UndecodableTileError(
                f"it decodes to {pixels.shape[2]} channels instead of {store.samples}"
            )
        return pixels


class JpegDecoder:
    """JPEG of 8 bits with one channel or three, with or without tables of the page.

    Parameters
    ----------
    stores
        The levels.
    strict
        Whether data that do not fit the image to the last byte count as damage. The decoder fills
        in on them, and what it fills in is no picture.
    """

    def __init__(self, stores: Sequence[TileStore], *, strict: bool = True) -> None:
        self._strict = strict
        self._heads = {id(plane): _Head(plane) for store in stores for plane in store.planes}

    @property
    def name(self) -> str:
        """libjpeg-turbo, and what it passes over."""
        return "libjpeg-turbo" if self._strict else "libjpeg-turbo (stray bytes passed over)"

    def reductions(self, store: TileStore) -> tuple[int, ...]:
        """Those that divide a tile and leave something of the level."""
        smallest = min(store.size.width, store.size.height)
        wide, high = store.side
        return tuple(r for r in REDUCTIONS if wide % r == high % r == 0 and smallest >= r)

    def decode(
        self, store: TileStore, tile: TileKey, data: Encoded, reduction: int
    ) -> NDArray[Any]:
        """As :meth:`TileDecoder.decode`, at one ``reduction``-th of the size."""
        announced = look_at_jpeg(data, store.side)
        if announced.fault:
            raise UndecodableTileError(announced.fault)
        whole = (announced.width, announced.height) == store.side
        by = reduction if whole else 1
        stream = self._heads[id(store.planes[tile.plane])].stream(data, marked=announced.marked)
        try:
            # The decoder takes the smallest of its scales that gives as many pixels as this.
            pixels = simplejpeg.decode_jpeg(
                stream,
                _COLOUR_SPACES[store.samples],
                min_height=announced.height // by,
                min_width=announced.width // by,
                strict=self._strict,
            )
        except ValueError as error:
            raise UndecodableTileError(str(error)) from error
        # Cut at the border of the level by a writer that saves on what lies beyond.
        return pixels if whole or reduction == 1 else _reduced(pixels, reduction)


class _Head:
    """What the tiles of a page need in front to be images that stand alone."""

    def __init__(self, plane: Plane) -> None:
        tables = table_segments(plane.page.jpegtables) if plane.page.jpegtables else b""
        # Aperio writes RGB without a word in the tile, which decoders then take for YCbCr; a JFIF
        # marker makes it YCbCr whatever the page says. Other tiles say for themselves.
        self._rgb = plane.key.photometric.name == "RGB" and not plane.key.is_jfif
        self._start = START_OF_IMAGE + (_ADOBE_RGB if self._rgb else b"") + tables

    def stream(self, data: Encoded, *, marked: bool) -> Encoded:
        """The image that stands alone; ``marked`` says whether a tile has application data."""
        if self._start == START_OF_IMAGE:
            return data
        rest = without_application_data(data) if self._rgb and marked else data[2:]
        return b"".join((self._start, rest))


def choose_decoder(
    stores: Sequence[TileStore],
    read: Callable[[TileStore, TileKey], Encoded | None],
) -> TileDecoder:
    """The decoder that a slide is read with, from its headers and a few of its tiles.

    The fast one is used where every level is of the kind it knows and it gives, to the last bit,
    what the reference gives for tiles spread over each level.

    Parameters
    ----------
    stores
        The levels.
    read
        Gives the bytes of a tile; ``None`` for one that was never written.
    """
    compression = stores[0].planes[0].key.compression.name
    if compression != "JPEG":
        return ReferenceDecoder(compression)
    reason = _unusual(stores)
    if reason:
        return ReferenceDecoder(compression, reason)
    reference, fast = ReferenceDecoder(compression), JpegDecoder(stores, strict=False)
    strict = JpegDecoder(stores)
    tried = complaints = 0
    for number, store in enumerate(stores):
        for tile, data in _spread(store, read):
            expected = _attempt(reference, store, tile, data)
            found = _attempt(strict, store, tile, data)
            if found is None:
                found = _attempt(fast, store, tile, data)
                complaints += found is not None
            if expected is not None and (found is None or not np.array_equal(expected, found)):
                reason = f"the fast decoder gives something else for tile {tile.index} of level "
                return ReferenceDecoder(compression, f"{reason}{number}")
            tried += expected is not None
    # A writer whose every other tile has stray bytes wrote them; damage is rarer.
    return fast if tried and 2 * complaints >= tried else strict


def _unusual(stores: Sequence[TileStore]) -> str:
    for number, store in enumerate(stores):
        for key in {id(plane.key): plane.key for plane in store.planes}.values():
            if key.compression.name != "JPEG":
                return f"level {number} is stored as {key.compression.name}"
            if key.jpegheader is not None:
                return "its strips are parts of one image"
            if store.parts != 1:
                return "its colours lie in separate planes"
            if key.dtype.name != "uint8" or store.samples not in _COLOUR_SPACES:
                return f"it has {store.samples} channels of {key.dtype.name} in a tile"
            if key.extrasamples:
                return "it has channels beyond its colours"
            colours = ("RGB", "YCBCR") if store.samples == 3 else ("MINISBLACK", "MINISWHITE")
            if key.photometric.name not in colours:
                return f"its colours are {key.photometric.name}"
    return ""


def _spread(
    store: TileStore, read: Callable[[TileStore, TileKey], Encoded | None]
) -> Iterator[tuple[TileKey, Encoded]]:
    """Tiles that are stored, spread over the planes of a level."""
    for plane, stored in enumerate(store.planes):
        written = np.flatnonzero(stored.lengths[: store.across * store.down])
        count = -(-TRIED // len(store.planes))
        chosen = np.unique(np.linspace(0, len(written) - 1, min(count, len(written))).round())
        for place in chosen.astype(int):
            tile = TileKey(plane, int(written[place]))
            data = read(store, tile)
            if data is not None:
                yield tile, data


def _attempt(
    decoder: TileDecoder, store: TileStore, tile: TileKey, data: Encoded
) -> NDArray[Any] | None:
    try:
        return decoder.decode(store, tile, data, 1)
    except UndecodableTileError:
        return None


def _reduced(pixels: NDArray[Any], by: int) -> NDArray[Any]:
    height, width = pixels.shape[0] // by, pixels.shape[1] // by
    whole = np.ascontiguousarray(pixels[: height * by, : width * by])
    origin = Box(0, 0, width * by, height * by)
    return resample(whole, origin, Box(0, 0, width, height), float(by), float(by))
