"""Whole slides: a run against another run, or against annotations, on the pixels of a frame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsiseg.errors import ConfigurationError
from wsiseg.evaluation.cases import Compared
from wsiseg.evaluation.groups import Selection
from wsiseg.evaluation.matching import Overlaps, PairCounts, count_pairs
from wsiseg.evaluation.outlines import (
    Objects,
    Outlines,
    RegionOutlines,
    RunOutlines,
    cut_regions,
    require_on_slide,
)
from wsiseg.evaluation.pairs import Classes
from wsiseg.execution.results import Run, open_run
from wsiseg.export.regions import read_regions
from wsiseg.geometry import Box, Frame

NEAR_UM = 10.0
"""A nucleus is near a seam if its centroid lies at most this far from a tile core's border."""

_PIECE_PX = 2048


@dataclass(frozen=True)
class SlidePair:
    """One slide of a run and what it is compared with.

    Attributes
    ----------
    name
        Of the slide in the run.
    dataset
        Name of the run directory.
    predicted, truth
        The run's cells and the others.
    frame
        The pixels that are compared: the finer of the two frames.
    core_px
        Side of a tile's core in pixels of the run's frame.
    areas
        Areas within which the truth is known, by name, as one set of outlines; ``None`` where
        the whole slide is.
    area_names
        Their names in order.
    """

    name: str
    dataset: str
    predicted: RunOutlines
    truth: Outlines
    frame: Frame
    core_px: int
    areas: RegionOutlines | None
    area_names: tuple[str, ...]


def slide_pairs(
    run: Path, against: Path, select: Selection, within: Sequence[str]
) -> list[SlidePair]:
    """The slides of a run with their counterparts.

    Parameters
    ----------
    run
        The run directory to evaluate.
    against
        Another run directory with the same slides, or a GeoJSON file of annotations of the one
        slide that the run has or ``select`` leaves.
    select
        Slides to take, by name.
    within
        Classes or names of the annotations that say within which areas nuclei were marked;
        none: on the whole slide.

    Raises
    ------
    ConfigurationError
        If slides have no counterpart, or the two are not of one slide.
    StoreError
        If a run directory is missing or incomplete.
    """
    opened = open_run(run)
    dataset = run.resolve().name
    slides = [name for name in opened.slides if select.takes(dataset, name)]
    if not slides:
        raise ConfigurationError(
            f"no slide is left to evaluate in {run}; it has {', '.join(opened.slides) or 'none'}"
        )
    _require_complete(opened, slides)
    if against.is_dir():
        if within:
            raise ConfigurationError("--within names annotations; it needs a GeoJSON in --against")
        other = open_run(against)
        _require_complete(other, slides)
        return [_run_pair(dataset, name, opened, other) for name in slides]
    if len(slides) > 1:
        raise ConfigurationError(
            f"{against} holds annotations of one slide, but {run} has {', '.join(slides)}; name "
            "one with --only"
        )
    return [_annotated_pair(dataset, slides[0], opened, against, within)]


def compare_slides(pairs: Sequence[SlidePair], classes: Classes) -> Iterator[Compared]:
    """Compare slide by slide; a slide with areas gives one comparison for each."""
    for pair in pairs:
        names = pair.area_names or (pair.name,)
        for number, counts in enumerate(_count(pair), start=1):
            name = f"{pair.name}/{names[number - 1]}" if pair.areas is not None else pair.name
            yield _compared(pair, name, counts.overlaps(), classes)


def class_names(pairs: Sequence[SlidePair]) -> tuple[str, ...]:
    """Names of the classes that occur on both sides of any slide, in order; none where both
    sides know one class only."""
    theirs = {n.casefold() for pair in pairs for n in pair.truth.objects.class_names}
    ours = {n for pair in pairs for n in pair.predicted.objects.class_names}
    if len(theirs) < 2 and len(ours) < 2:
        return ()
    return tuple(sorted(name for name in ours if name.casefold() in theirs))


