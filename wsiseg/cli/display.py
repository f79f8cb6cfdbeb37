"""What the terminal shows: values in, rich renderables out; nothing is decided here.

Names of files and messages are set as plain text, never as markup, for they come from outside.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from wsiseg.errors import WsisegError

if TYPE_CHECKING:
    from wsiseg.slides.reader import SlideFacts

_LABEL = "cyan"
_FAINT = "bright_black"
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


def told(name: str, reason: str) -> str:
    """A reason that names its slide, once: some reasons begin with the name or the path."""
    named = re.match(rf"([^:]*[/\\])?{re.escape(name)}(?!\w)", reason)
    return reason if named else f"{name}: {reason}"


def printable(text: str) -> str:
    """Text from outside in one line, nothing in it that a terminal would obey."""
    return "".join(c if c.isprintable() else " " for c in text)


def gigabytes(count: int) -> str:
    """Bytes in units of 10^9."""
    return f"{count / 1e9:.2f} GB"


def duration(seconds: float) -> str:
    """Seconds in words of at most nine letters."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"
