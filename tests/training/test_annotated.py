"""Tiles from outlines drawn on a slide."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wsiseg.errors import ConfigurationError
from wsiseg.slides.slide import open_slide
from wsiseg.training.config import AnnotatedSlide, Data
from wsiseg.training.sources import load_part


def feature(ring: list[tuple[float, float]], class_name: str) -> dict[str, Any]:
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [[*ring, ring[0]]]},
        "properties": {"objectType": "annotation", "classification": {"name": class_name}},
    }


def square(x: float, y: float, side: float) -> list[tuple[float, float]]:
    return [(x, y), (x + side, y), (x + side, y + side), (x, y + side)]


def annotated(folder: Path, slide: Path, features: list[dict[str, Any]]) -> AnnotatedSlide:
    path = folder / "drawn.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return AnnotatedSlide(
        name="drawn", slide=slide, annotations=path, area="Training", licence="CC0-1.0"
    )


def test_the_channel_of_a_fluorescence_slide_is_named(tmp_path: Path, slides: Path) -> None:
    path = slides / "test3_DAPI_TRITC_2ch.ome.tiff"
    drawn = [feature(square(800, 1500, 64), "Training"), feature(square(810, 1510, 9), "Nucleus")]
    described = annotated(tmp_path, path, drawn)
    with pytest.raises(ConfigurationError, match="name the nuclear one"):
        load_part(Data(slides=(described,)), "train", "fluorescence")
    with pytest.raises(ConfigurationError, match="no brightfield slide"):
        load_part(Data(slides=(described,)), "train")
    by_number = described.model_copy(update={"channel": "2"})
    (tile,) = load_part(Data(slides=(by_number,)), "train", "fluorescence")
    with open_slide(path) as slide:
        box = type(slide.level0.box)(800, 1500, 864, 1564)
        assert np.array_equal(tile.pixels, slide.read(box, slide.level0, (1,)))


def test_areas_become_tiles(tmp_path: Path, slides: Path) -> None:
    path = slides / "CMU-1-Small-Region.svs"
    described = annotated(
        tmp_path,
        path,
        [
            feature(square(800, 1500, 200), "Training"),
            feature(square(900.5, 1600.5, 10), "Nucleus"),
            feature(square(995, 1650, 10), "Nucleus"),
            feature(square(100, 100, 10), "Nucleus"),
        ],
    )
    (tile,) = load_part(Data(slides=(described,)), "train")
    assert tile.key == "drawn/0"
    assert tile.mpp == pytest.approx(0.499)
    with open_slide(path) as slide:
        box = type(slide.level0.box)(800, 1500, 1000, 1700)
        assert np.array_equal(tile.pixels, slide.read(box, slide.level0))
    assert sorted(np.unique(tile.labels)) == [0, 1, 2]
    assert (tile.labels[100:110, 100:110] == 1).all()
    assert (tile.labels == 1).sum() == 100
    # The second reaches beyond the area.
    assert (tile.labels == 2).sum() == 50


@pytest.mark.parametrize(
    ("area", "message"),
    [
        (feature([(800, 1500), (1000, 1500), (800, 1700)], "Training"), "no upright rectangle"),
        (feature(square(800, 1500, 200), "Other"), "no region of the class"),
        (feature(square(0, 0, 9000), "Training"), "8192"),
    ],
)
def test_areas_that_cannot_be_used_are_refused(
    tmp_path: Path, slides: Path, area: dict[str, Any], message: str
) -> None:
    nucleus = feature(square(900, 1600, 10), "Nucleus")
    described = annotated(tmp_path, slides / "CMU-1-Small-Region.svs", [area, nucleus])
    with pytest.raises(ConfigurationError, match=message):
        load_part(Data(slides=(described,)), "train")
