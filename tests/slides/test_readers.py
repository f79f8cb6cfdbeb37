"""Readers against their contract, on small TIFFs of many kinds made here."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from wsiseg.errors import ConfigurationError, DamagedPixelsError, UnreadableSlideError
from wsiseg.geometry import MPP, Box, Size
from wsiseg.slides.alpha import over, over_premultiplied_bgra
from wsiseg.slides.array_reader import ArrayReader
from wsiseg.slides.openslide_reader import stated_bounds
from wsiseg.slides.probe import open_reader
from wsiseg.slides.reader import Level, Pixels
from wsiseg.slides.slide import inspect_slide, open_slide
from wsiseg.testing.readers import check_reader

CENTIMETRE = {"resolution": (40_000, 40_000), "resolutionunit": "CENTIMETER"}


def bright(height: int, width: int, channels: int = 3, dtype: type = np.uint8) -> np.ndarray:
    """A smooth bright picture, so that lossy compression stays near it."""
    y, x = np.mgrid[0:height, 0:width]
    top = np.iinfo(dtype).max
    waves = [
        0.8 + 0.15 * np.sin(x / (20 + 5 * c)) * np.cos(y / (30 + 3 * c)) for c in range(channels)
    ]
    return (np.stack(waves, axis=2) * top).astype(dtype)


def write_pyramid(
    path: Path, array: np.ndarray, reductions: tuple[int, ...], **options: Any
) -> None:
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        common = {"photometric": "rgb", "tile": (128, 128), **options}
        file.write(array, subifds=len(reductions), **CENTIMETRE, **common)
        for by in reductions:
            file.write(array[::by, ::by], subfiletype=1, **common)


@pytest.mark.parametrize("reductions", [(), (2, 8)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_arrays_keep_the_contract(reductions: tuple[int, ...], dtype: type) -> None:
    check_reader(ArrayReader(bright(611, 733, dtype=dtype), 0.5, reductions=reductions))


@pytest.mark.parametrize(
    ("options", "dtype", "lossless"),
    [
        ({"compression": "jpeg"}, np.uint8, False),
        ({"compression": "zlib", "predictor": True}, np.uint16, True),
        ({"compression": "lzw"}, np.uint8, True),
        ({"compression": None, "tile": (80, 112)}, np.uint8, True),
        ({"compression": "jpeg2000"}, np.uint8, True),
        ({"tile": None, "rowsperstrip": 7}, np.uint8, True),
    ],
)
def test_tiff_pyramids(
    tmp_path: Path, options: dict[str, Any], dtype: type, lossless: bool
) -> None:
    array = bright(611, 733, dtype=dtype)
    path = tmp_path / "named.svs"
    write_pyramid(path, array, (4,), **options)
    reader = open_reader(path)
    facts = reader.facts
    assert [level.downsample for level in facts.levels] == [1.0, 4.0]
    assert facts.channels == ("red", "green", "blue")
    assert facts.illumination == "brightfield"
    assert (facts.mpp, facts.mpp_source) == (MPP.square(0.25), "tiff.XResolution")
    check_reader(reader)
    got = reader.read_level(0, Box.of(Size(733, 611)))
    off = np.abs(got.astype(int) - array)
    assert off.max() == 0 if lossless else off.mean() < 2
    reader.close()


def test_planes_and_names_of_an_ome_tiff(tmp_path: Path) -> None:
    planes = np.random.default_rng(0).integers(0, 900, (3, 300, 260)).astype(np.uint16)
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(
        path,
        planes,
        tile=(64, 64),
        photometric="minisblack",
        metadata={
            "axes": "CYX",
            "PhysicalSizeX": 325.0,
            "PhysicalSizeXUnit": "nm",
            "PhysicalSizeY": 325.0,
            "PhysicalSizeYUnit": "nm",
            "Channel": {"Name": ["DAPI", "CD3", "DAPI"]},
        },
    )
    reader = open_reader(path)
    facts = reader.facts
    assert facts.channels == ("DAPI", "CD3", "channel 2")
    assert (facts.illumination, facts.dtype) == ("fluorescence", "uint16")
    assert (facts.mpp, facts.mpp_source) == (MPP.square(0.325), "OME PhysicalSizeX")
    check_reader(reader)
    got = reader.read_level(0, Box.of(Size(260, 300)))
    assert np.array_equal(got, planes.transpose(1, 2, 0))


def test_separate_colour_planes(tmp_path: Path) -> None:
    array = bright(200, 190)
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path,
        array.transpose(2, 0, 1),
        photometric="rgb",
        planarconfig="separate",
        tile=(64, 64),
        **CENTIMETRE,
    )
    reader = open_reader(path)
    assert reader.facts.channels == ("red", "green", "blue")
    assert np.array_equal(reader.read_level(0, Box.of(Size(190, 200))), array)


@pytest.mark.parametrize("kind", ["unassalpha", "assocalpha"])
def test_transparency_lies_on_white(tmp_path: Path, kind: str) -> None:
    array = np.zeros((64, 64, 4), np.uint8)
    array[..., :3] = 200
    array[..., 3] = 255
    array[0, 0] = (0, 0, 0, 0)
    array[0, 1] = (100, 100, 100, 128) if kind == "unassalpha" else (50, 50, 50, 128)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, array, photometric="rgb", extrasamples=[kind], tile=(64, 64))
    reader = open_reader(path)
    got = reader.read_level(0, Box(0, 0, 3, 1))
    assert got.shape == (1, 3, 3)
    assert got[0, :, 0].tolist() == [255, 177, 200]


def test_both_ways_of_transparency_agree() -> None:
    rng = np.random.default_rng(1)
    alpha = rng.integers(0, 256, (40, 40, 1), dtype=np.uint8)
    colours = (rng.integers(0, 256, (40, 40, 3)) * alpha // 255).astype(np.uint8)
    for background in (0, 255):
        fast = over_premultiplied_bgra(
            np.concatenate([colours[..., ::-1], alpha], axis=2), background
        )
        slow = over(np.concatenate([colours, alpha], axis=2), background, premultiplied=True)
        assert np.array_equal(fast, slow)


def test_dark_on_white_grey_is_turned(tmp_path: Path) -> None:
    array = np.full((64, 64), 10, np.uint8)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, array, photometric="miniswhite", tile=(64, 64))
    reader = open_reader(path)
    assert reader.facts.illumination == "brightfield"
    assert (reader.read_level(0, Box(0, 0, 5, 5)) == 245).all()


def test_tiles_that_are_not_stored_are_background(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    rows = iter([bright(64, 64).tobytes(), b"", bright(64, 64).tobytes(), b""])
    tifffile.imwrite(
        path, rows, shape=(128, 128, 3), dtype=np.uint8, photometric="rgb", tile=(64, 64)
    )
    reader = open_reader(path)
    assert np.array_equal(reader.read_level(0, Box(0, 64, 64, 128)), bright(64, 64))
    assert (reader.read_level(0, Box(64, 0, 128, 128)) == 255).all()


@pytest.mark.parametrize(
    ("array", "options", "word"),
    [
        (np.zeros((5, 64, 64), np.uint8), {"photometric": "minisblack"}, "axes"),
        (np.zeros((64, 64), np.float32), {}, "float32"),
        (np.zeros((64, 64), np.uint8), {"photometric": "palette"}, "PALETTE"),
    ],
)
def test_what_cannot_be_read_rightly_is_refused(
    tmp_path: Path, array: np.ndarray, options: dict[str, Any], word: str
) -> None:
    path = tmp_path / "a.tif"
    if options.get("photometric") == "palette":
        options = {**options, "colormap": np.zeros((3, 256), np.uint16)}
    tifffile.imwrite(path, array, tile=(64, 64), metadata={"axes": "ZYX"[-array.ndim :]}, **options)
    with pytest.raises(UnreadableSlideError, match=word):
        open_reader(path)


def test_no_slide_at_all(tmp_path: Path) -> None:
    with pytest.raises(UnreadableSlideError, match=r"absent\.svs"):
        open_reader(tmp_path / "absent.svs")
    with pytest.raises(UnreadableSlideError, match="folder"):
        open_reader(tmp_path)
    for name, content in {"empty.svs": b"", "words.tif": b"no picture " * 99}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UnreadableSlideError, match=name):
            open_reader(tmp_path / name)


def test_an_unknown_reader_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="openslide, tiffslide"):
        open_reader(tmp_path / "a.svs", "bioformats")


def test_an_absent_pixel_size_is_a_problem_to_inspect_only(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, bright(64, 64), photometric="rgb", tile=(64, 64))
    facts = inspect_slide(path)
    assert facts.mpp is None
    assert facts.problems
    with open_slide(path, mpp=0.5) as slide:
        assert slide.name == "a.tif"
        assert slide.facts.mpp_source == "stated"


def test_bounds_are_those_the_headers_give() -> None:
    names = ("x", "y", "width", "height")
    given = {
        f"openslide.bounds-{n}": v for n, v in zip(names, ["5", "7", "100", "50"], strict=True)
    }
    assert stated_bounds(given) == Box(5, 7, 105, 57)
    assert stated_bounds({**given, "openslide.bounds-width": "0"}) is None
    del given["openslide.bounds-x"]
    assert stated_bounds(given) is None
    reader = ArrayReader(bright(64, 64), 0.5, bounds=Box(1, 2, 60, 61))
    assert reader.facts.bounds == Box(1, 2, 60, 61)


class Lying(ArrayReader):
    """Breaks one promise."""

    def __init__(self, lie: str) -> None:
        self.lie = ""
        self.reads = 0
        super().__init__(bright(300, 300), 0.5)
        self.lie = lie
        changed = {
            "levels": {"levels": (Level(Size(300, 300), 1.0), Level(Size(100, 100), 2.0))},
            "names": {"channels": ("red", "red", "blue")},
            "source": {"mpp_source": ""},
            "dtype": {"dtype": "uint16"},
        }.get(lie)
        if changed is not None:
            self._facts = dataclasses.replace(self._facts, **changed)

    def read_level(self, level: int, box: Box) -> Pixels:
        pixels = super().read_level(level, box)
        self.reads += 1
        if self.lie == "transposed":
            return pixels[:, :, :2]
        if self.lie == "changing":
            return pixels ^ np.uint8(self.reads % 2)
        if self.lie == "shared":
            return self._levels[level][box.slices()]
        if self.lie == "edges":
            pixels[0] = 0
        return pixels


@pytest.mark.parametrize(
    ("lie", "word"),
    [
        ("levels", "no reduction"),
        ("names", "share a name"),
        ("source", "belong together"),
        ("dtype", "uint16"),
        ("transposed", r"\[y, x, c\]"),
        ("changing", "two reads differ"),
        ("shared", "changes the next"),
        ("edges", "read alone differs"),
    ],
)
def test_the_contract_finds_broken_readers(lie: str, word: str) -> None:
    with pytest.raises(AssertionError, match=word):
        check_reader(Lying(lie))


def test_a_damaged_tile_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    write_pyramid(path, bright(512, 512), (), compression="jpeg")
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        offset, length = page.dataoffsets[2], page.databytecounts[2]
    data = bytearray(path.read_bytes())
    data[offset + length // 2 : offset + length // 2 + 2] = b"\xff\x50"
    path.write_bytes(data)
    reader = open_reader(path)
    assert reader.read_level(0, Box(0, 0, 256, 128)).shape == (128, 256, 3)
    with pytest.raises(DamagedPixelsError, match=rf"tile 2 at byte {offset}: .*foreign marker"):
        reader.read_level(0, Box(250, 100, 260, 110))


def test_a_tile_that_announces_more_than_its_size_is_not_decoded(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    write_pyramid(path, bright(128, 128), (), compression="jpeg")
    data = path.read_bytes()
    # Start of frame: length 17, 8 bits, then height and width.
    at = data.index(b"\xff\xc0\x00\x11\x08")
    path.write_bytes(data[: at + 5] + b"\xff\x00\xff\x00" + data[at + 9 :])
    with pytest.raises(UnreadableSlideError, match="announces 65280 x 65280"):
        open_reader(path)
