"""Measure the cells of a stitched slide: plan it once, then part by part."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsiseg.cells.batch import CellBatch, CellSource, places_of
from wsiseg.cells.polygons import Polygons
from wsiseg.errors import SlideError, StoreError
from wsiseg.features.definitions import ALL_SETS, PIXEL_SETS, FeatureSet
from wsiseg.features.measure import Neighbourhood, Recipe, Surroundings, measure_cells
from wsiseg.features.plugged import in_order, plugged_sets, set_version
from wsiseg.features.position import Outlines, region_outlines
from wsiseg.features.registry import plain_names
from wsiseg.features.vectors import stated_stains
from wsiseg.geometry import Box, Frame
from wsiseg.pipeline.damage import require_lasting
from wsiseg.pipeline.plan import SlidePlan, key_of, read_plan
from wsiseg.pipeline.prepare import read_samples
from wsiseg.pipeline.rims import Rims
from wsiseg.pipeline.stitching import MEASURES
from wsiseg.slides.reader import Pixels, SlideFacts
from wsiseg.slides.slide import Slide, open_slide
from wsiseg.staging import staged_copy
from wsiseg.stain import Counterstain, Stains, Vector, measure_stains
from wsiseg.store.cells import StoredCells
from wsiseg.store.features import FeatureFolder, FeaturePlan
from wsiseg.store.folders import SlideFolder
from wsiseg.store.tissue import read_tissue

_TEXTURE_PERCENTILES = (1.0, 99.9)


@dataclass(frozen=True, slots=True)
class MeasureSettings:
    """What is to be measured on a slide.

    Attributes
    ----------
    features
        Sets of features.
    stain
        ``"HE"`` or ``"HDAB"``, where the user stated it.
    vectors
        Optical densities ``(red, green, blue)`` of haematoxylin and counterstain, where the
        user gave them.
    """

    features: tuple[str, ...] = ()
    stain: str | None = None
    vectors: tuple[Vector, Vector] | None = None

    @property
    def sets(self) -> tuple[str, ...]:
        """The sets that are measured after stitching: shapes are there already."""
        return tuple(name for name in in_order(self.features) if name != "shape")

    def only(self, *sets: str) -> MeasureSettings:
        """The settings for some of the sets alone."""
        kept = tuple(name for name in self.features if name in sets)
        return MeasureSettings(kept, self.stain, self.vectors)

    def key(self, segment_key: str) -> str:
        """The measure key: hash of everything the features depend on."""
        pixels = bool(PIXEL_SETS.intersection(self.sets))
        return key_of(
            {
                "segment": segment_key,
                "shapes": MEASURES,
                "sets": {name: set_version(name) for name in self.sets},
                "stain": [self.stain, self.vectors] if pixels else None,
            }
        )


@dataclass(frozen=True, slots=True)
class Surveyed:
    """What is to be measured on a slide, planned.

    Attributes
    ----------
    key
        The measure key.
    missing
        Parts of the cells that are not measured yet.
    """

    key: str
    missing: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Measured:
    """A part of a slide's cells that was measured."""

    part: int
    cells: int
    seconds: float


def survey_features(folder: SlideFolder, how: MeasureSettings) -> Surveyed:
    """Plan what is measured on a slide, or take up the plan that lies there.

    Raises
    ------
    SlideError
        If pixels are needed and the slide cannot be read, or is another one by now.
    """
    plan = read_plan(folder.plan)
    place = FeatureFolder(folder)
    key = how.key(plan.segment_key)
    source = StoredCells(folder.cells)
    try:
        known = place.read_plan().key == key
    except StoreError:
        known = False
    if not known:
        place.write_plan(_feature_plan(folder, plan, how, len(source.info.classes)))
    return Surveyed(key, place.missing(len(source.extents), key))


def measured_key(folder: SlideFolder) -> str | None:
    """The measure key of a slide whose cells are all measured; ``None`` for any other."""
    place = FeatureFolder(folder)
    try:
        key = place.read_plan().key
        whole = not place.missing(len(StoredCells(folder.cells).extents), key)
    except StoreError:
        return None
    return key if whole else None


