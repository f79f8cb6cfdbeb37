"""What reading costs, counted in reads, bytes, tiles and copies: never in seconds."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

import wsiseg
from runs import job_of
from wsiseg.demo import write_demo_slide
from wsiseg.geometry import MPP, Box
from wsiseg.slides.chunked import CHUNK
from wsiseg.slides.reader import Source
from wsiseg.slides.slide import Slide
from wsiseg.slides.tiff_bytes import GAP, runs
from wsiseg.slides.tiff_tiles import TileKey
from wsiseg.slides.tiffslide_reader import TiffSlideReader

OPENED = 4
"""Times a run opens a slide."""


@given(
    st.lists(st.tuples(st.integers(0, 200_000), st.integers(1, 40_000)), unique=True, max_size=40)
)
def test_extents_are_read_together_in_the_order_of_the_file(
    extents: list[tuple[int, int]],
) -> None:
    found: list[tuple[int, int]] = []
    last = 0
    for (first, length), together in runs(extents):
        assert first >= last - 40_000
        assert all(first <= offset and offset + size <= first + length for offset, size in together)
        needed = sum(size for _, size in together) + GAP * (len(together) - 1)
        assert length <= needed
        last = first + length
        found += together
    assert found == sorted(extents)


@pytest.fixture(scope="module")
def giardia(slides: Path) -> Iterator[TiffSlideReader]:
    reader = TiffSlideReader(slides / "giardia_HE_GT450_lefthalf.svs")
    yield reader
    reader.close()


def test_the_level_and_then_its_reduction_follow_from_the_frame(giardia: TiffSlideReader) -> None:
    slide = Slide(giardia)
    # Stored at 1, 4, 16 and 32.
    expected = {
        0.5: Source(0),
        1: Source(0),
        1.9: Source(0),
        2: Source(0, 2),
        3.9: Source(0, 2),
        4: Source(1),
        8: Source(1, 2),
        15.9: Source(1, 2),
        16: Source(2),
        64: Source(3, 2),
        500: Source(3, 8),
    }
    for times, source in expected.items():
        frame = slide.level0.at(MPP.square(slide.level0.mpp.mean * times))
        assert slide.source(frame) == source, times
        assert source in slide.sources
        assert slide.downsample(source) <= max(times, 1)


def windows_of_a_block(core: int = 1024, halo: int = 160) -> list[Box]:
    boxes = [Box(x, y, x + core, y + core) for y in (8192, 9216) for x in (4096, 5120)]
    return [box.grown(halo) for box in boxes]


def cells_of(windows: list[Box], side: int) -> set[tuple[int, int]]:
    return {(part.x0 // side, part.y0 // side) for box in windows for part in box.split(side)}


def test_the_windows_of_a_block_cost_no_more_than_their_tiles(giardia: TiffSlideReader) -> None:
    slide, windows = Slide(giardia), windows_of_a_block()
    frame, before = slide.level0.reduced(2), giardia.counts
    pixels = [slide.read(window, frame, (0, 1, 2)) for window in windows]
    after = giardia.counts
    # Chunks of 256 frame pixels, of two by two tiles each.
    tiles = 4 * len(cells_of(windows, CHUNK // 2))
    assert after.tiles - before.tiles == tiles == after.copies - before.copies
    assert after.reads - before.reads <= tiles / 8
    with tifffile.TiffFile(slide.facts.path) as file:
        page = file.series[0].pages[0]
        across = -(-page.imagewidth // page.tilewidth)
        needed = sum(
            page.databytecounts[(2 * y + j) * across + 2 * x + i]
            for x, y in cells_of(windows, CHUNK // 2)
            for i in (0, 1)
            for j in (0, 1)
        )
    assert after.bytes - before.bytes == needed
    again = [slide.read(window, frame) for window in windows]
    assert giardia.counts == after
    assert all(np.array_equal(one, two) for one, two in zip(pixels, again, strict=True))


def test_threads_that_want_the_same_decode_it_once(giardia: TiffSlideReader) -> None:
    slide, windows = Slide(giardia), windows_of_a_block()
    frame, before = slide.level0.reduced(2), giardia.counts
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda window: slide.read(window, frame), windows * 3))
    assert giardia.counts.tiles - before.tiles == 4 * len(cells_of(windows, CHUNK // 2))


def test_a_window_is_read_in_the_order_of_the_file(
    giardia: TiffSlideReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    slide = Slide(giardia)
    asked: list[int] = []
    reading = os.pread

    def pread(descriptor: int, length: int, offset: int) -> bytes:
        asked.append(offset)
        return reading(descriptor, length, offset)

    monkeypatch.setattr(os, "pread", pread)
    slide.read(windows_of_a_block()[0], slide.level0.reduced(2))
    assert len(asked) > 5
    assert asked == sorted(set(asked))


def test_a_whole_run_decodes_no_tile_twice_while_a_slide_is_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[tuple[int, Source, TileKey]] = []
    readers: list[TiffSlideReader] = []
    really = TiffSlideReader._decoded

    def counted(self: TiffSlideReader, source: Source, *others: Any) -> Any:
        if not any(self is reader for reader in readers):
            readers.append(self)
        decoded.append((readers.index(self), source, others[1]))
        return really(self, source, *others)

    monkeypatch.setattr(TiffSlideReader, "_decoded", counted)
    demo = write_demo_slide(tmp_path / "demo.tiff", side_px=1536)
    assert wsiseg.run(job_of(demo), tmp_path / "out", inline=True).failed == ()
    told = wsiseg.open_run(tmp_path / "out").report("demo.tiff")["resolution"]
    assert (told["reader"], told["decoder"]) == ("tiffslide", "libjpeg-turbo")
    assert (told["level"], told["reduction"]) in {(0, 1), (0, 2)}
    repeated = [item for item, times in Counter(decoded).items() if times > 1]
    assert repeated == []
    assert len(readers) <= OPENED
