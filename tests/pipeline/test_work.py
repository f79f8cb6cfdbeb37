"""What a run costs, counted in tasks, windows, megapixels, copies and files: never in seconds."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import wsiseg
from runs import FAST_MODEL, slide_folder
from wsiseg.demo import write_demo_slide
from wsiseg.execution import executor
from wsiseg.execution.dask_executor import DaskExecutor
from wsiseg.execution.dask_link import Link
from wsiseg.execution.executor import InlineExecutor
from wsiseg.execution.roster import Load
from wsiseg.execution.tasks import Task
from wsiseg.geometry import Box, Frame
from wsiseg.models.network.runtime import OpenVinoRuntime
from wsiseg.models.zoo import load_segmenter
from wsiseg.pipeline.plan import read_plan
from wsiseg.slides.slide import Slide
from wsiseg.store.tissue import read_tissue

SIDE = 3072
STEP = 64
"""Cores are cut to where their tissue lies in steps of so many pixels."""

MOST = {FAST_MODEL: 2.0, "nuclei-he": 2.6}
"""Megapixels predicted a megapixel of tissue on a slide as small as this, halos included."""


@dataclass
class Work:
    """What a run did."""

    tasks: list[Task] = field(default_factory=list)
    reads: list[tuple[str, Box, Frame]] = field(default_factory=list)
    pixels: list[Any] = field(default_factory=list)
    """Arrays as the slide gave them to blocks, kept so that no address is used again."""
    predicted: list[Any] = field(default_factory=list)
    given: list[Any] = field(default_factory=list)
    """Arrays as the network's runtime was given them."""
    decoded: int = 0
    written: Counter[Path] = field(default_factory=Counter)

    @property
    def kinds(self) -> Counter[str]:
        """Tasks by kind."""
        return Counter(type(task).__name__ for task in self.tasks)


