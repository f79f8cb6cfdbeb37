"""Files, picture and command line."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from wsiseg.cli.evaluate_command import evaluate
from wsiseg.cli.evaluate_display import evaluation_view
from wsiseg.errors import ConfigurationError
from wsiseg.evaluation.cases import Compared, measure
from wsiseg.evaluation.evaluate import Evaluation, Options, evaluate_labels, evaluate_model
from wsiseg.evaluation.gallery import draw_gallery, view
from wsiseg.evaluation.groups import Selection
from wsiseg.evaluation.matching import match
from wsiseg.evaluation.metrics import image_scores
from wsiseg.evaluation.picture import draw_evaluation
from wsiseg.evaluation.report import Circumstances, evaluation_json, image_rows, write_evaluation
from wsiseg.testing.segmenters import PaintedSegmenter, mock_spec, paint

MADE = Circumstances("2026-01-02", "wsiseg evaluate ...")


def folders(place: Path, images: int = 6) -> tuple[Path, Path]:
    rng = np.random.default_rng(0)
    ys, xs = np.mgrid[:80, :90]
    for number in range(images):
        truth, found = np.zeros((80, 90), np.uint16), np.zeros((80, 90), np.uint16)
        for label in range(1, 9):
            x, y, r = rng.uniform(0, 90), rng.uniform(0, 80), rng.uniform(4, 8)
            truth[(xs - x) ** 2 + (ys - y) ** 2 <= r**2] = label
            x, y = x + rng.normal(0, 1), y + rng.normal(0, 1)
            if rng.random() < 0.8:
                found[(xs - x) ** 2 + (ys - y) ** 2 <= r**2] = label
        for side, labels in (("truth", truth), ("found", found)):
            (place / side).mkdir(parents=True, exist_ok=True)
            Image.fromarray(labels).save(place / side / f"i{number}.png")
    lines = [f"i{n},p{n // 2},{'AB'[n % 2]}" for n in range(images)]
    (place / "groups.csv").write_text("name,group,organ\n" + "\n".join(lines) + "\n")
    return place / "truth", place / "found"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluation")
    folders(folder)
    return folder


@pytest.fixture(scope="module")
def found(place: Path) -> Evaluation:
    options = Options(groups=place / "groups.csv", resamples=200, seed=5)
    return evaluate_labels(place / "truth", place / "found", options, second=place / "found")


def test_equal_evaluations_make_equal_files(place: Path, found: Evaluation, tmp_path: Path) -> None:
    options = Options(groups=place / "groups.csv", resamples=200, seed=5)
    again = evaluate_labels(place / "truth", place / "found", options, second=place / "found")
    for name, one in (("a", found), ("b", again)):
        write_evaluation(tmp_path / name, one, MADE)
    names = {path.name for path in (tmp_path / "a").iterdir()}
    assert names == {"evaluation.json", "images.csv", "evaluation.png"}
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_the_json_tells_what_made_it(found: Evaluation) -> None:
    told = json.loads(json.dumps(evaluation_json(found, MADE)))
    assert (told["date"], told["command"]) == ("2026-01-02", "wsiseg evaluate ...")
    assert told["settings"]["seed"] == 5
    assert told["settings"]["resamples"] == 200
    assert told["all"]["interval_from"] == {"unit": "group", "units": 3, "rough": True}
    scores = told["all"]["mean"]
    assert {name.split("@")[0] for name in scores} == set(told["definitions"]["scores"])
    for estimate in scores.values():
        assert estimate["low"] <= estimate["value"] <= estimate["high"]
    assert set(told["strata"]["organ"]["levels"]) == {"A", "B"}


def test_the_table_of_images_gives_the_means_of_the_json(found: Evaluation) -> None:
    header, *rows = image_rows(found)
    column = header.index("aji")
    assert len(rows) == 6
    mean = np.mean([float(row[column]) for row in rows])
    assert mean == pytest.approx(found.all.mean["aji"].value, abs=1e-5)
    assert "second_aji" in header
    assert [row[header.index("group")] for row in rows] == ["p0", "p0", "p1", "p1", "p2", "p2"]


def test_undefined_scores_are_empty_in_the_table_and_null_in_the_json(tmp_path: Path) -> None:
    for side in ("t", "p"):
        (tmp_path / side).mkdir()
        for name, value in (("a", 0), ("b", 1)):
            Image.fromarray(np.full((8, 8), value, np.uint8)).save(tmp_path / side / f"{name}.png")
    found = evaluate_labels(tmp_path / "t", tmp_path / "p", Options(resamples=100))
    header, first, second = image_rows(found)
    assert first[header.index("pq")] == ""
    assert second[header.index("pq")] == "1.000000"
    assert found.all.mean["pq"].value == 1
    assert any("count in no score: 1" in warning for warning in found.warnings)
    empty = evaluate_labels(
        tmp_path / "t", tmp_path / "p", Options(resamples=100, select=Selection(patterns=["a"]))
    )
    assert math.isnan(empty.all.mean["pq"].value)
    assert evaluation_json(empty, MADE)["all"]["mean"]["pq"]["value"] is None
    draw_evaluation(empty)


def test_the_picture_shows_means_where_they_are(found: Evaluation) -> None:
    picture = np.asarray(draw_evaluation(found))
    assert picture.shape[1] == 2400
    dark = (picture == (16, 66, 130)).all(axis=2)
    # Of the row of all images: the upright line of a mean is the tallest stretch of the colour.
    panel = dark[290:354, 560:980]
    column = int(panel.sum(axis=0).argmax())
    value = found.all.mean["f1@0.50"].value
    from wsiseg.evaluation.picture import _at

    assert column + 560 == pytest.approx(_at(0, value), abs=4)


def test_the_terminal_shows_it_in_eighty_columns(found: Evaluation) -> None:
    console = Console(width=80, record=True)
    for part in evaluation_view(found):
        console.print(part)
    text = console.export_text()
    assert f"{found.all.mean['aji'].value:.3f}" in text
    assert "Worst by PQ" in text
    shown = (found.strata["organ"].levels["A"].mean[name] for name in ("f1@0.50", "aji", "pq"))
    for estimate in shown:
        assert f"{estimate.low:.2f}-{estimate.high:.2f}" in text
    assert "fewer than 10" in text
    assert "…" not in text


def call(*arguments: str) -> Any:
    app = typer.Typer()
    app.command()(evaluate)
    return CliRunner().invoke(app, list(arguments))


def test_the_command(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    sides = ["--truth", str(place / "truth"), "--predicted", str(place / "found")]
    result = call(*sides, "-o", str(out), "--resamples", "100", "--only", "i0", "--only", "i1")
    assert result.exit_code == 0, result.output
    told = json.loads((out / "evaluation.json").read_text())
    assert told["all"]["images"] == 2
    with (out / "images.csv").open() as file:
        assert len(list(csv.reader(file))) == 3


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "choose one of"),
        (["--truth", "a"], "--truth needs --predicted"),
        (["--model", "m"], "--model needs --data"),
        (["--truth", "a", "--predicted", "b", "--run", "c"], "choose one of"),
        (["--truth", "a", "--predicted", "b", "--mpp", "0.5"], "--mpp applies only with --data"),
        (["--truth", "a", "--predicted", "b", "--within", "x"], "--within applies only with"),
        (["--run", "a", "--against", "b", "--second", "x"], "--second applies only with"),
        (["--data", "a", "--model", "classical-he", "--mpp", "x"], "--mpp takes a size"),
        (["--truth", "a", "--predicted", "b", "--class", "x"], "--class takes VALUE=NAME"),
        (["--truth", "a", "--predicted", "b", "--split", "x"], "--split takes FILE"),
    ],
)
def test_wrong_usage_says_what_is_right(arguments: list[str], reason: str) -> None:
    result = call(*arguments, "-o", "out")
    assert isinstance(result.exception, ConfigurationError)
    assert reason in str(result.exception)


def test_the_gallery_shows_what_was_found_missed_and_invented(tmp_path: Path) -> None:
    truth, predicted = np.zeros((40, 50), np.uint32), np.zeros((40, 50), np.uint32)
    truth[5:15, 5:15], truth[5:15, 30:40], predicted[25:35, 30:40] = 1, 9, 7
    predicted[5:15, 5:14] = 4
    overlaps = match(truth, predicted)
    one = view(np.full((40, 50, 3), 255, np.uint8), truth, predicted, overlaps)
    case = measure(Compared("i", "set", overlaps), "g", {}, (0.5,), 0)
    assert max(one.truth.shape) == 760
    times = 760 / 50

    def kinds(outlines: np.ndarray, top: int, left: int) -> set[int]:
        rows, columns = (slice(int(a * times), int((a + 10) * times)) for a in (top, left))
        return set(np.unique(outlines[rows, columns])) - {0}

    assert kinds(one.truth, 5, 5) == {1}
    assert kinds(one.truth, 5, 30) == {2}
    assert kinds(one.predicted, 5, 5) == {1}
    assert kinds(one.predicted, 25, 30) == {2}
    page = np.asarray(draw_gallery([(case, one)], (0.5,)))
    colors = {tuple(color) for color in np.unique(page.reshape(-1, 3), axis=0).tolist()}
    assert {(30, 200, 90), (50, 110, 255), (235, 30, 60), (255, 165, 0)} <= colors


def test_the_worst_images_are_those_of_lowest_score(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    labels = np.kron(np.arange(1, 17).reshape(4, 4), np.ones((12, 12), int))
    labels[::12] = 0
    labels[:, ::12] = 0
    for side in ("images", "instances"):
        (tmp_path / "set" / side).mkdir(parents=True)
    for number in range(9):
        shown = np.where(rng.random(17)[labels] < number / 9, 0, labels)
        Image.fromarray(paint(shown)).save(tmp_path / "set" / "images" / f"{number}.png")
        Image.fromarray(labels.astype(np.uint16)).save(
            tmp_path / "set" / "instances" / f"{number}.png"
        )
    model = PaintedSegmenter(mock_spec("m"))
    found = evaluate_model([tmp_path / "set"], model, Options(resamples=100), mpp=0.5)
    f1 = {
        case.name: float(image_scores(case.counts, found.settings.thresholds)["f1@0.50"])
        for case in found.cases
    }
    assert len(set(f1.values())) > 4
    assert [f1[case.name] for case, _ in found.worst] == sorted(f1.values())[:6]
    write_evaluation(tmp_path / "out", found, MADE)
    assert (tmp_path / "out" / "worst.png").exists()
