"""An archive of generated slides with ten bad ones among them, run twice by the command line.

python benchmarks/archive.py [--slides 200] [--real FOLDER] [--subset 24] [--out FOLDER]

Prints, as JSON, what was not as it must be (nothing, it is hoped), the seconds of the check and of
both runs, and the efficiency of 2 workers against 1 on some of the slides. Exits with 1 where
something was not as it must be. FOLDER of ``--real`` holds the small real slides to mix in.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import wsiseg
from archives import Archive, complaints, results, work_done, write_archive

MODEL = "classical-he"
BAD = 10


def main() -> None:
    """Make the archive, run it, print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slides", type=int, default=200)
    parser.add_argument("--real", type=Path)
    parser.add_argument("--subset", type=int, default=24)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.out or Path(temporary)
        archive = write_archive(folder / "slides", options.slides - BAD)
        if options.real:
            archive = archive.with_real(options.real)
        found = {
            "machine": f"{os.cpu_count()} cores, {datetime.datetime.now(datetime.UTC).date()}",
            "slides": len(archive.paths),
            "mb": round(sum(p.stat().st_size for p in archive.paths if p.exists()) / 1e6),
            **twice(archive, folder),
            **efficiency(archive, folder, options.subset),
        }
        print(json.dumps(found, indent=2))
    sys.exit(1 if found["complaints"] else 0)


def twice(archive: Archive, folder: Path) -> dict[str, Any]:
    """Check and run the archive, run it again, and compare."""
    listed, findings, out = folder / "list.csv", folder / "check.csv", folder / "out"
    archive.write_list(listed)
    code, check_seconds = call("check", listed, "-o", findings, "--model", MODEL)
    wrong = [] if code == 1 else [f"check ended with {code}"]
    run = ("run", listed, "-o", out, "--model", MODEL)
    code, first_seconds = call(*run)
    wrong += [] if code == 1 else [f"the first run ended with {code}"]
    wrong += complaints(archive, out, findings)
    before, work = results(out), work_done(out)
    code, second_seconds = call(*run)
    wrong += [] if code == 1 else [f"the second run ended with {code}"]
    wrong += [] if work_done(out) == work else ["the second run did some of the work again"]
    after = results(out)
    wrong += [f"written again: {name}" for name in before if after.get(name) != before[name]]
    last = wsiseg.open_run(out).manifest["last_run"]
    return {
        "complaints": wrong,
        "whole": len(wsiseg.open_run(out).complete),
        "steps_of_work": work,
        "steps_of_work_again": work_done(out) - work,
        "check_seconds": round(check_seconds, 1),
        "first_seconds": round(first_seconds, 1),
        "second_seconds": round(second_seconds, 1),
        "second_peak_mb": round(last["memory_peak_bytes"] / 1e6),
    }


def efficiency(archive: Archive, folder: Path, count: int) -> dict[str, Any]:
    """Seconds of some good slides with one worker and with two, without starting the workers."""
    seconds = {}
    for workers in (1, 2):
        out = folder / f"out-{workers}"
        slides = archive.good[:count]
        call("run", *slides, "-o", out, "--model", MODEL, "--workers", workers)
        events = [
            datetime.datetime.fromisoformat(json.loads(line)["time"])
            for log in out.glob("slides/*/log.jsonl")
            for line in log.read_text(encoding="utf-8").splitlines()
        ]
        seconds[workers] = (max(events) - min(events)).total_seconds()
    return {
        "subset": count,
        "seconds_1_worker": round(seconds[1], 1),
        "seconds_2_workers": round(seconds[2], 1),
        "efficiency_of_2": round(seconds[1] / (2 * seconds[2]), 2),
    }


def call(*arguments: object) -> tuple[int, float]:
    """``wsiseg`` as a user calls it: exit code and seconds."""
    begin = time.perf_counter()
    command = [sys.executable, "-m", "wsiseg.cli.main", *map(str, arguments)]
    result = subprocess.run(command, check=False, stdout=subprocess.DEVNULL)
    return result.returncode, time.perf_counter() - begin


if __name__ == "__main__":
    main()