def measure_part(folder: SlideFolder, key: str, part: int) -> Measured:
    """Measure one part of a slide's cells and commit it.

    Raises
    ------
    SlideError
        If pixels are needed and the slide cannot be read, or is another one by now.
    StoreError
        If the slide's features are planned otherwise by now.
    OSError
        If the slide could be read only in part, for reasons that have passed.
    """
    begin = time.perf_counter()
    place = FeatureFolder(folder)
    feature_plan = place.read_plan()
    if feature_plan.key != key:
        raise StoreError(f"{place.plan_file} changed while the cells were measured; run again")
    recipe, plan = feature_plan.recipe, read_plan(folder.plan)
    rims = _rims(folder.cells, _stamp(folder.cells), recipe.margin_um)
    outlines = _outlines(str(folder.root), plan.segment_key) if "position" in recipe.sets else None
    read = _reader(folder, plan) if recipe.reads_pixels else None
    around = neighbourhood(rims.source, part, recipe.margin_um, rims)
    columns = measure_cells(
        around,
        recipe,
        Surroundings(rims.source.info, read, outlines),
        farther_cells(rims.source, part),
    )
    if read is not None:
        read.require_lasting_damage(plan)
    count = around.own.stop - around.own.start
    place.write_part(part, key, columns, count)
    return Measured(part, count, time.perf_counter() - begin)


def neighbourhood(
    source: CellSource, part: int, margin_um: float, rims: Rims | None = None
) -> Neighbourhood:
    """The cells of a part with those of other parts that lie around them.

    Parameters
    ----------
    source
        The cells of the slide.
    part
        Which part.
    margin_um
        Cells of other parts are taken along if centroid or outline come this near to the box
        over the part's outlines.
    rims
        Those of ``source`` for that margin, where they are kept from part to part.
    """
    rims = rims or Rims(source, margin_um)
    batch = rims.read(part)
    batches: list[CellBatch] = []
    start = 0
    for number, extent in enumerate(source.extents):
        if number == part:
            start = sum(map(len, batches))
            batches.append(batch)
        elif margin_um > 0 and extent.intersects(rims.around(part)):
            batches.append(rims.beside(part, number))
    return Neighbourhood(_joined(batches), slice(start, start + len(batch)))


def farther_cells(source: CellSource, part: int) -> Iterator[tuple[float, NDArray[np.float64]]]:
    """Centroids of the other parts in µm, nearest part first, see ``settle_nearest``."""
    info = source.info
    here, frame, mpp = source.extents[part], info.frame.mpp, info.level0.mpp
    others = []
    for number, extent in enumerate(source.extents):
        if number != part:
            gap_x = max(extent.x0 - here.x1, here.x0 - extent.x1, 0) * frame.x
            gap_y = max(extent.y0 - here.y1, here.y0 - extent.y1, 0) * frame.y
            others.append((float(np.hypot(gap_x, gap_y)), number))
    for distance, number in sorted(others):
        yield distance, places_of(source, number).centroids * (mpp.x, mpp.y)


def _joined(batches: list[CellBatch]) -> CellBatch:
    return CellBatch(
        np.concatenate([b.ids for b in batches]),
        np.concatenate([b.uuids for b in batches]),
        Polygons.concatenate([b.polygons for b in batches]),
        np.concatenate([b.centroids for b in batches]),
        np.concatenate([b.class_index for b in batches]),
        np.concatenate([b.probabilities for b in batches]),
        np.concatenate([b.truncated for b in batches]),
        {},
    )


def _feature_plan(
    folder: SlideFolder, plan: SlidePlan, how: MeasureSettings, classes: int
) -> FeaturePlan:
    key, asked = how.key(plan.segment_key), how.sets
    sets: tuple[FeatureSet, ...] = tuple(name for name in ALL_SETS if name in asked)
    plugged = plugged_sets(asked)
    if not PIXEL_SETS.intersection(sets):
        return FeaturePlan(key, Recipe(sets, classes, plugged=plugged))
    slide = _slide(str(folder.root), plan.segment_key)
    tissue = read_tissue(folder.tissue, plan.segment_key)
    facts = slide.facts
    if _coloured(facts):
        samples = read_samples(slide, plan.grid.frame, tissue, (0, 1, 2))
        stains = _stains([s.astype(np.uint8, copy=False) for s in samples], how)
        recipe = Recipe(sets, classes, stains, plugged=plugged)
        return FeaturePlan(key, recipe, how.vectors is not None)
    nuclear = plan.channels[0]
    samples = read_samples(slide, plan.grid.frame, tissue, (nuclear,))
    recipe = Recipe(
        sets,
        classes,
        channels=plain_names(facts.channels),
        nuclear=nuclear,
        texture_limits=_limits(samples),
        plugged=plugged,
    )
    return FeaturePlan(key, recipe, channel_names=tuple(facts.channels))


