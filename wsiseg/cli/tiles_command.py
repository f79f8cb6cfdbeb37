"""``wsiseg tiles``: tiles of images and labels out of a finished run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def tiles(
    run: Annotated[Path, typer.Argument(help="Run directory.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="New folder for the tiles.")],
    count: Annotated[int, typer.Option(min=1, help="Tiles to cut at most.")] = 50,
    side: Annotated[int, typer.Option(min=64, max=4096, help="Side of a tile in pixels.")] = 512,
    mpp: Annotated[
        float | None,
        typer.Option(min=0.05, help="Pixel size in µm/px. Default: that of the run's model."),
    ] = None,
    slide: Annotated[
        list[str] | None, typer.Option(help="Name of a slide in RUN (repeatable; default: all).")
    ] = None,
    nuclei: Annotated[int, typer.Option(min=1, help="Least number of nuclei in a tile.")] = 10,
    doubtful: Annotated[
        float,
        typer.Option(
            min=0.0, max=1.0, help="Greatest share of nuclei in a tile with probability below 0.5."
        ),
    ] = 1.0,
    probability: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, help="Nuclei of a lower probability become background."),
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="The same seed gives the same tiles.")] = 0,
) -> None:
    """Cut tiles and their nuclei out of a run, to correct them by hand or to train on them.

    Writes images/, instances/ and meta.json as wsiseg train and wsiseg evaluate read them.
    """
    from wsiseg.cli.display import console
    from wsiseg.training.cut import Cut, cut_tiles

    wanted = Cut(
        count=count,
        side=side,
        mpp=mpp,
        least_nuclei=nuclei,
        most_doubtful=doubtful,
        least_probability=probability,
        slides=tuple(slide or ()),
        seed=seed,
    )
    with console(stderr=True).status(f"cutting tiles from {run}"):
        written = cut_tiles(run, out, wanted)
    console().print(f"{len(written)} tiles in {out}", highlight=False)
