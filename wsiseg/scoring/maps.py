"""Maps of a slide's cells by square tiles."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np

from wsiseg.biomarkers import intensity_classes
from wsiseg.execution.results import Run
from wsiseg.files import writing
from wsiseg.regions import GridMap, count_map, density_map, grid_of, mean_map, share_map, tissue_map
from wsiseg.scoring.cells import read_cells
from wsiseg.scoring.options import NUCLEUS_DAB, ScoreOptions

FILE = "map.csv"
_MEANS = {"area_um2": "µm²", "nucleus_haematoxylin_od_mean": "OD", NUCLEUS_DAB: "OD"}


def slide_maps(run: Run, slide: str, options: ScoreOptions, side_um: float) -> dict[str, GridMap]:
    """Maps of a slide by name: ``tissue_mm2``, ``cells``, ``density_per_mm2``,
    ``positive_percent`` (tumour cells of 1+ and more, where the density was measured) and means
    of features.

    Raises
    ------
    ConfigurationError, StoreError
        As :func:`wsiseg.scoring.score_slide`, and if there were too many tiles.
    """
    level0 = run.source(slide).info.level0
    cells = read_cells(run, slide, level0, [options.column] if options.column else [])
    tissue, grid = run.tissue(slide), grid_of(level0, side_um)
    maps = {
        "tissue_mm2": tissue_map(grid, tissue),
        "cells": count_map(grid, cells.points),
        "density_per_mm2": density_map(grid, cells.points, tissue),
    }
    for name, unit in _MEANS.items():
        if name in cells.columns:
            maps[f"mean_{name}"] = mean_map(grid, cells.points, cells.columns[name], name, unit)
    density = cells.columns.get(options.column or NUCLEUS_DAB)
    if density is not None:
        chosen = np.isfinite(density)
        if options.tumour:
            chosen &= cells.of_class(options.tumour, "tumour cells")
        positive = intensity_classes(density[chosen], options.thresholds) > 0
        maps["positive_percent"] = share_map(grid, cells.points.take(chosen), positive)
    return maps


def write_map(run: Run, slide: str, options: ScoreOptions, side_um: float) -> Path:
    """Write ``slides/NAME/map.csv``: a row for every tile that holds tissue or cells; its path."""
    maps = slide_maps(run, slide, options, side_um)
    held = (maps["tissue_mm2"].values > 0) | (maps["cells"].values > 0)
    rows, columns = np.nonzero(held)
    values = [one.values[rows, columns].tolist() for one in maps.values()]
    path = run.path / "slides" / slide / FILE
    with writing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["x_um", "y_um", "side_um", *maps])
        for place in zip(columns * side_um, rows * side_um, *values, strict=True):
            x, y, *numbers = place
            writer.writerow([x, y, side_um, *("" if math.isnan(n) else n for n in numbers)])
    return path
