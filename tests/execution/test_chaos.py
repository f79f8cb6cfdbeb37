"""A bad night: workers and drivers are killed, storage goes away and comes back."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

import wsiseg
from runs import (
    FAST_MODEL,
    assert_same_files,
    job_of,
    kill_group,
    processes_of,
    start,
)
from wsiseg.demo import write_demo_slide

SEED = 7
BLOWS = 5
"""How many times something bad happens."""

CALM_SECONDS = 240


class Night:
    """A run that is begun again whenever its driver is killed."""

    def __init__(self, slides: list[Path], out: Path) -> None:
        self.slides = slides
        self.out = out
        self.chance = random.Random(SEED)
        self.reached = slides[0].name
        self.process = self.begin()

    def begin(self) -> subprocess.Popen[str]:
        return start("run", *self.slides, "--model", FAST_MODEL, "-o", self.out, "--workers", "2")

    def wait_for_progress(self) -> bool:
        """Wait until one more file is whole, of any stage; whether the run still goes on."""
        before = self.files()
        while self.process.poll() is None:
            new = self.files() - before
            if new:
                self.reached = max(new).relative_to(self.out / "slides").parts[0]
                time.sleep(self.chance.uniform(0, 0.2))
                return self.process.poll() is None
            time.sleep(0.01)
        return False

    def files(self) -> set[Path]:
        """What the run has written of its slides, blocks and labels each as one, logs left out."""
        found = {*self.out.glob("slides/*/*"), *self.out.glob("slides/*/*/*")}
        return {file for file in found if not file.name.startswith((".", "log"))}

    def kill_worker(self) -> None:
        workers = processes_of(self.process)
        if workers:
            self.chance.choice(workers).send_signal(signal.SIGKILL)

    def kill_driver(self) -> None:
        # Its workers are left behind, as when the system kills it for want of memory.
        self.process.kill()
        self.process.communicate(timeout=60)
        self.process = self.begin()

    def kill_everything(self) -> None:
        kill_group(self.process)
        self.process = self.begin()

    def take_storage_away(self) -> None:
        """Leave half of the file of the slide in work, and bring the rest back a little later."""
        (slide,) = (path for path in self.slides if path.name == self.reached)
        content = slide.read_bytes()
        with slide.open("r+b") as file:
            file.truncate(len(content) // 2)
            time.sleep(self.chance.uniform(0.5, 1.5))
            file.seek(0)
            file.write(content)


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("slides")
    return [
        write_demo_slide(folder / f"{name}.tiff", side_px=side)
        for name, side in (("one", 3072), ("two", 2560), ("three", 2048))
    ]


def test_after_a_bad_night_everything_is_as_after_a_good_one(
    slides: list[Path], tmp_path: Path
) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    assert not wsiseg.run(job_of(*slides), good, inline=True).failed
    night = Night(slides, bad)
    blows = [night.kill_worker, night.take_storage_away, night.kill_driver]
    night.chance.shuffle(blows)
    blows += [night.chance.choice([*blows, night.kill_everything]) for _ in range(BLOWS)]
    struck = 0
    for blow in blows[:BLOWS]:
        if not night.wait_for_progress():
            break
        blow()
        struck += 1
    out, err = night.process.communicate(timeout=CALM_SECONDS)
    assert night.process.returncode == 0, out + err
    assert struck >= 3, "the night was too short to prove anything"
    assert_same_files(good, bad)
    assert list(bad.rglob(".partial-*")) == []
    assert not (bad / "run.lock").exists()
    left = [p for p in psutil.process_iter(["cmdline"]) if str(bad) in str(p.info["cmdline"])]
    assert left == []
