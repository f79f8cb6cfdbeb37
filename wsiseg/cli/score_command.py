"""``wsiseg score``: biomarkers, grading features and region tables of a finished run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wsiseg.errors import ConfigurationError, WsisegError

if TYPE_CHECKING:
    from wsiseg.execution.results import Run
    from wsiseg.scoring import ScoreOptions

Names = list[str] | None


def score(
    out: Annotated[Path, typer.Argument(help="Run directory.", show_default=False)],
    biomarker: Annotated[
        Names,
        typer.Option(
            help="ki67, er, pr, h-score, allred, pdl1, her2, til or grading (repeatable). "
            "Without: tables of regions only."
        ),
    ] = None,
    regions: Annotated[
        Path | None,
        typer.Option(
            help="GeoJSON of regions from QuPath; for several slides a folder with one a slide, "
            "named as the slide."
        ),
    ] = None,
    slide: Annotated[
        Names, typer.Option(help="Name of a slide in OUT (repeatable; default: all).")
    ] = None,
    tumour: Annotated[
        Names,
        typer.Option(help="Class of cells that are tumour cells (repeatable; default: all)."),
    ] = None,
    immune: Annotated[
        Names, typer.Option(help="Class of cells that are lymphocytes (repeatable).")
    ] = None,
    threshold: Annotated[
        list[float] | None,
        typer.Option(
            help="Least optical density of 1+, 2+ and 3+: three times, or once for 1+, with 2+ and "
            "3+ at twice and three times it. Default: 0.2, 0.4, 0.6."
        ),
    ] = None,
    column: Annotated[
        str | None,
        typer.Option(help="Column of the density, in place of the biomarker's own."),
    ] = None,
    hot_spot_mm2: Annotated[
        float | None, typer.Option(help="Area of Ki-67's hot spot. Default: 0.196, a circle.")
    ] = None,
    hot_spot_cells: Annotated[
        int, typer.Option(min=1, help="Fewest nuclei that a hot spot may hold.")
    ] = 500,
    block_um: Annotated[
        float, typer.Option(help="Side of the blocks that intervals are drawn from.")
    ] = 200.0,
    resamples: Annotated[int, typer.Option(min=100, help="Bootstrap resamples.")] = 2000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the bootstrap.")] = 0,
    tiles: Annotated[
        float | None,
        typer.Option("--map", help="Also write a map (map.csv) of square tiles of this many µm."),
    ] = None,
) -> None:
    """Score a finished run: biomarkers, nuclear features, regions. For research use only.

    Writes slides/NAME/scores.json, and scores.csv and regions.csv in OUT.
    """
    from wsiseg.biomarkers import Thresholds
    from wsiseg.execution.results import open_run
    from wsiseg.regions import HotSpotRule
    from wsiseg.scoring import ScoreOptions
    from wsiseg.statistics import Resampling

    area: dict[str, Any] = {} if hot_spot_mm2 is None else {"area_mm2": hot_spot_mm2}
    names: Any = tuple(dict.fromkeys(biomarker or ()))
    options = ScoreOptions(
        names,
        tuple(tumour or ()),
        tuple(immune or ()),
        Thresholds(*_thresholds(threshold)),
        column,
        HotSpotRule(least_cells=hot_spot_cells, **area),
        Resampling(block_um, resamples, seed),
    )
    run = open_run(out)
    wanted = _slides(run, slide)
    if regions is not None and not regions.is_dir() and len(wanted) > 1:
        raise ConfigurationError(
            f"{regions} belongs to one slide, but {len(wanted)} are to be scored: name it with "
            "--slide, or give a folder with a file a slide"
        )
    failed = [name for name in wanted if not _score_one(run, name, options, regions, tiles)]
    if failed:
        raise typer.Exit(1)


def _score_one(
    run: Run, name: str, options: ScoreOptions, regions: Path | None, tiles: float | None
) -> bool:
    """Score, show and write one slide; whether it could be done."""
    from wsiseg.cli.display import console, show_error
    from wsiseg.cli.score_display import scores_view
    from wsiseg.scoring import score_slide, write_slide_scores, write_table
    from wsiseg.scoring.maps import write_map

    try:
        with console(stderr=True).status(f"scoring {name}"):
            found = score_slide(run, name, options, _regions(regions, name))
            written = [write_slide_scores(run, found), *write_table(run)]
            if tiles is not None:
                written.append(write_map(run, name, options, tiles))
    except WsisegError as error:
        show_error(console(stderr=True), error)
        return False
    for part in scores_view(found, written):
        console().print(part)
    return True


def _slides(run: Run, asked: Names) -> tuple[str, ...]:
    if asked:
        unknown = [name for name in asked if name not in run.slides]
        if unknown:
            raise ConfigurationError(
                f"{run.path} has no slide {unknown[0]!r}; it has {', '.join(run.slides)}"
            )
        return tuple(dict.fromkeys(asked))
    if not run.complete:
        raise ConfigurationError(f"{run.path} has no slide that is whole; finish the run first")
    return run.complete


def _regions(path: Path | None, slide: str) -> Any:
    """The regions of a slide, ``None`` where there are none for it."""
    from wsiseg.export.regions import read_regions

    if path is None or not path.is_dir():
        return None if path is None else read_regions(path)
    stems = (slide, Path(slide).stem)
    for stem in stems:
        for suffix in (".geojson", ".geojson.gz", ".json"):
            if (path / (stem + suffix)).is_file():
                return read_regions(path / (stem + suffix))
    raise ConfigurationError(f"{path} has no regions of {slide}: no file {stems[0]}.geojson")


def _thresholds(given: list[float] | None) -> tuple[float, ...]:
    if not given:
        return ()
    if len(given) == 1:
        # Rounded, so that three times 0.3 is told as 0.9.
        return given[0], round(2 * given[0], 9), round(3 * given[0], 9)
    if len(given) != 3:
        raise ConfigurationError(f"give --threshold once or three times, not {len(given)} times")
    return tuple(given)
