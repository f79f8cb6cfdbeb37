"""Edits made in QuPath: what changed, who changed it, and what cannot be told."""

from __future__ import annotations

import gzip
import json
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

from wsiseg.curation.edits import find_edits
from wsiseg.errors import ConfigurationError
from wsiseg.export.geojson import write_cells_geojson
from wsiseg.export.regions import read_regions
from wsiseg.testing.sources import MemorySource, synthetic_cells

Document = dict[str, Any]


@pytest.fixture(scope="module")
def source() -> MemorySource:
    made = synthetic_cells(300, seed=3, origin_px=(1000, 500))
    return MemorySource(made.info, [made.read(part) for part in range(len(made.extents))])


@pytest.fixture
def document(source: MemorySource, tmp_path: Path) -> Document:
    path = tmp_path / "cells.geojson.gz"
    write_cells_geojson(path, source)
    return json.loads(gzip.decompress(path.read_bytes()))


def edited(document: Document, tmp_path: Path, source: MemorySource, **options: bool):
    path = tmp_path / "edited.geojson"
    path.write_text(json.dumps(document))
    return find_edits(source, read_regions(path), **options)


def test_what_was_not_touched_is_no_edit(
    document: Document, tmp_path: Path, source: MemorySource
) -> None:
    edits = edited(document, tmp_path, source)
    assert len(edits.kinds) == 0
    assert (edits.known, edits.confirmed, edits.ignored) == (300, 300, 0)


def test_every_kind_of_edit_is_told_apart(
    document: Document, tmp_path: Path, source: MemorySource
) -> None:
    features = document["features"]
    batch = source.read(0)
    gone = features.pop(10)
    features[20]["properties"]["classification"] = {"name": "Mitosis", "color": [1, 2, 3]}
    ring = np.array(features[30]["geometry"]["coordinates"][0])
    features[30]["geometry"]["coordinates"] = [(ring + np.array([3.0, 0.0])).tolist()]
    added = {
        "type": "Feature",
        "id": str(uuid.uuid4()),
        "geometry": shapely.geometry.mapping(shapely.Point(50, 60).buffer(12)),
        "properties": {"objectType": "detection", "classification": "Lymphocyte"},
    }
    drawn = {**added, "id": str(uuid.uuid4()), "properties": {"objectType": "annotation"}}
    features += [added, drawn]
    edits = edited(document, tmp_path, source)
    rows = {
        kind: (key, before, after)
        for kind, key, before, after in zip(
            edits.kinds, edits.uuids, edits.before, edits.after, strict=True
        )
    }
    names = [kind.name for kind in source.info.classes]
    assert sorted(edits.kinds) == ["added", "deleted", "reclassed", "reshaped"]
    assert rows["deleted"] == (gone["id"], names[batch.class_index[10]], "")
    assert rows["reclassed"][0] == features[20]["id"]
    assert rows["reclassed"][2] == "Mitosis"
    assert rows["reshaped"][0] == features[30]["id"]
    assert rows["added"] == (added["id"], "", "Lymphocyte")
    assert edits.ignored == 1
    outline = edits.outlines[list(edits.kinds).index("added")]
    # Into the pixels of the slide from those of the image as QuPath crops it.
    assert (outline.centroid.x, outline.centroid.y) == pytest.approx((1050, 560))


def test_a_part_of_the_objects_needs_to_be_said(
    document: Document, tmp_path: Path, source: MemorySource
) -> None:
    document["features"] = document["features"][:40]
    with pytest.raises(ConfigurationError, match="--partial"):
        edited(document, tmp_path, source)
    assert len(edited(document, tmp_path, source, partial=True).kinds) == 0


def test_objects_of_another_slide_are_refused(
    document: Document, tmp_path: Path, source: MemorySource
) -> None:
    for feature in document["features"]:
        feature["id"] = str(uuid.uuid4())
    with pytest.raises(ConfigurationError, match="another slide"):
        edited(document, tmp_path, source, partial=True)


def test_an_object_twice_is_refused(
    document: Document, tmp_path: Path, source: MemorySource
) -> None:
    document["features"].append(document["features"][0])
    with pytest.raises(ConfigurationError, match="twice"):
        edited(document, tmp_path, source)
