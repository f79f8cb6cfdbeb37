"""Tiles of images and labels cut from finished runs, to correct by hand or to train on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsiseg.cells.batch import CellBatch, CellsInfo
from wsiseg.errors import ConfigurationError, StoreError
from wsiseg.evaluation.outlines import RunOutlines
from wsiseg.execution.results import Run, open_run
from wsiseg.files import write_json, writing
from wsiseg.geometry import MPP, Box, Frame
from wsiseg.pipeline.plan import SlidePlan, read_plan
from wsiseg.slides.reader import Pixels
from wsiseg.slides.slide import Slide, open_slide
from wsiseg.store.cells import StoredCells
from wsiseg.store.folders import RunFolder

META = "meta.json"
UNSURE = 0.5
"""Probability below which a nucleus counts as doubtful."""

_LARGEST_LABEL = np.iinfo(np.uint16).max


@dataclass(frozen=True, slots=True)
class Cut:
    """Which tiles to cut.

    Attributes
    ----------
    count
        How many at most, over all slides.
    side
        Of a tile in pixels.
    mpp
        Pixel size in µm/px; ``None``: that of the run's model.
    least_nuclei
        Tiles with fewer are left out.
    most_doubtful
        Tiles in which a larger share of the nuclei has a probability below :data:`UNSURE` are
        left out.
    least_probability
        Nuclei of a lower probability become background.
    slides
        Names of slides to take; none: all.
    seed
        The same seed gives the same tiles.
    """

    count: int
    side: int = 512
    mpp: float | None = None
    least_nuclei: int = 10
    most_doubtful: float = 1.0
    least_probability: float = 0.0
    slides: tuple[str, ...] = ()
    seed: int = 0


@dataclass(frozen=True, slots=True)
class _Candidate:
    slide: str
    box: Box
    nuclei: int
    doubtful: float


def cut_tiles(run: Path, out: Path, wanted: Cut) -> list[str]:
    """Write ``images/NAME.png``, ``instances/NAME.png`` (16 bit) and ``meta.json``.

    The layout is what trainings and evaluations read. Tiles lie on a lattice of ``side`` pixels,
    their middle in tissue, none beyond the slide's border; out of those that satisfy ``wanted``
    as many as asked for are drawn.

    Returns
    -------
    Names of the tiles, ``SLIDE_X_Y`` with the corner in pixels of the tile.

    Raises
    ------
    ConfigurationError
        If ``out`` holds tiles already, a slide is unknown, or no tile satisfies ``wanted``.
    StoreError
        If ``run`` is no run directory, a slide in it is not finished, or cannot be written.
    UnreadableSlideError
        If a slide of the run is no longer there.
    """
    if (out / "images").exists() or (out / "instances").exists():
        raise ConfigurationError(f"{out} holds tiles already; give another folder")
    opened = open_run(run)
    names = _slides(opened, wanted)
    plans = {name: read_plan(RunFolder(run).slide(name).plan) for name in names}
    mpp = _common_mpp(plans, wanted)
    found: list[_Candidate] = []
    for name in names:
        found += _candidates(opened, name, plans[name].level0.at(MPP.square(mpp)), wanted)
    if not found:
        raise ConfigurationError(
            f"no tile of {wanted.side} px in {run} has at least {wanted.least_nuclei} nuclei, at "
            f"most {wanted.most_doubtful:.0%} of them doubtful"
        )
    random = np.random.default_rng(wanted.seed)
    drawn = sorted(random.permutation(len(found))[: wanted.count].tolist())
    chosen = [found[number] for number in drawn]
    written: list[str] = []
    for name in names:
        boxes = [candidate.box for candidate in chosen if candidate.slide == name]
        if boxes:
            kept = _SureCells(opened.source(name), wanted.least_probability)
            frame = plans[name].level0.at(MPP.square(mpp))
            written += _write_slide(plans[name], frame, RunOutlines(kept), boxes, (name, out))
    _write_meta(out, run, plans, mpp, wanted, len(written))
    return written


def _slides(run: Run, wanted: Cut) -> tuple[str, ...]:
    names = wanted.slides or run.slides
    for name in names:
        if name not in run.slides:
            raise ConfigurationError(
                f"{run.path} has no slide {name}; it has {', '.join(run.slides) or 'none'}"
            )
        if name not in run.complete:
            raise StoreError(f"{run.path}: {name} is not finished; run the same command again")
    return names


def _common_mpp(plans: dict[str, SlidePlan], wanted: Cut) -> float:
    if wanted.mpp is not None:
        return wanted.mpp
    return float(next(iter(plans.values())).segment["model"]["mpp"])


def _candidates(run: Run, name: str, frame: Frame, wanted: Cut) -> list[_Candidate]:
    """The lattice's tiles that satisfy what is wanted, judged by the centroids of the nuclei."""
    source, tissue = run.source(name), run.tissue(name)
    level0 = source.info.level0
    scale = level0.scale_to(frame)
    columns, rows = frame.size.width // wanted.side, frame.size.height // wanted.side
    nuclei, doubtful = np.zeros((rows, columns), np.int64), np.zeros((rows, columns), np.int64)
    for part in range(len(source.extents)):
        batch = source.read(part)
        at = np.floor(batch.centroids * scale / wanted.side).astype(np.int64)
        inside = (at < (columns, rows)).all(axis=1)
        place = at[inside, 1], at[inside, 0]
        np.add.at(nuclei, place, 1)
        np.add.at(doubtful, place, batch.probabilities[inside] < UNSURE)
    found = []
    for row, column in np.argwhere(nuclei >= max(wanted.least_nuclei, 1)).tolist():
        share = float(doubtful[row, column] / nuclei[row, column])
        box = Box(0, 0, wanted.side, wanted.side).shifted(column * wanted.side, row * wanted.side)
        middle = np.array([[(box.x0 + box.x1) / 2 / scale[0], (box.y0 + box.y1) / 2 / scale[1]]])
        if share <= wanted.most_doubtful and bool(
            tissue.contains(middle[:, 0], middle[:, 1], level0)[0]
        ):
            found.append(_Candidate(name, box, int(nuclei[row, column]), share))
    return found


