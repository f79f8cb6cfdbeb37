"""``wsiseg evaluate``: which of the three comparisons is meant, progress, the table of scores."""

from __future__ import annotations

import datetime
import math
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wsiseg.errors import ConfigurationError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

    from wsiseg.evaluation.bootstrap import Estimate
    from wsiseg.evaluation.evaluate import Evaluation
    from wsiseg.evaluation.pairs import MppRule
    from wsiseg.evaluation.summary import Summary

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
_INTERVAL_WIDTH = len("0.12-0.34")

Folders = list[Path] | None


def evaluate(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")],
    data: Annotated[
        Folders,
        typer.Option(
            help="Folder with images/ and instances/ to try a model on (repeatable).",
            show_default=False,
        ),
    ] = None,
    model: Annotated[str | None, typer.Option(help="The model to try, with --data.")] = None,
    truth: Annotated[
        Path | None, typer.Option(help="Folder of true label images, with --predicted.")
    ] = None,
    predicted: Annotated[
        Path | None, typer.Option(help="Folder of label images to judge, with --truth.")
    ] = None,
    run: Annotated[
        Path | None, typer.Option(help="Run directory to judge, with --against.")
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(help="Another run directory, or a GeoJSON of annotated nuclei."),
    ] = None,
    within: Annotated[
        list[str] | None,
        typer.Option(
            help="Class or name of the annotations in --against that bound the areas in which "
            "nuclei were annotated (repeatable; default: the whole slide)."
        ),
    ] = None,
    second: Annotated[
        Path | None,
        typer.Option(help="Label images of a second annotator, to judge on the same yardstick."),
    ] = None,
    groups: Annotated[
        Path | None,
        typer.Option(
            help="CSV: name,group,... The group (patient) is resampled as a whole; further columns "
            "(organ, site, scanner, ...) are strata; a column mpp states pixel sizes."
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="Images or slides to take, by name or pattern: 'TNBC/07_*' (repeatable)."
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Take the images of a list: splits.json:free/val.")
    ] = None,
    mpp: Annotated[
        str | None,
        typer.Option(
            help="Pixel size in µm/px of images that state none, or 'nuclei': from the size of "
            "their true nuclei."
        ),
    ] = None,
    channel: Annotated[
        str | None, typer.Option(help="Channel of the images to segment, by name or number.")
    ] = None,
    class_: Annotated[
        list[str] | None,
        typer.Option("--class", help="Name of a value in classes/: 1=Tumour (repeatable)."),
    ] = None,
    iou: Annotated[
        list[float] | None,
        typer.Option(help="Threshold of IoU for F1, precision, recall (repeatable)."),
    ] = None,
    resamples: Annotated[int, typer.Option(min=100, help="Bootstrap resamples.")] = 2000,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
) -> None:
    """Judge a segmentation: a model on labelled images, label images, or a run.

    Writes evaluation.json, images.csv and evaluation.png, and prints a table.
    """
    from wsiseg.evaluation.evaluate import Options, evaluate_labels, evaluate_model, evaluate_run
    from wsiseg.evaluation.groups import Selection, read_split
    from wsiseg.evaluation.metrics import THRESHOLDS
    from wsiseg.evaluation.report import Circumstances, write_evaluation
    from wsiseg.models.zoo import load_segmenter

    kind = _kind(
        {"--data": data, "--model": model},
        {"--truth": truth, "--predicted": predicted},
        {"--run": run, "--against": against},
    )
    _refuse_unless(kind == "--data", "--data", {"--mpp": mpp, "--channel": channel})
    _refuse_unless(kind == "--run", "--run", {"--within": within})
    _refuse_unless(kind != "--run", "--data or --truth", {"--second": second, "--class": class_})
    options = Options(
        select=Selection(read_split(split) if split is not None else None, tuple(only or ())),
        groups=groups,
        thresholds=tuple(iou) if iou else THRESHOLDS,
        resamples=resamples,
        seed=seed,
        classes=_class_names(class_ or []),
    )
    with _Watch(_console(stderr=True)) as watch:
        if data and model is not None:
            found = evaluate_model(
                data,
                load_segmenter(model),
                options,
                second=second,
                mpp=_mpp_rule(mpp),
                channel=channel,
                progress=watch,
            )
        elif truth is not None and predicted is not None:
            found = evaluate_labels(truth, predicted, options, second=second, progress=watch)
        elif run is not None and against is not None:
            found = evaluate_run(run, against, options, within=within or (), progress=watch)
        else:
            raise AssertionError(kind)
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    write_evaluation(out, found, Circumstances(today, shlex.join(["wsiseg", *sys.argv[1:]])))
    console = _console()
    for part in evaluation_view(found):
        console.print(part)
    console.print(f"Results in {out}", style=_FAINT, highlight=False)


def evaluation_view(found: Evaluation) -> list[RenderableType]:
    """What the terminal shows of an evaluation: tables, then doubts."""
    from rich.text import Text

    from wsiseg.evaluation.picture import counted

    whole = found.all
    line = (
        f"{counted(whole.images, 'image')} of {counted(whole.groups, 'group')}; "
        f"{whole.truth:,} true nuclei, "
        f"{whole.predicted:,} predicted"
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
    parts += _annotator_lines(found)
    if found.seams:
        parts += [Text(), _detection_table("Nuclei", found.seams)]
    if found.classes:
        parts += [Text(), _class_table(found.classes), *_mpq_lines(found.classes)]
    parts += [Text(f"Note: {warning}", "yellow") for warning in found.warnings]
    return parts


class _Watch:
    """Shows how far an evaluation is, where there is a terminal."""

    def __init__(self, console: Console) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("comparing", total=None)

    def __enter__(self) -> _Watch:
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


def _kind(*kinds: dict[str, Any]) -> str:
    """The first option of the one comparison that is asked for, whole."""
    asked = [options for options in kinds if any(options.values())]
    if len(asked) != 1:
        ways = "; ".join(" with ".join(options) for options in kinds)
        raise ConfigurationError(f"choose one of: {ways}")
    missing = [name for name, value in asked[0].items() if not value]
    if missing:
        there = next(name for name, value in asked[0].items() if value)
        raise ConfigurationError(f"{there} needs {' and '.join(missing)} beside it")
    return next(iter(asked[0]))


def _refuse_unless(allowed: bool, where: str, options: dict[str, Any]) -> None:
    for name, value in options.items():
        if value and not allowed:
            raise ConfigurationError(f"{name} applies only with {where}")


def _mpp_rule(text: str | None) -> MppRule:
    if text is None or text == "nuclei":
        return text  # type: ignore[return-value]
    try:
        return float(text)
    except ValueError as error:
        raise ConfigurationError(
            f"--mpp takes a number in µm/px or the word nuclei, not {text!r}"
        ) from error


def _class_names(texts: list[str]) -> dict[int, str]:
    names = {}
    for text in texts:
        value, _, name = text.partition("=")
        if not value.isdecimal() or not name:
            raise ConfigurationError(f"--class takes VALUE=NAME, as 1=Tumour, not {text!r}")
        names[int(value)] = name
    return names


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
    from rich.text import Text

    table = _table(column)
    shown = ("f1@0.50", "aji", "pq")
    for name in ("Images", "Groups", "Nuclei"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in shown:
        table.add_column(_SHOWN[name], justify="right", min_width=_INTERVAL_WIDTH)
    for label, summary in levels.items():
        counts = (f"{n:,}" for n in (summary.images, summary.groups, summary.truth))
        table.add_row(Text(label), *counts, *(_cell(summary.mean[n]) for n in shown))
    return table


def _detection_table(title: str, parts: Mapping[str, Any]) -> Table:
    from rich.text import Text

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
    from rich.text import Text

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
    from rich.text import Text

    if "mpq" not in classes:
        return []
    mpq, plus = _estimate(classes["mpq"]), _estimate(classes["mpq_plus"])
    return [
        Text.assemble(
            ("mPQ ", "cyan"), _with_interval(mpq), (", mPQ+ ", "cyan"), _with_interval(plus)
        )
    ]


def _annotator_lines(found: Evaluation) -> list[RenderableType]:
    from rich.text import Text

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
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column(title, overflow="fold")
    return table


def _cell(estimate: Estimate) -> RenderableType:
    from rich.text import Text

    if math.isnan(estimate.low):
        return Text(_number(estimate.value))
    return Text.assemble(
        f"{_number(estimate.value)}\n", (f"{estimate.low:.2f}-{estimate.high:.2f}", _FAINT)
    )


def _with_interval(estimate: Estimate) -> str:
    if math.isnan(estimate.low):
        return _number(estimate.value)
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"


def _interval(estimate: Estimate) -> str:
    return "" if math.isnan(estimate.low) else f"{estimate.low:.3f} to {estimate.high:.3f}"


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _estimate(told: dict[str, float | None]) -> Estimate:
    from wsiseg.evaluation.bootstrap import Estimate

    values = (told["value"], told["low"], told["high"])
    return Estimate(*(math.nan if value is None else value for value in values))


def _console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=stderr)
