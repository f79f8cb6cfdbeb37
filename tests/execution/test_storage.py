"""Storage that cannot be reached for a while: slides pause, come back, and nothing is wrong."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import wsiseg
from runs import assert_equal_results, assert_same_files, committed, job_of, slide_folder
from wsiseg.demo import write_demo_slide
from wsiseg.errors import DiskFullError, StoreError, UnreadableSlideError
from wsiseg.execution import agenda, tasks
from wsiseg.execution.agenda import Agenda
from wsiseg.execution.progress import Progress
from wsiseg.execution.tasks import StitchTask
from wsiseg.files import storage_trouble
from wsiseg.pipeline.session import forget_sessions
from wsiseg.slides import tiffslide_reader
from wsiseg.store import blocks, folders

READING = os.pread


class Heard(Progress):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def slide_warning(self, name: str, text: str) -> None:
        self.warnings.append(text)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_demo_slide(tmp_path_factory.mktemp("slide") / "demo.tiff", side_px=1536)


@pytest.fixture(scope="module")
def undisturbed(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed")
    assert not wsiseg.run(job_of(demo), out, inline=True).failed
    return out


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    short = (0.01, 0.02, 0.03)
    monkeypatch.setattr(agenda, "PAUSES", short)
    monkeypatch.setattr("wsiseg.execution.driver.PAUSES", short)
    forget_sessions()
    yield
    forget_sessions()


def failing(
    monkeypatch: pytest.MonkeyPatch, when: Callable[[int], bool], number: int = errno.EIO
) -> None:
    """Have reads of tiles fail, by their number from the first block on."""
    calls = iter(range(10**9))
    seen = tasks.run_block
    began: list[bool] = []

    def run_block(*arguments: object) -> object:
        began.append(True)
        return seen(*arguments)  # type: ignore[arg-type]

    def read(descriptor: int, length: int, offset: int) -> bytes:
        if began and when(next(calls)):
            raise OSError(number, os.strerror(number))
        return READING(descriptor, length, offset)

    monkeypatch.setattr(tasks, "run_block", run_block)
    monkeypatch.setattr(tiffslide_reader.os, "pread", read)


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENETDOWN])
def test_a_slide_that_comes_back_is_segmented_as_if_nothing_had_been(
    demo: Path,
    undisturbed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
) -> None:
    failing(monkeypatch, lambda call: call in (0, 3), number)
    heard = Heard()
    assert not wsiseg.run(job_of(demo), tmp_path, inline=True, progress=heard).failed
    assert_equal_results(undisturbed, tmp_path)
    assert wsiseg.open_run(tmp_path).report("demo.tiff")["storage_retries"] == 2
    told = [text for text in heard.warnings if "storage cannot be reached" in text]
    assert len(told) == 2
    assert os.strerror(number) in told[0]
    assert wsiseg.open_run(undisturbed).report("demo.tiff")["storage_retries"] == 0


def test_a_slide_that_stays_away_fails_with_the_reason(
    demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, lambda call: True)
    (failed,) = wsiseg.run(job_of(demo), tmp_path, inline=True).failed
    assert os.strerror(errno.EIO) in failed.reason
    assert "tried 3 more times" in failed.reason
    assert committed(tmp_path) == {}


def test_pixels_that_failed_for_a_moment_are_not_taken_for_damage(
    demo: Path, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = iter(range(10**9))

    def read(descriptor: int, length: int, offset: int) -> bytes:
        data = READING(descriptor, length, offset)
        return bytes(len(data)) if next(calls) in (8, 40, 60) else data

    monkeypatch.setattr(tiffslide_reader.os, "pread", read)
    heard = Heard()
    assert not wsiseg.run(job_of(demo), tmp_path, inline=True, progress=heard).failed
    assert next(calls) > 60
    assert any("now can" in text for text in heard.warnings)
    assert_equal_results(undisturbed, tmp_path)


def test_damage_that_lasts_still_fails_the_slide(demo: Path, tmp_path: Path) -> None:
    spoilt = tmp_path / "spoilt.tiff"
    data = bytearray(demo.read_bytes())
    middle = len(data) // 3
    data[middle : middle + 20_000] = bytes(20_000)
    spoilt.write_bytes(data)
    (failed,) = wsiseg.run(job_of(spoilt), tmp_path / "out", inline=True).failed
    assert "cannot be decoded" in failed.reason


def test_committed_blocks_that_cannot_be_read_now_are_not_deleted(
    demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not wsiseg.run(job_of(demo), tmp_path, inline=True).failed
    folder = slide_folder(tmp_path)
    before = committed(tmp_path)
    key = blocks.read_block(folder.block(next(iter(before)).removesuffix(".columns")))[1].key

    def unreadable(path: Path) -> None:
        raise StoreError(f"{path} is damaged") from OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(blocks, "open_columns", unreadable)
        with pytest.raises(StoreError):
            blocks.committed_blocks(folder, key)
    assert committed(tmp_path) == before


def test_manifests_are_written_once_storage_is_back(
    demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = folders.write_json
    left = [2]

    def write(path: Path, value: object) -> None:
        if left[0] and any(tmp_path.glob("slides/*/report.json")):
            left[0] -= 1
            raise StoreError(f"cannot write {path}") from OSError(errno.ESTALE, "Stale")
        real(path, value)

    monkeypatch.setattr(folders, "write_json", write)
    monkeypatch.setattr("wsiseg.execution.driver.PAUSES", (60.0,))
    monkeypatch.setattr("wsiseg.execution.driver._LOOK_SECONDS", 0.05)
    assert not wsiseg.run(job_of(demo, exports=("table",)), tmp_path, inline=True).failed
    assert left == [0]
    assert wsiseg.open_run(tmp_path).manifest["slides"]["demo.tiff"]["state"] == "complete"


@pytest.mark.parametrize("writes", [1, 9, 30])
def test_a_full_disk_ends_the_run_and_nothing_is_half_written(
    demo: Path,
    undisturbed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    writes: int,
) -> None:
    left = [writes]

    def fsync(descriptor: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as full:
        full.setattr("wsiseg.files.os.fsync", fsync)
        with pytest.raises(DiskFullError, match="the disk is full"):
            wsiseg.run(job_of(demo), tmp_path, inline=True)
    assert not any(tmp_path.rglob(".partial-*"))
    assert not (tmp_path / "run.lock").exists()
    assert not wsiseg.run(job_of(demo), tmp_path, inline=True).failed
    assert_same_files(undisturbed, tmp_path)


def test_what_counts_as_storage_trouble() -> None:
    def caused(error: Exception, cause: Exception) -> Exception:
        error.__cause__ = cause
        return error

    assert storage_trouble(OSError(errno.EIO, "x"))
    assert storage_trouble(caused(StoreError("x"), OSError(errno.ETIMEDOUT, "x")))
    assert not storage_trouble(caused(DiskFullError("x"), OSError(errno.ENOSPC, "x")))
    assert not storage_trouble(UnreadableSlideError("x"))
    assert not storage_trouble(FileNotFoundError(errno.ENOENT, "x"))


def test_tasks_of_one_slide_that_fail_together_pause_it_once() -> None:
    todo = Agenda()
    first, second = StitchTask("run", "a", "epoch"), StitchTask("run", "a", "epoch")
    other = StitchTask("run", "b", "epoch")
    for place, task in enumerate((first, second, other)):
        todo.push(place, 0, task)
    taken = [todo.take(lambda task, waiting: True) for _ in range(2)]
    assert taken == [first, second]
    assert todo.postpone(first) == agenda.PAUSES[0]
    assert todo.postpone(second) == 0
    assert todo.take(lambda task, waiting: task.slide == "a") is None
    assert todo.take(lambda task, waiting: True) is other
    todo.close(other)
    assert todo.retries("a") == 1
    again = []
    while todo:
        task = todo.take(lambda task, waiting: True)
        if task is not None:
            again.append(id(task))
            todo.close(task)
    assert sorted(again) == sorted((id(first), id(second)))
