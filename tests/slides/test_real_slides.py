"""Every real slide with its expected outcome."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from wsiseg.errors import ResolutionError, UnreadableSlideError
from wsiseg.geometry import MPP, Box
from wsiseg.slides.openslide_reader import OpenSlideReader
from wsiseg.slides.probe import open_reader
from wsiseg.slides.slide import inspect_slide, open_slide
from wsiseg.slides.tiffslide_reader import TiffSlideReader
from wsiseg.testing.readers import check_reader

RGB = ("red", "green", "blue")

# name -> reader, vendor, levels, µm/px and where it was read, illumination
OPENS = {
    "CMU-1-Small-Region.svs": ("tiffslide", "aperio", 1, 0.499, "aperio.MPP", "brightfield"),
    "giardia_HE_GT450_lefthalf.svs": (
        *("tiffslide", "aperio", 4, 0.263018, "aperio.MPP", "brightfield"),
    ),
    "metaplasia_IHC_trypsin_20x.svs": (
        *("tiffslide", "aperio", 3, 0.5044, "aperio.MPP", "brightfield"),
    ),
    "test3-DAPI-2-(387).ndpi": (
        *("openslide", "hamamatsu", 7, 0.228175, "openslide.mpp-x", "fluorescence"),
    ),
    "test3-TRITC 2 (560).ndpi": (
        *("openslide", "hamamatsu", 7, 0.228175, "openslide.mpp-x", "fluorescence"),
    ),
    "test3_DAPI_TRITC_2ch.ome.tiff": (
        *("tiffslide", "ome-tiff", 4, 0.228175, "OME PhysicalSizeX", "fluorescence"),
    ),
    "multi_frame_jpeg2000_camelyon_challenge_image.dcm": (
        *("openslide", "dicom", 1, 28.9685, "DICOM PixelSpacing", "brightfield"),
    ),
    "broken/metaplasia_IHC_bitrot.svs": (
        *("tiffslide", "aperio", 3, 0.5044, "aperio.MPP", "brightfield"),
    ),
}

# name -> reader, a word of the problem
NEEDS_MPP = {
    "TCGA-CR-7395-01A-01-TS1.svs": ("tiffslide", "does not state"),
    "kidney-48-5.tif": ("tiffslide", "does not state"),
    "A_BB_574162_1.svs": ("tiffslide", "1000 x 1000 µm/px"),
    "CRC-AI-15_X40_IHC.tif": ("tiffslide", "1000 x 1000 µm/px"),
}

# name -> a word of the refusal
UNREADABLE = {
    "broken/CMU-1-Small-Region_truncated_1MB.svs": "directory 0 at byte 1275950",
    "broken/TCGA-TS1_truncated_3MB.svs": "directory 1 at byte 3171696",
    "broken/histolab_broken_not_tiff.svs": "no reader can open it",
}


def test_every_slide_has_an_expected_outcome(slides: Path) -> None:
    there = {
        str(path.relative_to(slides))
        for path in slides.rglob("*")
        if path.is_file() and path.suffix != ".md"
    }
    assert there == {*OPENS, *NEEDS_MPP, *UNREADABLE}


@pytest.mark.parametrize("name", OPENS)
def test_opens(slides: Path, name: str) -> None:
    reader, vendor, levels, mpp, source, illumination = OPENS[name]
    with open_slide(slides / name) as slide:
        facts = slide.facts
        assert (facts.reader, facts.vendor, len(facts.levels)) == (reader, vendor, levels)
        assert facts.mpp is not None
        assert facts.mpp.mean == pytest.approx(mpp, rel=1e-4)
        assert (facts.mpp_source, facts.illumination) == (source, illumination)
        assert facts.problems == ()
        assert facts.channels == (("DAPI", "TRITC") if "2ch" in name else RGB)
        whole = all(level.downsample == int(level.downsample) for level in facts.levels)
        assert whole
        assert len(slide.fingerprint()) == 32


@pytest.mark.parametrize("name", NEEDS_MPP)
def test_needs_a_stated_pixel_size(slides: Path, name: str) -> None:
    reader, word = NEEDS_MPP[name]
    facts = inspect_slide(slides / name)
    assert (facts.mpp, facts.reader) == (None, reader)
    assert word in facts.problems[0]
    with pytest.raises(ResolutionError, match="--mpp") as raised:
        open_slide(slides / name)
    assert name in str(raised.value)
    assert word in str(raised.value)
    with open_slide(slides / name, mpp=0.5) as slide:
        assert slide.facts.mpp == MPP.square(0.5)
        assert slide.read(Box(100, 100, 200, 200), slide.level0).shape == (100, 100, 3)


@pytest.mark.parametrize("name", UNREADABLE)
@pytest.mark.parametrize("reader", ["auto", "openslide", "tiffslide"])
def test_is_refused_as_a_whole(slides: Path, name: str, reader: str) -> None:
    with pytest.raises(UnreadableSlideError) as raised:
        open_slide(slides / name, reader=reader, mpp=0.5)
    assert name in str(raised.value)
    assert UNREADABLE[name] in str(raised.value)


@pytest.mark.parametrize(
    "name", sorted({*OPENS, *NEEDS_MPP} - {"broken/metaplasia_IHC_bitrot.svs"})
)
def test_the_chosen_reader_keeps_the_contract(slides: Path, name: str) -> None:
    reader = open_reader(slides / name)
    check_reader(reader)
    reader.close()


@pytest.mark.parametrize(
    "name", ["CMU-1-Small-Region.svs", "TCGA-CR-7395-01A-01-TS1.svs", "A_BB_574162_1.svs"]
)
def test_openslide_keeps_the_contract_where_it_is_not_chosen(slides: Path, name: str) -> None:
    reader = open_reader(slides / name, "openslide")
    check_reader(reader, exact=False)
    reader.close()


@pytest.mark.parametrize(
    ("name", "level", "corner"),
    [
        ("CMU-1-Small-Region.svs", 0, (1024, 1536)),
        ("giardia_HE_GT450_lefthalf.svs", 0, (8192, 17920)),
        ("giardia_HE_GT450_lefthalf.svs", 1, (2048, 4608)),
        ("metaplasia_IHC_trypsin_20x.svs", 0, (3072, 3072)),
        ("TCGA-CR-7395-01A-01-TS1.svs", 0, (1024, 1024)),
        ("A_BB_574162_1.svs", 1, (1024, 1024)),
        ("CRC-AI-15_X40_IHC.tif", 0, (2048, 2048)),
        ("test3-DAPI-2-(387).ndpi", 1, (512, 1024)),
    ],
)
def test_both_readers_see_the_same_pixels(
    slides: Path, name: str, level: int, corner: tuple[int, int]
) -> None:
    x, y = corner
    box = Box(x, y, x + 512, y + 512)
    one, two = OpenSlideReader(slides / name), TiffSlideReader(slides / name)
    seen = one.read_level(level, box)
    assert seen.std() > 1
    # Not merely near: both stand on the same decoders.
    assert np.array_equal(seen, two.read_level(level, box))
    one.close()
    two.close()


def test_ome_channels_are_those_of_the_scanner(slides: Path) -> None:
    with (
        open_slide(slides / "test3_DAPI_TRITC_2ch.ome.tiff") as both,
        open_slide(slides / "test3-DAPI-2-(387).ndpi") as dapi,
    ):
        box = Box(1000, 1000, 1800, 1800)
        (place,) = both.channel_indices(["dapi"])
        mine = both.read(box, both.level0, (place,))[..., 0].astype(int)
        (blue,) = dapi.channel_indices(["blue"])
        theirs = dapi.read(box, dapi.level0, (blue,))[..., 0].astype(int)
        assert np.abs(mine - theirs).mean() < 3
        assert (both.read(Box(-9, -9, 0, 0), both.level0) == 0).all()


@pytest.mark.parametrize("reader", ["openslide", "tiffslide"])
def test_damaged_tiles_are_found_filled_and_named(slides: Path, reader: str) -> None:
    with (
        open_slide(slides / "broken" / "metaplasia_IHC_bitrot.svs", reader=reader) as spoilt,
        open_slide(slides / "metaplasia_IHC_trypsin_20x.svs", reader=reader) as sound,
    ):
        got = spoilt.read(spoilt.level0.box, spoilt.level0)
        assert len(spoilt.damage) >= 9
        for damage in spoilt.damage:
            assert (got[damage.box.slices()] == 255).all()
            assert "metaplasia_IHC_bitrot.svs" in damage.reason
        # One failure must not spoil what is read after it.
        expected = sound.read(sound.level0.box, sound.level0)
        equal = 0
        for cell in sound.level0.box.split(512):
            equal += bool(np.array_equal(got[cell.slices()], expected[cell.slices()]))
        assert equal > 100
        assert sound.damage == ()


def test_a_spoilt_handle_spoils_no_other_thread(slides: Path) -> None:
    path = slides / "broken" / "metaplasia_IHC_bitrot.svs"
    with (
        open_slide(path, reader="openslide") as alone,
        open_slide(path, reader="openslide") as together,
    ):
        boxes = list(Box(0, 1024, 4096, 4096).split(1024))
        expected = [alone.read(box, alone.level0) for box in boxes]
        assert alone.damage
        with ThreadPoolExecutor(4) as pool:
            got = list(pool.map(lambda box: together.read(box, together.level0), boxes))
        assert [damage.box for damage in together.damage] == [d.box for d in alone.damage]
        for one, two in zip(expected, got, strict=True):
            assert np.array_equal(one, two)


def test_overlapping_reads_of_a_real_slide_are_equal(slides: Path) -> None:
    with (
        open_slide(slides / "giardia_HE_GT450_lefthalf.svs") as one,
        open_slide(slides / "giardia_HE_GT450_lefthalf.svs", reader="openslide") as two,
    ):
        frame = one.level0.at(MPP.square(0.5))
        left, right = Box(4300, 9500, 4700, 9800), Box(4433, 9555, 4900, 9900)
        common = left.intersection(right)
        first = one.read(left, frame)[common.slices(left)]
        second = two.read(right, frame)[common.slices(right)]
        assert first.std() > 5
        assert np.array_equal(first, second)


@pytest.mark.parametrize(
    "name",
    [
        "CMU-1-Small-Region.svs",
        "test3-DAPI-2-(387).ndpi",
        "kidney-48-5.tif",
        "test3_DAPI_TRITC_2ch.ome.tiff",
    ],
)
@pytest.mark.parametrize("share", [0.2, 0.6, 0.98])
def test_cut_short_a_slide_is_refused(
    slides: Path, tmp_path: Path, name: str, share: float
) -> None:
    data = (slides / name).read_bytes()
    path = tmp_path / name
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(UnreadableSlideError, match="truncated"):
        open_slide(path, mpp=0.5)


def test_a_dicom_cut_short_is_refused(slides: Path, tmp_path: Path) -> None:
    data = (slides / "multi_frame_jpeg2000_camelyon_challenge_image.dcm").read_bytes()
    path = tmp_path / "cut.dcm"
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(UnreadableSlideError, match=r"cut\.dcm"):
        open_slide(path)
