"""An archive of small generated slides, good and bad, as scanners and disks leave them."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from skimage.draw import ellipse

import wsiseg
from wsiseg.store.folders import RunFolder

TILE_PX = 256
WORK = ("block", "stitch", "measure", "export")
"""Events in a slide's log that mean something was computed or written."""

_GLASS = (243, 242, 240)
_STROMA = np.array([228.0, 176.0, 204.0])
_NUCLEUS = np.array([92.0, 62.0, 142.0])


_REAL_BAD = {
    "TCGA-CR-7395-01A-01-TS1.svs": "does not state its pixel",
    "kidney-48-5.tif": "does not state its pixel",
    "A_BB_574162_1.svs": "cannot be true",
    "multi_frame_jpeg2000_camelyon_challenge_image.dcm": "too coarse",
    "broken/CMU-1-Small-Region_truncated_1MB.svs": "truncated",
    "broken/TCGA-TS1_truncated_3MB.svs": "truncated",
    "broken/histolab_broken_not_tiff.svs": "no reader can open",
}


@dataclass(frozen=True, slots=True)
class Bad:
    """A slide that something is wrong with.

    Attributes
    ----------
    path
        Where it lies, or should.
    reason
        Words that the message on it must hold.
    fails
        Whether a run fails it; otherwise it is whole, and only said to be odd.
    """

    path: Path
    reason: str
    fails: bool = True


@dataclass(frozen=True, slots=True)
class Archive:
    """Slides on disk.

    Attributes
    ----------
    folder
        All of them lie in it.
    good, bad
        The slides that must become whole, and the others.
    """

    folder: Path
    good: tuple[Path, ...]
    bad: tuple[Bad, ...]

    @property
    def paths(self) -> tuple[Path, ...]:
        """Every slide, good and bad mixed, in the order of their names."""
        return tuple(sorted([*self.good, *(bad.path for bad in self.bad)]))

    def write_list(self, path: Path) -> Path:
        """Write a CSV list of every slide and return its path."""
        rows = "\n".join(str(slide) for slide in self.paths)
        path.write_text(f"path\n{rows}\n", encoding="utf-8")
        return path

    def with_real(self, slides: Path) -> Archive:
        """The archive and the small real slides of a folder, good and bad."""
        bad = [Bad(slides / name, reason) for name, reason in _REAL_BAD.items()]
        good = slides / "CMU-1-Small-Region.svs"
        return replace(self, good=(*self.good, good), bad=(*self.bad, *bad))


