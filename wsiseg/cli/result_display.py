"""What a run shows when it has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from wsiseg.cli.display import duration, gigabytes, printable, told

if TYPE_CHECKING:
    from wsiseg.execution.api import RunResult

SHOWN_ROWS = 20
"""Slides in the final table, and reasons of failures below it."""

_LABEL = "cyan"
_FAINT = "bright_black"


def result_table(result: RunResult) -> Group:
    """How a run ended: a line a slide, failed ones first where they are many, then the totals."""
    outcomes = list(result.slides.values())
    if len(outcomes) > SHOWN_ROWS:
        outcomes.sort(key=lambda outcome: outcome.state != "failed")
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("Slide", overflow="fold")
    table.add_column("State")
    table.add_column("Nuclei", justify="right")
    table.add_column("Time", justify="right")
    for outcome in outcomes[:SHOWN_ROWS]:
        whole = outcome.state != "failed"
        table.add_row(
            Text(outcome.name),
            Text(outcome.state, "green" if whole else "red"),
            Text(f"{outcome.nuclei:,}" if outcome.nuclei is not None else "-"),
            Text(duration(outcome.seconds)),
        )
    parts: list[RenderableType] = [table]
    hidden = outcomes[SHOWN_ROWS:]
    if hidden:
        failed = sum(outcome.state == "failed" for outcome in hidden)
        rest = f"and {len(hidden):,} more slides" + (f", {failed:,} of them failed" * bool(failed))
        parts.append(Text(rest, _FAINT))
    parts.append(Text())
    parts += [
        Text(printable(told(outcome.name, outcome.reason)), "red")
        for outcome in result.failed[:SHOWN_ROWS]
    ]
    if len(result.failed) > SHOWN_ROWS:
        parts.append(Text(f"and {len(result.failed) - SHOWN_ROWS:,} more reasons", "red"))
    return Group(*parts, *_totals(result))


def _totals(result: RunResult) -> list[RenderableType]:
    whole = [outcome for outcome in result.slides.values() if outcome.state != "failed"]
    nuclei = sum(outcome.nuclei or 0 for outcome in whole)
    lines: list[RenderableType] = []
    if len(result.slides) > 1:
        count = f"{len(whole):,} of {len(result.slides):,} slides whole"
        failed = f", {len(result.failed):,} failed" if result.failed else ""
        lines.append(Text(f"{count}{failed}: {nuclei:,} nuclei"))
    memory = f"{gigabytes(result.peak_bytes)} of {gigabytes(result.planned_bytes)} planned"
    took = f"  ({duration(result.seconds)}, peak memory {memory})"
    lines.append(Text.assemble(("Results in ", _LABEL), str(result.out), (took, _FAINT)))
    if result.summary is not None:
        lines.append(Text.assemble(("Look first at ", _LABEL), str(result.summary)))
    return lines