def _coloured(facts: SlideFacts) -> bool:
    """Whether a slide's pixels are read as RGB."""
    bright = facts.illumination == "brightfield"
    return bright and len(facts.channels) >= 3 and facts.dtype == "uint8"


def _stains(samples: list[NDArray[np.uint8]], how: MeasureSettings) -> Stains:
    kind: Counterstain | None = None
    if how.stain is not None:
        kind = "DAB" if how.stain == "HDAB" else "eosin"
    measured = measure_stains(samples, kind=kind)
    if how.vectors is None:
        return measured
    return stated_stains(how.vectors, kind, measured.white)


def _limits(samples: list[Pixels]) -> tuple[float, float]:
    if not samples:
        return 0.0, 1.0
    values = np.concatenate([sample.ravel() for sample in samples])
    low, high = np.percentile(values, _TEXTURE_PERCENTILES)
    return float(low), float(max(high, low + 1))


class _PlanReader:
    """Reads what a recipe needs of a slide, in the frame of its segmentation."""

    def __init__(self, slide: Slide, frame: Frame, channels: tuple[int, ...] | None) -> None:
        self._slide, self._frame, self._channels = slide, frame, channels

    def __call__(self, box: Box) -> Pixels:
        return self._slide.read(box, self._frame, self._channels)

    def require_lasting_damage(self, plan: SlidePlan) -> None:
        """Complain if something could not be read a moment ago that can be read now."""
        require_lasting(plan.path, plan.reader, plan.stated_mpp, self._slide.damage)


def _reader(folder: SlideFolder, plan: SlidePlan) -> _PlanReader:
    slide = _slide(str(folder.root), plan.segment_key)
    colour = _coloured(slide.facts) and len(slide.facts.channels) > 3
    # All channels are read faster than a choice of them that is all there are.
    return _PlanReader(slide, plan.grid.frame, (0, 1, 2) if colour else None)


def forget_slides() -> None:
    """Let go of the open slide and what is kept of its cells: the next part opens them anew."""
    _slide.cache_clear()
    _rims.cache_clear()


# A process measures one slide after the other; the last one's pixels stay in the cache.
@lru_cache(maxsize=1)
def _slide(root: str, segment_key: str) -> Slide:
    """The slide of a plan, opened once a process."""
    plan = read_plan(SlideFolder(Path(root)).plan)
    around = plan.path.parent
    # Where the folder is gone or empty too, storage may be away for a while only.
    if not plan.path.exists() and around.is_dir() and any(around.iterdir()):
        raise SlideError(
            f"{plan.path} is gone: features of stain and texture need the slide's pixels; put it "
            "back, or measure others (--features shape --features neighbours)"
        )
    copy = staged_copy(SlideFolder(Path(root)), plan.path)
    slide = open_slide(plan.path, reader=plan.reader, mpp=plan.stated_mpp, copy=copy)
    if plan.segment_key != segment_key or slide.fingerprint() != plan.segment["slide"]:
        slide.close()
        raise SlideError(f"{plan.path} is not the file that was segmented; run it again")
    return slide


def _stamp(cells: Path) -> int:
    """Changes when the cells of a slide are written anew."""
    index = cells / "index.json"
    return index.stat().st_mtime_ns if index.exists() else 0


# The stamp is there to be part of the key.
@lru_cache(maxsize=1)
def _rims(cells: Path, stamp: int, margin_um: float) -> Rims:
    return Rims(StoredCells(cells, features=()), margin_um)


@lru_cache(maxsize=1)
def _outlines(root: str, segment_key: str) -> Outlines:
    folder = SlideFolder(Path(root))
    level0 = read_plan(folder.plan).level0
    return region_outlines(read_tissue(folder.tissue, segment_key).polygons(level0), level0.mpp)
