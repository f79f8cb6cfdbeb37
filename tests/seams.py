"""Helpers: a painted slide segmented by tiles, in whatever lattice and order, and in one piece."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsiseg.cells.batch import CellBatch, CellClass, CellsInfo
from wsiseg.cells.candidates import Candidates
from wsiseg.cells.rasterize import paint_order, rasterize
from wsiseg.geometry import MPP, Box, Frame, Size
from wsiseg.models.segmenter import Instances, Segmenter
from wsiseg.pipeline.ledger import Ledger
from wsiseg.pipeline.plan import SlidePlan
from wsiseg.pipeline.stitching import Stitched, stitch_slide
from wsiseg.pipeline.tile import Rules, segment_tile
from wsiseg.store.blocks import BlockRecord, write_block
from wsiseg.store.cells import StoredCells
from wsiseg.store.folders import SlideFolder
from wsiseg.testing.segmenters import paint
from wsiseg.tiling import TileGrid

MPP_HALF = MPP.square(0.5)


@dataclass(frozen=True)
class Segmented:
    """Cells of a painted slide, and what happened on the way."""

    cells: tuple[CellBatch, ...]
    stitched: Stitched
    ledger: Ledger
    frame: Frame

    @property
    def count(self) -> int:
        return sum(len(c) for c in self.cells)

    def column(self, name: str) -> NDArray[np.generic]:
        parts = [getattr(c, name) for c in self.cells]
        return np.concatenate(parts) if parts else np.empty(0)

    def outlines(self) -> list[bytes]:
        """Every outline as bytes, in order of ids."""
        found = []
        for batch in self.cells:
            for i in range(len(batch)):
                p = batch.polygons.take(np.array([i]))
                found.append(p.vertices.tobytes() + p.ring_offsets.tobytes())
        return found

    def raster(self) -> NDArray[np.uint32]:
        """The label image ``[y, x]`` of all cells."""
        image = np.zeros(self.frame.box.shape, np.uint32)
        for c in self.cells:
            order = paint_order(c.probabilities, c.centroids)
            drawn = rasterize(c.polygons, c.ids, order, self.frame.box, (1.0, 1.0))
            image = np.where(drawn > 0, drawn, image)
        return image


def view_of(pixels: NDArray[np.uint8], box: Box) -> NDArray[np.uint8]:
    """Pixels of any box of an image, white outside."""
    shape = (*box.shape, pixels.shape[2])
    window = np.full(shape, 255, np.uint8)
    inside = box.intersection(Box(0, 0, pixels.shape[1], pixels.shape[0]))
    if not inside.empty:
        window[inside.slices(box)] = pixels[inside.slices()]
    return window


def segment(
    labels: NDArray[np.integer],
    segmenter: Segmenter,
    folder: Path,
    *,
    core: int,
    halo: int | None = None,
    tiles_per_block: int = 2,
    seed: int | None = None,
) -> Segmented:
    """Segment a painted label image by tiles through blocks on disk, as a run does.

    ``seed`` shuffles the order in which blocks and the tiles within them are done.
    """
    pixels = paint(labels)
    frame = Frame(Size(labels.shape[1], labels.shape[0]), MPP_HALF)
    spec = segmenter.spec
    grid = TileGrid(frame, core, spec.halo if halo is None else halo, tiles_per_block, spec.stride)

    def look(box: Box) -> Instances:
        (found,) = segmenter.decode(segmenter.predict(view_of(pixels, box)[None], {}))
        return found

    def inside(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
        return (x >= 0) & (y >= 0) & (x < frame.size.width) & (y < frame.size.height)

    rules = Rules(grid, spec.reach_px, (1.0, 1.0), look, inside)
    blocks = list(grid.blocks(tuple(grid.tiles())))
    rng = np.random.default_rng(seed)
    if seed is not None:
        blocks = [blocks[i] for i in rng.permutation(len(blocks))]
    place = SlideFolder(folder)
    records, ledger = {}, Ledger()
    for block in blocks:
        tiles = list(block.tiles)
        if seed is not None:
            tiles = [tiles[i] for i in rng.permutation(len(tiles))]
        parts, counts = [], Ledger()
        for tile in tiles:
            candidates, tally = segment_tile(tile, look(tile.window), rules)
            parts.append(candidates)
            counts.add(tally)
        found = Candidates.concatenate(parts)
        found = found.take(found.first_of_equals())
        extent = (0, 0, 0, 0)
        if len(found):
            b = found.boxes
            extent = (*b[:, :2].min(axis=0).tolist(), *b[:, 2:].max(axis=0).tolist())
        record = BlockRecord("key", block.name, len(found), extent, counts.to_dict(), {}, ())
        write_block(place.block(block.name), found, record)
        records[block.name] = record
        ledger.add(counts)
    return _stitch(place, records, ledger, grid)


def segment_in_one_piece(
    labels: NDArray[np.integer], segmenter: Segmenter, folder: Path, margin: int
) -> Segmented:
    """Segment the whole image in a single window."""
    side = max(labels.shape) + 2 * margin
    return segment(labels, segmenter, folder, core=side, halo=margin, tiles_per_block=1)


def _stitch(
    place: SlideFolder, records: dict[str, BlockRecord], ledger: Ledger, grid: TileGrid
) -> Segmented:
    plan = SlidePlan(
        path=Path("painted.tiff"),
        reader="array",
        level=0,
        stated_mpp=None,
        channels=(0, 1, 2),
        origin_px=(0, 0),
        level0=grid.frame,
        grid=grid,
        tiles=tuple((t.column, t.row) for t in grid.tiles()),
        model="painted",
        statistics={},
        segment={"slide": "painted"},
        damage=(),
        warnings=(),
    )
    classes = (CellClass("A", (200, 0, 0)), CellClass("B", (0, 0, 200)))
    info = CellsInfo("painted.tiff", grid.frame, grid.frame, classes)
    stitched = stitch_slide(place, plan, records, info)
    source = StoredCells(place.cells)
    cells = tuple(source.read(i) for i in range(len(source.extents)))
    return Segmented(cells, stitched, ledger, grid.frame)


def assert_same(a: Segmented, b: Segmented) -> None:
    """Fail unless two segmentations are one and the same table."""
    assert a.count == b.count
    for name in ("ids", "uuids", "centroids", "class_index", "probabilities", "truncated"):
        assert np.array_equal(a.column(name), b.column(name)), name
    assert a.outlines() == b.outlines()


def disc(image: NDArray[np.int32], value: int, centre: Sequence[float], radius: float) -> None:
    """Paint a disc at ``centre`` (x, y)."""
    y, x = np.ogrid[: image.shape[0], : image.shape[1]]
    image[(x - centre[0]) ** 2 + (y - centre[1]) ** 2 <= radius**2] = value


def crowd(shape: tuple[int, int], count: int, seed: int) -> NDArray[np.int32]:
    """Discs at random, later ones over earlier ones: touching, overlapped, cut into crescents."""
    rng = np.random.default_rng(seed)
    image = np.zeros(shape, np.int32)
    for value in range(1, count + 1):
        radius = rng.uniform(1, 14)
        x, y = rng.uniform(-5, shape[1] + 5), rng.uniform(-5, shape[0] + 5)
        x0, y0 = max(int(x - 16), 0), max(int(y - 16), 0)
        x1, y1 = min(int(x + 17), shape[1]), min(int(y + 17), shape[0])
        if x1 <= x0 or y1 <= y0:
            continue
        view = image[y0:y1, x0:x1]
        disc(view, value, (x - x0, y - y0), radius)
    return image
