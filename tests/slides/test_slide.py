"""Slide.read on slides held in memory."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsiseg.errors import ChannelError, DamagedPixelsError, ResolutionError
from wsiseg.geometry import MPP, Box
from wsiseg.slides.array_reader import ArrayReader
from wsiseg.slides.chunked import CHUNK
from wsiseg.slides.reader import Pixels, SlideFacts, SlideReader
from wsiseg.slides.slide import Slide


def picture(height: int = 700, width: int = 900, channels: int = 3) -> np.ndarray:
    rng = np.random.default_rng(7)
    return rng.integers(120, 250, (height, width, channels), dtype=np.uint8)


class Watched:
    """A reader that writes down what is read, and breaks where told."""

    def __init__(self, inner: SlideReader, broken: Box | None = None) -> None:
        self._inner = inner
        self._broken = broken
        self.reads: list[tuple[int, Box]] = []

    @property
    def facts(self) -> SlideFacts:
        return self._inner.facts

    def read_level(self, level: int, box: Box) -> Pixels:
        self.reads.append((level, box))
        if self._broken is not None and level == 0 and box.intersects(self._broken):
            raise DamagedPixelsError("these bytes are spoilt")
        return self._inner.read_level(level, box)

    def close(self) -> None:
        self._inner.close()


@settings(max_examples=40, deadline=None)
@given(
    mpp=st.sampled_from([0.2, 0.263018, 0.5, 0.526036, 0.7, 1.052072, 2.1, 4.3]),
    x=st.integers(-60, 300),
    y=st.integers(-60, 300),
    dx=st.integers(0, 30),
    dy=st.integers(0, 30),
)
def test_overlapping_reads_are_equal_byte_for_byte(
    mpp: float, x: int, y: int, dx: int, dy: int
) -> None:
    array = picture()
    slide = Slide(ArrayReader(array, 0.263018, reductions=(4,)))
    frame = slide.level0.at(MPP.square(mpp))
    one, two = Box(x, y, x + 40, y + 50), Box(x + dx, y + dy, x + dx + 45, y + dy + 33)
    common = one.intersection(two)
    other = Slide(ArrayReader(array, 0.263018, reductions=(4,)), cache_bytes=0)
    assert np.array_equal(
        slide.read(one, frame)[common.slices(one)], other.read(two, frame)[common.slices(two)]
    )


def test_level0_is_given_back_unchanged() -> None:
    array = picture()
    slide = Slide(ArrayReader(array, 0.5))
    assert np.array_equal(slide.read(slide.level0.box, slide.level0), array)


@pytest.mark.parametrize(("illumination", "fill"), [("brightfield", 255), ("fluorescence", 0)])
@pytest.mark.parametrize("factor", [1, 2])
def test_beyond_the_slide_is_background(illumination: str, fill: int, factor: int) -> None:
    array = picture(64, 64)
    slide = Slide(ArrayReader(array, 0.5, illumination=illumination))  # type: ignore[arg-type]
    frame = slide.level0.reduced(factor)
    side = 64 // factor
    box = Box(-10, -10, side + 10, side + 10)
    got = slide.read(box, frame)
    inner = frame.box.slices(box)
    assert np.array_equal(got[inner], slide.read(frame.box, frame))
    outside = np.ones(got.shape[:2], bool)
    outside[inner] = False
    assert (got[outside] == fill).all()
    assert (slide.read(Box(5000, 0, 5010, 10), frame) == fill).all()


def test_16_bit_brightfield_is_filled_with_its_own_white() -> None:
    slide = Slide(ArrayReader(np.full((9, 9, 3), 60000, np.uint16), 0.5))
    assert slide.facts.illumination == "brightfield"
    got = slide.read(Box(-1, 0, 1, 1), slide.level0)
    assert got.dtype == np.uint16
    assert got[0, :, 0].tolist() == [65535, 60000]


def test_the_border_is_blended_with_the_background() -> None:
    slide = Slide(ArrayReader(np.full((3, 3, 1), 101, np.uint8), 0.5, illumination="brightfield"))
    got = slide.read(Box(0, 0, 2, 2), slide.level0.reduced(2))[..., 0]
    assert got.tolist() == [[101, 178], [178, 217]]


def test_the_coarsest_level_that_is_fine_enough_is_read() -> None:
    slide = Slide(ArrayReader(picture(800, 800), 0.25, reductions=(4, 16)))
    levels = {0.1: 0, 0.25: 0, 0.5: 0, 0.99: 0, 0.9999: 1, 1.0: 1, 3.9: 1, 4.0: 2, 90.0: 2}
    for mpp, level in levels.items():
        assert slide.source_level(slide.level0.at(MPP.square(mpp))) == level, mpp


def test_a_whole_reduction_reads_its_level_unchanged() -> None:
    # 0.263018 * 4 / 0.263018 / 4 must be 1 and not a hair beside it.
    reader = ArrayReader(picture(803, 805), 0.263018, reductions=(4,))
    slide = Slide(reader)
    frame = slide.level0.at(MPP.square(4 * 0.263018))
    level = Box(0, 0, 805 // 4, 803 // 4)
    assert np.array_equal(slide.read(level, frame), reader.read_level(1, level))


def test_reads_come_in_aligned_chunks_and_only_where_wanted() -> None:
    watched = Watched(ArrayReader(picture(700, 1300), 0.5))
    slide = Slide(watched)
    assert (slide.read(Box(1300, 0, 1400, 100), slide.level0) == 255).all()
    assert watched.reads == []
    slide.read(Box(500, 600, 520, 720), slide.level0)
    assert sorted(box for _, box in watched.reads) == [
        Box(0, CHUNK, CHUNK, 700),
        Box(CHUNK, CHUNK, 2 * CHUNK, 700),
    ]
    slide.read(Box(400, 600, 700, 690), slide.level0)
    assert len(watched.reads) == 2


def test_what_is_kept_is_bounded() -> None:
    chunk = CHUNK * CHUNK * 3
    watched = Watched(ArrayReader(picture(CHUNK, 4 * CHUNK), 0.5))
    slide = Slide(watched, cache_bytes=2 * chunk)
    for x in (0, 1, 2, 2, 1, 0):
        slide.read(Box(x * CHUNK, 0, x * CHUNK + 5, 5), slide.level0)
    # 0, 1, 2 are read; 2 and 1 are still held; 0 had to go.
    assert [box.x0 // CHUNK for _, box in watched.reads] == [0, 1, 2, 0]


def test_what_cannot_be_decoded_is_filled_and_told() -> None:
    array = picture(1100, 1100)
    slide = Slide(Watched(ArrayReader(array, 0.5), broken=Box(600, 100, 601, 101)))
    assert slide.damage == ()
    got = slide.read(slide.level0.box, slide.level0)
    spoilt = Box(CHUNK, 0, 2 * CHUNK, CHUNK)
    assert [(damage.box, damage.reason) for damage in slide.damage] == [
        (spoilt, "these bytes are spoilt")
    ]
    expected = array.copy()
    expected[spoilt.slices()] = 255
    assert np.array_equal(got, expected)
    slide.read(spoilt, slide.level0)
    assert len(slide.damage) == 1


def test_threads_read_the_same() -> None:
    slide = Slide(ArrayReader(picture(1500, 1500), 0.3), cache_bytes=3 << 20)
    frame = slide.level0.at(MPP.square(0.5))
    boxes = [Box(x, y, x + 300, y + 300) for x in (0, 250, 600) for y in (0, 333, 620)]
    alone = [slide.read(box, frame) for box in boxes]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda box: slide.read(box, frame), boxes * 3))
    for i, pixels in enumerate(together):
        assert np.array_equal(pixels, alone[i % len(boxes)])


def test_channels_by_name_and_number() -> None:
    array = picture(20, 20, 4)
    slide = Slide(ArrayReader(array, 0.5, channels=("DAPI", "CD3", "CD8", "Ki67")))
    assert slide.channel_indices(["cd8", "DAPI", "4"]) == (2, 0, 3)
    got = slide.read(Box(0, 0, 9, 7), slide.level0, channels=(2, 0))
    assert np.array_equal(got, array[:7, :9, [2, 0]])
    with pytest.raises(ChannelError, match="'CD20'; there are 1: DAPI, 2: CD3, 3: CD8, 4: Ki67"):
        slide.channel_indices(["CD20"])
    with pytest.raises(ChannelError):
        slide.channel_indices(["5"])


def test_a_slide_without_pixel_size_needs_one_stated() -> None:
    with pytest.raises(ResolutionError, match="--mpp"):
        Slide(ArrayReader(picture(9, 9), None))
    slide = Slide(ArrayReader(picture(9, 9), None), 0.4)
    assert slide.level0.mpp == MPP.square(0.4)
    assert slide.facts.mpp_source == "stated"


def test_fingerprints_tell_slides_apart() -> None:
    one, two = picture(50, 50), picture(50, 50)
    two[20, 20, 1] ^= 1
    prints = [Slide(ArrayReader(array, 0.5)).fingerprint() for array in (one, one.copy(), two)]
    assert prints[0] == prints[1] != prints[2]


def test_a_coarse_read_of_a_large_level_equals_its_mean() -> None:
    array = picture(3000, 2600, 1)
    slide = Slide(ArrayReader(array, 0.5))
    got = slide.read(Box(0, 0, 26, 30), slide.level0.reduced(100))
    mean = array[..., 0].astype(float).reshape(30, 100, 26, 100).mean(axis=(1, 3))
    assert np.abs(got[..., 0] - mean).max() <= 0.51
