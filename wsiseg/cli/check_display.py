"""What the terminal shows of a first look at an archive."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from wsiseg.archive.check import ADVICE, Checked
from wsiseg.archive.look import Kind, Looked, Problem
from wsiseg.cli.display import duration, printable

SHOWN = 12
"""Slides shown of each kind of problem; the file has all."""

_QUIET_SECONDS = 30.0
_INDENT = 2


class CheckProgress:
    """A bar on a terminal, sparse lines elsewhere; to be used as a context manager."""

    def __init__(self, console: Console, slides: int) -> None:
        self._console = console
        self._slides = slides
        self._done = self._failing = 0
        self._began = self._spoke = time.monotonic()
        self._bar = Progress(
            TextColumn("looking"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TextColumn("{task.fields[failing]}", style="red"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._task = self._bar.add_task("looking", total=slides, rate="", failing="")

    def __enter__(self) -> CheckProgress:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def looked(self, slide: Looked) -> None:
        """A slide was looked at."""
        self._done += 1
        self._failing += slide.fails
        now = time.monotonic()
        pace = self._done / max(now - self._began, 1e-9)
        rate = f"{pace:.1f} slides/s"
        failing = f"{self._failing:,} would fail" if self._failing else ""
        self._bar.update(self._task, completed=self._done, rate=rate, failing=failing)
        if not self._console.is_terminal and now - self._spoke >= _QUIET_SECONDS:
            self._spoke = now
            left = duration((self._slides - self._done) / pace)
            facts = (f"{self._done:,} of {self._slides:,} slides", rate, failing, f"{left} left")
            self._console.print("looked at " + ", ".join(fact for fact in facts if fact))


def check_view(checked: Checked, file: Path | None) -> RenderableType:
    """What was found, kind by kind, and what to do about it; at the end how many can be run."""
    base = _common(checked.slides)
    parts: list[RenderableType] = []
    for kind, found in checked.by_kind().items():
        parts += [*_section(kind, found, base), Text()]
    return Group(*parts, _verdict(checked, file))


def _section(
    kind: Kind, found: Sequence[tuple[Looked, Problem]], base: Path | None
) -> list[RenderableType]:
    title, advice = ADVICE[kind]
    fails = any(problem.fails for _, problem in found)
    style = "bold red" if fails else "bold yellow"
    lines: list[RenderableType] = [
        Text(f"{title} ({len(found):,})", style),
        _indented(advice, 1, "cyan"),
    ]
    alike: dict[str, list[str]] = {}
    for slide, problem in found[:SHOWN]:
        alike.setdefault(problem.text, []).append(_name(slide, base))
    for text, names in alike.items():
        # Names whole on lines of their own, to be copied; what was found below them.
        lines += [_indented(name, 1) for name in names]
        lines.append(_indented(printable(text), 2, "bright_black"))
    if len(found) > SHOWN:
        more = f"and {len(found) - SHOWN:,} more: -o FILE.csv has them all"
        lines.append(_indented(more, 1, "bright_black"))
    return lines


def _indented(text: str, by: int, style: str = "") -> RenderableType:
    return Padding(Text(text, style, overflow="fold"), (0, 0, 0, by * _INDENT), expand=False)


def _verdict(checked: Checked, file: Path | None) -> Text:
    total, failing = len(checked.slides), len(checked.failing)
    slides = "1 slide" if total == 1 else f"{total:,} slides"
    text = Text()
    if not failing:
        text.append(f"{slides}: all can be run", "bold green")
    else:
        text.append(f"{slides}: {failing:,} need you, {total - failing:,} can be run", "bold red")
    if checked.odd:
        text.append(f"; odd among them: {len(checked.odd):,}", "yellow")
    pace = total / max(checked.seconds, 1e-9)
    text.append(f"  ({duration(checked.seconds)}, {pace:.1f} slides/s)", "bright_black")
    columns = sorted({name for slide in checked.slides for name in slide.entry.metadata})
    if columns:
        text.append(f"\nColumns carried along: {printable(', '.join(columns))}")
    if file is not None:
        text.append(f"\nAll findings in {file}")
    return text


def _common(slides: Sequence[Looked]) -> Path | None:
    """The folder that all slides lie below, where there is one."""
    try:
        return Path(os.path.commonpath([slide.entry.path.parent for slide in slides]))
    except ValueError:
        return None


def _name(slide: Looked, base: Path | None) -> str:
    path = slide.entry.path
    short = path.relative_to(base) if base is not None else path
    return printable(str(short))
