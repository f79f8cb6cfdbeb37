"""Slides copied to a local disk before they are read."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import wsiseg
from runs import assert_equal_results, job_of
from wsiseg import staging
from wsiseg.demo import write_demo_slide
from wsiseg.errors import ConfigurationError, DamagedPixelsError
from wsiseg.geometry import Box
from wsiseg.slides.reader import Source
from wsiseg.slides.slide import open_slide
from wsiseg.staging import Scratch, announced, stage, staged_copy
from wsiseg.store.folders import RunFolder


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_demo_slide(tmp_path_factory.mktemp("far away") / "demo.tiff", side_px=1024)


@pytest.fixture
def scratch(tmp_path: Path) -> Scratch:
    return Scratch(tmp_path / "scratch", 10_000)


def slide(folder: Path, name: str, size: int = 3000) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(np.random.default_rng(len(name)).bytes(size))
    return path


def copies(scratch: Scratch) -> set[str]:
    """Names of the slides of which there are copies."""
    return {p.name for p in scratch.cache.glob("*/*") if p.name != "copy.json"}


@pytest.fixture
def _aged(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that ticks from copy to copy, so that which is older does not hang on its grain."""
    ticks = iter(range(1, 1_000_000))
    touched = os.utime

    def utime(path: Path) -> None:
        at = next(ticks)
        touched(path, (at, at))

    monkeypatch.setattr(os, "utime", utime)


def test_a_copy_is_equal_and_made_once(tmp_path: Path, scratch: Scratch) -> None:
    path = slide(tmp_path / "far", "a.svs")
    first = stage(scratch, path)
    assert first is not None
    assert first.path != path
    assert first.path.read_bytes() == path.read_bytes()
    made = first.path.stat()
    again = stage(scratch, path)
    assert again is not None
    assert (again.path, again.path.stat().st_ino) == (first.path, made.st_ino)


def test_companions_come_along(tmp_path: Path, scratch: Scratch) -> None:
    path = slide(tmp_path / "far", "m.mrxs")
    data = slide(tmp_path / "far" / "m", "Data0000.dat")
    copy = stage(scratch, path)
    assert copy is not None
    assert (copy.path.parent / "m" / "Data0000.dat").read_bytes() == data.read_bytes()
    # What only its own reader can put together is left where it is.
    assert stage(scratch, slide(tmp_path / "far", "v.vms")) is None


@pytest.mark.usefixtures("_aged")
def test_the_room_is_kept_and_the_oldest_go_first(tmp_path: Path, scratch: Scratch) -> None:
    paths = [slide(tmp_path / "far", f"{n}.svs") for n in "abcd"]
    for path in paths[:3]:
        copy = stage(scratch, path)
        assert copy is not None
        copy.release()
    used = stage(scratch, paths[0])
    assert used is not None
    used.release()
    last = stage(scratch, paths[3])
    assert last is not None
    assert copies(scratch) == {"a.svs", "c.svs", "d.svs"}
    total = sum(p.stat().st_size for p in scratch.cache.rglob("*") if p.is_file())
    assert total <= scratch.limit_bytes
    assert stage(scratch, slide(tmp_path / "far", "huge.svs", 20_000)) is None
    assert copies(scratch) == {"a.svs", "c.svs", "d.svs"}


def test_a_copy_that_is_read_stays(tmp_path: Path, scratch: Scratch) -> None:
    held = [stage(scratch, slide(tmp_path / "far", f"{n}.svs")) for n in "abc"]
    other = slide(tmp_path / "far", "d.svs")
    assert stage(scratch, other) is None
    assert copies(scratch) == {"a.svs", "b.svs", "c.svs"}
    assert held[1] is not None
    held[1].release()
    held[1].release()
    assert stage(scratch, other) is not None
    assert copies(scratch) == {"a.svs", "c.svs", "d.svs"}


def test_a_changed_slide_is_copied_anew(tmp_path: Path, scratch: Scratch) -> None:
    path = slide(tmp_path / "far", "a.svs")
    first = stage(scratch, path)
    path.write_bytes(b"another state of the slide")
    second = stage(scratch, path)
    assert first is not None
    assert second is not None
    assert second.path.read_bytes() == b"another state of the slide"


def test_a_copy_that_is_not_whole_does_not_count(tmp_path: Path, scratch: Scratch) -> None:
    path = slide(tmp_path / "far", "a.svs")
    copy = stage(scratch, path)
    assert copy is not None
    copy.release()
    os.truncate(copy.path, 100)
    again = stage(scratch, path)
    assert again is not None
    assert again.path.read_bytes() == path.read_bytes()


