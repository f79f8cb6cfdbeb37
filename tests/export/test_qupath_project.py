"""The script for QuPath: run by Groovy against stand-ins for QuPath's classes."""

from __future__ import annotations

import dataclasses
import gzip
import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groovy import entries, run_groovy
from wsiseg.export.qupath_project import (
    Overlay,
    ProjectSlide,
    groovy_string,
    instructions,
    write_project_script,
)

AWKWARD = [
    "plain.svs",
    "two  spaces.svs",
    'it\'s $HOME ${1 + 1} "quoted".svs',
    "back\\slash \\u0041 \\\\u0042 \\' end\\",
    "Färbung Ключ 組織 😀.svs",
    "tab\tnew\nline\rreturn\0nul",
    "*/ // ''' \"\"\" /*",
    "",
]


def meaning(literal: str) -> str:
    """What a single-quoted literal of Groovy stands for."""
    assert literal[0] == literal[-1] == "'"
    names = {"n": "\n", "r": "\r", "t": "\t"}

    def one(found: re.Match[str]) -> str:
        code, letter = found[1], found[2]
        return chr(int(code, 16)) if code else names.get(letter, letter)

    units = re.sub(r"\\(?:u([0-9a-f]{4})|(.))", one, literal[1:-1])
    return units.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


@given(st.text())
def test_literals_are_ascii_on_one_line_and_mean_the_text(text: str) -> None:
    literal = groovy_string(text)
    assert literal.isascii()
    assert literal.isprintable()
    assert re.fullmatch(r"'(?:[^'\\]|\\.)*'", literal)
    assert meaning(literal) == text


@settings(max_examples=2)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=150, max_size=150))
def test_groovy_reads_literals_as_the_text(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    texts = [*texts, *AWKWARD]
    script = tmp_path_factory.mktemp("literals") / "t.groovy"
    rows = ",\n".join(groovy_string(text) for text in texts)
    script.write_text(
        f"def texts = [{rows}]\n"
        "println groovy.json.JsonOutput.toJson(texts.collect { it.collect { (int) it } })\n",
        encoding="ascii",
    )
    units = [list(memoryview(t.encode("utf-16-le")).cast("H")) for t in texts]
    assert json.loads(run_groovy(script)) == units


def geojson(path: Path, *ids: str) -> None:
    document = json.dumps({"type": "FeatureCollection", "features": [{"id": i} for i in ids]})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        gzip.compress(document.encode()) if path.suffix == ".gz" else document.encode()
    )


def slide_of(folder: Path, number: int, name: str) -> ProjectSlide:
    """A slide file with nuclei in one file or two, and tissue."""
    path = folder / "slides of '$x'" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"a slide")
    here = folder / "out" / "slides" / f"s{number}"
    if number % 2:
        geojson(here / "cells.geojson.gz", f"{number}a", f"{number}b")
        nuclei = Overlay("nuclei", "cells.geojson.gz", "k1")
    else:
        for row in range(2):
            geojson(here / "cells-geojson" / f"cells-{row:04d}-0000.geojson.gz", f"{number}-{row}")
        geojson(here / "cells-geojson" / "index.json", "never")
        nuclei = Overlay("nuclei", "cells-geojson", "k1")
    geojson(here / "tissue.geojson", f"{number}t")
    overlays = (nuclei, Overlay("tissue", "tissue.geojson", "k"))
    return ProjectSlide(str(path), f"s{number}", str(here), overlays)


def objects(project: Path) -> list[list[str]]:
    return [sorted(entry["objects"]) for entry in entries(project)]


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, Path, list[ProjectSlide]]:
    """The run, the script and the slides of a small archive with awkward names."""
    names = ["a b.svs", "it's \\u0041 $HOME.svs", "Ключ 😀.svs"]
    slides = [slide_of(tmp_path, number, name) for number, name in enumerate(names)]
    slides[1] = dataclasses.replace(slides[1], image_type="FLUORESCENCE", mpp=0.2278)
    script = tmp_path / "import.groovy"
    write_project_script(script, slides)
    return tmp_path / "out", script, slides


