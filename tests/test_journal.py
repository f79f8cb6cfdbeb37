"""Logs of a run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from wsiseg.execution import journal as journals
from wsiseg.execution.journal import Journal, older, read_log
from wsiseg.execution.progress import Progress, Start
from wsiseg.store.folders import RunFolder


class Listener(Progress):
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []

    def block_done(self, name: str, block: str, nuclei: int, mm2: float, seconds: float) -> None:
        self.told.append(("block", name, block, nuclei, mm2, seconds))

    def message(self, text: str) -> None:
        self.told.append(("message", text))


def tell(journal: Progress, blocks: int = 3) -> None:
    """The events of a small run."""
    journal.started(Start(2, 4, 10**9, lambda: 10**8, "http://127.0.0.1:1/status"))
    journal.slide_planning("a")
    journal.slide_started("a", blocks, 0)
    for number in range(blocks):
        journal.block_done("a", f"0-{number}", 100, 0.25, 1.5)
    journal.slide_stage("a", "stitch")
    journal.slide_warning("a", "odd\nlines")
    journal.slide_done("a", 280, 12.0)
    journal.slide_planning("b")
    journal.slide_failed("b", "b: truncated")


def test_the_run_and_each_slide_have_their_own(tmp_path: Path) -> None:
    run, listener = RunFolder(tmp_path), Listener()
    with Journal(run, "e1", listener) as journal:
        tell(journal)
        journal.message("something")
    events = read_log(run.log)
    assert [event["event"] for event in events] == [
        "run started", "planning", "begun", "whole", "planning", "failed", "message", "run ended",
    ]  # fmt: skip
    assert {event["epoch"] for event in events} == {"e1"}
    assert events[0]["pid"] == os.getpid()
    assert events[0]["slides"] == 2
    assert events[-1]["whole"] == events[-1]["failed"] == 1
    slide = read_log(run.slide("a").log)
    assert [event["event"] for event in slide] == [
        "begun", "block", "block", "block", "stitch", "warning", "whole",
    ]  # fmt: skip
    assert slide[1]["block"] == "0-0"
    assert slide[1]["nuclei"] == 100
    assert slide[5]["text"] == "odd\nlines"
    assert [e["event"] for e in read_log(run.slide("b").log)] == ["failed"]
    assert listener.told[0] == ("block", "a", "0-0", 100, 0.25, 1.5)
    assert listener.told[-1] == ("message", "something")
    lines = run.log.read_text().splitlines()
    assert all(isinstance(json.loads(line), dict) for line in lines)


@pytest.mark.parametrize(
    ("error", "event"), [(KeyboardInterrupt, "run interrupted"), (OSError, "run broken off")]
)
def test_how_it_ended_is_told(tmp_path: Path, error: type[BaseException], event: str) -> None:
    run = RunFolder(tmp_path)

    def broken() -> None:
        with Journal(run, "e1", Progress()) as journal:
            tell(journal)
            raise error("why")

    with pytest.raises(error):
        broken()
    last = read_log(run.log)[-1]
    assert last["event"] == event
    assert ("why" in last.get("reason", "")) == (error is OSError)


def test_a_kill_loses_the_last_second_at_most(tmp_path: Path) -> None:
    script = (
        "import os, sys, time\n"
        "from pathlib import Path\n"
        "from wsiseg.execution.journal import Journal\n"
        "from wsiseg.execution.progress import Progress\n"
        "from wsiseg.store.folders import RunFolder\n"
        "with Journal(RunFolder(Path(sys.argv[1])), 'e1', Progress()) as journal:\n"
        "    journal.slide_started('a', 9, 0)\n"
        "    journal.block_done('a', '0-0', 1, 0.1, 1.0)\n"
        "    time.sleep(3)\n"
        "    os._exit(9)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, tmp_path], check=False, timeout=120)
    assert done.returncode == 9
    events = read_log(RunFolder(tmp_path).slide("a").log)
    assert [event["event"] for event in events] == ["begun", "block"]


def test_a_line_cut_short_spoils_no_other(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    with Journal(run, "e1", Progress()) as journal:
        journal.message("first")
    with run.log.open("ab") as file:
        file.write(b'{"time": "2026-01-01T00:00:00+00:00", "event": "mess')
    with Journal(run, "e2", Progress()) as journal:
        journal.message("second")
    assert [e.get("text") for e in read_log(run.log)] == ["first", None, "second", None]


def test_it_is_written_seldom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, writes = RunFolder(tmp_path), []
    whole = Journal._append

    def counted(self: Journal, path: Path, data: bytes) -> None:
        writes.append(path)
        whole(self, path, data)

    monkeypatch.setattr(Journal, "_append", counted)
    begin = time.monotonic()
    with Journal(run, "e1", Progress()) as journal:
        journal.slide_started("a", 20_000, 0)
        for number in range(20_000):
            journal.block_done("a", str(number), 1, 0.1, 1.0)
    assert len(read_log(run.slide("a").log)) == 20_001
    assert writes.count(run.slide("a").log) <= time.monotonic() - begin + 2


def test_it_does_not_grow_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journals, "MOST_BYTES", 2000)
    run = RunFolder(tmp_path)
    for number in range(40):
        with Journal(run, f"e{number}", Progress()) as journal:
            journal.message("x" * 100)
    assert run.log.stat().st_size + older(run.log).stat().st_size <= 2 * 2000
    texts = [event["epoch"] for event in read_log(run.log)]
    assert texts[-1] == "e39"
    assert len(texts) > 10
    assert [e["epoch"] for e in read_log(run.log, most_bytes=300)][-1] == "e39"


def test_a_log_that_cannot_be_written_is_told_and_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journals, "FLUSH_SECONDS", 0.05)
    run, listener = RunFolder(tmp_path), Listener()
    run.slide("a").root.parent.mkdir(parents=True)
    run.slide("a").root.write_text("a file where the folder should be")
    with Journal(run, "e1", listener) as journal:
        tell(journal)
        for _ in range(100):
            time.sleep(0.05)
            journal.slide_stage("c", "export")
            if len(listener.told) > 3:
                break
    kind, text = listener.told[-1]
    assert kind == "message"
    assert str(text).startswith(f"cannot write the log {run.slide('a').log}")
    assert read_log(run.log)[-1]["event"] == "run ended"
