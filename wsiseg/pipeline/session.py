"""What a process keeps open between the blocks of a slide."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from threading import Lock
from typing import cast

import numpy as np
from numpy.typing import NDArray

from wsiseg.errors import ModelError
from wsiseg.geometry import Box
from wsiseg.models.segmenter import Instances, ModelSpec, Prediction, Segmenter
from wsiseg.models.zoo import load_segmenter
from wsiseg.pipeline.damage import require_lasting
from wsiseg.pipeline.pace import Pacer
from wsiseg.pipeline.plan import SlidePlan, read_plan
from wsiseg.pipeline.tile import Rules
from wsiseg.pipeline.windows import fitted
from wsiseg.slides.chunked import Damage
from wsiseg.slides.reader import Pixels
from wsiseg.slides.slide import Slide, open_slide
from wsiseg.staging import staged_copy
from wsiseg.store.folders import SlideFolder
from wsiseg.store.tissue import read_tissue
from wsiseg.tiling import Block, Tile
from wsiseg.tissue import TissueMask


@dataclass(slots=True)
class Clock:
    """Busy seconds by stage. Several threads may add."""

    seconds: dict[str, float] = field(default_factory=dict)
    _adding: Lock = field(default_factory=Lock)

    def add(self, stage: str, since: float) -> float:
        """Charge the time since ``since`` to a stage; the time now."""
        now = time.perf_counter()
        with self._adding:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + now - since
        return now


@dataclass(frozen=True)
class Session:
    """An open slide with its plan, tissue and segmenter."""

    plan: SlidePlan
    slide: Slide
    tissue: TissueMask
    segmenter: Segmenter
    lasting: set[Damage] = field(default_factory=set)
    """Damage that a second look has confirmed."""
    predicting: Lock = field(default_factory=Lock)

    @cached_property
    def blocks(self) -> Mapping[tuple[int, int], Block]:
        """The blocks of the slide by column and row."""
        return {(block.column, block.row): block for block in self.plan.blocks()}

    @cached_property
    def pacer(self) -> Pacer:
        """How windows are handed to the segmenter."""
        return Pacer(self.plan.batch or self.segmenter.spec.batch, self.plan.readers)

    def require_lasting_damage(self) -> None:
        """Complain if something could not be read a moment ago that can be read now.

        Raises
        ------
        OSError
            If so: the storage was to blame, and what was made of those pixels is wrong.
        """
        plan, new = self.plan, set(self.slide.damage) - self.lasting
        require_lasting(plan.path, plan.reader, plan.stated_mpp, new)
        self.lasting.update(new)

    def fitted(self, tile: Tile) -> Tile:
        """The tile, cut to where its tissue lies if the model allows it."""
        return fitted_tile(tile, self.plan, self.tissue, self.segmenter.spec)

    def read(self, box: Box) -> Pixels:
        """Pixels ``[y, x, c]`` of a window of the plan's frame, background and all.

        Far from tissue they could be left white undecoded; but whatever hangs on them would then
        depend on the tissue mask. On a slide that is one fifth tissue that is 37 % of the tiles
        read but 9 % of their bytes: glass compresses to next to nothing.
        """
        return self.slide.read(box, self.plan.grid.frame, self.plan.channels)

    def predict(self, windows: Sequence[Pixels], clock: Clock) -> Prediction:
        """What the segmenter makes of windows ``[y, x, c]`` of one shape.

        One call at a time: the memory that a prediction takes while it is made is planned once.
        """
        with self.predicting:
            begin = time.perf_counter()
            stacked = np.stack(windows) if len(windows) > 1 else windows[0][np.newaxis]
            prediction = self.segmenter.predict(cast(Pixels, stacked), self.plan.statistics)
            clock.add("predict", begin)
        return prediction

    def decode(
        self, prediction: Prediction, shape: tuple[int, int], clock: Clock
    ) -> list[Instances]:
        """The instances of each window of a prediction; ``shape`` is that of the windows.

        Raises
        ------
        ModelError
            If the segmenter breaks its contract.
        """
        begin = time.perf_counter()
        found = self.segmenter.decode(prediction)
        clock.add("decode", begin)
        for instances in found:
            if instances.labels.shape != shape:
                raise ModelError(
                    f"{self.segmenter.spec.name} returned labels of shape "
                    f"{instances.labels.shape} for a window of {shape}"
                )
        return found

    def segment(self, box: Box, clock: Clock) -> Instances:
        """Read one window and find its instances."""
        begin = time.perf_counter()
        pixels = self.read(box)
        clock.add("read", begin)
        prediction = self.predict([pixels], clock)
        return self.decode(prediction, (box.height, box.width), clock)[0]

    def remarks(self) -> tuple[str, ...]:
        """What the segmenter has to say by now that the plan does not tell yet."""
        told = self.plan.warnings
        return tuple(r for r in self.segmenter.remarks(self.plan.statistics) if r not in told)

    def rules(self, clock: Clock) -> Rules:
        """How tiles of this slide decide."""
        plan = self.plan
        fx, fy = plan.scale

        def look(box: Box) -> Instances:
            return self.segment(box, clock)

        def inside(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
            return self.tissue.contains(x * fx, y * fy, plan.level0)

        spec = self.segmenter.spec
        return Rules(plan.grid, spec.reach_px, plan.scale, look, inside, spec.support_px)


def fitted_tile(tile: Tile, plan: SlidePlan, tissue: TissueMask, spec: ModelSpec) -> Tile:
    """See :meth:`Session.fitted`."""
    # Windows of many shapes cannot be predicted together.
    if not spec.exact or (plan.batch or spec.batch) > 1:
        return tile
    return fitted(tile, tissue.cover(tile.core, plan.grid.frame), plan.grid)


def open_session(folder: SlideFolder, key: str) -> Session:
    """The session of a slide in this process: opened once, kept for its next blocks.

    ``key`` is the plan's ``block_key``.
    """
    return _open(str(folder.root), key)


# A worker meets at most two slides at once: the end of one and the beginning of the next.
@lru_cache(maxsize=2)
def _open(root: str, key: str) -> Session:
    folder = SlideFolder(Path(root))
    plan = read_plan(folder.plan)
    copy = staged_copy(folder, plan.path)
    slide = open_slide(plan.path, reader=plan.reader, mpp=plan.stated_mpp, copy=copy)
    if plan.block_key != key or slide.fingerprint() != plan.segment["slide"]:
        raise ModelError(f"{plan.path} or its plan changed while the run was going on; run again")
    tissue = read_tissue(folder.tissue, plan.segment_key)
    return Session(plan, slide, tissue, load_segmenter(plan.model, plan.device))


def forget_sessions() -> None:
    """Let go of all open slides: the next block opens its slide anew."""
    _open.cache_clear()


def totals(parts: list[Mapping[str, float]]) -> dict[str, float]:
    """Sums by stage."""
    result: dict[str, float] = {}
    for part in parts:
        for stage, seconds in part.items():
            result[stage] = result.get(stage, 0.0) + seconds
    return result
