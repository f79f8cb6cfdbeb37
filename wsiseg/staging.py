"""Slides copied to a local disk before they are read: a bounded cache, shared by one machine.

A copy is a folder named after the slide's path, size and time, with the slide and its
companions in it. It appears in one step when all of it is there and has been compared with the
slide. Whoever reads it holds a shared lock on the file beside it; the system lets go when the
process ends, however it ends. Whoever copies holds the one lock of the cache, so one slide is
copied at a time, room is made from the copies used longest ago that nobody reads, and leftovers
of a copy that was interrupted are known to be such.

That slides are to be copied, whereto, and which come next stands in the run directory, where
workers on every machine find it; a slide that cannot be copied is read from where it lies.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import shutil
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsiseg.errors import ConfigurationError, StoreError, WsisegError
from wsiseg.files import named_disk, read_json, write_json, writing
from wsiseg.listing.found import companions
from wsiseg.slides.slide import file_fingerprint
from wsiseg.store.folders import RunFolder, SlideFolder

DEFAULT_GB = 100.0
"""Room for copies on each machine, in 10^9 bytes."""

AHEAD = 2
"""Slides copied ahead of the one that is read."""

FREE_BYTES = 1_000_000_000
"""What copies leave free on the disk."""

_CACHE = "wsiseg-slides"
_NOTE = "copy.json"
_WHOLE_ELSEWHERE = {".vms", ".vmu"}
"""Slides whose further files only their reader can tell."""

_CACHE_TAG = (
    "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# Copies of slides made by wsiseg; may be deleted when no run is at work.\n"
)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Scratch:
    """A local folder for copies of slides, and the room they may take there together."""

    folder: Path
    limit_bytes: int = int(DEFAULT_GB * 1e9)

    @property
    def cache(self) -> Path:
        """Where the copies lie."""
        return self.folder / _CACHE


class Staged:
    """A copy of a slide, held; a :class:`wsiseg.slides.elsewhere.Copy`."""

    def __init__(self, path: Path, fingerprint: str, lock: int) -> None:
        self._path = path
        self._fingerprint = fingerprint
        # Released when nobody reads from it any more, asked for or not.
        self._release = weakref.finalize(self, os.close, lock)

    @property
    def path(self) -> Path:
        """Where it lies."""
        return self._path

    @property
    def fingerprint(self) -> str:
        """The slide's, which the copy shares."""
        return self._fingerprint

    def release(self) -> None:
        """Hold it no longer."""
        self._release()


def require_scratch(scratch: Scratch) -> None:
    """Make the folder for copies on this machine.

    Raises
    ------
    ConfigurationError
        If it cannot be made or written into, or has no room.
    """
    if scratch.limit_bytes <= 0:
        raise ConfigurationError("the room for copies of slides must be more than nothing")
    try:
        _make_cache(scratch)
    except OSError as error:
        raise ConfigurationError(
            f"slides cannot be copied to {scratch.folder}: {error.strerror or error}"
        ) from error


@contextmanager
def announced(run: RunFolder, scratch: Scratch | None, slides: Sequence[Path]) -> Iterator[None]:
    """While this lasts, the run directory says whereto slides are copied, and their order.

    With ``scratch`` ``None`` it says that none are.

    Raises
    ------
    StoreError
        If the note cannot be written.
    """
    note = _note(run)
    with named_disk(note):
        # A driver that died may have left one.
        note.unlink(missing_ok=True)
    if scratch is None:
        yield
        return
    value = {
        "folder": str(scratch.folder.resolve()),
        "limit_bytes": scratch.limit_bytes,
        "slides": [str(path) for path in slides],
    }
    write_json(note, value)
    try:
        yield
    finally:
        with suppress(OSError):
            note.unlink()


def staged_copy(folder: SlideFolder, path: Path) -> Staged | None:
    """The local copy of a slide of a run, made now if need be; the next slides' are begun.

    ``None`` where the run copies no slides, or this one cannot be copied: it is read from where
    it lies.
    """
    note = _note(RunFolder(folder.root.parent.parent))
    if not note.exists():
        return None
    try:
        value: Any = read_json(note)
        scratch = Scratch(Path(value["folder"]), int(value["limit_bytes"]))
        slides = [Path(slide) for slide in value["slides"]]
    except (StoreError, KeyError, TypeError, ValueError):
        return None
    staged = stage(scratch, path)
    at = slides.index(path) if path in slides else len(slides)
    following = slides[at + 1 : at + 1 + AHEAD]
    if following:
        # Copies that are cut short with the process leave nothing that counts.
        ahead = threading.Thread(target=_stage_ahead, args=(scratch, path, following), daemon=True)
        ahead.start()
    return staged


def stage(scratch: Scratch, path: Path) -> Staged | None:
    """The copy of a slide, made now if need be; ``None`` where it cannot be made."""
    try:
        name = _name(path)
        staged = _held(scratch, path, name)
        if staged is not None:
            return staged
        with _copying(scratch, wait=True):
            return _held(scratch, path, name) or _copied(scratch, path, name, spared=())
    except (OSError, WsisegError) as error:
        _log.warning("%s is read from where it lies: %s", path, error)
        return None


