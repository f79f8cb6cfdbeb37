"""What the terminal shows of an evaluation: tables of scores, then doubts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from wsiseg.evaluation.bootstrap import FEW_GROUPS, Estimate
from wsiseg.evaluation.picture import counted
from wsiseg.evaluation.summary import Summary

if TYPE_CHECKING:
    from wsiseg.evaluation.evaluate import Evaluation

_SHOWN = {
    "dice": "Dice",
    "aji": "AJI",
    "pq": "PQ",
    "dq": "DQ",
    "sq": "SQ",
    "f1@0.50": "F1",
    "precision@0.50": "Precision",
    "recall@0.50": "Recall",
}
_FAINT = "bright_black"
_INTERVAL_WIDTH = len("~0.12-0.34")


def evaluation_view(found: Evaluation) -> list[RenderableType]:
    """Tables, then doubts; names and messages as plain text, never as markup."""
    whole = found.all
    line = (
        f"{counted(whole.images, 'image')} of {counted(whole.groups, 'group')}; "
        f"{whole.truth:,} true nuclei, {whole.predicted:,} predicted"
    )
    parts: list[RenderableType] = [Text(line), Text(), _scores_table(whole)]
    for column, stratum in found.strata.items():
        parts += [Text(), _levels_table(column, stratum.levels)]
        parts += [
            Text.assemble(
                (f"Worst by {_SHOWN[metric]}: ", "cyan"),
                f"{gap.worst}, {_with_interval(gap.behind_all)} behind all, "
                f"{_with_interval(gap.behind_best)} behind {gap.best}",
            )
            for metric, gap in stratum.gaps.items()
        ]
    levels = [level for stratum in found.strata.values() for level in stratum.levels.values()]
    if any(level.rough for level in levels):
        parts.append(Text(f"~ rests on fewer than {FEW_GROUPS} groups and is rough", _FAINT))
    parts += _annotator_lines(found)
    if found.seams:
        parts += [Text(), _detection_table("Nuclei", found.seams)]
    if found.classes:
        parts += [Text(), _class_table(found.classes), *_mpq_lines(found.classes)]
    parts += [Text(f"Note: {warning}", "yellow") for warning in found.warnings]
    return parts


class EvaluationProgress:
    """Shows how far an evaluation is, where there is a terminal."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("comparing", total=None)

    def __enter__(self) -> EvaluationProgress:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def __call__(self, done: int, count: int, name: str) -> None:
        """Another image is done."""
        shown = name if len(name) <= 40 else f"{name[:37]}..."
        self._progress.update(self._task, completed=done, total=count, description=shown)


def _scores_table(whole: Summary) -> Table:
    """Every score: the mean over images, and of all images taken as one."""
    table = _table("Score")
    for name in ("Mean over images", "interval", "All as one", "interval"):
        table.add_column(name, justify="right", style=_FAINT if name == "interval" else None)
    further = [name for name in whole.mean if name.startswith("f1@") and name not in _SHOWN]
    for name in (*_SHOWN, *further):
        mean, pooled = whole.mean[name], whole.pooled[name]
        label = _SHOWN.get(name, name.replace("f1@", "F1 at IoU > "))
        values = _number(mean.value), _interval(mean), _number(pooled.value), _interval(pooled)
        table.add_row(label, *values)
    return table


def _levels_table(column: str, levels: Mapping[str, Summary]) -> Table:
    """Means over the images of every level, each with its interval below."""
    table = _table(column)
    shown = ("f1@0.50", "aji", "pq")
    for name in ("Images", "Groups", "Nuclei"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in shown:
        table.add_column(_SHOWN[name], justify="right", min_width=_INTERVAL_WIDTH)
    for label, summary in levels.items():
        counts = (f"{n:,}" for n in (summary.images, summary.groups, summary.truth))
        table.add_row(Text(label), *counts, *(_cell(summary.mean[n], summary.rough) for n in shown))
    return table


def _detection_table(title: str, parts: Mapping[str, Any]) -> Table:
    table = _table(title)
    shown = ("pq", "f1@0.50", "recall@0.50")
    thresholds = [name for name in next(iter(parts.values()))["pooled"] if name.startswith("f1@")]
    last = thresholds[-1]
    for name in ("True", "Found"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in (*(_SHOWN[n] for n in shown), f"F1 at {last[3:]}"):
        table.add_column(name, justify="right", min_width=_INTERVAL_WIDTH)
    for label, part in parts.items():
        cells = [_cell(_estimate(part["pooled"][name])) for name in (*shown, last)]
        table.add_row(
            Text(f"{label} seams" if label == "near" else label),
            f"{part['truth']:,}",
            f"{part['predicted']:,}",
            *cells,
        )
    return table


def _class_table(classes: Mapping[str, Any]) -> Table:
    """Pooled scores by class; where predictions have no classes, recall whatever the class."""
    scored = "mpq" in classes
    shown = ("pq", "f1@0.50", "recall@0.50") if scored else ()
    table = _table("Class")
    for name in ("True", "Found") if scored else ("True",):
        table.add_column(name, justify="right", no_wrap=True)
    for name in (*(_SHOWN[n] for n in shown), "Recall as any class"):
        table.add_column(name, justify="right", min_width=_INTERVAL_WIDTH)
    for label, part in classes["classes"].items():
        counts = (f"{part[name]:,}" for name in ("truth", "predicted") if name in part)
        cells = [_cell(_estimate(part["pooled"][name])) for name in shown]
        table.add_row(Text(label), *counts, *cells, _cell(_estimate(part["recall_of_any"])))
    return table


def _mpq_lines(classes: Mapping[str, Any]) -> list[RenderableType]:
    if "mpq" not in classes:
        return []
    mpq, plus = _estimate(classes["mpq"]), _estimate(classes["mpq_plus"])
    return [
        Text.assemble(
            ("mPQ ", "cyan"), _with_interval(mpq), (", mPQ+ ", "cyan"), _with_interval(plus)
        )
    ]


def _annotator_lines(found: Evaluation) -> list[RenderableType]:
    told = found.annotators
    if not told:
        return []
    lines: list[RenderableType] = []
    for metric in ("f1@0.50", "aji", "pq"):
        second = _estimate(told["second_against_truth"]["mean"][metric])
        ours = _estimate(told["predicted_against_truth"]["mean"][metric])
        difference = _estimate(told["difference"][metric])
        lines.append(
            Text.assemble(
                (f"{_SHOWN[metric]} on the {told['images']} images marked twice: ", "cyan"),
                f"prediction {_with_interval(ours)}, second annotator {_with_interval(second)}, "
                f"difference {_with_interval(difference)}",
            )
        )
    return lines


def _table(title: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column(title, overflow="fold")
    return table


def _cell(estimate: Estimate, rough: bool = False) -> RenderableType:
    if math.isnan(estimate.low):
        return Text(_number(estimate.value))
    between = f"{'~' if rough else ''}{estimate.low:.2f}-{estimate.high:.2f}"
    return Text.assemble(f"{_number(estimate.value)}\n", (between, _FAINT))


def _with_interval(estimate: Estimate) -> str:
    if math.isnan(estimate.low):
        return _number(estimate.value)
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"


def _interval(estimate: Estimate) -> str:
    return "" if math.isnan(estimate.low) else f"{estimate.low:.3f} to {estimate.high:.3f}"


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _estimate(told: dict[str, float | None]) -> Estimate:
    values = (told["value"], told["low"], told["high"])
    return Estimate(*(math.nan if value is None else value for value in values))
