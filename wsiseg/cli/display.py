"""What the terminal shows: values in, rich renderables out; nothing is decided here.

Names of files and messages are set as plain text, never as markup, for they come from outside.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from wsiseg.errors import WsisegError

if TYPE_CHECKING:
    from wsiseg.execution.api import RunResult
    from wsiseg.slides.reader import SlideFacts

QUIET_SECONDS = 30.0
"""Least time between two lines of progress where there is no terminal."""

_SHOWN_SLIDES = 4
_LABEL = "cyan"
_FAINT = "bright_black"
_WIDE = 100
_NARROW = 70
# Room that the line of a live display leaves at its end for the terminal's own ^C.
_ECHO = 4
# Wider than any line: where there is no terminal, nothing is to be wrapped or cut.
_ENDLESS = 100_000


def console(stderr: bool = False) -> Console:
    """Where to print: as wide as the terminal, and without one as wide as need be."""
    there = Console(stderr=stderr)
    if there.is_terminal:
        return there
    return Console(stderr=stderr, width=_ENDLESS, soft_wrap=True)


def facts_table(facts: SlideFacts) -> Table:
    """What a slide file is, for ``wsiseg info``."""
    size = facts.levels[0].size
    extent = ""
    if facts.mpp is not None:
        width, height = size.width * facts.mpp.x / 1000, size.height * facts.mpp.y / 1000
        extent = f"  ({width:.2f} x {height:.2f} mm)"
    rows: dict[str, RenderableType] = {
        "Format": Text(f"{facts.vendor}, read by {facts.reader}"),
        "Size": Text(f"{size.width:,} x {size.height:,} px{extent}"),
        "Pixel size": _pixel_size(facts),
        "Objective": Text(f"{facts.objective:g}x" if facts.objective is not None else "not stated"),
        "Levels": _levels(facts),
        "Channels": Text(f"{', '.join(facts.channels)}  ({facts.dtype})"),
        "Illumination": Text(facts.illumination),
    }
    if facts.bounds is not None:
        b = facts.bounds
        rows["Scanned area"] = Text(f"x {b.x0:,} to {b.x1:,}, y {b.y0:,} to {b.y1:,} px of level 0")
    problems = [Text(problem, "yellow") for problem in facts.problems]
    rows["Problems"] = Group(*problems) if problems else Text("none")
    return _rows(facts.path.name, rows)


def plan_table(name: str, rows: Mapping[str, str]) -> Table:
    """What a run of one slide would do: plain rows, label to value."""
    return _rows(name, {label: Text(value) for label, value in rows.items()})


def result_table(result: RunResult) -> Group:
    """How a run ended: a line a slide, then where things are and what it took."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("Slide", overflow="fold")
    table.add_column("State")
    table.add_column("Nuclei", justify="right")
    table.add_column("Time", justify="right")
    for outcome in result.slides.values():
        whole = outcome.state != "failed"
        table.add_row(
            Text(outcome.name),
            Text(outcome.state, "green" if whole else "red"),
            Text(f"{outcome.nuclei:,}" if outcome.nuclei is not None else "-"),
            Text(_duration(outcome.seconds)),
        )
    parts: list[RenderableType] = [table, Text()]
    for outcome in result.failed:
        parts.append(Text(_told(outcome.name, outcome.reason), "red"))
    memory = f"{_gigabytes(result.peak_bytes)} of {_gigabytes(result.planned_bytes)} planned"
    parts.append(
        Text.assemble(
            ("Results in ", _LABEL),
            str(result.out),
            (f"  ({_duration(result.seconds)}, peak memory {memory})", _FAINT),
        )
    )
    return Group(*parts)


def error_panel(error: WsisegError) -> Panel:
    """An error that the user can mend, without a traceback."""
    return Panel(
        Text(str(error)), title="wsiseg cannot do this", title_align="left", border_style="red"
    )


def show_error(console: Console, error: WsisegError) -> None:
    """Print an error that the user can mend: in a box on a terminal, else as one line."""
    if console.is_terminal:
        console.print(error_panel(error))
    else:
        line = " ".join(str(error).split("\n"))
        console.print(Text(f"error: {line}"), soft_wrap=True, highlight=False)


@dataclass(slots=True)
class _Slide:
    name: str
    blocks: int
    done: int
    began: float
    already: int
    nuclei: int = 0
    mm2: float = 0.0
    stage: str = ""

    def speed(self, now: float) -> str:
        """mm² a second since the slide was begun."""
        elapsed = now - self.began
        return f"{self.mm2 / elapsed:.2f} mm²/s" if self.mm2 > 0 and elapsed > 0 else ""

    def left(self, now: float) -> str:
        """The stage after the blocks, or the time that they will still take."""
        fresh = self.done - self.already
        if self.stage:
            return self.stage
        if not fresh:
            return ""
        return f"{_duration((now - self.began) / fresh * (self.blocks - self.done))} left"


