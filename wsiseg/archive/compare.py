"""What is odd about a slide shows beside the others: copies, and those unlike the rest."""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import median

from wsiseg.archive.look import Kind, Looked, Problem
from wsiseg.listing.found import companions

MPP_FACTOR = 1.5
"""Pixels that much larger or smaller than the median's are another magnification."""

SIZE_FACTOR = 4.0
SIZE_DEVIATIONS = 3.5
"""An area is odd if it is off the median by this factor and by this many robust standard
deviations of its logarithm (Iglewicz and Hoaglin, "How to detect and handle outliers", 1993)."""

LEAST_SLIDES = 3
LEAST_FOR_SIZE = 8
"""Fewer slides than this have no rule to be an exception of."""

_NORMAL = 1.4826
_BUFFER = 1 << 22


def compared(slides: Sequence[Looked]) -> list[tuple[Problem, ...]]:
    """For every slide, what is odd about it beside the others; copies are told from the first."""
    found: list[list[Problem]] = [[] for _ in slides]
    for judge in (_named_twice, _copies, _odd_mpp, _odd_size, _odd_illumination, _odd_stain):
        for index, problem in judge(slides):
            found[index].append(problem)
    return [tuple(problems) for problems in found]


_Findings = Iterable[tuple[int, Problem]]


def _named_twice(slides: Sequence[Looked]) -> _Findings:
    first: dict[Path, int] = {}
    for index, slide in enumerate(slides):
        place = slide.entry.place
        if place in first:
            text = f"the list has this file twice: slides {first[place] + 1} and {index + 1}"
            yield index, Problem("twice", text, fails=True)
        first.setdefault(place, index)


def _copies(slides: Sequence[Looked]) -> _Findings:
    alike: dict[str, list[int]] = defaultdict(list)
    places: set[Path] = set()
    for index, slide in enumerate(slides):
        if slide.fingerprint and slide.entry.place not in places:
            places.add(slide.entry.place)
            alike[slide.fingerprint].append(index)
    for candidates in alike.values():
        # What looks alike is read in full, and only that.
        first: dict[str, int] = {}
        for index in candidates if len(candidates) > 1 else ():
            try:
                digest = _digest(slides[index].entry.path)
            except OSError:
                continue
            if digest in first:
                text = f"byte for byte the same as {slides[first[digest]].entry.path}"
                yield index, Problem("duplicate", text, fails=True)
            first.setdefault(digest, index)


def _digest(path: Path) -> str:
    """Hash of all the bytes of a slide, its companions included."""
    digest = hashlib.blake2b(digest_size=16)
    for part in (path, *companions(path)):
        inside = sorted(p for p in part.rglob("*") if p.is_file()) if part.is_dir() else [part]
        for file in inside:
            with file.open("rb", buffering=0) as stream:
                while block := stream.read(_BUFFER):
                    digest.update(block)
    return digest.hexdigest()


def _odd_mpp(slides: Sequence[Looked]) -> _Findings:
    known = {i: slide.mpp for i, slide in enumerate(slides) if slide.mpp is not None}
    if len(known) < LEAST_SLIDES:
        return
    middle = median(known.values())
    for index, mpp in known.items():
        if max(mpp / middle, middle / mpp) >= MPP_FACTOR:
            text = f"{mpp:.4g} µm/px, where the median is {middle:.4g}"
            yield index, Problem("odd mpp", text, fails=False)


def _odd_size(slides: Sequence[Looked]) -> _Findings:
    areas = {i: slide.area_mm2 for i, slide in enumerate(slides)}
    logs = {i: math.log(area) for i, area in areas.items() if area}
    if len(logs) < LEAST_FOR_SIZE:
        return
    middle = median(logs.values())
    spread = _NORMAL * median(abs(value - middle) for value in logs.values())
    for index, value in logs.items():
        if abs(value - middle) > max(math.log(SIZE_FACTOR), SIZE_DEVIATIONS * spread):
            text = f"{math.exp(value):,.3g} mm², where the median is {math.exp(middle):,.3g} mm²"
            yield index, Problem("odd size", text, fails=False)


def _odd_illumination(slides: Sequence[Looked]) -> _Findings:
    def told(slide: Looked) -> str | None:
        return slide.facts.illumination if slide.facts is not None else None

    return _unlike_most(slides, told, "odd illumination")


def _odd_stain(slides: Sequence[Looked]) -> _Findings:
    return _unlike_most(slides, lambda slide: slide.stain, "odd stain")


def _unlike_most(
    slides: Sequence[Looked], told: Callable[[Looked], str | None], kind: Kind
) -> _Findings:
    values = {i: value for i, slide in enumerate(slides) if (value := told(slide)) is not None}
    counts = Counter(values.values())
    if len(values) < LEAST_SLIDES or len(counts) < 2:
        return
    usual, most = counts.most_common(1)[0]
    if most <= len(values) / 2:
        return
    for index, value in values.items():
        if value != usual:
            text = f"{value}, where {most:,} of {len(values):,} are {usual}"
            yield index, Problem(kind, text, fails=False)
