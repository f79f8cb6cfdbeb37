"""A first look at one slide: would a run refuse it, and what is it like?

No file is read as a whole: headers, an even sample of pixels and of bytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wsiseg.errors import (
    ChannelError,
    ConfigurationError,
    DamagedPixelsError,
    ModelError,
    ResolutionError,
    SlideError,
    UnreadableSlideError,
)
from wsiseg.export.regions import read_regions
from wsiseg.geometry import Box, Size
from wsiseg.job import TISSUE_METHODS, Job, SlideEntry
from wsiseg.models.segmenter import Segmenter
from wsiseg.models.semantic.files import find_semantic, is_semantic_folder
from wsiseg.pipeline.prepare import lay_out
from wsiseg.slides.chunked import CHUNK
from wsiseg.slides.probe import open_reader
from wsiseg.slides.reader import SlideFacts, SlideReader
from wsiseg.slides.resolution import HOW_TO_STATE, NOT_STATED
from wsiseg.slides.slide import Slide, file_fingerprint
from wsiseg.slides.tiff_structure import FETCH_AGAIN, check_tiff, is_tiff
from wsiseg.stain import measure_stains

Kind = Literal[
    "missing",
    "unreadable",
    "truncated",
    "damaged",
    "mpp missing",
    "mpp wrong",
    "unsuited",
    "tissue",
    "twice",
    "duplicate",
    "odd mpp",
    "odd size",
    "odd illumination",
    "odd stain",
    "note",
]

Measured = Literal["HE", "HDAB"]

SAMPLES_A_SIDE = 6
"""Pixels are tried in at most this many squares of 512 px along either side."""

_STAIN_STEP = 4
_KINDS: Mapping[str, Measured] = {"eosin": "HE", "DAB": "HDAB"}


@dataclass(frozen=True, slots=True)
class Problem:
    """Something about a slide.

    Attributes
    ----------
    kind
        What it is about.
    text
        What was found, without the slide's name.
    fails
        Whether a run would fail the slide, or count it twice; otherwise it is merely odd.
    """

    kind: Kind
    text: str
    fails: bool


@dataclass(frozen=True, slots=True)
class Looked:
    """What a look at one slide gave.

    Attributes
    ----------
    entry
        The slide, settled with the job.
    problems
        What is wrong or odd about it.
    stored_bytes
        Size of its file; ``None`` where there is none.
    facts
        What the file says, where it can be opened.
    mpp
        The pixel size a run would use, in µm/px; ``None`` where it would refuse.
    stain
        The stains by their colours, on brightfield; ``None`` where they cannot be told.
    tried, undecodable
        Squares of 512 px that were decoded for a try, and those of them that could not be.
    fingerprint
        Hash of the file's size and of pieces of it, where it can be opened.
    """

    entry: SlideEntry
    problems: tuple[Problem, ...] = ()
    stored_bytes: int | None = None
    facts: SlideFacts | None = None
    mpp: float | None = None
    stain: Measured | None = None
    tried: int = 0
    undecodable: int = 0
    fingerprint: str = ""

    @property
    def fails(self) -> bool:
        """Whether a run would fail it, or count it twice."""
        return any(problem.fails for problem in self.problems)

    @property
    def size(self) -> Size | None:
        """Pixels of level 0, where it can be opened."""
        return self.facts.levels[0].size if self.facts is not None else None

    @property
    def area_mm2(self) -> float | None:
        """Area of level 0, where the pixel size is known."""
        if self.size is None or self.mpp is None:
            return None
        return self.size.area * self.mpp**2 / 1e6


def look(entry: SlideEntry, job: Job, segmenter: Segmenter) -> Looked:
    """Look at one slide; every problem comes back, none is raised.

    Parameters
    ----------
    entry
        The slide, settled with the job.
    job
        What is to be done with it.
    segmenter
        The job's.
    """
    path = entry.path
    try:
        stored = path.stat().st_size
    except FileNotFoundError:
        return Looked(entry, (Problem("missing", "there is no such file", fails=True),))
    except OSError as error:
        return Looked(entry, (Problem("unreadable", error.strerror or str(error), fails=True),))
    try:
        reader = open_reader(path, job.reader)
    except (SlideError, ConfigurationError) as error:
        return Looked(entry, (_refused(path, error),), stored)
    except Exception as error:  # noqa: BLE001 readers fail in ways of their own
        text = f"unexpected {type(error).__name__}: {error}"
        return Looked(entry, (Problem("unreadable", text, fails=True),), stored)
    try:
        return _looked_into(reader, entry, job, segmenter, stored)
    except OSError as error:
        text = f"it cannot be read to its end: {error.strerror or error}"
        return Looked(entry, (Problem("unreadable", text, fails=True),), stored, reader.facts)
    finally:
        reader.close()


def _looked_into(
    reader: SlideReader, entry: SlideEntry, job: Job, segmenter: Segmenter, stored: int
) -> Looked:
    facts, problems = reader.facts, []
    mpp, level = None, 0
    try:
        slide = Slide(reader, entry.mpp)
        mpp = slide.level0.mpp.mean
        _, grid, _ = lay_out(slide, segmenter, entry, job)
        level = slide.source_level(grid.frame)
        problems += [Problem("note", text, fails=False) for text in slide.facts.problems]
    except (SlideError, ModelError, ConfigurationError) as error:
        problems.append(_misfit(entry, facts, mpp, error))
    problems += _tissue_problems(entry, known={problem.kind for problem in problems})
    tried, lost, stain = _tried(reader, facts, level)
    if lost:
        reason = f"{len(lost)} of {tried} places that were tried cannot be decoded: {lost[0]}"
        problems.append(Problem("damaged", reason, fails=job.damaged == "fail"))
    if stain is not None and entry.stain not in (None, stain):
        text = f"the list says {entry.stain}, by its colours it is {stain}"
        problems.append(Problem("odd stain", text, fails=False))
    return Looked(
        entry=entry,
        problems=tuple(problems),
        stored_bytes=stored,
        facts=facts,
        mpp=mpp,
        stain=stain,
        tried=tried,
        undecodable=len(lost),
        fingerprint=file_fingerprint(entry.path),
    )


def _refused(path: Path, error: Exception) -> Problem:
    kind: Kind = "unreadable"
    if isinstance(error, UnreadableSlideError):
        try:
            if is_tiff(path):
                check_tiff(path)
        except UnreadableSlideError:
            kind = "truncated"
        except OSError:
            pass
    return Problem(kind, _without_path(error, path), fails=True)


def _misfit(entry: SlideEntry, facts: SlideFacts, mpp: float | None, error: Exception) -> Problem:
    """Why a slide that can be opened would be refused."""
    kind: Kind = "tissue"
    if isinstance(error, ResolutionError) and mpp is None:
        silent = entry.mpp is None and facts.problems in ((), (NOT_STATED,))
        kind = "mpp missing" if silent else "mpp wrong"
    elif isinstance(error, ResolutionError | ChannelError | ModelError):
        kind = "unsuited"
    return Problem(kind, _without_path(error, entry.path), fails=True)


def _tissue_problems(entry: SlideEntry, known: set[Kind]) -> list[Problem]:
    """Whether the regions of a slide can be used, unless that is known already."""
    if entry.tissue in (None, *TISSUE_METHODS) or "tissue" in known:
        return []
    place = Path(str(entry.tissue))
    try:
        if is_semantic_folder(place):
            find_semantic(str(place))
        else:
            read_regions(place)
    except (ConfigurationError, ModelError) as error:
        return [Problem("tissue", str(error), fails=True)]
    return []


def _tried(
    reader: SlideReader, facts: SlideFacts, level: int
) -> tuple[int, list[str], Measured | None]:
    """Number of places decoded for a try, what was wrong with those that could not be, and
    the stains of the others."""
    samples: list[NDArray[np.uint8]] = []
    lost: list[str] = []
    boxes = _spread(facts.levels[level].size)
    colour = facts.illumination == "brightfield" and len(facts.channels) == 3
    for box in boxes:
        try:
            pixels = reader.read_level(level, box)
        except DamagedPixelsError as error:
            lost.append(_without_path(error, facts.path))
            continue
        if colour and pixels.dtype == np.uint8:
            thin = pixels[::_STAIN_STEP, ::_STAIN_STEP]
            samples.append(np.ascontiguousarray(thin, np.uint8))
    stains = measure_stains(samples) if samples else None
    stain = _KINDS[stains.kind] if stains is not None and stains.kind_sure else None
    return len(boxes), lost, stain


def _spread(size: Size) -> Sequence[Box]:
    """Squares of the lattice that pixels are read in, spread evenly over a level."""
    whole = Box.of(size)
    return [
        Box(x, y, x + CHUNK, y + CHUNK).intersection(whole)
        for y in _starts(size.height)
        for x in _starts(size.width)
    ]


def _starts(length: int) -> list[int]:
    count = math.ceil(length / CHUNK)
    chosen = np.linspace(0, count - 1, min(count, SAMPLES_A_SIDE)).round().astype(int)
    return [int(i) * CHUNK for i in chosen]


def _without_path(error: Exception, path: Path) -> str:
    """The message of an error on a slide, without the slide's name at its beginning and the
    advice at its end that holds for all of its kind."""
    text = str(error)
    for advice in (HOW_TO_STATE, FETCH_AGAIN):
        text = text.removesuffix(f"; {advice}")
    for lead in (str(path), path.name):
        text = text.removeprefix(f"{lead}: ").removeprefix(f"{lead} ")
    return text
