"""``wsiseg evaluate``: which of the three comparisons is meant, and what of it is shown."""

from __future__ import annotations

import datetime
import math
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wsiseg.errors import ConfigurationError

if TYPE_CHECKING:
    from wsiseg.evaluation.pairs import MppRule

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
    trust: Annotated[
        bool, typer.Option("--trust", help="Run a model that can run code of its maker's.")
    ] = False,
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

    Writes evaluation.json, images.csv and pictures (evaluation.png, worst.png); prints tables.
    """
    from wsiseg.cli.display import console
    from wsiseg.cli.evaluate_display import EvaluationProgress, evaluation_view
    from wsiseg.evaluation.evaluate import Options, evaluate_labels, evaluate_model, evaluate_run
    from wsiseg.evaluation.groups import Selection, read_split
    from wsiseg.evaluation.metrics import THRESHOLDS
    from wsiseg.evaluation.report import Circumstances, write_evaluation
    from wsiseg.models.trust import require_trusted
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
    with EvaluationProgress(console(stderr=True)) as watch:
        if data and model is not None:
            require_trusted(model, trust=trust)
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
    screen = console()
    for part in evaluation_view(found):
        screen.print(part)
    screen.print(f"Results in {out}", style="bright_black", highlight=False)


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
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise ConfigurationError(f"--mpp takes a size in µm/px or the word nuclei, not {text!r}")
    return value


def _class_names(texts: list[str]) -> dict[int, str]:
    names = {}
    for text in texts:
        value, _, name = text.partition("=")
        if not value.isdecimal() or not name:
            raise ConfigurationError(f"--class takes VALUE=NAME, as 1=Tumour, not {text!r}")
        names[int(value)] = name
    return names
