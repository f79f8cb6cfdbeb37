"""``wsiseg check``: look at every slide of a job before the night begins."""

from __future__ import annotations

import csv
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path

from wsiseg import __version__
from wsiseg.archive.compare import compared
from wsiseg.archive.look import Kind, Looked, Problem, look
from wsiseg.errors import ConfigurationError
from wsiseg.files import write_json, writing
from wsiseg.job import Job
from wsiseg.models.trust import require_trusted
from wsiseg.models.zoo import load_segmenter

ADVICE: Mapping[Kind, tuple[str, str]] = {
    "missing": ("Not there", "correct their paths, or take them off the list"),
    "unreadable": ("Not readable", "fetch them again, convert them, or take them off the list"),
    "truncated": ("Truncated or damaged", "fetch them again from where they came from"),
    "damaged": (
        "With pixels that cannot be decoded",
        "fetch them again, or run with --damaged fill: such places become background",
    ),
    "mpp missing": (
        "Without a pixel size",
        "state it in µm/px: a column mpp in a list, or --mpp for all",
    ),
    "mpp wrong": (
        "With a pixel size that cannot be true",
        "state the right one in µm/px: a column mpp in a list, or --mpp for all",
    ),
    "unsuited": ("Not suited to the model", "run them apart, with --model and --channel for them"),
    "tissue": ("With a tissue file that cannot be used", "correct the column tissue, or empty it"),
    "twice": ("Named twice", "name them once: a run refuses such a list"),
    "duplicate": ("Copies of another slide", "keep one of each, or their nuclei count twice"),
    "odd mpp": ("Another pixel size than most", "compare it with how they were scanned"),
    "odd size": ("Much larger or smaller than most", "look whether they are what they should be"),
    "odd illumination": ("Other light than most", "look whether they belong here"),
    "odd stain": ("Other stains than most, or than stated", "look whether they belong here"),
    "note": ("Remarks", "nothing, unless they surprise you"),
}
"""What every kind of problem is called, and what to do about it; gravest first."""

_COLUMNS = (
    "path",
    "state",
    "problems",
    "what_to_do",
    "bytes",
    "width_px",
    "height_px",
    "mpp_um",
    "mpp_source",
    "area_mm2",
    "illumination",
    "stain_seen",
    "format",
    "places_tried",
    "places_undecodable",
    "group",
)


@dataclass(frozen=True, slots=True)
class Checked:
    """What a first look at an archive gave: its slides in their order, and the seconds taken."""

    slides: tuple[Looked, ...]
    seconds: float

    @property
    def failing(self) -> tuple[Looked, ...]:
        """Slides that a run would fail, or count twice."""
        return tuple(slide for slide in self.slides if slide.fails)

    @property
    def odd(self) -> tuple[Looked, ...]:
        """Slides that can be run and are odd."""
        return tuple(slide for slide in self.slides if slide.problems and not slide.fails)

    def by_kind(self) -> dict[Kind, list[tuple[Looked, Problem]]]:
        """What was found, gravest kind first."""
        found: dict[Kind, list[tuple[Looked, Problem]]] = {kind: [] for kind in ADVICE}
        for slide in self.slides:
            for problem in slide.problems:
                found[problem.kind].append((slide, problem))
        return {kind: problems for kind, problems in found.items() if problems}


def check(
    job: Job,
    *,
    threads: int | None = None,
    looked: Callable[[Looked], None] | None = None,
) -> Checked:
    """Look at every slide of a job, then compare them.

    Parameters
    ----------
    job
        What would be run.
    threads
        Slides looked at together; ``None``: two a core.
    looked
        Told of every slide, in the order they are done with.

    Raises
    ------
    ModelError
        If there is no such model.
    """
    begin = time.perf_counter()
    require_trusted(job.model, trust=job.trust)
    segmenter = load_segmenter(job.model)
    found: dict[int, Looked] = {}
    with ThreadPoolExecutor(threads or 2 * (os.cpu_count() or 1)) as pool:
        waiting: dict[Future[Looked], int] = {
            pool.submit(look, job.settled(entry), job, segmenter): index
            for index, entry in enumerate(job.slides)
        }
        try:
            for future in as_completed(waiting):
                found[waiting[future]] = future.result()
                if looked is not None:
                    looked(found[waiting[future]])
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    slides = [found[index] for index in range(len(found))]
    together = tuple(
        replace(slide, problems=(*slide.problems, *more))
        for slide, more in zip(slides, compared(slides), strict=True)
    )
    return Checked(together, time.perf_counter() - begin)


def write_check(path: Path, checked: Checked) -> None:
    """Write what was found, one row a slide, by the ending ``.csv`` or ``.json``.

    Raises
    ------
    ConfigurationError
        If the name ends otherwise.
    StoreError
        If the file cannot be written.
    """
    require_known_ending(path)
    rows = [_row(slide) for slide in checked.slides]
    if path.suffix.lower() == ".json":
        document = {
            "wsiseg": __version__,
            "slides": len(rows),
            "failing": len(checked.failing),
            "odd": len(checked.odd),
            "seconds": round(checked.seconds, 3),
            "found": [
                {**row, "problems": _plain(slide.problems), "metadata": dict(slide.entry.metadata)}
                for row, slide in zip(rows, checked.slides, strict=True)
            ],
        }
        write_json(path, document)
        return
    with writing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, _COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def require_known_ending(path: Path) -> None:
    """Refuse a name that says neither CSV nor JSON.

    Raises
    ------
    ConfigurationError
        If it is so.
    """
    if path.suffix.lower() not in (".csv", ".json"):
        raise ConfigurationError(f"{path}: the findings are written as .csv or .json")


def _plain(problems: Sequence[Problem]) -> list[dict[str, object]]:
    return [
        {"kind": p.kind, "text": p.text, "fails": p.fails, "what_to_do": ADVICE[p.kind][1]}
        for p in problems
    ]


def _row(slide: Looked) -> dict[str, object]:
    """One slide as plain values; empty where nothing is known."""
    facts, size, area = slide.facts, slide.size, slide.area_mm2
    state = "fails" if slide.fails else "odd" if slide.problems else "fine"
    kinds = dict.fromkeys(problem.kind for problem in slide.problems)
    return {
        "path": str(slide.entry.path),
        "state": state,
        "problems": "; ".join(f"{p.kind}: {p.text}" for p in slide.problems),
        "what_to_do": "; ".join(ADVICE[kind][1] for kind in kinds),
        "bytes": slide.stored_bytes,
        "width_px": size.width if size else None,
        "height_px": size.height if size else None,
        "mpp_um": slide.mpp,
        "mpp_source": facts.mpp_source if facts else None,
        "area_mm2": round(area, 4) if area else None,
        "illumination": facts.illumination if facts else None,
        "stain_seen": slide.stain,
        "format": facts.vendor if facts else None,
        "places_tried": slide.tried,
        "places_undecodable": slide.undecodable,
        "group": slide.entry.group,
    }