def tissue_pixels(width: int, height: int, seed: int, mpp: float = 0.5) -> NDArray[np.uint8]:
    """uint8 ``[height, width, 3]``: a disc of stained tissue with nuclei on glass."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    inside = ((x / width - 0.5) / 0.42) ** 2 + ((y / height - 0.5) / 0.42) ** 2 < 1
    pixels = np.empty((height, width, 3), np.float32)
    pixels[:] = _GLASS
    pixels[inside] = _STROMA
    step = 14 / mpp
    for cy in np.arange(step, height - step, step):
        for cx in np.arange(step, width - step, step):
            row, column = (np.array([cy, cx]) + rng.uniform(-0.25, 0.25, 2) * step).tolist()
            radii = rng.uniform(3.0, 4.5, 2) / mpp
            turn = rng.uniform(0, np.pi)
            where = ellipse(row, column, *radii, shape=(height, width), rotation=turn)
            if inside[int(row), int(column)]:
                pixels[where] = _NUCLEUS + rng.normal(0, 6, 3)
    grain = rng.normal(0, 3, (height, width, 1)).astype(np.float32)
    return np.asarray(np.clip(pixels + grain, 0, 255), np.uint8)


def write_slide(
    path: Path, pixels: NDArray[np.uint8], mpp: float | None = 0.5, *, aperio: bool = False
) -> Path:
    """Write a tiled pyramidal JPEG TIFF, its pixel size in Aperio's way or in the tags."""
    levels = [pixels]
    while min(levels[-1].shape[:2]) > 2 * TILE_PX:
        large = levels[-1][: levels[-1].shape[0] // 4 * 4, : levels[-1].shape[1] // 4 * 4]
        rows, columns = large.shape[0] // 4, large.shape[1] // 4
        small = large.reshape(rows, 4, columns, 4, 3).mean(axis=(1, 3))
        levels.append(small.round().astype(np.uint8))
    path.parent.mkdir(parents=True, exist_ok=True)
    with tifffile.TiffWriter(path) as file:
        for number, level in enumerate(levels):
            height, width = level.shape[:2]
            said = "Aperio Image Library v12.0.0\r\n"
            said += f"{width}x{height} [0,0 {width}x{height}] ({TILE_PX}x{TILE_PX}) JPEG/RGB Q=80"
            said += f"|AppMag = {round(10 / mpp)}|MPP = {mpp:g}" if mpp and not number else ""
            tags = {} if mpp is None or aperio else {"resolution": _per_cm(mpp * 4**number)}
            if aperio and number == 1:
                # Readers take the second page of such a file for its thumbnail.
                file.write(levels[-1], photometric="rgb", software=False, metadata=None)
            file.write(
                level,
                subfiletype=0 if number == 0 or aperio else 1,
                tile=(TILE_PX, TILE_PX),
                photometric="rgb",
                compression="jpeg",
                compressionargs={"level": 80},
                resolutionunit="CENTIMETER" if tags else "NONE",
                description=said if aperio else None,
                software=False,
                metadata=None,
                **tags,
            )
    return path


def write_archive(folder: Path, good: int, seed: int = 0) -> Archive:
    """Write an archive of ``good`` slides of mixed size and ten bad ones."""
    rng = np.random.default_rng(seed)
    whole = [write_slide(folder / "original.tif", tissue_pixels(900, 800, seed))]
    for number in range(good - 1):
        mpp = (0.5, 0.5, 0.25)[number % 3]
        width, height = (int(v) for v in rng.integers(3, 8, 2) * TILE_PX + rng.integers(0, 200, 2))
        aperio = number % 2 == 1
        name = f"slide {number:03d}.{'svs' if aperio else 'tif'}"
        pixels = tissue_pixels(width, height, seed * 1000 + number + 2, mpp)
        whole.append(write_slide(folder / name, pixels, mpp, aperio=aperio))
    return Archive(folder, tuple(whole), _write_bad_slides(folder, whole[0], seed + 1))


def _write_bad_slides(folder: Path, sound: Path, seed: int) -> tuple[Bad, ...]:
    """Ten slides with something wrong, each with the reason that must be given for it."""
    pixels = tissue_pixels(900, 800, seed)
    makers: list[tuple[str, Callable[[Path], object], str, bool]] = [
        ("truncated.tif", lambda p: p.write_bytes(_cut(sound)), "truncated|beyond|end", True),
        ("not a slide.svs", lambda p: p.write_text("no TIFF" * 99), "no reader can open", True),
        ("no mpp.tif", lambda p: write_slide(p, pixels, None), "does not state its pixel", True),
        ("wrong mpp.tif", lambda p: write_slide(p, pixels, 1000.0), "cannot be true", True),
        ("empty.tif", lambda p: p.write_bytes(b""), "no reader can open|empty", True),
        ("damaged.tif", lambda p: _damage(p, sound), "cannot be decoded", True),
        ("missing.tif", lambda p: None, "No such file|not exist|missing", True),
        ("unreadable.tif", lambda p: _forbid(p, sound), "denied|symbolic links", True),
        ("twin.tif", lambda p: shutil.copy(sound, p), "byte for byte the same", False),
        ("glass only.tif", lambda p: write_slide(p, _glass()), "no tissue", False),
    ]
    bad = []
    for name, make, reason, fails in makers:
        make(folder / name)
        bad.append(Bad(folder / name, reason, fails))
    return tuple(bad)


def _per_cm(mpp: float) -> tuple[float, float]:
    return (10_000 / mpp, 10_000 / mpp)


def _cut(sound: Path) -> bytes:
    data = sound.read_bytes()
    return data[: len(data) * 6 // 10]


def _glass() -> NDArray[np.uint8]:
    rng = np.random.default_rng(5)
    grain = rng.normal(0, 1, (700, 800, 1))
    return np.asarray(np.clip(np.asarray(_GLASS) + grain, 0, 255), np.uint8)


def _damage(path: Path, sound: Path) -> None:
    """Noise in place of the tile in the middle of level 0."""
    shutil.copy(sound, path)
    with tifffile.TiffFile(sound) as file:
        page = file.pages[0]
        across = -(-page.imagewidth // TILE_PX)
        middle = (page.imagelength // TILE_PX // 2) * across + across // 2
        offset, count = page.dataoffsets[middle], page.databytecounts[middle]
    with path.open("r+b") as out:
        out.seek(offset)
        out.write(np.random.default_rng(1).bytes(count))


def _forbid(path: Path, sound: Path) -> None:
    """Nobody may read it; for the superuser, who may read all, it leads in a circle."""
    if os.geteuid() == 0:
        path.symlink_to(path.name)
    else:
        shutil.copy(sound, path)
        path.chmod(0)


def complaints(archive: Archive, out: Path, findings: Path) -> list[str]:
    """What is not as it must be after a run of the whole archive.

    Parameters
    ----------
    archive, out
        The slides, and where they were run with all default exports.
    findings
        What ``wsiseg check`` wrote on the slides, as CSV.
    """
    run = wsiseg.open_run(out)
    names = {Path(slide["path"]): name for name, slide in run.manifest["slides"].items()}
    with findings.open(newline="", encoding="utf-8") as file:
        checked = {Path(row["path"]): row["problems"] for row in csv.DictReader(file)}
    found = []
    for path in archive.good:
        name = names.get(_real(path))
        if name not in run.complete:
            found.append(f"{path.name} is not whole")
        elif not run.report(name)["counts"]["nuclei"]:
            found.append(f"{path.name} has no nuclei")
        elif missing := [e for e in run.report(name)["exports"] if not run.file(name, e).exists()]:
            found.append(f"{path.name} lacks {missing}")
    for bad in archive.bad:
        name = names.get(_real(bad.path), "")
        failure = RunFolder(out).slide(name).failure
        said = checked.get(bad.path, "")
        if bad.fails != failure.exists():
            found.append(f"{bad.path.name} {'did not fail' if bad.fails else 'failed'}")
        elif bad.fails:
            reason = json.loads(failure.read_text())["reason"]
            if not re.search(bad.reason, reason):
                found.append(f"{bad.path.name} failed for another reason: {reason}")
            if not said:
                found.append(f"{bad.path.name} passed the check")
        elif not re.search(bad.reason, " ".join([said, *run.report(name)["warnings"]])):
            found.append(f"{bad.path.name}: nothing odd was said of it")
    return found


def results(out: Path) -> dict[str, tuple[int, str]]:
    """When every file of the slides' folders was written, and a digest of it; logs aside."""
    return {
        str(path.relative_to(out)): (
            path.stat().st_mtime_ns,
            hashlib.blake2b(path.read_bytes()).hexdigest(),
        )
        for name in wsiseg.open_run(out).complete
        for path in sorted(RunFolder(out).slide(name).root.rglob("*"))
        if path.is_file() and path.name != "log.jsonl"
    }


def work_done(out: Path) -> int:
    """How many blocks, stitchings, measurements and rounds of exports were ever done."""
    lines = [
        json.loads(line)
        for log in out.glob("slides/*/log.jsonl")
        for line in log.read_text(encoding="utf-8").splitlines()
    ]
    return sum(line["event"] in WORK for line in lines)


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))
