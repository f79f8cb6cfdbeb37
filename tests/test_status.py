"""How a run stands, seen from outside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from finished import FinishedRun
from wsiseg.cli.main import app
from wsiseg.cli.status_command import DIED, WORKING, exit_code
from wsiseg.cli.status_display import status_line, status_view
from wsiseg.errors import StoreError
from wsiseg.execution.status import RunStatus, read_status
from wsiseg.store.folders import RunFolder
from wsiseg.store.lock import locked

NOW = 1_800_000_000.0


def write_log(path: Path, epoch: str, *events: tuple[float, str, dict[str, Any]]) -> None:
    """A log with events at so many seconds before now."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        for before, event, facts in events:
            time = datetime.fromtimestamp(NOW - before, UTC).isoformat()
            file.write(json.dumps({"time": time, "event": event, "epoch": epoch, **facts}) + "\n")
    os.utime(path, (NOW, NOW))


def make_blocks(run: RunFolder, name: str, count: int) -> None:
    run.slide(name).blocks.mkdir(parents=True)
    for number in range(count):
        (run.slide(name).blocks / f"{number:05d}-00000.columns").touch()


@pytest.fixture
def halfway(tmp_path: Path) -> FinishedRun:
    """Ten slides: one whole, one failed, two begun, the others waiting; no driver."""
    run = FinishedRun(tmp_path / "out")
    run.whole("whole")
    run.failed("failed", "failed: truncated at byte 7")
    for name in ("one", "two", *(f"later-{number}" for number in range(6))):
        run.add(name)
    make_blocks(run.folder, "one", 40)
    (run.folder.slide("one").plan).write_text("{}")
    return run


def tell(run: FinishedRun, epoch: str) -> None:
    """The logs of a driver that has worked for a hundred seconds."""
    write_log(
        run.folder.log,
        epoch,
        (110, "run started", {"host": "node", "pid": 5, "slides": 10}),
        (100, "begun", {"slide": "whole", "blocks": 10, "already": 0}),
        (80, "whole", {"slide": "whole"}),
        (80, "failed", {"slide": "failed"}),
        (80, "begun", {"slide": "one", "blocks": 100, "already": 0}),
        (10, "planning", {"slide": "two"}),
    )
    done = [(i / 2, "block", {"nuclei": 200, "mm2": 0.5}) for i in range(40)]
    write_log(run.folder.slide("one").log, epoch, *done)
    write_log(run.folder.slide("one").log, "before", (5, "block", {"nuclei": 9e9, "mm2": 9e9}))


def test_a_driver_at_work(halfway: FinishedRun) -> None:
    with locked(halfway.folder) as lock:
        tell(halfway, lock.epoch)
        status = read_status(halfway.folder.root, now=NOW)
    assert status.driver.state == "working"
    assert dict(status.slides) == {
        "whole": 1, "failed": 1, "under_way": 2, "begun": 0, "waiting": 6,
    }  # fmt: skip
    one, two = status.under_way
    assert (one.name, one.stage, one.blocks_done, one.blocks) == ("one", "blocks", 40, 100)
    assert (two.name, two.stage, two.blocks) == ("two", "planning", None)
    # 40 blocks in the hundred seconds since the first slide was begun
    assert status.nuclei_per_second == pytest.approx(80)
    assert status.mm2_per_second == pytest.approx(0.2)
    # 60 blocks of this slide, and seven slides of 55 blocks
    assert status.seconds_left == pytest.approx((60 + 7 * 55) / 0.4)
    assert status.failures == (("failed", "failed: truncated at byte 7"),)
    assert exit_code(status) == WORKING


