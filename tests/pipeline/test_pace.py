"""How windows are handed to a model: learnt, stated, and without influence on results."""

from __future__ import annotations

from pathlib import Path

import pytest

import wsiseg
from runs import assert_equal_results, job_of, slide_folder
from wsiseg.demo import write_demo_slide
from wsiseg.errors import ConfigurationError
from wsiseg.pipeline import pace
from wsiseg.pipeline.feed import prefetched
from wsiseg.pipeline.pace import MOST_READERS, Pacer
from wsiseg.pipeline.plan import read_plan
from wsiseg.reporting.origin import provenance_rows


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_demo_slide(tmp_path_factory.mktemp("slide") / "a.tiff", side_px=1536)


@pytest.fixture
def cores(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Cores of the machine, which a test may add to."""
    there = list(range(6))
    monkeypatch.setattr(pace.os, "sched_getaffinity", lambda process: set(there))
    return there


@pytest.mark.parametrize(
    ("read", "predict", "readers"), [(0.1, 2.0, 1), (2.0, 2.0, 1), (5.0, 2.0, 3), (90.0, 2.0, 6)]
)
def test_readers_keep_up_with_the_model(
    cores: list[int], read: float, predict: float, readers: int
) -> None:
    pacer = Pacer(batch=4, readers=None)
    pacer.learn(read, predict)
    assert pacer.pace.readers == readers
    assert pacer.pace.ahead == 4 * readers


def test_readers_are_bounded_on_large_machines(cores: list[int]) -> None:
    cores.extend(range(100, 200))
    pacer = Pacer(batch=1, readers=None)
    pacer.learn(1000.0, 1.0)
    assert pacer.pace.readers == MOST_READERS


def test_fewer_readers_are_enough_again(cores: list[int]) -> None:
    pacer = Pacer(batch=1, readers=None)
    pacer.learn(4.0, 1.0)
    pacer.learn(0.5, 1.0)
    assert pacer.pace.readers == 1


def test_what_is_stated_stays(cores: list[int]) -> None:
    pacer = Pacer(batch=1, readers=2)
    pacer.learn(90.0, 1.0)
    assert pacer.pace.readers == 2


def test_a_block_without_predictions_teaches_nothing(cores: list[int]) -> None:
    pacer = Pacer(batch=1, readers=None)
    pacer.learn(1.0, 0.0)
    assert pacer.pace.readers == 1


def test_several_readers_keep_the_order() -> None:
    squares = list(prefetched(range(50), lambda n: n * n, ahead=7, threads=4))
    assert squares == [(n, n * n) for n in range(50)]


def test_results_hang_on_neither_readers_nor_batch(slide: Path, tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    wsiseg.run(job_of(slide, core=512), one, inline=True)
    wsiseg.run(job_of(slide, core=512, readers=3, batch=2), other, inline=True)
    assert_equal_results(one, other)
    told = wsiseg.open_run(other).report(slide.name)["pace"]
    assert told["readers"] == [3]
    assert told["batch"] == [2]
    assert min(told["threads"]) >= 1
    assert wsiseg.open_run(one).report(slide.name)["pace"]["batch"] == [1]


def test_a_run_goes_on_at_another_pace(slide: Path, tmp_path: Path) -> None:
    wsiseg.run(job_of(slide), tmp_path, inline=True)
    folder = slide_folder(tmp_path)
    blocks = {p: p.stat().st_mtime_ns for p in folder.blocks.iterdir()}
    folder.report.unlink()
    assert not wsiseg.run(job_of(slide, readers=2), tmp_path, inline=True).failed
    assert read_plan(folder.plan).readers == 2
    assert {p: p.stat().st_mtime_ns for p in folder.blocks.iterdir()} == blocks


@pytest.mark.parametrize("wrong", [{"readers": 0}, {"batch": 1000}])
def test_impossible_settings_are_refused(slide: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError):
        job_of(slide, **wrong)


def test_the_page_of_a_slide_tells_the_pace() -> None:
    told = dict(provenance_rows({"pace": {"threads": [1], "batch": [4], "readers": [1, 2, 3]}}))
    assert told["Settings of speed"] == (
        "threads a prediction: 1, windows at a time: 4, reading threads: 1-3"
    )
    assert dict(provenance_rows({}))["Settings of speed"] == ""