def _stage_ahead(scratch: Scratch, current: Path, following: Sequence[Path]) -> None:
    """Copy the next slides, unless another process is at it; spares what is needed sooner."""
    try:
        with _copying(scratch, wait=False) as free:
            spared = [_name(current)]
            for path in following if free else ():
                name = _name(path)
                there = _held(scratch, path, name)
                copy = there or _copied(scratch, path, name, spared=tuple(spared))
                if copy is None:
                    return
                copy.release()
                spared.append(name)
    except (OSError, WsisegError) as error:
        _log.warning("a slide could not be copied ahead: %s", error)


def _note(run: RunFolder) -> Path:
    return run.root / "staging.json"


def _name(path: Path) -> str:
    """Name of a slide's copy: of another state of the file it is another."""
    stat = path.stat()
    text = f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}"
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def _locked(file: Path, how: int) -> int | None:
    """Open and lock a file; ``None`` where that would mean to wait and ``how`` says not to."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, how)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _lock_file(scratch: Scratch, name: str) -> Path:
    return scratch.cache / f"{name}.lock"


def _make_cache(scratch: Scratch) -> None:
    scratch.cache.mkdir(parents=True, exist_ok=True)
    tag = scratch.cache / "CACHEDIR.TAG"
    if not tag.exists():
        tag.write_text(_CACHE_TAG)


@contextmanager
def _copying(scratch: Scratch, *, wait: bool) -> Iterator[bool]:
    """Hold the cache as the one who copies; yields whether it is held."""
    _make_cache(scratch)
    how = fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB
    lock = _locked(scratch.cache / "copying.lock", how)
    if lock is None:
        yield False
        return
    try:
        for left in scratch.cache.glob(".partial-*"):
            shutil.rmtree(left, ignore_errors=True)
        yield True
    finally:
        os.close(lock)


def _held(scratch: Scratch, path: Path, name: str) -> Staged | None:
    """The copy of that name with a hold on it, if it is there and whole."""
    place = scratch.cache / name
    if not place.is_dir():
        return None
    lock = _locked(_lock_file(scratch, name), fcntl.LOCK_SH)
    if lock is None:
        return None
    try:
        value: Any = read_json(place / _NOTE)
        whole = all((place / f).stat().st_size == n for f, n in value["files"].items())
        if whole:
            os.utime(place)
            return Staged(place / path.name, str(value["fingerprint"]), lock)
    except (OSError, StoreError, KeyError, TypeError, AttributeError):
        pass
    os.close(lock)
    return None


def _copied(scratch: Scratch, path: Path, name: str, spared: tuple[str, ...]) -> Staged | None:
    """Copy a slide; to be called by whoever holds the cache. ``None`` where there is no room."""
    if path.suffix.lower() in _WHOLE_ELSEWHERE:
        return None
    files = _files(path)
    size = sum(file.stat().st_size for file in files.values())
    if not _make_room(scratch, size, spared):
        return None
    place = scratch.cache / name
    with writing(place) as temporary:
        temporary.mkdir()
        for inner, file in files.items():
            target = temporary / inner
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
            if file_fingerprint(target) != file_fingerprint(file):
                raise StoreError(f"the copy of {file} is not equal to it")
        if _name(path) != name:
            raise StoreError(f"{path} changed while it was copied")
        sizes = {inner: (temporary / inner).stat().st_size for inner in files}
        print_ = file_fingerprint(temporary / path.name)
        write_json(temporary / _NOTE, {"slide": str(path), "files": sizes, "fingerprint": print_})
    return _held(scratch, path, name)


def _files(path: Path) -> dict[str, Path]:
    """All files of a slide by their place in its copy."""
    found = {path.name: path}
    for companion in companions(path):
        inside = companion.rglob("*") if companion.is_dir() else [companion]
        found |= {str(f.relative_to(path.parent)): f for f in inside if f.is_file()}
    return found


def _make_room(scratch: Scratch, size: int, spared: tuple[str, ...]) -> bool:
    """Remove the copies used longest ago until ``size`` more bytes fit; whether they do."""
    if size > scratch.limit_bytes:
        return False
    copies = [place for place in scratch.cache.iterdir() if place.is_dir()]
    sizes = {place: _stored(place) for place in copies}
    copies.sort(key=lambda place: place.stat().st_mtime_ns)
    taken = sum(sizes.values())

    def fits() -> bool:
        free = shutil.disk_usage(scratch.cache).free
        return taken + size <= scratch.limit_bytes and size + FREE_BYTES <= free

    for place in copies:
        if fits():
            break
        if place.name in spared:
            continue
        lock = _locked(_lock_file(scratch, place.name), fcntl.LOCK_EX | fcntl.LOCK_NB)
        if lock is None:
            continue
        try:
            shutil.rmtree(place)
        finally:
            os.close(lock)
        taken -= sizes[place]
    return fits()


def _stored(place: Path) -> int:
    return sum(file.stat().st_size for file in place.rglob("*") if file.is_file())
