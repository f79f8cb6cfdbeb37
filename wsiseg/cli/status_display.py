"""How ``wsiseg status`` shows where a run stands."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from wsiseg.cli.display import duration, printable, told

if TYPE_CHECKING:
    from wsiseg.execution.status import DriverStatus, RunStatus

_LABEL = "cyan"
_FAINT = "bright_black"
_SHOWN_SLIDES = 8
_SHOWN_FAILURES = 10


def status_view(status: RunStatus, now: float, *, bars: bool = True) -> Group:
    """A run: its driver, its slides, its speed, its failures; with bars on a terminal."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style=_LABEL)
    table.add_column(overflow="fold")
    table.add_row("Run", Text(str(status.out)))
    table.add_row("Driver", Text(driver_sentence(status.driver, now), _tone(status.driver)))
    table.add_row("Slides", _slides(status))
    speed = speed_sentence(status)
    if speed:
        table.add_row("Speed", Text(speed))
    parts: list[RenderableType] = [table]
    if status.under_way:
        parts += [Text(), _under_way(status, bars=bars)]
    if status.failures:
        parts += [Text(), *_failures(status)]
    return Group(*parts)


def status_line(status: RunStatus, now: float) -> str:
    """A run in one line, for a log."""
    facts = [f"{status.slides['whole']:,} of {status.total:,} slides whole"]
    facts += [f"{n:,} {word}" for word, n in _others(status)]
    facts += [speed_sentence(status), driver_sentence(status.driver, now)]
    return "; ".join(fact for fact in facts if fact)


def driver_sentence(driver: DriverStatus, now: float) -> str:
    """Who leads the run, or how its leading ended."""
    who = f"process {driver.pid} on {driver.host}" if driver.pid is not None else "a process"
    since = ""
    if driver.since is not None:
        begun = datetime.fromtimestamp(driver.since).astimezone()
        since = f", since {begun:%Y-%m-%d %H:%M} ({duration(max(now - driver.since, 0))})"
    beat = driver.heartbeat_seconds
    sign = f", last sign of life {duration(beat)} ago" if beat is not None else ""
    if driver.state == "working":
        return f"working: {who}{since}{sign}"
    if driver.state == "dead":
        return f"died: {who}{since}{sign}; run the same command again to go on"
    if driver.state == "silent":
        return f"silent: {who}{since}{sign}; if it is dead, clear its lock with wsiseg unlock"
    ends = {
        "run ended": "none: the last run came to its end",
        "run interrupted": "none: the last run was interrupted; run the same command to go on",
        "run broken off": "none: the last run was broken off by an error",
    }
    return ends.get(driver.last, "none")


def speed_sentence(status: RunStatus) -> str:
    """How fast it goes, or went before it stopped, and what is left."""
    if status.mm2_per_second <= 0 or status.driver.state == "none":
        return ""
    speed = f"{status.mm2_per_second:.2f} mm²/s, {status.nuclei_per_second:,.0f} nuclei/s"
    left = status.seconds_left
    return speed + (f", about {duration(left)} left" if left is not None else "")


def _tone(driver: DriverStatus) -> str:
    return {"working": "green", "dead": "red", "silent": "yellow"}.get(driver.state, "")


def _others(status: RunStatus) -> list[tuple[str, int]]:
    cut = "under way" if status.driver.state == "working" else "cut short"
    words = {"failed": "failed", "under_way": cut, "begun": "begun", "waiting": "waiting"}
    return [(word, status.slides[key]) for key, word in words.items() if status.slides[key]]


def _slides(status: RunStatus) -> Text:
    text = Text(f"{status.slides['whole']:,} of {status.total:,} whole")
    for word, count in _others(status):
        text.append(f"   {count:,} {word}", "red" if word == "failed" else "")
    return text


def _under_way(status: RunStatus, *, bars: bool) -> RenderableType:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.expand = bars
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=2 if bars else None)
    table.add_column(ratio=3 if bars else None)
    table.add_column(no_wrap=True, justify="right")
    table.add_column(no_wrap=True, style=_LABEL)
    for slide in status.under_way[:_SHOWN_SLIDES]:
        planned = slide.blocks is not None
        table.add_row(
            Text(slide.name),
            ProgressBar(total=max(slide.blocks or 0, 1), completed=slide.blocks_done)
            if bars
            else "",
            Text(f"{slide.blocks_done:,}/{slide.blocks:,} blocks" if planned else ""),
            Text(slide.stage if slide.stage != "blocks" else ""),
        )
    hidden = len(status.under_way) - _SHOWN_SLIDES
    return Group(table, Text(f"and {hidden:,} more under way", _FAINT)) if hidden > 0 else table


def _failures(status: RunStatus) -> list[RenderableType]:
    lines: list[RenderableType] = [
        Text(printable(told(name, reason)), "red")
        for name, reason in status.failures[:_SHOWN_FAILURES]
    ]
    hidden = len(status.failures) - _SHOWN_FAILURES
    if hidden > 0:
        lines.append(Text(f"and {hidden:,} more failed: see summary.html", "red"))
    return lines