def test_a_slide_past_its_blocks_says_what_it_does(halfway: FinishedRun) -> None:
    with locked(halfway.folder) as lock:
        tell(halfway, lock.epoch)
        make_blocks(halfway.folder, "later-0", 10)
        write_log(halfway.folder.log, lock.epoch, (5, "begun", {"slide": "later-0", "blocks": 10}))
        log = halfway.folder.slide("later-0").log
        write_log(log, lock.epoch, (5, "begun", {}), (4, "stitch", {}), (2, "export", {}))
        status = read_status(halfway.folder.root, now=NOW)
    assert status.under_way[-1].stage == "export"


def test_nobody_at_work(halfway: FinishedRun) -> None:
    tell(halfway, "e1")
    write_log(halfway.folder.log, "e1", (1, "run interrupted", {}))
    status = read_status(halfway.folder.root, now=NOW)
    assert status.driver.state == "none"
    assert status.driver.last == "run interrupted"
    assert status.slides["begun"] == 1
    assert status.slides["under_way"] == 0
    assert status.seconds_left is None
    assert exit_code(status) == 1


def test_all_whole(tmp_path: Path) -> None:
    run = FinishedRun(tmp_path)
    run.whole("one")
    status = read_status(tmp_path)
    assert status.all_whole
    assert exit_code(status) == 0
    assert status.driver.last == ""


def test_a_driver_that_died(halfway: FinishedRun) -> None:
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from wsiseg.store.folders import RunFolder\n"
        "from wsiseg.store.lock import locked\n"
        "with locked(RunFolder(Path(sys.argv[1]))) as lock:\n"
        "    print(lock.epoch, os.getpid(), flush=True)\n"
        "    os._exit(9)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, halfway.folder.root],
        check=False,
        timeout=120,
        capture_output=True,
        text=True,
    )
    epoch, pid = done.stdout.split()
    tell(halfway, epoch)
    status = read_status(halfway.folder.root, now=NOW)
    assert status.driver.state == "dead"
    assert status.driver.pid == int(pid)
    assert [slide.name for slide in status.under_way] == ["one", "two"]
    assert status.mm2_per_second > 0, "how fast it was before it died"
    assert status.seconds_left is None
    assert exit_code(status) == DIED
    text = shown(status)
    assert "died: process" in text
    assert "run the same command again" in text
    assert "2 cut short" in text


def test_no_run_directory(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="not a run directory"):
        read_status(tmp_path)


def shown(status: RunStatus, width: int = 100) -> str:
    console = Console(file=StringIO(), width=width, record=True)
    console.print(status_view(status, NOW))
    return console.export_text()


@pytest.mark.parametrize("width", [40, 80, 120])
def test_the_view_fits_the_terminal(halfway: FinishedRun, width: int) -> None:
    with locked(halfway.folder) as lock:
        tell(halfway, lock.epoch)
        status = read_status(halfway.folder.root, now=NOW)
    text = shown(status, width)
    assert max(map(len, text.splitlines())) <= width
    for part in ("working", "40/100", "planning", "failed: truncated at byte 7"):
        assert part in " ".join(text.split())
    line = status_line(status, NOW)
    assert line.startswith("1 of 10 slides whole; 1 failed; 2 under way; 6 waiting; 0.20 mm²/s")


def test_the_command_prints_and_exits_as_it_says(halfway: FinishedRun) -> None:
    runner, out = CliRunner(), str(halfway.folder.root)
    done = runner.invoke(app, ["status", out])
    assert done.exit_code == 1
    assert "1 of 10 whole" in done.stdout
    assert "\x1b" not in done.stdout
    done = runner.invoke(app, ["status", out, "--json"])
    value = json.loads(done.stdout)
    assert value["slides"]["waiting"] == 7
    assert value["exit_code"] == done.exit_code == 1
    with locked(halfway.folder):
        assert runner.invoke(app, ["status", out]).exit_code == WORKING
    done = runner.invoke(app, ["status", out, "--watch"])
    assert done.exit_code == 1, "it ends when nobody is at work"
    done = runner.invoke(app, ["summary", out])
    assert done.exit_code == 0
    assert (halfway.folder.root / "summary.html").exists()