@dataclass(frozen=True)
class _SureCells:
    """The cells of a slide less those of low probability; a ``CellSource``."""

    source: StoredCells
    least: float

    @property
    def info(self) -> CellsInfo:
        return self.source.info

    @property
    def count(self) -> int:
        return sum(len(self.read(part)) for part in range(len(self.extents)))

    @property
    def extents(self) -> tuple[Box, ...]:
        return self.source.extents

    def read(self, part: int) -> CellBatch:
        batch = self.source.read(part)
        return batch.take(np.flatnonzero(batch.probabilities >= self.least))


def _write_slide(
    plan: SlidePlan, frame: Frame, outlines: RunOutlines, boxes: list[Box], at: tuple[str, Path]
) -> list[str]:
    name, out = at
    written = []
    with open_slide(plan.path, reader=plan.reader, mpp=plan.stated_mpp) as slide:
        for title, pixels, labels in _tiles(name, slide, plan, frame, outlines, boxes):
            for kind, picture in (("images", pixels), ("instances", labels)):
                (out / kind).mkdir(parents=True, exist_ok=True)
                with writing(out / kind / f"{title}.png") as temporary:
                    Image.fromarray(picture).save(temporary, "PNG")
            written.append(title)
    return written


def _tiles(
    name: str, slide: Slide, plan: SlidePlan, frame: Frame, outlines: RunOutlines, boxes: list[Box]
) -> Iterator[tuple[str, Pixels, NDArray[np.uint16]]]:
    scale = frame.scale_to(plan.level0)
    for box in boxes:
        pixels = slide.read(box, frame, plan.channels)
        painted = outlines.paint(box, scale)
        numbers = np.unique(painted[painted > 0], return_inverse=True)[1]
        if numbers.max(initial=0) >= _LARGEST_LABEL:
            raise ConfigurationError("a tile holds more than 65,535 nuclei; cut smaller tiles")
        labels: NDArray[np.uint16] = np.zeros(painted.shape, np.uint16)
        labels[painted > 0] = numbers + 1
        plain: Pixels = pixels[..., 0] if pixels.shape[2] == 1 else pixels
        yield f"{Path(name).stem}_{box.x0}_{box.y0}", plain, labels


def _write_meta(
    out: Path, run: Path, plans: dict[str, SlidePlan], mpp: float, wanted: Cut, count: int
) -> None:
    model = next(iter(plans.values())).segment["model"]
    write_json(
        out / META,
        {
            "mpp": mpp,
            "tiles": count,
            "seed": wanted.seed,
            "slides": list(plans),
            "model": model["name"],
            "model_sha256": model["sha256"],
            "least_nuclei": wanted.least_nuclei,
            "most_doubtful": wanted.most_doubtful,
            "least_probability": wanted.least_probability,
        },
    )