def test_a_copy_unlike_its_slide_is_thrown_away(
    tmp_path: Path, scratch: Scratch, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = slide(tmp_path / "far", "a.svs")
    monkeypatch.setattr(
        shutil, "copyfile", lambda source, target: Path(target).write_bytes(b"?" * 3000)
    )
    assert stage(scratch, path) is None
    assert copies(scratch) == set()


def test_killed_while_copying(tmp_path: Path, scratch: Scratch) -> None:
    """Nothing half-copied is used, and the next one cleans up."""
    path = slide(tmp_path / "far", "a.svs")
    script = (
        "import sys, time, shutil\nfrom pathlib import Path\nfrom wsiseg import staging\n"
        "def slowly(source, target):\n"
        "    Path(target).write_bytes(b'half')\n    print('copying', flush=True)\n"
        "    time.sleep(60)\n"
        "staging.shutil.copyfile = slowly\n"
        "staging.stage(staging.Scratch(Path(sys.argv[1]), 10_000), Path(sys.argv[2]))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(scratch.folder), str(path)], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"copying\n"
    # While it copies, another would wait: here only the one who copies ahead is asked.
    staging._stage_ahead(scratch, path, [path])
    assert copies(scratch) == {"a.svs"}, "the temporary one"
    process.kill()
    process.communicate()
    copy = stage(scratch, path)
    assert copy is not None
    assert copy.path.read_bytes() == path.read_bytes()
    assert not list(scratch.cache.glob(".partial-*"))


def test_the_next_slides_are_copied_ahead(tmp_path: Path, scratch: Scratch) -> None:
    paths = [slide(tmp_path / "far", f"{n}.svs") for n in "abcd"]
    run = RunFolder(tmp_path / "out")
    with announced(run, scratch, paths):
        copy = staged_copy(run.slide("a.svs"), paths[0])
        assert copy is not None
        for _ in range(500):
            if copies(scratch) == {"a.svs", "b.svs", "c.svs"}:
                break
            time.sleep(0.01)
        assert copies(scratch) == {"a.svs", "b.svs", "c.svs"}
    assert staged_copy(run.slide("a.svs"), paths[0]) is None


def test_ahead_spares_what_is_needed_sooner(tmp_path: Path) -> None:
    small = Scratch(tmp_path / "scratch", 7_000)
    paths = [slide(tmp_path / "far", f"{n}.svs") for n in "abc"]
    first = stage(small, paths[0])
    assert first is not None
    first.release()
    staging._stage_ahead(small, paths[0], paths[1:])
    assert copies(small) == {"a.svs", "b.svs"}


def test_a_copied_slide_goes_by_its_own_name(
    demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = stage(Scratch(tmp_path / "scratch"), demo)
    assert copy is not None
    with open_slide(demo) as plain, open_slide(demo, copy=copy) as copied:
        assert copied.facts == plain.facts
        assert copied.fingerprint() == plain.fingerprint()
        box = Box(100, 100, 400, 300)
        assert np.array_equal(copied.read(box, copied.level0), plain.read(box, plain.level0))
        inner = copied._reader._reader  # type: ignore[attr-defined]

        def damaged(source: Source, boxes: Sequence[Box]) -> list[DamagedPixelsError]:
            return [DamagedPixelsError(f"{copy.path}: level {source.level}: spoilt") for _ in boxes]

        monkeypatch.setattr(inner, "read_boxes", damaged)
        copied.read(Box(600, 600, 700, 700), copied.level0)
        (damage,) = copied.damage
        assert damage.reason == f"{demo}: level 0: spoilt"


def test_a_run_from_copies_is_the_same_run(demo: Path, tmp_path: Path) -> None:
    scratch = Scratch(tmp_path / "scratch")
    exports = ("table", "geojson", "tissue", "labels")
    plain, copied = tmp_path / "plain", tmp_path / "copied"
    assert wsiseg.run(job_of(demo, exports=exports), plain, inline=True).failed == ()
    result = wsiseg.run(job_of(demo, exports=exports), copied, inline=True, scratch=scratch)
    assert result.failed == ()
    assert_equal_results(plain, copied)
    assert copies(scratch) == {"demo.tiff"}
    report = wsiseg.open_run(copied).report("demo.tiff")
    assert report["path"] == str(demo.resolve())
    assert str(scratch.folder) not in (copied / "slides/demo.tiff/report.json").read_text()


def test_a_folder_for_copies_must_be_one(demo: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(ConfigurationError, match="cannot be copied to"):
        wsiseg.run(job_of(demo), tmp_path / "out", inline=True, scratch=Scratch(file))
    with pytest.raises(ConfigurationError, match="more than nothing"):
        wsiseg.run(job_of(demo), tmp_path / "out", inline=True, scratch=Scratch(tmp_path, 0))
