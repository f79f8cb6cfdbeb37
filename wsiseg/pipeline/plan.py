"""The plan of one slide: everything decided before its first block is read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson

from wsiseg.cells.batch import CellsInfo
from wsiseg.errors import ResolutionError, StoreError
from wsiseg.files import read_json, write_json
from wsiseg.geometry import MPP, Frame
from wsiseg.models.segmenter import ModelSpec, Statistics
from wsiseg.store.cells import frame_dict, frame_from
from wsiseg.tiling import Block, TileGrid

FORMAT = 1
"""Raised whenever a change of wsiseg changes what a block holds."""

BLOCK_SIDE_PX = 2048
"""A block is as many tiles as fit in a square of about this many frame pixels."""

_TUNING = {"core", "halo", "bytes_per_px", "batch", "support_px"}
"""Members of a ``ModelSpec`` that do not change what it finds."""

COARSEST = 2.0
"""A slide whose pixels are more than this many times the model's shows no nuclei."""


@dataclass(frozen=True, slots=True)
class SlidePlan:
    """What will be done to a slide.

    Attributes
    ----------
    path
        The slide file.
    reader, level, reduction
        The reader, the stored level that pixels come from, and the whole factor by which it is
        decoded smaller: never switched during a run.
    stated_mpp
        The pixel size the user stated, if any.
    channels
        Indices of the channels read, in order.
    origin_px
        Level-0 position of QuPath's origin.
    level0, grid
        Level 0, and the lattice of tiles in the frame of the segmentation.
    tiles
        ``(column, row)`` of every tile that meets tissue.
    model, device
        Name of the segmenter, and what it runs on: never switched during a run.
    statistics
        What the segmenter measured on the slide.
    segment
        Everything the segmentation depends on; its hash is the segment key.
    damage
        Level-0 boxes ``x0, y0, x1, y1`` that could not be decoded while planning, with the
        reason.
    warnings
        Sentences for the report.
    mpp_source
        Where the pixel size of level 0 was read.
    appearance
        What the tissue looks like (``pipeline.appearance``).
    decoder
        What decodes the pixels, in words.
    batch, readers
        Windows predicted together, and threads that read them, where the user stated them.
    """

    path: Path
    reader: str
    level: int
    stated_mpp: float | None
    channels: tuple[int, ...]
    origin_px: tuple[int, int]
    level0: Frame
    grid: TileGrid
    tiles: tuple[tuple[int, int], ...]
    model: str
    statistics: Statistics
    segment: Mapping[str, Any]
    damage: tuple[tuple[int, int, int, int, str], ...]
    warnings: tuple[str, ...]
    mpp_source: str = ""
    appearance: Statistics = field(default_factory=dict)
    device: str = "cpu"
    reduction: int = 1
    decoder: str = ""
    batch: int | None = None
    readers: int | None = None

    @property
    def segment_key(self) -> str:
        """Hash of what the segmentation depends on."""
        return key_of(self.segment)

    @property
    def block_key(self) -> str:
        """Hash of what a committed block depends on: the segmentation and the lattice."""
        grid = self.grid
        lattice = [grid.core, grid.halo, grid.tiles_per_block, grid.stride]
        return key_of({"segment": self.segment_key, "lattice": lattice})

    @property
    def scale(self) -> tuple[float, float]:
        """Level-0 pixels per frame pixel along x and y."""
        return self.grid.frame.scale_to(self.level0)

    def blocks(self) -> tuple[Block, ...]:
        """The blocks of the slide, row by row."""
        return self.grid.blocks(tuple(self.grid.tile(c, r) for c, r in self.tiles))

    def info(self, spec: ModelSpec, version: str) -> CellsInfo:
        """What is common to all cells of the slide."""
        return CellsInfo(
            slide=self.path.name,
            level0=self.level0,
            frame=self.grid.frame,
            classes=spec.classes,
            origin_px=self.origin_px,
            provenance={
                "wsiseg": version,
                "model": spec.name,
                "model_sha256": spec.sha256,
                "model_licence": spec.licence,
                "segment_key": self.segment_key,
                "slide_fingerprint": self.segment["slide"],
            },
        )


def key_of(value: Mapping[str, Any]) -> str:
    """Hash of plain values, the same in every process."""
    text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(text, digest_size=16).hexdigest()


