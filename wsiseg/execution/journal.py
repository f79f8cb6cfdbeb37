"""Logs of a run: one JSON object a line, for the run and for every slide.

Lines are appended in one write each second at most, so they cost nothing and outlive a kill of
the process; a line that a crash of the machine cut short is skipped by the reader. A file that
has grown to ``MOST_BYTES`` steps aside once, so a log takes twice that at most.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import orjson

from wsiseg import __version__
from wsiseg.execution.progress import Progress, Start
from wsiseg.store.folders import RunFolder

FLUSH_SECONDS = 1.0
"""Least time between two writes."""

MOST_BYTES = 4 << 20
"""A log this large steps aside for a new one."""


class Journal(Progress):
    """Writes the events of a run to its logs, and passes them on.

    The run's log tells of slides, a slide's own log of its blocks too. Every line has ``time``
    (UTC), ``event`` and ``epoch``, the name of the driver's turn. To be used as a context
    manager; a log that cannot be written is told once and does not stop the run.

    Parameters
    ----------
    run
        The run directory.
    epoch
        Of the driver that holds it.
    inner
        Who else is told.
    """

    def __init__(self, run: RunFolder, epoch: str, inner: Progress) -> None:
        self._run = run
        self._epoch = epoch
        self._inner = inner
        self._began = time.monotonic()
        self._whole = 0
        self._failed = 0
        self._lines: dict[Path, list[bytes]] = {}
        self._known: set[Path] = set()
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._stop = threading.Event()
        self._trouble = ""
        self._thread = threading.Thread(target=self._flush_often, name="wsiseg-log", daemon=True)

    def __enter__(self) -> Journal:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        how = "interrupted" if kind is KeyboardInterrupt else "broken off" if error else "ended"
        self._note(
            "run " + how,
            whole=self._whole,
            failed=self._failed,
            seconds=round(time.monotonic() - self._began, 1),
            **({"reason": f"{type(error).__name__}: {error}"} if how == "broken off" else {}),
        )
        self._stop.set()
        self._thread.join()
        self._flush()

    def started(self, start: Start) -> None:
        """The run begins."""
        self._note(
            "run started",
            **_whereabouts(),
            wsiseg=__version__,
            slides=start.slides,
            workers=start.workers,
            planned_bytes=start.planned_bytes,
            dashboard=start.dashboard,
        )
        self._inner.started(start)

    def slide_planning(self, name: str) -> None:
        """A slide is taken up: told in the run's log only, for its folder may be remade now."""
        self._note("planning", slide=name)
        self._inner.slide_planning(name)

    def slide_started(self, name: str, blocks_total: int, blocks_already_done: int) -> None:
        """A slide is planned."""
        blocks = {"blocks": blocks_total, "already": blocks_already_done}
        self._note("begun", slide=name, **blocks)
        self._note_slide(name, "begun", **_whereabouts(), **blocks)
        self._inner.slide_started(name, blocks_total, blocks_already_done)

    def block_done(self, name: str, block: str, nuclei: int, mm2: float, seconds: float) -> None:
        """A block is committed."""
        self._note_slide(
            name,
            "block",
            block=block,
            nuclei=nuclei,
            mm2=round(mm2, 6),
            seconds=round(seconds, 3),
        )
        self._inner.block_done(name, block, nuclei, mm2, seconds)

    def slide_stage(self, name: str, stage: str) -> None:
        """A slide enters a stage after its blocks."""
        self._note_slide(name, stage)
        self._inner.slide_stage(name, stage)

    def slide_warning(self, name: str, text: str) -> None:
        """Something about a slide that is worth a line."""
        self._note_slide(name, "warning", text=text)
        self._inner.slide_warning(name, text)

    def slide_done(self, name: str, nuclei: int, seconds: float) -> None:
        """A slide is whole."""
        self._whole += 1
        facts = {"nuclei": nuclei, "seconds": round(seconds, 3)}
        self._note("whole", slide=name, **facts)
        self._note_slide(name, "whole", **facts)
        self._inner.slide_done(name, nuclei, seconds)

    def slide_failed(self, name: str, reason: str) -> None:
        """A slide has failed."""
        self._failed += 1
        self._note("failed", slide=name, reason=reason)
        self._note_slide(name, "failed", reason=reason)
        self._inner.slide_failed(name, reason)

    def message(self, text: str) -> None:
        """Something worth a line."""
        self._note("message", text=text)
        self._inner.message(text)

    def _note(self, event: str, **facts: object) -> None:
        self._add(self._run.log, event, facts)

    def _note_slide(self, name: str, event: str, **facts: object) -> None:
        self._add(self._run.slide(name).log, event, facts)

    def _add(self, path: Path, event: str, facts: dict[str, object]) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = orjson.dumps({"time": now, "event": event, "epoch": self._epoch, **facts}) + b"\n"
        with self._lock:
            self._lines.setdefault(path, []).append(line)
            trouble, self._trouble = self._trouble, ""
        if trouble:
            self._inner.message(trouble)

    def _flush_often(self) -> None:
        while not self._stop.wait(FLUSH_SECONDS):
            self._flush()

    def _flush(self) -> None:
        with self._writing:
            with self._lock:
                waiting, self._lines = self._lines, {}
            for path, lines in waiting.items():
                try:
                    self._append(path, b"".join(lines))
                except OSError as error:
                    self._trouble = f"cannot write the log {path}: {error.strerror or error}"

    def _append(self, path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path not in self._known:
            data = (b"" if _ends_a_line(path) else b"\n") + data
            self._known.add(path)
        with path.open("ab", buffering=0) as file:
            full = file.tell() + len(data) > MOST_BYTES
            if not full:
                file.write(data)
        if full:
            path.replace(older(path))
            path.write_bytes(data)


def older(path: Path) -> Path:
    """Where a log that has grown too large steps aside to."""
    return path.with_name(f"{path.stem}.older{path.suffix}")


def read_log(path: Path, *, most_bytes: int | None = None) -> list[dict[str, Any]]:
    """The events of a log, oldest first; none where there is no log.

    ``most_bytes``: only what stands in so many bytes at its end.
    """
    parts = (older(path), path) if most_bytes is None else (path,)
    return [event for part in parts for event in _events(part, most_bytes)]


def _events(path: Path, most_bytes: int | None) -> Iterator[dict[str, Any]]:
    try:
        with path.open("rb") as file:
            if most_bytes is not None:
                file.seek(max(file.seek(0, os.SEEK_END) - most_bytes, 0))
            lines = file.read().splitlines()
    except OSError:
        return
    for line in lines:
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError:
            # The line that was cut short by a crash, or by where the reading began.
            continue
        if isinstance(value, dict):
            yield value


def _ends_a_line(path: Path) -> bool:
    """Whether a file is empty, missing or ends with the end of a line."""
    try:
        with path.open("rb") as file:
            if file.seek(0, os.SEEK_END) == 0:
                return True
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"
    except FileNotFoundError:
        return True


def _whereabouts() -> dict[str, object]:
    return {"host": socket.gethostname(), "pid": os.getpid()}