@contextmanager
def watched(model: str) -> Iterator[Work]:
    """Counts what runs in this process do with a model."""
    work, doing = Work(), [""]
    submit, perform, read = InlineExecutor.submit, executor.perform, Slide.read
    run, replace = OpenVinoRuntime.run, Path.replace
    kind: Any = type(load_segmenter(model, "cpu"))
    predict, decode = kind.predict, kind.decode

    def submitted(self: InlineExecutor, task: Task) -> None:
        work.tasks.append(task)
        submit(self, task)

    def performed(task: Task) -> Any:
        doing[0] = type(task).__name__
        return perform(task)

    def seen(self: Slide, box: Box, frame: Frame, *others: Any) -> Any:
        found = read(self, box, frame, *others)
        work.reads.append((doing[0], box, frame))
        if doing[0] == "BlockTask":
            work.pixels.append(found)
        return found

    def predicting(self: Any, pixels: Any, statistics: Any) -> Any:
        work.predicted.append(pixels)
        return predict(self, pixels, statistics)

    def decoding(self: Any, prediction: Any) -> Any:
        found = decode(self, prediction)
        work.decoded += len(found)
        return found

    def running(self: OpenVinoRuntime, pixels: Any) -> Any:
        work.given.append(pixels)
        return run(self, pixels)

    def replaced(self: Path, target: Path) -> Path:
        work.written[Path(target)] += 1
        return replace(self, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(InlineExecutor, "submit", submitted)
        patch.setattr(executor, "perform", performed)
        patch.setattr(Slide, "read", seen)
        patch.setattr(kind, "predict", predicting)
        patch.setattr(kind, "decode", decoding)
        patch.setattr(OpenVinoRuntime, "run", running)
        patch.setattr(Path, "replace", replaced)
        yield work


@dataclass(frozen=True)
class Done:
    """A finished run of the small slide, the work it was, and its report."""

    model: str
    slide: Path
    out: Path
    work: Work
    report: dict[str, Any]

    @property
    def windows(self) -> list[Any]:
        """The windows predicted, one by one."""
        return [window for batch in self.work.predicted for window in batch]


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_demo_slide(tmp_path_factory.mktemp("slide") / "demo.tiff", side_px=SIDE)


@pytest.fixture(scope="module", params=[FAST_MODEL, "nuclei-he"])
def done(request: Any, slide: Path, tmp_path_factory: pytest.TempPathFactory) -> Done:
    model, out = request.param, tmp_path_factory.mktemp("run") / "out"
    job = wsiseg.Job.of(slide, model=model)
    with watched(model) as work:
        assert wsiseg.run(job, out, inline=True).failed == ()
    return Done(model, slide, out, work, wsiseg.open_run(out).report(slide.name))


def test_every_task_is_submitted_once(done: Done) -> None:
    tasks, report = done.work.tasks, done.report
    assert len(set(map(repr, tasks))) == len(tasks)
    blocks, parts = report["counts"]["blocks"], done.work.kinds["MeasureTask"]
    assert blocks >= 4
    assert parts >= 1
    assert done.work.kinds == {
        "PrepareTask": 1,
        "BlockTask": blocks,
        "StitchTask": 1,
        "SurveyTask": 1,
        "MeasureTask": parts,
        "ExportTask": len(report["exports"]),
    }
    # Parts of features are those of the cells, which lie in regions of 4,096 frame pixels.
    size = report["resolution"]["frame"]
    assert parts <= -(-size["width"] // 4096) * -(-size["height"] // 4096)


def test_workers_are_sent_what_is_submitted_and_no_more(
    slide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted: list[Task] = []
    sent: list[Task] = []
    submit, send = DaskExecutor.submit, Link.send

    def submitting(self: DaskExecutor, task: Task) -> None:
        submitted.append(task)
        submit(self, task)

    def sending(self: Link, load: Load) -> None:
        sent.extend(load.tasks)
        send(self, load)

    monkeypatch.setattr(DaskExecutor, "submit", submitting)
    monkeypatch.setattr(Link, "send", sending)
    job = wsiseg.Job.of(slide, model=FAST_MODEL)
    assert wsiseg.run(job, tmp_path / "out", workers=2).failed == ()
    report = wsiseg.open_run(tmp_path / "out").report(slide.name)
    assert sorted(map(repr, sent)) == sorted(map(repr, submitted))
    assert len(set(map(repr, sent))) == len(sent)
    kinds = Counter(type(task).__name__ for task in sent)
    assert kinds["BlockTask"] == report["counts"]["blocks"]
    assert kinds["PrepareTask"] == kinds["StitchTask"] == kinds["SurveyTask"] == 1


def test_what_is_done_is_looked_at_once(done: Done) -> None:
    job = wsiseg.Job.of(done.slide, model=done.model)
    with watched(done.model) as work:
        assert wsiseg.run(job, done.out, inline=True).failed == ()
    assert work.kinds == {"PrepareTask": 1}
    assert work.reads == []
    assert work.predicted == []


def test_no_window_is_read_twice(done: Done) -> None:
    times = Counter(done.work.reads)
    # Preparing looks at some fields of tissue twice: for the stains, then for their quality.
    allowed = {kind: 2 if kind == "PrepareTask" else 1 for kind, *_ in times}
    assert [item for item, count in times.items() if count > allowed[item[0]]] == []
    # Stitching sees candidates, never pixels.
    assert "StitchTask" not in allowed


def test_no_window_is_predicted_or_decoded_twice(done: Done) -> None:
    told = done.report["seams"]
    windows = done.windows
    assert len(windows) == done.report["counts"]["tiles"] + told["rereads"]
    assert done.work.decoded == len(windows)
    assert len({hashlib.sha256(w.tobytes()).digest() for w in windows}) == len(windows)


def test_no_more_is_predicted_than_tissue_and_its_halos(done: Done) -> None:
    folder = slide_folder(done.out)
    plan = read_plan(folder.plan)
    grid, tissue = plan.grid, read_tissue(folder.tissue, plan.segment_key)
    fx, fy = plan.scale
    middles = np.arange(grid.core) + 0.5
    allowed = 0
    for column, row in plan.tiles:
        # Written down anew, pixel by pixel: the box of the core's tissue in steps of 64 px.
        x, y = np.meshgrid((middles + column * grid.core) * fx, (middles + row * grid.core) * fy)
        inside = tissue.contains(x.ravel(), y.ravel(), plan.level0).reshape(x.shape)
        sides = []
        for axis in (0, 1):
            where = np.flatnonzero(inside.any(axis=axis))
            low = max(int(where[0]) - 2, 0) // STEP * STEP
            high = min(-(-(int(where[-1]) + 3) // STEP) * STEP, grid.core)
            sides.append(high - low + 2 * grid.halo)
        allowed += sides[0] * sides[1]
    counts = done.report["seams"]
    predicted = [w.shape[0] * w.shape[1] for w in done.windows]
    reread = sorted(predicted)[: counts["rereads"]]
    assert sum(predicted) - sum(reread) <= allowed
    mpp = grid.frame.mpp
    area = done.report["area_mm2"]["tissue"] * 1e6 / (mpp.x * mpp.y)
    assert sum(predicted) / area <= MOST[done.model]


def test_pixels_are_not_copied_between_the_reader_and_the_model(done: Done) -> None:
    read = {_address(pixels) for pixels in done.work.pixels}
    assert len(read) == len(done.work.pixels)
    assert {_address(batch) for batch in done.work.predicted} == read
    if done.model != FAST_MODEL:
        assert {_address(pixels) for pixels in done.work.given} == read


def _address(array: Any) -> int:
    return int(array.__array_interface__["data"][0])


def test_no_file_is_written_twice(done: Done) -> None:
    folder = slide_folder(done.out).root
    # What lies in a folder of its own is that folder's makers' affair until it is moved in place.
    written = {
        p: n for p, n in done.work.written.items() if p.parent in {folder, folder / "blocks"}
    }
    blocks = [p for p in written if p.parent.name == "blocks"]
    assert len(blocks) == done.report["counts"]["blocks"]
    assert {p.name: times for p, times in written.items() if times > 1} == {}
