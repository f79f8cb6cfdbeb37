"""``wsiseg measure`` and ``wsiseg features``: what is measured of nuclei, and what it means."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import typer

from wsiseg.cli.cluster_options import ClusterFile, SchedulerAddress, expect_workers, where
from wsiseg.cli.leading import finish, interruptible, progress
from wsiseg.errors import ConfigurationError

Features = Annotated[
    list[str] | None,
    typer.Option(
        "--features",
        help="Set of features (repeatable): shape, stain, neighbours, position, texture, graph, "
        "contour, one of a plug-in's, or none. Default: the first four.",
        show_default=False,
    ),
]
StainVectors = Annotated[
    str | None,
    typer.Option(
        help="Optical densities of haematoxylin and the counterstain, red, green and blue of "
        "each: '0.65,0.70,0.29 0.27,0.57,0.78'. Default: estimated on each slide.",
        show_default=False,
    ),
]


def measure(
    out: Annotated[Path, typer.Argument(help="Run directory.", show_default=False)],
    features: Annotated[
        list[str] | None,
        typer.Option(
            "--features",
            help="Set of features (repeatable), see wsiseg features. Default: those of the run.",
            show_default=False,
        ),
    ] = None,
    stain_vectors: StainVectors = None,
    slide: Annotated[
        list[str] | None,
        typer.Option(help="Name of a slide in OUT (repeatable; default: all).", show_default=False),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes. Default: one a core, as memory allows.")
    ] = None,
    inline: Annotated[
        bool, typer.Option("--inline", help="Do everything in this process.")
    ] = False,
    scheduler: SchedulerAddress = None,
    cluster: ClusterFile = None,
) -> None:
    """Measure the nuclei of a finished segmentation anew, without segmenting again.

    What is there with the same settings is kept; of the outputs of the run, those that depend
    on what changed are written again.
    """
    expect_workers(scheduler, cluster, inline=inline)
    from wsiseg.execution.api import measure_run

    settings: dict[str, Any] = {}
    if features:
        settings["features"] = tuple(features)
    if stain_vectors is not None:
        settings["stain_vectors"] = parse_vectors(stain_vectors)
    with interruptible(), progress() as shown:
        place = where(workers, scheduler, cluster, inline=inline)
        result = measure_run(out, settings, slides=slide, cluster=place, progress=shown)
    finish(result)


def features(
    sets: Annotated[
        list[str] | None,
        typer.Argument(help="Sets of features. Default: all.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Say what can be measured of nuclei: names of columns, units, definitions, sources."""
    from dataclasses import asdict

    import orjson

    from wsiseg.cli.display import console
    from wsiseg.features.definitions import DEFAULT_SETS
    from wsiseg.features.plugged import set_names
    from wsiseg.features.registry import features_of

    unknown = sorted(set(sets or ()) - set(set_names()))
    if unknown:
        raise ConfigurationError(
            f"there is no set of features {', '.join(unknown)}; there are {', '.join(set_names())}"
        )
    chosen = features_of(sets)
    if as_json:
        text = orjson.dumps([asdict(feature) for feature in chosen], option=orjson.OPT_INDENT_2)
        typer.echo(text.decode())
        return
    page = console()
    for name in dict.fromkeys(feature.set for feature in chosen):
        default = " (measured by default)" if name in DEFAULT_SETS else ""
        page.print(f"{name}{default}", style="bold", markup=False, highlight=False)
        for feature in chosen:
            if feature.set == name:
                unit = f" [{feature.unit}]" if feature.unit else ""
                source = f" Source: {feature.source}." if feature.source else ""
                page.print(f"  {feature.name}{unit}", markup=False, highlight=False)
                page.print(
                    f"      {feature.definition}{source}",
                    markup=False,
                    highlight=False,
                    soft_wrap=True,
                )


def parse_vectors(text: str) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Two stain vectors from six numbers, parted by commas, semicolons or blanks.

    Raises
    ------
    ConfigurationError
        If there are not six numbers.
    """
    try:
        numbers = [float(word) for word in text.replace(",", " ").replace(";", " ").split()]
    except ValueError:
        numbers = []
    if len(numbers) != 6 or not all(map(math.isfinite, numbers)):
        raise ConfigurationError(
            "--stain-vectors takes six numbers, the optical densities of haematoxylin and of the "
            f"counterstain: '0.65,0.70,0.29 0.27,0.57,0.78'; it was {text!r}"
        )
    a, b, c, d, e, f = numbers
    return (a, b, c), (d, e, f)
