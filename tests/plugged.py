"""Packages of plug-ins, installed for tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from wsiseg import plugins

EXAMPLE = Path(__file__).parent / "example_plugin"


def install_example(folder: Path) -> Path:
    """Install the example as a user would, offline, into a folder of its own."""
    source, target = folder / "source", folder / "site"
    # Building leaves files beside the source.
    shutil.copytree(EXAMPLE, source)
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--no-compile"]
    subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, "--target", target, source],
        check=True,
        capture_output=True,
        timeout=120,
    )
    return target


def write_package(
    site: Path, name: str, entries: Mapping[str, Mapping[str, str]], code: str = ""
) -> None:
    """A package of one module, with entry points by group and name, as installers leave it."""
    info = site / f"{name.replace('-', '_')}-0.1.dist-info"
    info.mkdir(parents=True)
    info.joinpath("METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1\n")
    lines = []
    for group, targets in entries.items():
        lines += [f"[{group}]", *(f"{entry} = {target}" for entry, target in targets.items())]
    info.joinpath("entry_points.txt").write_text("\n".join(lines) + "\n")
    site.joinpath(f"{name.replace('-', '_')}.py").write_text(code)


@contextmanager
def installed(site: Path) -> Iterator[None]:
    """This process and those it starts with the packages of a folder installed."""
    before = os.environ.get("PYTHONPATH")
    sys.path.insert(0, str(site))
    os.environ["PYTHONPATH"] = f"{site}{os.pathsep}{before}" if before else str(site)
    forget()
    try:
        yield
    finally:
        sys.path.remove(str(site))
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
        forget()


def forget() -> None:
    """Let go of what is known of the plug-ins that are installed."""
    from wsiseg.models import zoo

    plugins._found.cache_clear()
    plugins._loaded.cache_clear()
    plugins._warn.cache_clear()
    zoo._plugged.cache_clear()


def write_spots(path: Path, side: int = 600, spots: int = 40) -> int:
    """A slide for the example: dark discs on white at 0.5 µm/px; how many there are."""
    pixels = np.full((side, side, 3), 240, np.uint8)
    across = int(np.ceil(np.sqrt(spots)))
    step = side // across
    y, x = np.mgrid[:side, :side]
    for number in range(spots):
        cx, cy = (number % across + 0.5) * step, (number // across + 0.5) * step
        pixels[(x - cx) ** 2 + (y - cy) ** 2 <= (6 + number % 4) ** 2] = (90, 40 + number, 110)
    with path.open("wb") as file:
        np.savez(file, pixels=pixels, mpp=np.float64(0.5))
    return spots
