"""What a run shows while it works."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from wsiseg.cli.display import duration, gigabytes, printable, told
from wsiseg.execution.progress import Progress, Start

QUIET_SECONDS = 180.0
"""Least time between two lines of progress where there is no terminal."""

RATE_SECONDS = 300.0
"""Speeds are those of this last stretch of time."""

_SHOWN_SLIDES = 6
_SHOWN_WHOLE = 3
_LABEL = "cyan"
_FAINT = "bright_black"
_WIDE = 100
_NARROW = 70
# Room that the lines of a live display leave at their end for the terminal's own ^C.
_ECHO = 4


@dataclass(slots=True)
class _Slide:
    name: str
    began: float
    blocks: int = 0
    done: int = 0
    already: int = 0
    nuclei: int = 0
    mm2: float = 0.0
    stage: str = "planning"

    def speed(self, now: float) -> str:
        """mm² a second since the slide was begun."""
        elapsed = now - self.began
        return f"{self.mm2 / elapsed:.2f} mm²/s" if self.mm2 > 0 and elapsed > 0 else ""

    def left(self, now: float) -> str:
        """The stage before or after the blocks, or the time that they will still take."""
        fresh = self.done - self.already
        if self.stage:
            return self.stage
        if not fresh:
            return ""
        return f"{duration((now - self.began) / fresh * (self.blocks - self.done))} left"


class _Tally:
    """What the run as a whole has done, and when."""

    def __init__(self) -> None:
        self.start: Start | None = None
        self.whole = 0
        self.failed = 0
        self._began: float | None = None
        self._recent: deque[tuple[float, int, float]] = deque()
        self._needed: list[int] = []

    @property
    def ended(self) -> int:
        """Slides that are whole or failed."""
        return self.whole + self.failed

    def needs(self, now: float, blocks: int) -> None:
        """A slide was planned that needs so many blocks."""
        if blocks:
            self._began = now if self._began is None else self._began
            self._needed.append(blocks)

    def add(self, now: float, nuclei: int, mm2: float) -> None:
        """A block was done."""
        while self._recent and self._recent[0][0] < now - RATE_SECONDS:
            self._recent.popleft()
        self._recent.append((now, nuclei, mm2))

    def rates(self, now: float) -> tuple[float, float, float]:
        """Blocks, nuclei and mm² a second of late."""
        if self._began is None or now <= self._began:
            return 0.0, 0.0, 0.0
        elapsed = min(now - self._began, RATE_SECONDS)
        # Asked for by the thread that draws, while the driver's may add to it.
        recent = [entry for entry in tuple(self._recent) if entry[0] >= now - RATE_SECONDS]
        nuclei, mm2 = sum(entry[1] for entry in recent), sum(entry[2] for entry in recent)
        return len(recent) / elapsed, nuclei / elapsed, mm2 / elapsed

    def seconds_left(self, now: float, under_way: Sequence[_Slide]) -> float | None:
        """Time that the blocks of all slides will take, taking those not planned yet for like
        the others."""
        speed = self.rates(now)[0]
        if self.start is None or not speed or not self._needed:
            return None
        unplanned = self.start.slides - self.ended - sum(s.stage != "planning" for s in under_way)
        blocks = sum(s.blocks - s.done for s in under_way)
        return (blocks + unplanned * sum(self._needed) / len(self._needed)) / speed


class RunProgress(Progress):
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
        self._tally = _Tally()
        self._whole_before = 0
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
        hidden = self._whole_before - _SHOWN_WHOLE
        if hidden > 0:
            self._say(Text(f"{hidden:,} more slides were there already"))

    def started(self, start: Start) -> None:
        """The run begins."""
        self._tally.start = start
        if not self._console.is_terminal:
            facts = [f"{start.slides:,} slide{'s' * (start.slides != 1)}"]
            facts += [f"{start.workers:,} worker{'s' * (start.workers != 1)}"] * bool(start.workers)
            facts += [f"dashboard {start.dashboard}"] if start.dashboard else []
            self._say(Text(", ".join(facts)))

    def slide_planning(self, name: str) -> None:
        """A slide is taken up."""
        self._slides[name] = _Slide(name, self._clock())

    def slide_started(self, name: str, blocks_total: int, blocks_already_done: int) -> None:
        """A slide is planned; some of its blocks may be there from an earlier run."""
        self._slides[name] = _Slide(
            name, self._clock(), blocks_total, blocks_already_done, blocks_already_done, stage=""
        )
        self._tally.needs(self._clock(), blocks_total - blocks_already_done)
        if not self._console.is_terminal and blocks_already_done < blocks_total:
            there = f", {blocks_already_done:,} there already" if blocks_already_done else ""
            self._say(Text(f"begun   {name}: {blocks_total:,} blocks{there}"))

    def block_done(self, name: str, block: str, nuclei: int, mm2: float, seconds: float) -> None:
        """A block is committed."""
        slide, now = self._slides[name], self._clock()
        if slide.done == slide.already:
            # Until now the workers were busy with the slides before: its own time begins here.
            slide.began = max(slide.began, self._latest)
        self._latest = now
        slide.done += 1
        slide.nuclei += nuclei
        slide.mm2 += mm2
        self._tally.add(now, nuclei, mm2)
        if not self._console.is_terminal and now - self._spoke >= QUIET_SECONDS:
            self._say(Text(self._heartbeat(slide, now)))

    def slide_stage(self, name: str, stage: str) -> None:
        """A slide enters a stage after its blocks."""
        self._slides[name].stage = stage

    def slide_warning(self, name: str, text: str) -> None:
        """Something about a slide that is worth a line."""
        self._say(Text(printable(told(name, text))))

    def slide_done(self, name: str, nuclei: int, seconds: float) -> None:
        """A slide is whole."""
        self._slides.pop(name, None)
        self._tally.whole += 1
        if seconds <= 0:
            self._whole_before += 1
            if self._whole_before > _SHOWN_WHOLE:
                return
        took = f" in {duration(seconds)}" if seconds > 0 else ", there already"
        self._say(Text.assemble(("done    ", "green"), name, f": {nuclei:,} nuclei{took}"))

    def slide_failed(self, name: str, reason: str) -> None:
        """A slide has failed; the rest go on."""
        self._slides.pop(name, None)
        self._tally.failed += 1
        self._say(Text.assemble(("failed  ", "red"), printable(told(name, reason))))

    def message(self, text: str) -> None:
        """Something worth a line."""
        self._say(Text(printable(text)))

    def _say(self, text: Text) -> None:
        self._spoke = self._clock()
        self._console.print(text, soft_wrap=not self._console.is_terminal, highlight=False)

    def _heartbeat(self, slide: _Slide, now: float) -> str:
        """Where the run stands, in one line."""
        start, tally = self._tally.start, self._tally
        many = start is not None and start.slides > 1
        of_slide = [
            f"{slide.done:,} of {slide.blocks:,} blocks",
            f"{slide.nuclei:,} nuclei",
            f"{slide.mm2:.2f} mm²",
        ]
        told_of_slide = f"{slide.name}: {', '.join(of_slide)}"
        if not many or start is None:
            facts = [told_of_slide, slide.speed(now), slide.left(now)]
            return ", ".join(fact for fact in facts if fact)
        left = tally.seconds_left(now, tuple(self._slides.values()))
        facts = [
            f"{tally.ended:,} of {start.slides:,} slides",
            f"{tally.failed:,} failed" * bool(tally.failed),
            f"{tally.rates(now)[2]:.2f} mm²/s",
            f"about {duration(left)} left" if left is not None else "",
        ]
        return f"{', '.join(fact for fact in facts if fact)}; {told_of_slide}"

    def _render(self) -> RenderableType:
        """The run, the slides under way, one a line, and what they take."""
        now, room = self._clock(), max(self._console.width - _ECHO, 1)
        slides = list(self._slides.values())
        lines: list[RenderableType] = []
        start = self._tally.start
        if start is not None and start.slides > 1:
            lines.append(self._run_line(start, slides, now, room))
        if slides:
            lines.append(self._slide_lines(slides[:_SHOWN_SLIDES], now, room))
        hidden = len(slides) - _SHOWN_SLIDES
        if hidden > 0:
            lines.append(Text(f"and {hidden} more under way", _FAINT))
        foot = self._foot(now, room)
        return Group(*lines, *([Text(foot, _FAINT)] if foot else []))

    def _run_line(
        self, start: Start, slides: Sequence[_Slide], now: float, room: int
    ) -> RenderableType:
        tally = self._tally
        left = tally.seconds_left(now, slides)
        waiting = max(start.slides - tally.ended - len(slides), 0)
        facts = [f"{tally.ended:,}/{start.slides:,} slides"]
        facts += [f"{tally.failed:,} failed"] if tally.failed else []
        facts += [f"{len(slides)} running"] if slides and room >= _NARROW else []
        facts += [f"{waiting:,} waiting"] if waiting and room >= _WIDE else []
        text = Text("  ".join(facts), "bold", no_wrap=True, overflow="ellipsis")
        if tally.failed:
            text.highlight_regex(r"[\d,]+ failed", "red")
        table = Table.grid(padding=(0, 2, 0, 0))
        table.width = room
        table.add_column(no_wrap=True)
        table.add_column(ratio=1)
        table.add_column(no_wrap=True, justify="right")
        table.add_row(
            text,
            ProgressBar(total=max(start.slides, 1), completed=tally.ended),
            Text(_remaining(left, room), _LABEL),
        )
        return table

    def _slide_lines(self, slides: Sequence[_Slide], now: float, room: int) -> RenderableType:
        width = room + _ECHO
        table = Table.grid(padding=(0, 2, 0, 0))
        table.width = room
        table.add_column(no_wrap=True, overflow="ellipsis", max_width=max(width // 4, 12))
        table.add_column(ratio=1)
        for _ in range(4):
            table.add_column(no_wrap=True, justify="right")
        table.add_column(no_wrap=True, min_width=10)
        for slide in slides:
            planned = slide.stage != "planning"
            table.add_row(
                Text(slide.name),
                ProgressBar(total=max(slide.blocks, 1), completed=slide.done),
                Text(f"{slide.done}/{slide.blocks}" if planned else ""),
                Text(f"{slide.nuclei:,} nuclei" if width >= _WIDE and planned else ""),
                Text(f"{slide.mm2:.2f} mm²" if width >= _WIDE and planned else ""),
                Text(slide.speed(now) if width >= _NARROW else "", _FAINT),
                Text(slide.left(now), _LABEL),
            )
        return table

    def _foot(self, now: float, room: int) -> str:
        """As many facts on the whole as fit in a line, the most wanted first."""
        _, nuclei, mm2 = self._tally.rates(now)
        facts = [f"{mm2:.2f} mm²/s", f"{nuclei:,.0f} nuclei/s"] if mm2 > 0 else []
        start = self._tally.start
        if start is not None:
            used, planned = start.peak_bytes(), start.planned_bytes
            facts.append(f"memory {used / 1e9:.2f} of {gigabytes(planned)} planned")
            facts += [start.dashboard] if start.dashboard else []
        line = ""
        for fact in facts:
            longer = f"{line}   {fact}" if line else fact
            if len(longer) > room:
                break
            line = longer
        return line


def _remaining(seconds: float | None, room: int) -> str:
    if not seconds:
        return ""
    return f"{'about ' if room >= _NARROW else ''}{duration(seconds)} left"
