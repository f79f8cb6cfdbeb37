"""How a run stands, by its files alone: from any process, also after the driver has died."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from wsiseg.errors import StoreError
from wsiseg.execution.journal import read_log
from wsiseg.pipeline.plan import read_plan
from wsiseg.store.folders import RunFolder, SlideFolder, read_manifest
from wsiseg.store.lock import Owner, owner_state, read_owner
from wsiseg.summary.rows import failure_reason, slide_state

RECENT_SECONDS = 600.0
"""Speeds are those of this last stretch of time."""

_LOG_TAIL = 256 << 10
_CLOCKS_APART = 3600.0
_ENDS = ("run ended", "run interrupted", "run broken off")


@dataclass(frozen=True, slots=True)
class DriverStatus:
    """Who leads the run.

    Attributes
    ----------
    state
        ``"working"``; ``"dead"``: its process is gone, the lock is still there; ``"silent"``: it
        is on another machine and has given no sign of life for a minute; ``"none"``: nobody.
    host, pid
        Where it runs, or ran last; ``None`` where nothing says.
    since
        When it began, in seconds since 1970; ``None`` where nothing says.
    heartbeat_seconds
        Age of its last sign of life; ``None`` without a lock.
    last
        The last thing the log has of the run as a whole: ``"run started"``, ``"run ended"``,
        ``"run interrupted"``, ``"run broken off"``, or nothing.
    """

    state: Literal["working", "dead", "silent", "none"]
    host: str | None
    pid: int | None
    since: float | None
    heartbeat_seconds: float | None
    last: str


@dataclass(frozen=True, slots=True)
class UnderWay:
    """A slide that is worked on, or was when the driver died.

    Attributes
    ----------
    name
        The slide.
    stage
        ``"planning"``, ``"blocks"``, ``"stitch"``, ``"export"``...
    blocks_done, blocks
        Committed blocks and all; ``None`` until it is planned.
    """

    name: str
    stage: str
    blocks_done: int
    blocks: int | None


@dataclass(frozen=True, slots=True)
class RunStatus:
    """How a run stands.

    Attributes
    ----------
    out
        The run directory.
    driver
        Who leads it.
    slides
        Number of slides by state: ``whole``, ``failed``, ``under_way``, ``begun`` (some blocks
        are there, nobody works on it), ``waiting``.
    under_way
        The slides worked on, or left by a driver that died.
    failures
        ``(name, reason)`` of every failed slide.
    mm2_per_second, nuclei_per_second
        Of late, or in the last minutes before the driver stopped; 0 where nothing was done.
    seconds_left
        What the blocks of all slides will take, about, taking those not planned yet for like
        the others; ``None`` where it cannot be said.
    """

    out: Path
    driver: DriverStatus
    slides: Mapping[str, int]
    under_way: tuple[UnderWay, ...]
    failures: tuple[tuple[str, str], ...]
    mm2_per_second: float
    nuclei_per_second: float
    seconds_left: float | None

    @property
    def total(self) -> int:
        """Number of all slides."""
        return sum(self.slides.values())

    @property
    def all_whole(self) -> bool:
        """Whether every slide is whole."""
        return self.slides["whole"] == self.total


def read_status(out: str | Path, *, now: float | None = None) -> RunStatus:
    """How the run in a directory stands. Nothing of it is changed.

    Parameters
    ----------
    out
        The run directory.
    now
        Seconds since 1970; ``None``: the clock's.

    Raises
    ------
    StoreError
        If the folder is not a run directory, or its lock cannot be read.
    """
    run, now = RunFolder(Path(out)), time.time() if now is None else now
    entries = read_manifest(run)["slides"]
    owner = read_owner(run)
    events = _last_turn(read_log(run.log), owner)
    driver = _driver(run, owner, events, now)
    latest = {str(e["slide"]): e for e in events if "slide" in e}
    counts = dict.fromkeys(("whole", "failed", "under_way", "begun", "waiting"), 0)
    under_way, failures = [], []
    for name, entry in entries.items():
        folder = run.slide(name)
        if driver.state != "none" and latest.get(name, {}).get("event") in ("planning", "begun"):
            counts["under_way"] += 1
            under_way.append(_under_way(folder, latest[name]))
            continue
        state = slide_state(folder, entry)
        counts[state] += 1
        if state == "failed":
            failures.append((name, failure_reason(folder, entry)))
    reference = now if driver.state == "working" else _time(events[-1]) if events else now
    speed = _Speed.over(run, events, reference)
    return RunStatus(
        out=run.root,
        driver=driver,
        slides=counts,
        under_way=tuple(under_way),
        failures=tuple(failures),
        mm2_per_second=speed.mm2,
        nuclei_per_second=speed.nuclei,
        seconds_left=_seconds_left(events, under_way, speed) if driver.state == "working" else None,
    )


def _last_turn(events: Sequence[dict[str, Any]], owner: Owner | None) -> list[dict[str, Any]]:
    """The events of the driver that holds the lock, or of the last one that did."""
    last = events[-1].get("epoch") if events else None
    epoch = owner.epoch if owner is not None else last
    return [event for event in events if event.get("epoch") == epoch]


def _driver(
    run: RunFolder, owner: Owner | None, events: Sequence[Mapping[str, Any]], now: float
) -> DriverStatus:
    of_run = [event for event in events if str(event.get("event", "")).startswith("run ")]
    last = str(of_run[-1]["event"]) if of_run else ""
    if owner is None:
        told = of_run[0] if of_run else {}
        since = _time(told) if told else None
        return DriverStatus("none", told.get("host"), told.get("pid"), since, None, last)
    age = None
    with suppress(OSError):
        age = max(now - run.lock.stat().st_mtime, 0.0)
    since = _time(of_run[0]) if of_run else owner.started
    return DriverStatus(_life(run, owner), owner.host, owner.pid, since, age, last)


def _life(run: RunFolder, owner: Owner) -> Literal["working", "dead", "silent"]:
    try:
        state = owner_state(run, owner)
    except StoreError:
        # The age of a lock of another machine is told by writing beside it, which may be
        # forbidden to whoever only looks.
        return "silent"
    return "working" if state == "alive" else state


def _under_way(folder: SlideFolder, event: Mapping[str, Any]) -> UnderWay:
    if event["event"] == "planning":
        return UnderWay(folder.name, "planning", 0, None)
    blocks = event.get("blocks")
    if not isinstance(blocks, int):
        blocks = len(read_plan(folder.plan).blocks())
    done = len(folder.committed())
    stage = "blocks"
    if done >= blocks:
        told = [e["event"] for e in read_log(folder.log, most_bytes=_LOG_TAIL)]
        stages = [one for one in told if one not in ("begun", "block", "warning")]
        stage = str(stages[-1]) if stages else "stitch"
    return UnderWay(folder.name, stage, done, blocks)


@dataclass(frozen=True, slots=True)
class _Speed:
    """Blocks, nuclei and mm² a second."""

    blocks: float = 0.0
    nuclei: float = 0.0
    mm2: float = 0.0

    @classmethod
    def over(cls, run: RunFolder, events: Sequence[Mapping[str, Any]], end: float) -> _Speed:
        """Over the last minutes before ``end``, by the slides' own logs."""
        begun = [event for event in events if event.get("event") == "begun"]
        if not begun:
            return cls()
        epoch, begin = begun[0].get("epoch"), max(_time(begun[0]), end - RECENT_SECONDS)
        found: list[dict[str, Any]] = []
        for name in dict.fromkeys(str(event["slide"]) for event in begun):
            log = run.slide(name).log
            with suppress(OSError):
                # The file server's clock may differ from the driver's.
                if log.stat().st_mtime >= begin - _CLOCKS_APART:
                    found += read_log(log, most_bytes=_LOG_TAIL)
        blocks = [
            event
            for event in found
            if event.get("event") == "block"
            and event.get("epoch") == epoch
            and begin <= _time(event) <= end + 1
        ]
        elapsed = end - begin
        if elapsed <= 0:
            return cls()
        return cls(
            len(blocks) / elapsed,
            sum(event.get("nuclei", 0) for event in blocks) / elapsed,
            sum(event.get("mm2", 0.0) for event in blocks) / elapsed,
        )


def _seconds_left(
    events: Sequence[Mapping[str, Any]], under_way: Sequence[UnderWay], speed: _Speed
) -> float | None:
    starts = [event for event in events if event.get("event") == "run started"]
    begun = [event for event in events if event.get("event") == "begun"]
    needed = [n for e in begun if (n := e.get("blocks", 0) - e.get("already", 0)) > 0]
    if not starts or not needed or not speed.blocks:
        return None
    ended = {e["slide"] for e in events if e.get("event") in ("whole", "failed")}
    planned = [slide for slide in under_way if slide.blocks is not None]
    unplanned = max(int(starts[-1].get("slides", 0)) - len(ended) - len(planned), 0)
    left = sum((slide.blocks or 0) - slide.blocks_done for slide in planned)
    return float((left + unplanned * sum(needed) / len(needed)) / speed.blocks)


def _time(event: Mapping[str, Any]) -> float:
    """When an event was, in seconds since 1970; 0 where it does not say."""
    try:
        return datetime.fromisoformat(str(event.get("time"))).timestamp()
    except ValueError:
        return 0.0
