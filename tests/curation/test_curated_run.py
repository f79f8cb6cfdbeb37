"""From a run to QuPath and back: edits imported, a classifier learnt, the run re-classed."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import wsiseg
from archives import tissue_pixels, write_slide
from runs import committed, job_of, plain, slide_folder, wsiseg_command
from wsiseg.store.edits import read_edits


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("curated") / "out"
    slide = out.parent / "slide.tiff"
    write_slide(slide, tissue_pixels(1600, 1200, seed=3))
    wsiseg.run(job_of(slide, exports=("table", "geojson", "labels")), out, inline=True)
    return out


@pytest.fixture
def out(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "out"))


def relabel(out: Path, file: Path, small: str, large: str) -> dict[str, str]:
    """What QuPath would export after somebody re-classed nuclei by their size."""
    folder = slide_folder(out).root
    document = json.loads(gzip.decompress((folder / "cells.geojson.gz").read_bytes()))
    features = document["features"]
    areas = [f["properties"]["measurements"]["Nucleus: Area µm^2"] for f in features]
    low, high = np.percentile(areas, [30, 70])
    given = {}
    for feature, area in zip(features, areas, strict=True):
        name = small if area < low else large if area > high else None
        if name is not None:
            feature["properties"]["classification"] = {"name": name, "color": [9, 9, 9]}
            given[feature["id"]] = name
    file.write_text(json.dumps(document))
    return given


def test_classes_given_in_qupath_are_learnt_and_shown(out: Path, tmp_path: Path) -> None:
    given = relabel(out, tmp_path / "edited.geojson", "Small", "Large")
    before, blocks = wsiseg.open_run(out).cells(slide_folder(out).name), committed(out)
    done = wsiseg_command("import", out, tmp_path / "edited.geojson", "--annotator", "A. Reader")
    assert done.returncode == 0, done.stderr
    assert f"reclassed {len(given)}" in plain(done.stdout)
    (kept,) = read_edits(slide_folder(out)).items()
    assert kept[0] == "A. Reader"
    assert kept[1][1]["counts"]["reclassed"] == len(given)
    assert (
        dict(
            zip(kept[1][0]["uuid"].to_pylist(), kept[1][0]["class_after"].to_pylist(), strict=True)
        )
        == given
    )

    done = wsiseg_command("classify", out, "--learn", "--inline")
    assert done.returncode == 0, done.stderr
    assert "Small" in done.stdout
    table = wsiseg.open_run(out).cells(slide_folder(out).name)
    assert table["uuid"].equals(before["uuid"])
    assert committed(out) == blocks, "nothing is segmented anew"
    found = dict(zip(table["uuid"].to_pylist(), table["class"].to_pylist(), strict=True))
    right = np.mean([found[key] == name for key, name in given.items()])
    assert right > 0.95
    assert set(found.values()) == {"Small", "Large"}
    shown = gzip.decompress((slide_folder(out).root / "cells.geojson.gz").read_bytes())
    assert b'"Small"' in shown

    done = wsiseg_command("classify", out, "--none", "--inline")
    assert done.returncode == 0, done.stderr
    again = wsiseg.open_run(out).cells(slide_folder(out).name)
    assert again["class"].to_pylist() == before["class"].to_pylist()


def test_what_cannot_be_done_is_said(out: Path, tmp_path: Path) -> None:
    done = wsiseg_command("classify", out)
    assert done.returncode == 1
    assert "--learn" in plain(done.stderr)
    done = wsiseg_command("classify", out, "--learn")
    assert done.returncode == 1
    assert "wsiseg import" in plain(done.stderr)
    relabel(out, tmp_path / "edited.geojson", "Small", "Large")
    done = wsiseg_command("import", out, tmp_path / "edited.geojson", "--annotator", "../x")
    assert done.returncode == 1
    assert "letters" in plain(done.stderr)
    done = wsiseg_command("import", out, tmp_path / "no.geojson", "--annotator", "A")
    assert done.returncode == 1
    assert "no.geojson" in plain(done.stderr)
    assert "Traceback" not in done.stderr
