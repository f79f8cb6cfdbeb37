"""Nothing is lost or half-written: kills, Ctrl-C, full disks, damaged pixels."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import wsiseg
from runs import (
    FAST_MODEL,
    assert_equal_results,
    committed,
    job_of,
    kill_group,
    plain,
    processes_of,
    slide_folder,
    start,
    wait_until,
    wsiseg_command,
)
from wsiseg.demo import write_demo_slide
from wsiseg.files import FOREIGN_SECONDS, sweep, temporary_name


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_demo_slide(tmp_path_factory.mktemp("slide") / "demo.tiff", side_px=5120)


@pytest.fixture(scope="module")
def undisturbed(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed")
    assert not wsiseg.run(job_of(demo), out, inline=True).failed
    return out


def test_kill_of_everything_resumes_with_what_was_committed(
    demo: Path, undisturbed: Path, tmp_path: Path
) -> None:
    process = start("run", demo, "--model", FAST_MODEL, "-o", tmp_path, "--workers", "2")
    wait_until(lambda: len(committed(tmp_path)) >= 2, process)
    kill_group(process)
    before = committed(tmp_path)
    total = len(committed(undisturbed))
    assert 2 <= len(before) < total, "the kill came too late to prove anything"
    assert not slide_folder(tmp_path).report.exists()
    done = wsiseg_command("run", demo, "--model", FAST_MODEL, "-o", tmp_path, "--workers", "2")
    assert done.returncode == 0, done.stderr
    after = committed(tmp_path)
    assert {name: after[name] for name in before} == before, "a finished block was computed again"
    assert_equal_results(undisturbed, tmp_path)
    assert list(tmp_path.rglob(".partial-*")) == []


def test_kill_of_a_worker_costs_its_blocks_only(
    demo: Path, undisturbed: Path, tmp_path: Path
) -> None:
    process = start("run", demo, "--model", FAST_MODEL, "-o", tmp_path, "--workers", "2")
    wait_until(lambda: len(committed(tmp_path)) >= 1, process)
    before = committed(tmp_path)
    workers = processes_of(process)
    assert len(workers) == 2
    workers[0].send_signal(signal.SIGKILL)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, out + err
    after = committed(tmp_path)
    assert {name: after[name] for name in before} == before
    assert_equal_results(undisturbed, tmp_path)


def test_interrupt_ends_cleanly_and_the_next_call_goes_on(
    demo: Path, undisturbed: Path, tmp_path: Path
) -> None:
    process = start("run", demo, "--model", FAST_MODEL, "-o", tmp_path, "--workers", "2")
    wait_until(lambda: len(committed(tmp_path)) >= 1, process)
    children = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err + out
    assert "go on" in err
    _, alive = psutil.wait_procs(children, timeout=20)
    assert alive == []
    before = committed(tmp_path)
    done = wsiseg_command("run", demo, "--model", FAST_MODEL, "-o", tmp_path, "--inline")
    assert done.returncode == 0, done.stderr
    after = committed(tmp_path)
    assert {name: after[name] for name in before} == before
    assert_equal_results(undisturbed, tmp_path)


@pytest.mark.parametrize("begun", [False, True], ids=["before the workers", "with the workers"])
def test_interrupt_is_heard_while_the_workers_start(
    demo: Path, tmp_path: Path, begun: bool
) -> None:
    process = start("run", demo, "--model", FAST_MODEL, "-o", tmp_path, "--workers", "2")
    wait_until((tmp_path / "run.lock").exists, process)
    if begun:
        wait_until(lambda: len(processes_of(process)) == 2, process)
    children = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err + out
    assert "go on" in err
    _, alive = psutil.wait_procs(children, timeout=20)
    assert alive == []
    assert not (tmp_path / "run.lock").exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 6 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(place)],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode != 0:
        pytest.skip(f"needs the right to mount a small disk: {made.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_full_disk_is_named_and_the_run_goes_on_when_there_is_room(
    demo: Path, undisturbed: Path, small_disk: Path
) -> None:
    out = small_disk / "out"
    done = wsiseg_command("run", demo, "--model", FAST_MODEL, "-o", out, "--workers", "2")
    assert done.returncode == 1
    assert "disk is full" in plain(done.stderr)
    assert small_disk.name in plain(done.stderr)
    assert "Traceback" not in done.stderr
    assert committed(out)
    subprocess.run(["mount", "-o", "remount,size=200m", str(small_disk)], check=True)
    before = committed(out)
    done = wsiseg_command("run", demo, "--model", FAST_MODEL, "-o", out, "--workers", "2")
    assert done.returncode == 0, done.stderr
    after = committed(out)
    assert {name: after[name] for name in before} == before
    assert_equal_results(undisturbed, out)


def test_leftovers_of_dead_processes_are_swept(tmp_path: Path) -> None:
    mine = temporary_name(tmp_path / "file")
    mine.write_text("still being written")
    dead = subprocess.run(
        [
            sys.executable,
            "-c",
            "from wsiseg.files import temporary_name; from pathlib import Path; import sys;"
            "p = temporary_name(Path(sys.argv[1])); p.write_text('x'); print(p)",
            str(tmp_path / "file"),
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    assert Path(dead).exists()
    sweep(tmp_path)
    assert mine.exists()
    assert not Path(dead).exists()


def test_leftovers_of_other_machines_are_swept_once_they_are_old(tmp_path: Path) -> None:
    fresh, old = (tmp_path / f".partial-elsewhere-7-abcd-{name}" for name in ("fresh", "old"))
    for path in (fresh, old):
        path.write_text("from another machine")
    os.utime(old, (old.stat().st_mtime - 2 * FOREIGN_SECONDS,) * 2)
    sweep(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [fresh.name]