def seam_distance_um(
    centroids: NDArray[np.float64], level0: Frame, frame: Frame, core_px: int
) -> NDArray[np.float64]:
    """Distance in µm of level-0 points ``[n, 2]`` to the nearest border between two tile cores.

    Infinite where the frame has one tile only. The frame's own border is no seam.
    """
    distances = np.full(len(centroids), np.inf)
    scale = level0.scale_to(frame)
    sizes, mpps = (frame.size.width, frame.size.height), (frame.mpp.x, frame.mpp.y)
    for axis, (size, mpp) in enumerate(zip(sizes, mpps, strict=True)):
        last = -(-size // core_px) - 1
        if last >= 1:
            at = centroids[:, axis] * scale[axis]
            nearest = np.clip(np.rint(at / core_px), 1, last) * core_px
            distances = np.minimum(distances, np.abs(at - nearest) * mpp)
    return distances


def _require_complete(run: Run, slides: Sequence[str]) -> None:
    for name in slides:
        if name not in run.slides:
            raise ConfigurationError(
                f"{run.path} has no slide {name}; it has {', '.join(run.slides) or 'none'}"
            )
        if name not in run.complete:
            raise ConfigurationError(
                f"{run.path}: {name} is not finished; run the same command again first"
            )


def _run_pair(dataset: str, name: str, run: Run, other: Run) -> SlidePair:
    predicted, truth = RunOutlines(run.source(name)), RunOutlines(other.source(name))
    ours, theirs = predicted.info, truth.info
    prints = [info.provenance.get("slide_fingerprint") for info in (ours, theirs)]
    if ours.level0.size != theirs.level0.size or prints[0] != prints[1]:
        raise ConfigurationError(
            f"{name} is not the same file in {run.path} and {other.path}; only runs of one slide "
            "can be compared"
        )
    finer = min(ours.frame, theirs.frame, key=lambda frame: frame.mpp.mean)
    return SlidePair(name, dataset, predicted, truth, finer, _core_px(run, name), None, ())


def _annotated_pair(
    dataset: str, name: str, run: Run, path: Path, within: Sequence[str]
) -> SlidePair:
    predicted = RunOutlines(run.source(name))
    info = predicted.info
    nuclei, areas = cut_regions(read_regions(path), within, path)
    truth = RegionOutlines(nuclei, info.origin_px)
    require_on_slide(truth.objects, info.level0, path)
    names = tuple(f"{number} {area.name or ''}".strip() for number, area in enumerate(areas, 1))
    drawn = RegionOutlines(areas, info.origin_px) if areas else None
    return SlidePair(name, dataset, predicted, truth, info.frame, _core_px(run, name), drawn, names)


def _core_px(run: Run, name: str) -> int:
    lattice: Any = run.report(name)["lattice"]
    return int(lattice["core_px"])


def _count(pair: SlidePair) -> list[PairCounts]:
    """Pixels by labels: of the whole slide, or of every area."""
    level0 = pair.predicted.info.level0
    scale = pair.frame.scale_to(level0)
    found: list[list[PairCounts]] = [[] for _ in pair.area_names or ("",)]
    for box in pair.frame.box.split(_PIECE_PX):
        for number, inside in _areas(pair, box, scale):
            truth = np.where(inside, pair.truth.paint(box, scale), np.uint32(0))
            predicted = np.where(inside, pair.predicted.paint(box, scale), np.uint32(0))
            found[number].append(count_pairs(truth, predicted))
    return [PairCounts.total(parts) for parts in found]


def _areas(
    pair: SlidePair, box: Box, scale: tuple[float, float]
) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """The areas that meet a box, by index, and their pixels there."""
    if pair.areas is None:
        yield 0, np.ones(box.shape, bool)
        return
    drawn = pair.areas.paint(box, scale)
    for value in np.unique(drawn[drawn > 0]):
        yield int(value) - 1, drawn == value


def _compared(pair: SlidePair, name: str, overlaps: Overlaps, classes: Classes) -> Compared:
    truth, predicted = pair.truth.objects, pair.predicted.objects
    rows = truth.rows(overlaps.truth_labels), predicted.rows(overlaps.predicted_labels)
    has_classes = bool(classes.names)
    near = [
        seam_distance_um(
            objects.centroids[at],
            pair.predicted.info.level0,
            pair.predicted.info.frame,
            pair.core_px,
        )
        <= NEAR_UM
        for objects, at in zip((truth, predicted), rows, strict=True)
    ]
    return Compared(
        name,
        pair.dataset,
        overlaps,
        _classes_of(truth, rows[0], classes) if has_classes else None,
        _classes_of(predicted, rows[1], classes) if has_classes else None,
        near[0],
        near[1],
        facts={
            "slide": pair.name,
            "mpp": round(pair.frame.mpp.mean, 6),
            "truth_outlines": len(truth.ids),
            "predicted_outlines": len(predicted.ids),
        },
    )


def _classes_of(objects: Objects, rows: NDArray[np.int64], classes: Classes) -> NDArray[np.int64]:
    """Classes of objects ``[n]``, 0 where they have none of those compared."""
    numbers = np.array([*(classes.number(name) for name in objects.class_names), 0], np.int64)
    return numbers[objects.class_index[rows]]
