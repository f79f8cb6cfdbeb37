"""Before a run: what is there already, and what is left to do for every slide."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Literal

from wsiseg.errors import ResultMismatchError, WsisegError
from wsiseg.execution.driver import Order
from wsiseg.execution.tasks import reported
from wsiseg.models.segmenter import Segmenter
from wsiseg.models.zoo import load_segmenter
from wsiseg.pipeline.measuring import measured_key
from wsiseg.pipeline.plan import SlidePlan, key_of
from wsiseg.pipeline.prepare import asked_facts, difference, known_plan
from wsiseg.store.folders import RunFolder, SlideFolder

Work = Literal["whole", "exports", "measure", "resume", "segment", "again", "changed", "unreadable"]

_WORDS: Mapping[Work, str] = {
    "whole": "whole already",
    "exports": "exports to write only",
    "measure": "to measure anew, the segmentation stays",
    "resume": "begun, to go on with",
    "segment": "to segment",
    "again": "to segment again, with the other settings",
    "changed": "segmented from another state of their file",
    "unreadable": "segmented, but their file cannot be used now",
}
_SHOWN = 5
_THREADS = 8


@dataclass(frozen=True, slots=True)
class Left:
    """What is left to do for one slide.

    Attributes
    ----------
    work
        ``"whole"``: nothing. ``"exports"``: some are missing or of other settings; the
        segmentation stands. ``"measure"``: features, then exports. ``"resume"``: blocks may be
        missing. ``"segment"``: everything. ``"again"``: what is there was segmented with other
        settings. ``"changed"``: the slide file is not the one that was segmented.
        ``"unreadable"``: it cannot be opened, or does not suit the job.
    differences
        For ``"again"``, the settings that differ.
    """

    work: Work
    differences: tuple[str, ...] = ()


def survey(run: RunFolder, orders: Mapping[str, Order]) -> dict[str, Left]:
    """What is left to do for every slide. Opens those that were begun, and reads no pixels."""
    begun = {n: o for n, o in orders.items() if run.slide(n).plan.exists() and not o.again}
    found = {n: Left("exports" if o.again else "segment") for n, o in orders.items()}
    load = cache(load_segmenter)

    def look(name: str) -> Left:
        return _left(run.slide(name), begun[name], load)

    with ThreadPoolExecutor(min(_THREADS, 2 * (os.cpu_count() or 1))) as threads:
        found.update(zip(begun, threads.map(look, begun), strict=True))
    return found


def described(found: Mapping[str, Left]) -> str:
    """A sentence on a survey: how many slides need what."""
    counts = Counter(left.work for left in found.values())
    parts = [f"{counts[work]:,} {words}" for work, words in _WORDS.items() if counts[work]]
    slides = "1 slide" if len(found) == 1 else f"{len(found):,} slides"
    return f"{slides}: {', '.join(parts)}"


def require_same_settings(run: RunFolder, found: Mapping[str, Left]) -> None:
    """Refuse to begin where some slides would have to be segmented anew.

    Raises
    ------
    ResultMismatchError
        If any was segmented with other settings; the message names them and the settings.
    """
    other = {name: left for name, left in found.items() if left.work == "again"}
    if not other:
        return
    settings = sorted({setting for left in other.values() for setting in left.differences})
    names = ", ".join(list(other)[:_SHOWN])
    more = f" and {len(other) - _SHOWN:,} more" if len(other) > _SHOWN else ""
    raise ResultMismatchError(
        f"{run.root} holds segmentations made with other settings ({', '.join(settings)}) of "
        f"{len(other):,} of {len(found):,} slides ({names}{more}); nothing was begun: choose "
        "another output folder, or pass --new to segment them again"
    )


def _left(folder: SlideFolder, order: Order, load: Callable[[str, str], Segmenter]) -> Left:
    plan = known_plan(folder)
    if plan is None:
        return Left("segment")
    try:
        segmenter = load(order.job.model, order.job.device)
        asked = asked_facts(order.entry, order.job, segmenter)
    except WsisegError:
        return Left("unreadable")
    if key_of(asked) != plan.segment_key:
        if asked["slide"] != plan.segment["slide"]:
            return Left("changed")
        return Left("again", difference(plan.segment, asked))
    return Left(_outputs(folder, order, plan))


def _outputs(folder: SlideFolder, order: Order, plan: SlidePlan) -> Work:
    """How far the outputs of a segmentation are that suits the order."""
    known = reported(folder, plan.segment_key)
    if known.nuclei is None:
        return "resume"
    there = {e.name for e in known.exported if e.whole(folder, order.how, plan.segment_key)}
    if order.measure.sets and measured_key(folder) != order.measure.key(plan.segment_key):
        return "measure"
    same = set(order.job.exports) <= there and known.about == order.entry.about
    return "whole" if same else "exports"
