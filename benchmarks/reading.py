"""Reading the windows of blocks for a 0.5 µm/px model: this package against the OpenSlide path.

    python benchmarks/reading.py SLIDE [--box X Y SIDE] [--repeats 5] [--json FILE]

One thread, by its processor time. Every way reads the same windows, with their halos, in the same
order, from a slide that is opened anew for every block, so that nothing is kept from one to the
next; the ways take turns and the median counts. Opening is told apart. Megapixels are level-0
pixels of the blocks' cores, so what is read twice does not flatter. ``OpenSlide alone`` is what
one would write by hand: ``read_region`` at level 0 and an area mean by Pillow.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import openslide
from PIL import Image

from wsiseg.geometry import Box, Frame
from wsiseg.models.zoo import load_segmenter
from wsiseg.pipeline.plan import choose_frame, make_grid
from wsiseg.slides.slide import open_slide
from wsiseg.tiling import Block

MODEL = "nuclei-he"

Windows = list[np.ndarray]


@dataclass(frozen=True, slots=True)
class Read:
    """What reading the windows of a block gave and took, in seconds of processor time."""

    windows: Windows
    opening: float
    reading: float


def blocks_of(path: Path, where: tuple[int, int, int], model: str) -> tuple[Frame, list[Block]]:
    """The frame a model reads a slide in, and the blocks whose centre lies in a level-0 square."""
    with open_slide(path) as slide:
        spec = load_segmenter(model, "cpu").spec
        frame = choose_frame(slide.level0, spec, slide.name)
        x, y, side = where
        inside = slide.level0.box_in(Box(x, y, x + side, y + side), frame)
        grid = make_grid(frame, spec, None)
        return frame, [
            block for block in grid.blocks(tuple(grid.tiles())) if inside.contains(_middle(block))
        ]


def _middle(block: Block) -> Box:
    x, y = (block.core.x0 + block.core.x1) // 2, (block.core.y0 + block.core.y1) // 2
    return Box(x, y, x + 1, y + 1)


def through(path: Path, reader: str, frame: Frame, block: Block) -> Read:
    """The windows of a block through a reader of this package."""
    begin = time.process_time()
    with open_slide(path, reader=reader) as slide:
        opened = time.process_time()
        windows = [slide.read(tile.window, frame, (0, 1, 2)) for tile in block.tiles]
        return Read(windows, opened - begin, time.process_time() - opened)


def by_hand(path: Path, frame: Frame, block: Block) -> Read:
    """The windows of a block through OpenSlide alone."""
    begin = time.process_time()
    with openslide.OpenSlide(path) as slide:
        opened = time.process_time()
        factor = slide.dimensions[0] / frame.size.width
        windows = []
        for tile in block.tiles:
            box = tile.window
            corner = (round(box.x0 * factor), round(box.y0 * factor))
            size = (round(box.width * factor), round(box.height * factor))
            region = slide.read_region(corner, 0, size).convert("RGB")
            windows.append(np.asarray(region.resize((box.width, box.height), Image.Resampling.BOX)))
        return Read(windows, opened - begin, time.process_time() - opened)


def compared(one: Windows, two: Windows) -> dict[str, float]:
    """Mean and largest difference of pixels in grey levels of 255."""
    off = [np.abs(a.astype(np.int16) - b) for a, b in zip(one, two, strict=True)]
    return {
        "mean": round(float(np.mean([o.mean() for o in off])), 3),
        "max": int(max(o.max() for o in off)),
    }


def main() -> None:
    """Measure and print."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("slide", type=Path)
    asked.add_argument("--box", nargs=3, type=int, default=(5632, 15360, 8192))
    asked.add_argument("--repeats", type=int, default=3)
    asked.add_argument("--json", type=Path)
    told = asked.parse_args()
    frame, blocks = blocks_of(told.slide, tuple(told.box), MODEL)
    with open_slide(told.slide) as slide:
        reader, decoder, source = slide.facts.reader, slide.facts.decoder, slide.source(frame)
    ways: dict[str, Callable[[Block], Read]] = {
        "wsiseg": lambda block: through(told.slide, "auto", frame, block),
        "wsiseg through OpenSlide": lambda block: through(told.slide, "openslide", frame, block),
        "OpenSlide alone": lambda block: by_hand(told.slide, frame, block),
    }
    first = {name: way(blocks[0]) for name, way in ways.items()}  # compiles, warms the page cache
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(told.repeats):
        for name, way in ways.items():
            seconds[name].append(sum(way(block).reading for block in blocks))
    factor = frame.scale_to(slide.level0)[0]
    megapixels = sum(block.core.area for block in blocks) * factor**2 / 1e6
    median = {name: statistics.median(times) for name, times in seconds.items()}
    found = {
        "machine": platform.machine(),
        "date": datetime.now(UTC).date().isoformat(),
        "slide": told.slide.name,
        "mpp": round(frame.mpp.mean, 4),
        "reader": reader,
        "decoder": decoder,
        "level": source.level,
        "reduction": source.reduction,
        "blocks": len(blocks),
        "level0_megapixels": round(megapixels, 1),
        "seconds": {name: round(value, 3) for name, value in median.items()},
        "megapixels_a_second": {n: round(megapixels / value, 1) for n, value in median.items()},
        "milliseconds_to_open": {n: round(1e3 * way(blocks[0]).opening) for n, way in ways.items()},
        "milliseconds_a_block": {n: round(1e3 * v / len(blocks), 1) for n, v in median.items()},
        "times_as_fast_as": {n: round(v / median["wsiseg"], 2) for n, v in median.items()},
        "difference_on_the_first_block": {
            name: compared(first["wsiseg"].windows, read.windows) for name, read in first.items()
        },
    }
    print(json.dumps(found, indent=2, ensure_ascii=False))
    if told.json is not None:
        told.json.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