class RunProgress:
    """Shows the events of a run: a live display on a terminal, sparse lines elsewhere.

    To be used as a context manager, from one thread.

    Parameters
    ----------
    console
        Where to show it; standard error, so that it never mixes with output.
    clock
        Seconds that rise.
    """

    def __init__(self, console: Console, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._slides: dict[str, _Slide] = {}
        self._spoke = clock()
        self._latest = self._spoke
        self._live: Live | None = None

    def __enter__(self) -> RunProgress:
        self._spoke = self._clock()
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            self._live = Live(
                console=self._console,
                get_renderable=self._render,
                refresh_per_second=4,
                transient=True,
            )
            try:
                self._live.start()
            except BaseException:
                # An interruption in here would leave it running: nothing calls __exit__ then.
                self._live.stop()
                raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def slide_started(self, name: str, blocks_total: int, blocks_already_done: int) -> None:
        """A slide is planned; some of its blocks may be there from an earlier run."""
        self._slides[name] = _Slide(
            name, blocks_total, blocks_already_done, self._clock(), blocks_already_done
        )

    def block_done(self, name: str, nuclei: int, mm2: float) -> None:
        """A block is committed."""
        slide, now = self._slides[name], self._clock()
        if slide.done == slide.already:
            # Until now the workers were busy with the slides before: its own time begins here.
            slide.began = max(slide.began, self._latest)
        self._latest = now
        slide.done += 1
        slide.nuclei += nuclei
        slide.mm2 += mm2
        if self._live is None and now - self._spoke >= QUIET_SECONDS:
            facts = (
                f"{slide.done:,} of {slide.blocks:,} blocks",
                f"{slide.nuclei:,} nuclei",
                f"{slide.mm2:.2f} mm²",
                slide.speed(now),
                slide.left(now),
            )
            self._say(Text(f"{name}: {', '.join(fact for fact in facts if fact)}"))

    def slide_stage(self, name: str, stage: str) -> None:
        """A slide enters a stage after its blocks."""
        self._slides[name].stage = stage

    def slide_done(self, name: str, nuclei: int, seconds: float) -> None:
        """A slide is whole."""
        self._slides.pop(name, None)
        took = f" in {_duration(seconds)}" if seconds > 0 else ", there already"
        self._say(Text.assemble(("done    ", "green"), name, f": {nuclei:,} nuclei{took}"))

    def slide_failed(self, name: str, reason: str) -> None:
        """A slide has failed; the rest go on."""
        self._slides.pop(name, None)
        self._say(Text.assemble(("failed  ", "red"), _told(name, reason)))

    def message(self, text: str) -> None:
        """Something worth a line."""
        self._say(Text(text))

    def _say(self, text: Text) -> None:
        self._spoke = self._clock()
        self._console.print(text, soft_wrap=not self._console.is_terminal, highlight=False)

    def _render(self) -> RenderableType:
        """The slides under way, one a line."""
        now, width = self._clock(), self._console.width
        slides = list(self._slides.values())
        table = Table.grid(padding=(0, 2, 0, 0))
        table.width = max(width - _ECHO, 1)
        table.add_column(no_wrap=True, overflow="ellipsis", max_width=max(width // 4, 12))
        table.add_column(ratio=1)
        for _ in range(4):
            table.add_column(no_wrap=True, justify="right")
        table.add_column(no_wrap=True, min_width=10)
        for slide in slides[:_SHOWN_SLIDES]:
            table.add_row(
                Text(slide.name),
                ProgressBar(total=max(slide.blocks, 1), completed=slide.done),
                Text(f"{slide.done}/{slide.blocks}"),
                Text(f"{slide.nuclei:,} nuclei" if width >= _NARROW else ""),
                Text(f"{slide.mm2:.2f} mm²" if width >= _WIDE else ""),
                Text(slide.speed(now), _FAINT),
                Text(slide.left(now), _LABEL),
            )
        hidden = len(slides) - _SHOWN_SLIDES
        return Group(table, Text(f"and {hidden} more slides", _FAINT)) if hidden > 0 else table


def _rows(name: str, rows: Mapping[str, RenderableType]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.title = Text(name, "bold")
    table.title_justify = "left"
    table.add_column(no_wrap=True, style=_LABEL)
    table.add_column(overflow="fold")
    for label, value in rows.items():
        table.add_row(label, value)
    return table


def _pixel_size(facts: SlideFacts) -> Text:
    if facts.mpp is None:
        return Text("not known: pass --mpp", "yellow")
    mpp = facts.mpp
    value = f"{mpp.x:.4g}" if mpp.x == mpp.y else f"{mpp.x:.4g} x {mpp.y:.4g}"
    return Text.assemble(f"{value} µm/px", (f"  from {facts.mpp_source}", _FAINT))


def _levels(facts: SlideFacts) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(justify="right", style=_FAINT)
    for _ in range(3):
        table.add_column(justify="right")
    for number, level in enumerate(facts.levels):
        mpp = f"{facts.mpp.mean * level.downsample:.4g} µm/px" if facts.mpp is not None else ""
        table.add_row(
            str(number),
            f"{level.size.width:,} x {level.size.height:,}",
            f"1/{level.downsample:g}" if level.downsample != 1 else "",
            mpp,
        )
    return table


def _told(name: str, reason: str) -> str:
    """A reason that names its slide, once: some reasons begin with the name or the path."""
    named = re.match(rf"([^:]*[/\\])?{re.escape(name)}(?!\w)", reason)
    return reason if named else f"{name}: {reason}"


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.2f} GB"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"