def choose_frame(level0: Frame, spec: ModelSpec, name: str) -> Frame:
    """The frame to segment in: a power-of-two reduction of level 0 where one lies in the
    model's range, so that nothing is resampled twice, else exactly the model's pixel size.

    Raises
    ------
    ResolutionError
        If the slide is too coarse to show nuclei.
    """
    if level0.mpp.mean > COARSEST * spec.mpp:
        raise ResolutionError(
            f"{name}: its finest level has {level0.mpp.mean:g} µm/px, too coarse for "
            f"{spec.name}, which works at {spec.mpp:g} µm/px; if the pixel size is wrong, state "
            "the right one (--mpp)"
        )
    low, high = spec.mpp_range
    factor = 1
    while level0.mpp.mean * factor <= high:
        if level0.mpp.mean * factor >= low:
            return level0.reduced(factor)
        factor *= 2
    return level0.at(MPP.square(spec.mpp))


def make_grid(frame: Frame, spec: ModelSpec, core: int | None) -> TileGrid:
    """The lattice of tiles: the model's own core and halo, or another core of the user's."""
    side = spec.core if core is None else -(-core // spec.stride) * spec.stride
    return TileGrid(frame, side, spec.halo, max(BLOCK_SIDE_PX // side, 1), spec.stride)


def segment_facts(
    *,
    fingerprint: str,
    level0: Frame,
    source: tuple[str | int, ...],
    channels: tuple[int, ...],
    spec: ModelSpec,
    grid: TileGrid,
    tissue: Mapping[str, Any],
) -> dict[str, Any]:
    """Everything the segmentation depends on.

    The lattice counts only for models outside the exact class: for the others the tiles do not
    show, and an interrupted run goes on with the lattice it began with.
    """
    return {
        "format": FORMAT,
        "slide": fingerprint,
        "level0": frame_dict(level0),
        "frame": frame_dict(grid.frame),
        "reader": list(source),
        "channels": list(channels),
        "model": {k: v for k, v in asdict(spec).items() if k not in _TUNING},
        "lattice": None if spec.exact else [grid.core, grid.halo],
        "tissue": dict(tissue),
    }


def write_plan(path: Path, plan: SlidePlan) -> None:
    """Write a plan as JSON."""
    grid = plan.grid
    write_json(
        path,
        {
            "format": FORMAT,
            "path": str(plan.path),
            "reader": plan.reader,
            "level": plan.level,
            "reduction": plan.reduction,
            "decoder": plan.decoder,
            "stated_mpp": plan.stated_mpp,
            "channels": list(plan.channels),
            "origin_px": list(plan.origin_px),
            "level0": frame_dict(plan.level0),
            "grid": {
                "frame": frame_dict(grid.frame),
                "core": grid.core,
                "halo": grid.halo,
                "tiles_per_block": grid.tiles_per_block,
                "stride": grid.stride,
            },
            "tiles": [list(tile) for tile in plan.tiles],
            "model": plan.model,
            "statistics": {name: list(values) for name, values in plan.statistics.items()},
            "segment": dict(plan.segment),
            "segment_key": plan.segment_key,
            "damage": [list(item) for item in plan.damage],
            "warnings": list(plan.warnings),
            "mpp_source": plan.mpp_source,
            "appearance": {name: list(values) for name, values in plan.appearance.items()},
            "device": plan.device,
            "batch": plan.batch,
            "readers": plan.readers,
        },
    )


def read_plan(path: Path) -> SlidePlan:
    """Read a plan back.

    Raises
    ------
    StoreError
        If the file is missing or not a plan.
    """
    value: Any = read_json(path)
    try:
        grid = value["grid"]
        return SlidePlan(
            path=Path(value["path"]),
            reader=str(value["reader"]),
            level=int(value["level"]),
            stated_mpp=value["stated_mpp"],
            channels=tuple(int(c) for c in value["channels"]),
            origin_px=(int(value["origin_px"][0]), int(value["origin_px"][1])),
            level0=frame_from(value["level0"]),
            grid=TileGrid(
                frame_from(grid["frame"]),
                int(grid["core"]),
                int(grid["halo"]),
                int(grid["tiles_per_block"]),
                int(grid["stride"]),
            ),
            tiles=tuple((int(c), int(r)) for c, r in value["tiles"]),
            model=str(value["model"]),
            statistics={k: tuple(map(float, v)) for k, v in value["statistics"].items()},
            segment=value["segment"],
            damage=tuple(
                (int(a), int(b), int(c), int(d), str(e)) for a, b, c, d, e in value["damage"]
            ),
            warnings=tuple(value["warnings"]),
            mpp_source=str(value.get("mpp_source", "")),
            appearance={k: tuple(map(float, v)) for k, v in value.get("appearance", {}).items()},
            device=str(value.get("device", "cpu")),
            reduction=int(value.get("reduction", 1)),
            decoder=str(value.get("decoder", "")),
            batch=value.get("batch"),
            readers=value.get("readers"),
        )
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise StoreError(f"{path} is not a plan of wsiseg; delete it and run again") from error
