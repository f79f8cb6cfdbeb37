"""The contract of slide readers as a test, for the readers here and for anyone's own."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np

from wsiseg.errors import UnreadableSlideError
from wsiseg.geometry import Box, Size
from wsiseg.slides.plugged import ReaderPlugin
from wsiseg.slides.reader import BatchReader, Pixels, SlideReader, Source, read_boxes

_SIDE = 300
_THREADS = 4

MEAN_TOLERANCE = 0.008
"""Share of full scale that reduced pixels may be off the mean over their squares, on average over
a box: 2 of 255 grey levels."""


def check_reader(reader: SlideReader, *, exact: bool = True) -> None:
    """Check an opened reader of a sound slide against the contract.

    Reads a few boxes of every level, in one thread and in several. The reader stays open.

    Parameters
    ----------
    reader
        The reader to check.
    exact
        Whether a box read alone must equal the same part of a larger box on reduced levels
        too. Pass ``False`` for a reader that interpolates levels whose size was rounded.

    Raises
    ------
    AssertionError
        If a promise is broken; the message says which.
    """
    assert isinstance(reader, SlideReader), "the reader lacks facts, read_level or close"
    _check_facts(reader)
    for level, described in enumerate(reader.facts.levels):
        boxes = _boxes(described.size)
        expected = [_checked_read(reader, level, box) for box in boxes]
        _check_copies(reader, level, boxes[0], expected[0])
        if exact or level == 0:
            _check_parts(reader, level, boxes, expected)
        _check_threads(reader, level, boxes, expected)


def check_reader_plugin(name: str, made: ReaderPlugin, slide: Path, other: Path) -> None:
    """Check the reader of a plug-in: how it is found, opened and called, then its contract.

    Parameters
    ----------
    name
        The name of its entry point.
    made
        What the entry point names.
    slide
        A sound slide that it opens.
    other
        Another file, to be refused: of text, say.

    Raises
    ------
    AssertionError
        If a promise is broken; the message says which.
    """
    for suffix in made.SUFFIXES:
        plain = suffix.startswith(".") and suffix == suffix.lower()
        assert plain, f"{suffix!r} in SUFFIXES: write it small, with its dot"
    assert made.recognises(slide), f"{slide.name} is not recognised"
    assert not made.recognises(other), f"{other.name} is taken for a slide"
    try:
        made(other).close()
    except UnreadableSlideError:
        pass
    else:
        raise AssertionError(f"{other.name} is opened without an UnreadableSlideError")
    reader = made(slide)
    try:
        called = reader.facts.reader
        assert called == name, f"facts.reader is {called!r}, not {name!r} as the entry point"
        check_reader(reader)
    finally:
        reader.close()


def _check_facts(reader: SlideReader) -> None:
    facts = reader.facts
    assert reader.facts == facts, "facts change from one look to the next"
    assert facts.reader, "facts.reader is empty: name the reader"
    assert facts.vendor, "facts.vendor is empty: name the format"
    assert facts.levels, "facts.levels is empty: level 0 always exists"
    downsamples = [level.downsample for level in facts.levels]
    assert downsamples[0] == 1.0, f"level 0 has downsample {downsamples[0]}, not 1"
    rising = all(a < b for a, b in pairwise(downsamples))
    assert rising, f"downsamples {downsamples} do not rise from level to level"
    base = facts.levels[0].size
    for level in facts.levels:
        for full, reduced in ((base.width, level.size.width), (base.height, level.size.height)):
            off = abs(full / level.downsample - reduced)
            assert off < 1.0 + 0.01 * reduced, (
                f"a level of {level.size} is no reduction of {base} by {level.downsample}"
            )
    assert facts.dtype in ("uint8", "uint16"), f"dtype {facts.dtype!r} is not uint8 or uint16"
    assert facts.illumination in ("brightfield", "fluorescence"), (
        f"illumination {facts.illumination!r} is not brightfield or fluorescence"
    )
    names = [channel.casefold() for channel in facts.channels]
    assert names, "facts.channels is empty"
    assert all(names), f"a channel has no name: {facts.channels}"
    assert len(set(names)) == len(names), f"two channels share a name: {facts.channels}"
    assert (facts.mpp is None) == (facts.mpp_source == ""), (
        "mpp and mpp_source belong together: say where the pixel size was read"
    )
    assert facts.mpp is not None or facts.problems, (
        "the slide has no mpp, and problems does not say why"
    )
    if facts.bounds is not None:
        assert not facts.bounds.empty, "bounds are empty; use None for no bounds"


def _boxes(size: Size) -> list[Box]:
    whole = Box.of(size)
    x, y = max(size.width - _SIDE, 0), max(size.height - _SIDE, 0)
    corners = [(0, 0), (x // 2, y // 2), (x, y), (x // 3 + 1, y // 5 + 1)]
    boxes = [Box(cx, cy, cx + _SIDE, cy + _SIDE).intersection(whole) for cx, cy in corners]
    boxes.append(Box(size.width - 1, size.height - 1, size.width, size.height))
    return [box for box in boxes if not box.empty]


def _checked_read(reader: SlideReader, level: int, box: Box) -> Pixels:
    facts = reader.facts
    pixels = reader.read_level(level, box)
    shape = (*box.shape, len(facts.channels))
    assert isinstance(pixels, np.ndarray), f"read_level gave {type(pixels).__name__}, not an array"
    assert pixels.shape == shape, (
        f"level {level}, {box}: read_level gave {pixels.shape}, not [y, x, c] = {shape}"
    )
    assert pixels.dtype == np.dtype(facts.dtype), (
        f"level {level}: pixels are {pixels.dtype}, but facts.dtype is {facts.dtype}"
    )
    return pixels


def _check_copies(reader: SlideReader, level: int, box: Box, expected: Pixels) -> None:
    kept = expected.copy()
    mine = reader.read_level(level, box)
    assert np.array_equal(mine, kept), f"level {level}, {box}: two reads differ"
    if mine.flags.writeable:
        mine[:] = ~mine
    assert np.array_equal(reader.read_level(level, box), kept), (
        f"level {level}, {box}: writing into the pixels of one read changes the next"
    )


def _check_parts(
    reader: SlideReader, level: int, boxes: Sequence[Box], expected: Sequence[Pixels]
) -> None:
    for box, pixels in zip(boxes, expected, strict=True):
        part = Box(
            box.x0 + box.width // 3,
            box.y0 + box.height // 2,
            box.x1 - box.width // 7,
            box.y1 - box.height // 9,
        )
        alone = _checked_read(reader, level, part)
        assert np.array_equal(alone, pixels[part.slices(box)]), (
            f"level {level}: {part} read alone differs from the same part of {box}"
        )


def _check_threads(
    reader: SlideReader, level: int, boxes: Sequence[Box], expected: Sequence[Pixels]
) -> None:
    work = [i for turn in range(_THREADS) for i in np.roll(range(len(boxes)), turn).tolist()]
    with ThreadPoolExecutor(_THREADS) as pool:
        reads = list(pool.map(lambda i: reader.read_level(level, boxes[i]), work))
    for i, pixels in zip(work, reads, strict=True):
        assert np.array_equal(pixels, expected[i]), (
            f"level {level}, {boxes[i]}: a read in one of {_THREADS} threads differs from the "
            "same read alone"
        )


def _check_batches(
    reader: SlideReader, level: int, boxes: Sequence[Box], expected: Sequence[Pixels]
) -> None:
    for box, pixels, found in zip(
        boxes, expected, read_boxes(reader, Source(level), boxes), strict=True
    ):
        same = isinstance(found, np.ndarray) and np.array_equal(found, pixels)
        assert same, f"level {level}, {box}: read_boxes gave other pixels"


def _check_reduced(reader: SlideReader, source: Source) -> None:
    by = source.reduction
    described = reader.facts.levels[source.level]
    assert by > 1, f"level {source.level}: {by} is no reduction; a level that is not is implied"
    assert isinstance(reader, BatchReader), (
        "the reader has levels with reductions, but no read_boxes"
    )
    boxes = _boxes(described.reduced(by))
    found = reader.read_boxes(source, boxes)
    for box, pixels in zip(boxes, found, strict=True):
        place = f"level {source.level} reduced by {by}, {box}"
        assert isinstance(pixels, np.ndarray), f"{place}: {pixels}"
        whole = Box(box.x0 * by, box.y0 * by, box.x1 * by, box.y1 * by)
        pieces = reader.read_level(source.level, whole).astype(np.float64)
        mean = pieces.reshape(box.height, by, box.width, by, -1).mean(axis=(1, 3))
        assert pixels.shape == mean.shape, f"{place}: it has the shape {pixels.shape}"
        off = np.abs(pixels - mean) / np.iinfo(pixels.dtype).max
        assert off.mean() <= MEAN_TOLERANCE, (
            f"{place}: pixels are {off.mean():.2%} of full scale off the mean over their squares"
        )
        part = Box(box.x0 + box.width // 3, box.y0 + box.height // 2, box.x1, box.y1)
        (alone,) = reader.read_boxes(source, [part])
        same = isinstance(alone, np.ndarray) and np.array_equal(alone, pixels[part.slices(box)])
        assert same, f"{place}: {part} read alone differs from the same part of it"
