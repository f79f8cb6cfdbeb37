"""Encoded tiles of every kind: which decoder reads them, what it gives, and at what cost."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from wsiseg.errors import DamagedPixelsError, UnreadableSlideError
from wsiseg.geometry import Box, Size
from wsiseg.slides.chunked import CHUNK
from wsiseg.slides.openslide_reader import OpenSlideReader
from wsiseg.slides.reader import Pixels, Source
from wsiseg.slides.resample import resample
from wsiseg.slides.slide import open_slide
from wsiseg.slides.tiff_tiles import TileKey
from wsiseg.slides.tiffslide_reader import TiffSlideReader
from wsiseg.slides.tile_decoders import JpegDecoder, UndecodableTileError
from wsiseg.testing.readers import check_reader

CENTIMETRE = {"resolution": (40_000, 40_000), "resolutionunit": "CENTIMETER"}
WIDTH, HEIGHT = 733, 611

MEAN_OFF, MOST_OFF = 2.0, 64
"""Grey levels of 255 between pixels decoded smaller and the mean of those decoded whole, on average
and at most: chrominance is not interpolated, and values are clipped once instead of twice."""


def tissue(height: int = HEIGHT, width: int = WIDTH, channels: int = 3) -> NDArray[np.uint8]:
    """Dark spots on a bright ground: edges and colours, as in a stained section."""
    y, x = np.mgrid[0:height, 0:width]
    spots = np.sin(x / 7.0) * np.cos(y / 9.0) > 0.4
    grain = np.random.default_rng(5).normal(0, 4, (height, width))
    shades = [225 - 90 * spots - 12 * c * np.sin(x / 40) + grain for c in range(channels)]
    return np.clip(np.stack(shades, axis=2), 0, 255).astype(np.uint8)


class Tiled:
    """A TIFF of JPEG tiles as some writer might make it, and the pixels it means.

    Parameters
    ----------
    colours
        ``"YCBCR"``, ``"RGB"`` (without a word in the tiles, as Aperio writes) or ``"GRAY"``.
    shared
        Whether the tables stand once for all tiles.
    sparse
        Every so many tiles one was never written; 0 for none.
    cropped
        Whether tiles end at the border of the image.
    spoil
        Changes the bytes of a tile, given its number.
    """

    def __init__(
        self,
        path: Path,
        *,
        colours: str = "YCBCR",
        subsampling: str = "420",
        shared: bool = True,
        tile: tuple[int, int] = (128, 128),
        sparse: int = 0,
        cropped: bool = False,
        spoil: Any = None,
        **options: Any,
    ) -> None:
        self.path = path
        picture = tissue(channels=1 if colours == "GRAY" else 3)
        self.pixels = np.full_like(picture, 255)
        high, wide = tile
        tables = b""
        pieces: list[bytes] = []
        for y in range(0, HEIGHT, high):
            for x in range(0, WIDTH, wide):
                part = picture[y : y + high, x : x + wide]
                missing = (high - part.shape[0], wide - part.shape[1])
                if not cropped:
                    part = np.pad(part, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")
                data = encoded(part, colours, subsampling)
                if sparse and len(pieces) % sparse == sparse - 1:
                    pieces.append(b"")
                    continue
                decoded = imagecodecs.jpeg8_decode(data).reshape(part.shape)
                self.pixels[y : y + high, x : x + wide] = decoded[: HEIGHT - y, : WIDTH - x]
                tables, rest = split(data)
                data = rest if shared else data if colours != "RGB" else bare(data)
                pieces.append(spoil(len(pieces), data) if spoil else data)
        tifffile.imwrite(
            path,
            iter(pieces),
            shape=self.pixels.shape[: 2 if colours == "GRAY" else 3],
            dtype=np.uint8,
            tile=tile,
            photometric={"GRAY": "minisblack"}.get(colours, colours.lower()),
            compression="jpeg",
            jpegtables=b"\xff\xd8" + tables + b"\xff\xd9" if shared else None,
            subsampling=(int(4 // int(subsampling[1])), 2 if subsampling[2] == "0" else 1)
            if colours == "YCBCR"
            else None,
            **{**CENTIMETRE, **options},
        )


def encoded(part: NDArray[np.uint8], colours: str, subsampling: str) -> bytes:
    """A tile that stands alone, and says for itself what its colours are."""
    if colours == "GRAY":
        return bytes(imagecodecs.jpeg8_encode(np.ascontiguousarray(part[..., 0]), level=90))
    return bytes(
        imagecodecs.jpeg8_encode(
            np.ascontiguousarray(part),
            level=90,
            colorspace="RGB",
            outcolorspace="RGB" if colours == "RGB" else "YCBCR",
            subsampling="444" if colours == "RGB" else subsampling,
        )
    )


def split(stream: bytes) -> tuple[bytes, bytes]:
    """The tables of a tile, and an image that lacks them and says nothing of its colours."""
    at, tables, rest = 2, b"", b"\xff\xd8"
    while stream[at + 1] != 0xDA:
        stop = at + 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
        if stream[at + 1] in (0xDB, 0xC4):
            tables += stream[at:stop]
        elif not 0xE0 <= stream[at + 1] <= 0xEF:
            rest += stream[at:stop]
        at = stop
    return tables, rest + stream[at:]


def bare(stream: bytes) -> bytes:
    """A tile with its tables that says nothing of its colours."""
    tables, rest = split(stream)
    return rest[:2] + tables + rest[2:]


def whole_box(reader: TiffSlideReader) -> Box:
    return Box.of(reader.facts.levels[0].size)


def difference(one: Pixels, two: Pixels) -> tuple[float, int]:
    off = np.abs(one.astype(np.int16) - two)
    return float(off.mean()), int(off.max())


VARIANTS: dict[str, dict[str, Any]] = {
    "4:2:0, tables shared": {},
    "4:2:0, tables in each tile": {"shared": False},
    "4:2:2": {"subsampling": "422"},
    "4:4:4": {"subsampling": "444"},
    "RGB, tables shared": {"colours": "RGB"},
    "RGB, tables in each tile": {"colours": "RGB", "shared": False},
    "grey": {"colours": "GRAY"},
    "tiles that no chunk is made of": {"tile": (80, 240)},
    "tiles never written": {"sparse": 3},
    "tiles cut at the border": {"cropped": True},
    "BigTIFF": {"bigtiff": True},
    "big-endian": {"byteorder": ">"},
}


@pytest.mark.parametrize("kind", VARIANTS)
def test_jpeg_tiles_of_every_kind(tmp_path: Path, kind: str) -> None:
    tiled = Tiled(tmp_path / "a.tif", **VARIANTS[kind])
    reader = TiffSlideReader(tiled.path)
    assert reader.facts.decoder == "libjpeg-turbo"
    assert reader.facts.levels[0].reductions == (2, 4, 8)
    assert np.array_equal(reader.read_level(0, whole_box(reader)), tiled.pixels)
    check_reader(reader)
    for reduction in (2, 4, 8):
        size = reader.facts.levels[0].reduced(reduction)
        assert (size.width, size.height) == (WIDTH // reduction, HEIGHT // reduction)
        (smaller,) = reader.read_boxes(Source(0, reduction), [Box.of(size)])
        assert isinstance(smaller, np.ndarray)
        whole = Box(0, 0, size.width * reduction, size.height * reduction)
        by = float(reduction)
        mean = resample(tiled.pixels[whole.slices()], whole, Box.of(size), by, by)
        off = difference(smaller, mean)
        assert off[0] <= MEAN_OFF
        assert off[1] <= MOST_OFF
    reader.close()


# Of plain TIFFs OpenSlide takes RGB for YCbCr; a slide of Aperio's stands for RGB elsewhere.
@pytest.mark.parametrize(
    "kind", ["4:2:0, tables shared", "4:2:2", "4:4:4", "tiles that no chunk is made of"]
)
def test_openslide_sees_the_same(tmp_path: Path, kind: str) -> None:
    tiled = Tiled(tmp_path / "a.tif", **VARIANTS[kind])
    reader = OpenSlideReader(tiled.path)
    assert np.array_equal(reader.read_level(0, Box(0, 0, WIDTH, HEIGHT)), tiled.pixels)
    reader.close()


def test_what_is_unusual_is_read_by_the_reference_and_says_so(tmp_path: Path) -> None:
    picture, common = tissue(), {"photometric": "rgb", "tile": (128, 128), **CENTIMETRE}
    options: dict[str, tuple[NDArray[Any], dict[str, Any]]] = {
        "LZW": (picture, {"compression": "lzw"}),
        "JPEG2000": (picture, {"compression": "jpeg2000"}),
        "separate planes": (
            np.ascontiguousarray(picture.transpose(2, 0, 1)),
            {"compression": "jpeg", "planarconfig": "separate"},
        ),
        "NONE": (picture.astype(np.uint16) * 257, {}),
    }
    for word, (array, more) in options.items():
        tifffile.imwrite(tmp_path / "a.tif", array, **common, **more)
        reader = TiffSlideReader(tmp_path / "a.tif")
        assert reader.facts.decoder.startswith("imagecodecs (")
        assert word in reader.facts.decoder
        assert reader.facts.levels[0].reductions == ()
        check_reader(reader)
        reader.close()


def test_one_unusual_level_sends_the_slide_to_the_reference(tmp_path: Path) -> None:
    path, common = tmp_path / "a.tif", {"photometric": "rgb", "tile": (128, 128)}
    with tifffile.TiffWriter(path) as file:
        file.write(tissue(), subifds=1, compression="jpeg", **common, **CENTIMETRE)
        file.write(tissue()[::2, ::2], subfiletype=1, compression="lzw", **common)
    reader = TiffSlideReader(path)
    assert reader.facts.decoder == "imagecodecs (JPEG, as level 1 is stored as LZW)"
    check_reader(reader)
    reader.close()


def test_tiles_without_their_tables_are_refused(tmp_path: Path) -> None:
    tiled = Tiled(tmp_path / "a.tif")
    data = tiled.path.read_bytes()
    tag = (347).to_bytes(2, "little") + (7).to_bytes(2, "little")
    assert data.count(tag) == 1
    tiled.path.write_bytes(data.replace(tag, (65_000).to_bytes(2, "little") + tag[2:]))
    with pytest.raises(UnreadableSlideError, match="able"):
        TiffSlideReader(tiled.path)


def test_a_writer_of_stray_bytes_is_no_damage(tmp_path: Path) -> None:
    def padded(_: int, data: bytes) -> bytes:
        return data[:-2] + bytes(40) + data[-2:]

    tiled = Tiled(tmp_path / "a.tif", spoil=padded)
    reader = TiffSlideReader(tiled.path)
    assert reader.facts.decoder == "libjpeg-turbo (stray bytes passed over)"
    assert np.array_equal(reader.read_level(0, whole_box(reader)), tiled.pixels)
    reader.close()


def test_damage_is_found_at_the_same_places_whatever_the_scale(tmp_path: Path) -> None:
    def spoilt(number: int, data: bytes) -> bytes:
        middle = len(data) // 2
        return data[:middle] + bytes(40) + data[middle + 40 :] if number == 8 else data

    tiled = Tiled(tmp_path / "a.tif", spoil=spoilt)
    with open_slide(tiled.path) as slide:
        whole = slide.read(slide.level0.box, slide.level0)
        (found,) = slide.damage
        assert found.box == Box(0, 0, CHUNK, CHUNK)
        assert "level 0, tile 8 at byte" in found.reason
        assert (whole[:CHUNK, :CHUNK] == 255).all()
        assert np.array_equal(whole[CHUNK:], tiled.pixels[CHUNK:])
        for factor in (2, 4, 8):
            frame = slide.level0.reduced(factor)
            assert slide.source(frame) == Source(0, factor)
            smaller = slide.read(frame.box, frame)
            assert (smaller[: CHUNK // factor, : CHUNK // factor] == 255).all()
            assert (smaller[CHUNK // factor :] != 255).any()
        assert slide.damage == (found,)


@pytest.mark.parametrize("strict", [True, False])
def test_whatever_happens_to_a_tile_it_is_decoded_or_called_damaged(
    tmp_path: Path, strict: bool
) -> None:
    reader = TiffSlideReader(Tiled(tmp_path / "a.tif").path)
    (store,) = reader._stores
    decoder = JpegDecoder([store], strict=strict)
    random = np.random.default_rng(1)
    refused = 0
    for turn in range(300):
        key = TileKey(0, int(random.integers(0, store.across * store.down)))
        sound = reader._bytes(store, key)
        assert sound is not None
        data = np.frombuffer(sound, np.uint8).copy()
        reach = 40 if turn % 2 else len(data)
        places = random.integers(0, reach, 4)
        data[places] = random.integers(0, 256, 4)
        if turn % 3 == 0:
            data = data[: random.integers(0, len(data))]
        reduction = int(random.choice([1, 2, 4, 8]))
        try:
            pixels = decoder.decode(store, key, data.tobytes(), reduction)
        except UndecodableTileError:
            refused += 1
        else:
            assert max(pixels.shape[:2]) <= 128 // reduction
    assert 100 < refused < 300
    reader.close()


def test_a_tile_that_claims_too_much_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def long(number: int, data: bytes) -> bytes:
        return data + bytes(400_000) if number == 20 else data

    tiled = Tiled(tmp_path / "a.tif", spoil=long)
    asked: list[int] = []
    reading = os.pread

    def pread(descriptor: int, length: int, offset: int) -> bytes:
        asked.append(length)
        return reading(descriptor, length, offset)

    monkeypatch.setattr(os, "pread", pread)
    reader = TiffSlideReader(tiled.path)
    with pytest.raises(
        DamagedPixelsError, match=r"tile 20 at byte \d+: it claims 4\d\d,\d{3} bytes"
    ):
        reader.read_level(0, whole_box(reader))
    assert max(asked) < 400_000
    reader.close()


def test_a_slide_of_many_tiles_costs_what_is_read_of_it(tmp_path: Path) -> None:
    side, tile = 64_000, 256
    data = encoded(tissue(tile, tile), "YCBCR", "420")
    pieces = (data if number == 0 else b"" for number in range((side // tile) ** 2))
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path,
        pieces,
        shape=(side, side, 3),
        dtype=np.uint8,
        tile=(tile, tile),
        photometric="ycbcr",
        compression="jpeg",
        subsampling=(2, 2),
        **CENTIMETRE,
    )
    with open_slide(path) as slide:
        frame = slide.level0.reduced(2)
        assert (slide.read(Box(20_000, 20_000, 20_300, 20_300), frame) == 255).all()
        assert slide.read(Box(0, 0, 128, 128), frame).std() > 10


@pytest.mark.parametrize(
    ("name", "level"),
    [
        ("CMU-1-Small-Region.svs", 0),
        ("giardia_HE_GT450_lefthalf.svs", 0),
        ("giardia_HE_GT450_lefthalf.svs", 1),
        ("metaplasia_IHC_trypsin_20x.svs", 0),
        ("A_BB_574162_1.svs", 0),
        ("CRC-AI-15_X40_IHC.tif", 0),
        ("test3_DAPI_TRITC_2ch.ome.tiff", 0),
    ],
)
def test_real_slides_decoded_smaller_are_near_the_mean_of_openslides_pixels(
    slides: Path, name: str, level: int
) -> None:
    reader = TiffSlideReader(slides / name)
    assert reader.facts.decoder == "libjpeg-turbo"
    box = middle(reader.facts.levels[level].size, 1024)
    whole: TiffSlideReader | OpenSlideReader = reader
    # OpenSlide sees one channel of OME-TIFF.
    if not name.endswith(".ome.tiff"):
        whole = OpenSlideReader(slides / name)
    pixels = whole.read_level(level, box)
    for by in (2, 4, 8):
        part = Box(box.x0 // by, box.y0 // by, box.x1 // by, box.y1 // by)
        (smaller,) = reader.read_boxes(Source(level, by), [part])
        assert isinstance(smaller, np.ndarray)
        off = difference(smaller, resample(pixels, box, part, float(by), float(by)))
        assert off[0] <= MEAN_OFF
        assert off[1] <= MOST_OFF
    reader.close()


def middle(size: Size, side: int) -> Box:
    x, y = (size.width - side) // 16 * 8, (size.height - side) // 16 * 8
    return Box(x, y, x + side, y + side)


@pytest.mark.parametrize(
    ("compression", "reader", "decoder"),
    [
        (33005, "tiffslide", "imagecodecs (APERIO_JP2000_RGB)"),
        (33003, "openslide", "OpenSlide"),
    ],
)
def test_jpeg_2000_of_aperio(tmp_path: Path, compression: int, reader: str, decoder: str) -> None:
    picture = tissue(512, 512)
    stored = picture if compression == 33005 else in_ycbcr(picture)
    pieces = (
        bytes(
            imagecodecs.jpeg2k_encode(
                np.ascontiguousarray(stored[y : y + 256, x : x + 256]),
                level=0,
                reversible=True,
                codecformat="J2K",
                mct=False,
            )
        )
        for y in (0, 256)
        for x in (0, 256)
    )
    path = tmp_path / "a.svs"
    tifffile.imwrite(
        path,
        pieces,
        shape=picture.shape,
        dtype=np.uint8,
        tile=(256, 256),
        photometric="rgb" if compression == 33005 else "ycbcr",
        compression=compression,
        description="Aperio Image Library v11\r\n512x512 |AppMag = 40|MPP = 0.25",
        metadata=None,
        subsampling=(1, 1) if compression == 33003 else None,
    )
    with open_slide(path) as slide:
        assert (slide.facts.reader, slide.facts.decoder) == (reader, decoder)
        assert slide.facts.levels[0].reductions == ()
        off = difference(slide.read(slide.level0.box, slide.level0), picture)
        assert off[1] <= (0 if compression == 33005 else 3)


def in_ycbcr(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """After JFIF 1.02."""
    turn = np.array(
        [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]]
    )
    return np.clip(pixels @ turn.T + [0, 128, 128] + 0.5, 0, 255).astype(np.uint8)