def test_the_script_adds_everything_and_nothing_twice(
    made: tuple[Path, Path, list[ProjectSlide]], tmp_path: Path
) -> None:
    _, script, slides = made
    project = tmp_path / "project"
    first = run_groovy(script, project)
    assert "3 of 3: s2: added, nuclei and tissue" in first
    assert "3 images added, 6 overlays imported" in first
    expected = [["0-0", "0-1", "0t"], ["1a", "1b", "1t"], ["2-0", "2-1", "2t"]]
    assert objects(project) == expected
    rows = entries(project)
    assert [row["type"] for row in rows] == [None, "FLUORESCENCE", None]
    assert [row["pixelSize"] for row in rows] == [None, [0.2278, 0.2278], None]
    again = run_groovy(script, project)
    assert "s0: there already" in again
    assert "0 images added, 0 overlays imported" in again
    assert objects(project) == expected
    assert len(entries(project)) == len(slides)


def test_unreadable_and_missing_images_are_reported_and_the_rest_goes_on(
    made: tuple[Path, Path, list[ProjectSlide]], tmp_path: Path
) -> None:
    _, script, slides = made
    Path(slides[0].path).write_bytes(b"!")
    Path(slides[1].path).unlink()
    said = run_groovy(script, tmp_path / "project")
    assert "PROBLEM: Unable to build an ImageServer for a b.svs" in said
    assert "PROBLEM" in said.splitlines()[1]
    assert "is missing; edit 'moved'" in said.splitlines()[1]
    assert "2 slides with problems" in said
    assert objects(tmp_path / "project") == [["2-0", "2-1", "2t"]]


def test_slides_and_run_that_moved_are_found(
    made: tuple[Path, Path, list[ProjectSlide]], tmp_path: Path
) -> None:
    out, script, slides = made
    old, new = Path(slides[0].path).parent, tmp_path / "a new $place"
    old.rename(new)
    out.rename(tmp_path / "out-2")
    moved = {f"{old}/": str(new), str(out): str(tmp_path / "out-2"), "/nowhere": "/else"}
    write_project_script(script, slides, moved)
    said = run_groovy(script, tmp_path / "project")
    assert "3 images added, 6 overlays imported" in said


def test_another_segmentation_is_reported_and_replaced_when_asked(
    made: tuple[Path, Path, list[ProjectSlide]], tmp_path: Path
) -> None:
    out, script, slides = made
    project = tmp_path / "project"
    run_groovy(script, project)
    nuclei = dataclasses.replace(slides[1].overlays[0], key="k2")
    geojson(out / "slides" / "s1" / "cells.geojson.gz", "new")
    slides[1] = dataclasses.replace(slides[1], overlays=(nuclei, slides[1].overlays[1]))
    write_project_script(script, slides)
    said = run_groovy(script, project)
    assert "s1: PROBLEM: it has overlays of an earlier segmentation" in said
    assert objects(project)[1] == ["1a", "1b", "1t"]
    script.write_text(script.read_text().replace("def replace = false", "def replace = true"))
    assert "s1: nuclei and tissue" in run_groovy(script, project)
    assert objects(project)[1] == ["1t", "new"]


def test_regions_go_only_to_images_that_the_script_adds(
    made: tuple[Path, Path, list[ProjectSlide]], tmp_path: Path
) -> None:
    _, script, slides = made
    geojson(tmp_path / "drawn by hand.geojson", "r")
    regions = Overlay("regions", str(tmp_path / "drawn by hand.geojson"), "k")
    with_regions = [dataclasses.replace(s, overlays=(*s.overlays, regions)) for s in slides]
    project = tmp_path / "project"
    project.mkdir()
    theirs = [{"uri": Path(slides[0].path).as_uri(), "objects": ["r"]}]
    (project / "project.qpproj").write_text(json.dumps(theirs))
    write_project_script(script, with_regions)
    run_groovy(script, project)
    assert objects(project)[0] == ["0-0", "0-1", "0t", "r"]
    assert objects(project)[1] == ["1a", "1b", "1t", "r"]


def test_thousands_of_slides_compile(tmp_path: Path) -> None:
    slides = [
        ProjectSlide(f"/nowhere/{'x' * 80}/{number}.svs", f"{number}.svs", f"/out/{number}", ())
        for number in range(1500)
    ]
    script = tmp_path / "import.groovy"
    write_project_script(script, slides)
    assert "1500 slides with problems" in run_groovy(script, tmp_path / "project")


def test_the_script_begins_with_what_a_user_has_to_know(
    made: tuple[Path, Path, list[ProjectSlide]],
) -> None:
    _, script, _ = made
    text = script.read_text(encoding="ascii")
    for line in instructions("THIS_FILE"):
        assert f"// {line}\n" in text[:600]
