"""``wsiseg import`` and ``wsiseg classify``: edits out of QuPath, and classes learnt from them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wsiseg.cli.leading import finish, interruptible, progress
from wsiseg.errors import ConfigurationError

if TYPE_CHECKING:
    from wsiseg.classify.forest import Forest
    from wsiseg.curation.importing import Imported

OutArgument = Annotated[Path, typer.Argument(help="Run directory.", show_default=False)]
Slides = Annotated[
    list[str] | None,
    typer.Option("--slide", help="Name of a slide in OUT (repeatable; default: all)."),
]


def import_(
    out: OutArgument,
    file: Annotated[
        Path,
        typer.Argument(
            help="GeoJSON exported from QuPath (.geojson, .json, .gz).", show_default=False
        ),
    ],
    annotator: Annotated[str, typer.Option(help="Who made the edits.", show_default=False)],
    slide: Annotated[
        str | None, typer.Option(help="Name of the slide in OUT; default: the only one.")
    ] = None,
    partial: Annotated[
        bool,
        typer.Option(
            "--partial",
            help="The file holds some of the objects only: the others were not deleted.",
        ),
    ] = False,
) -> None:
    """Take edits made in QuPath back: nuclei deleted, re-classed, reshaped and added.

    They are kept in OUT under the annotator's name; the segmentation itself stays as it is.
    """
    from wsiseg.cli.display import console
    from wsiseg.curation.importing import import_edits

    with console(stderr=True).status(f"reading {file.name}"):
        found = import_edits(out, file, annotator, slide=slide, partial=partial)
    _show_import(found)


def classify(
    out: OutArgument,
    learn: Annotated[
        bool, typer.Option("--learn", help="Train a classifier on the classes given in QuPath.")
    ] = False,
    classifier: Annotated[
        Path | None,
        typer.Option(
            help="The classifier: written by --learn (default: OUT/classifier.npz), else applied.",
            show_default=False,
        ),
    ] = None,
    none: Annotated[
        bool, typer.Option("--none", help="Go back to the classes of the model.")
    ] = False,
    annotator: Annotated[
        list[str] | None,
        typer.Option(help="Learn from this annotator's edits only (repeatable; default: all)."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the trees and of the test.")] = 0,
    slide: Slides = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes. Default: one a core, as memory allows.")
    ] = None,
    inline: Annotated[
        bool, typer.Option("--inline", help="Do everything in this process.")
    ] = False,
) -> None:
    """Give the cells of a run classes by a classifier, learnt here or elsewhere.

    The exports that show classes are written again; nothing is segmented or measured anew.
    """
    from wsiseg.cli.display import console
    from wsiseg.execution.api import measure_run

    if none == (learn or classifier is not None):
        raise ConfigurationError("give --learn, --classifier FILE or --none")
    settings: dict[str, Any] = {"classifier": None}
    if not none:
        path = classifier or out / "classifier.npz"
        if learn:
            from wsiseg.classify.forest import write_forest
            from wsiseg.curation.labels import train_on_edits

            with console(stderr=True).status("training"):
                forest = train_on_edits(out, tuple(annotator or ()), seed)
                write_forest(path, forest)
            _show_forest(forest, path)
        settings["classifier"] = str(path)
    with interruptible(), progress() as shown:
        result = measure_run(
            out, settings, slides=slide, workers=workers, inline=inline, progress=shown
        )
    finish(result)


def _show_import(found: Imported) -> None:
    from rich.table import Table

    from wsiseg.cli.display import console
    from wsiseg.curation.edits import KINDS

    edits = found.edits
    page = console()
    table = Table(title=f"{found.slide}: edits by {found.annotator}", title_justify="left")
    table.add_column("edit")
    table.add_column("nuclei", justify="right")
    for kind in KINDS:
        table.add_row(kind, f"{edits.count(kind):,}")
    table.add_row("as segmented", f"{edits.confirmed - _touched(found):,}")
    page.print(table)
    if found.replaced:
        page.print(f"Earlier edits by {found.annotator} on this slide were replaced.")
    if edits.ignored:
        page.print(f"{edits.ignored:,} annotations and points of the file are no nuclei.")


def _touched(found: Imported) -> int:
    edits = found.edits
    changed = (edits.kinds == "reclassed") | (edits.kinds == "reshaped")
    return len(set(edits.uuids[changed]))


def _show_forest(forest: Forest, path: Path) -> None:
    from rich.table import Table

    from wsiseg.cli.display import console

    page, test = console(), forest.about["test"]
    table = Table(title=f"Classifier {path}", title_justify="left")
    for name in ("class", "labelled", "precision", "recall"):
        table.add_column(name, justify="left" if name == "class" else "right")
    for name, count in forest.about["labels"].items():
        scores = [test[kind][name] for kind in ("precision", "recall")] if test else [None, None]
        table.add_row(name, f"{count:,}", *("-" if s is None else f"{s:.2f}" for s in scores))
    page.print(table)
    if test:
        page.print(
            f"Tested on {test['nuclei']:,} labelled nuclei of slides or areas not trained on: "
            f"accuracy {test['accuracy']:.2f}, macro F1 {test['macro_f1']:.2f}."
        )
    else:
        page.print("Not tested: all labels are of one area; label nuclei further apart.")
