"""Where the processors' time goes: samples of a whole run by module of wsiseg.

    python -m benchmarks.profiling SLIDE [--model nuclei-he] [--workers 2] [--rate 100]
                                         [--stacks FILE] [--least 0.5]

Runs ``wsiseg run SLIDE`` under py-spy (``pip install py-spy``), which looks at every process of it
so many times a second and notes the stacks of the threads that are at work; by hand:

    py-spy record --subprocesses --format raw --output STACKS -- wsiseg run SLIDE -o OUT

A sample counts for the innermost module of wsiseg on its stack, so that what a library does is
charged to who called it; without one it counts for the outermost package. Importing is told apart,
and so is compiling by numba. Threads that wait in Python's own libraries, which py-spy takes for
work now and then, are left out. ``--stacks`` keeps the stacks, or summarises a file of them where
no SLIDE is given.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

_PROCESS = re.compile(r'process (\d+)(?::"(.*)")?')
_WAITING = re.compile(
    r"/(selectors|threading|queue|subprocess|concurrent/futures/thread|multiprocessing/"
    r"(connection|popen_\w+|forkserver))\.py(:\d+)?\)$"
)
_FILE = re.compile(r"\(([^():]+\.py)(?::\d+)?\)")


def main() -> None:
    """Run, sample, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("slide", type=Path, nargs="?")
    parser.add_argument("--model", default="nuclei-he")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rate", type=int, default=100)
    parser.add_argument("--stacks", type=Path)
    parser.add_argument("--least", type=float, default=0.5, help="least share shown, per cent")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        stacks = options.stacks or Path(name) / "stacks"
        if options.slide is not None:
            arguments = ["--model", options.model, "--workers", str(options.workers)]
            record(stacks, options.rate, options.slide, Path(name) / "run", *arguments)
        show(count(stacks.read_text("utf-8").splitlines()), options.rate, options.least)


def record(stacks: Path, rate: int, slide: Path, out: Path, *arguments: str) -> None:
    """Run a slide under py-spy."""
    folder = Path(sys.executable).parent
    command = [
        *(folder / "py-spy", "record", "--subprocesses", "--format", "raw", "--full-filenames"),
        *("--rate", str(rate), "--output", stacks, "--"),
        *(sys.executable, "-m", "wsiseg.cli.main", "run", slide, "-o", out, *arguments),
    ]
    done = subprocess.run(
        [str(part) for part in command], check=False, capture_output=True, text=True
    )
    if not stacks.exists():
        sys.exit(done.stderr)


def count(lines: Iterable[str]) -> dict[str, Counter[str]]:
    """Samples by module, for the driver and for all other processes together.

    A line is a stack from the outside in, frames parted by semicolons, and its number of samples.
    The first frames name the process and those it was started by.
    """
    samples: dict[str, Counter[str]] = {"driver": Counter(), "workers": Counter()}
    for line in lines:
        stack, _, number = line.rpartition(" ")
        if _WAITING.search(stack):
            continue
        frames = stack.split(";")
        processes = [frame for frame in frames if _PROCESS.match(frame)]
        kind = "workers" if len(processes) > 1 else "driver"
        samples[kind][_module(frames)] += int(number)
    return samples


def _module(frames: list[str]) -> str:
    if any("<frozen importlib" in frame for frame in frames):
        return "(importing)"
    if any("/numba/core/dispatcher.py" in frame for frame in frames):
        return "(compiling, or taking what is compiled from the disk)"
    files = [found.group(1) for frame in frames if (found := _FILE.search(frame))]
    for file in reversed(files):
        _, inside, rest = file.rpartition("/wsiseg/")
        if inside and "/site-packages/" not in file and rest != "cli/main.py":
            return f"wsiseg/{rest}"
    for file in files:
        _, inside, rest = file.rpartition("/site-packages/")
        if inside:
            return rest.split("/")[0]
    return "Python"


def show(samples: dict[str, Counter[str]], rate: int, least: float) -> None:
    """Print a table for each kind of process."""
    whole = sum(found.total() for found in samples.values()) or 1
    for kind, found in samples.items():
        seconds = found.total() / rate
        print(f"\n{kind}: {seconds:.1f} s at work, {found.total() / whole:.0%} of all\n")
        print("| module | seconds | of these | of all |\n|---|---|---|---|")
        for module, number in found.most_common():
            share = number / found.total()
            if 100 * share >= least:
                print(f"| {module} | {number / rate:.2f} | {share:.1%} | {number / whole:.1%} |")


if __name__ == "__main__":
    main()
