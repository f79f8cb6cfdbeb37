"""Slides below a folder or of a pattern, and the files that belong to a slide."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from wsiseg.errors import ConfigurationError
from wsiseg.listing.table import MAX_SLIDES, too_many
from wsiseg.slides.plugged import plugged_suffixes
from wsiseg.slides.tiff_structure import is_tiff

SLIDE_SUFFIXES = frozenset(
    (
        ".svs", ".svslide", ".tif", ".tiff", ".ndpi", ".mrxs", ".scn", ".bif", ".vms", ".vmu",
        ".dcm", ".czi",
    )
)  # fmt: skip
"""Endings of slide files. Others are taken for slides if they begin as TIFF or DICOM does."""

_HEAD_BYTES = 256 << 10
_DICOM_MARK = slice(128, 132)
_WHOLE_SLIDE_CLASS = b"1.2.840.10008.5.1.4.1.1.77.1.6"
"""SOP class "VL Whole Slide Microscopy Image Storage" (DICOM PS3.4, B.5)."""

# The study's identifier (0020,000D) directly followed by the series' (0020,000E), explicit or
# implicit, little endian (DICOM PS3.5, 7.1): so they lie in the data set itself, and only there;
# references to other series within sequences do not have this order.
_UID = rb"(?:UI[\x00-\x40]\x00|[\x00-\x40]\x00\x00\x00)([0-9.]{1,64})\x00?"
_SERIES = re.compile(rb"\x20\x00\x0d\x00" + _UID + rb"\x20\x00\x0e\x00" + _UID)

_CACHE_TAG = "CACHEDIR.TAG"
"""Marks folders of copies: https://bford.info/cachedir/"""

_UNREADABLE_BY_NATURE = ("lost+found",)


def slides_below(folder: Path) -> list[Path]:
    """Every slide in a folder and the folders in it, in the order of their names.

    Hidden files, the companions of slides, caches and run directories of wsiseg are passed
    over; of the files of a DICOM series the first stands for the slide.

    Raises
    ------
    ConfigurationError
        If a folder cannot be read, is itself a run directory, or holds too many slides.
    """
    if is_run_directory(folder):
        raise ConfigurationError(
            f"{folder} is a run directory of wsiseg, not a folder of slides; name the slides, or "
            "look at it with: wsiseg status"
        )
    found: list[Path] = []
    for path in _walk(folder):
        if len(found) == MAX_SLIDES:
            raise too_many(f"{folder} holds")
        found.append(path)
    return found


def slides_matching(pattern: str) -> list[Path]:
    """The slides of a glob pattern (``**``: any depth), those below folders that match included.

    Raises
    ------
    ConfigurationError
        If nothing matches, or too much.
    """
    found: dict[Path, None] = {}
    files = []
    for match in sorted(glob.glob(pattern, recursive=True)):  # noqa: PTH207 Path.glob: no root
        path = Path(match)
        if not path.is_dir():
            files.append(path)
        elif not _passed_over(path) and not pattern.endswith("**"):
            found |= dict.fromkeys(_walk(path))
        if len(files) > 10 * MAX_SLIDES or len(found) > MAX_SLIDES:
            raise too_many(f"{pattern} matches")
    passed_over = cache(_passed_over)
    files = [path for path in files if not any(map(passed_over, path.parents))]
    found |= dict.fromkeys(_slides_among(files))
    if not found:
        raise ConfigurationError(f"no slide matches {pattern}")
    if len(found) > MAX_SLIDES:
        raise too_many(f"{pattern} matches")
    return sorted(found)


def companions(path: Path) -> tuple[Path, ...]:
    """Files and folders beside a slide that it cannot be read without.

    The folder of an MRXS and the other files of a DICOM series.
    """
    suffix = path.suffix.lower()
    if suffix == ".mrxs":
        folder = path.with_suffix("")
        return (folder,) if folder.is_dir() else ()
    series = _series(path) if suffix == ".dcm" else None
    if series is None:
        return ()
    beside = sorted(other for other in path.parent.iterdir() if other.suffix.lower() == ".dcm")
    return tuple(other for other in beside if other != path and _series(other) == series)


def is_run_directory(folder: Path) -> bool:
    """Whether a folder holds results of wsiseg."""
    try:
        with (folder / "manifest.json").open("rb") as file:
            return b'"wsiseg"' in file.read(4096) and (folder / "slides").is_dir()
    except OSError:
        return False


def _walk(root: Path) -> Iterator[Path]:
    seen = {_identity(root)}
    for name, folders, files in os.walk(root, onerror=_refuse, followlinks=True):
        place = Path(name)
        kept = []
        for folder in sorted(folders):
            # A companion belongs to the slide of the same name beside it.
            companion = any(
                f.lower().endswith(".mrxs") and f[: -len(".mrxs")] == folder for f in files
            )
            known = _identity(place / folder)
            if companion or known in seen or _passed_over(place / folder):
                continue
            seen.add(known)
            kept.append(folder)
        folders[:] = kept
        yield from _slides_among(place / file for file in sorted(files))


def _slides_among(files: Iterable[Path]) -> Iterator[Path]:
    """The files that are slides, one of each DICOM series in a folder."""
    series: set[tuple[Path, bytes]] = set()
    for path in files:
        if path.name.startswith(".") or not _looks_like_slide(path):
            continue
        if path.suffix.lower() == ".dcm" or path.suffix.lower() not in SLIDE_SUFFIXES:
            uid = _series(path)
            if uid is not None:
                if (path.parent, uid) in series:
                    continue
                series.add((path.parent, uid))
        yield path


def _looks_like_slide(path: Path) -> bool:
    if not path.is_file():
        # A link that leads nowhere stands for a slide that is missed; a pipe for none.
        return path.suffix.lower() in SLIDE_SUFFIXES and not path.exists()
    if path.suffix.lower() in SLIDE_SUFFIXES or path.suffix.lower() in plugged_suffixes():
        return True
    try:
        return is_tiff(path) or _WHOLE_SLIDE_CLASS in _dicom_head(path)
    except OSError:
        return False


def _series(path: Path) -> bytes | None:
    """Identifier of a DICOM file's series."""
    try:
        found = _SERIES.search(_dicom_head(path))
    except OSError:
        return None
    return found[2] if found else None


def _dicom_head(path: Path) -> bytes:
    """The beginning of a DICOM file; nothing of another."""
    with path.open("rb") as file:
        head = file.read(_DICOM_MARK.stop)
        return head + file.read(_HEAD_BYTES) if head[_DICOM_MARK] == b"DICM" else b""


def _passed_over(folder: Path) -> bool:
    name = folder.name
    if name.startswith(".") and name not in (".", ".."):
        return True
    if name in _UNREADABLE_BY_NATURE or name.endswith(".zarr"):
        return True
    return (folder / _CACHE_TAG).is_file() or is_run_directory(folder)


def _identity(folder: Path) -> tuple[int, int]:
    """What tells a folder from every other, whatever links lead to it."""
    try:
        stat = folder.stat()
    except OSError:
        return (-1, hash(folder))
    return stat.st_dev, stat.st_ino


def _refuse(error: OSError) -> None:
    raise ConfigurationError(
        f"cannot look into {error.filename}: {error.strerror or error}; give yourself access to "
        "it, or name the folders beside it"
    ) from error
