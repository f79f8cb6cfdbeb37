"""Zip and tar archives from elsewhere, taken apart with care.

Nothing is placed outside the folder given, no link, device or executable bit is taken over, and
sizes are bounded by what is really unpacked, whatever the archive states.
"""

from __future__ import annotations

import stat
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO, cast

from wsiseg.errors import ModelError
from wsiseg.models.contents import MAX_BYTES, MAX_FILES, copied, require_inside

_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_PLAIN = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def is_archive(name: str) -> bool:
    """Whether a file of that name is taken apart. Weights that are zip files within are not."""
    return name.lower().endswith(_SUFFIXES)


def unpack_archive(file: Path, name: str, folder: Path) -> None:
    """Unpack an archive into a new folder.

    Parameters
    ----------
    file
        The archive.
    name
        Its name: the ending tells its kind.
    folder
        Where to; made.

    Raises
    ------
    ModelError
        If it is damaged, too large, or holds what no model needs: links, devices, paths that
        lead elsewhere.
    """
    members = _zip_members(file) if name.lower().endswith(".zip") else _tar_members(file)
    left = MAX_BYTES
    with _sound(file):
        for path, stream in members:
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as sink:
                left -= copied(stream, sink, left).bytes
    if not folder.is_dir():
        raise ModelError(f"{file} holds no files")


def zip_files(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The plain files of a zip archive by path.

    Raises
    ------
    ModelError
        If it holds anything but files and folders with plain paths, one twice, or too many.
    """
    found: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)
        if info.is_dir():
            continue
        require_inside(info.filename)
        if kind not in (0, stat.S_IFREG):
            raise ModelError(f"{info.filename} is no plain file; archives of models hold no links")
        if info.compress_type not in _PLAIN or info.flag_bits & 1:
            raise ModelError(f"{info.filename} is encrypted or compressed in a way not known here")
        if info.filename in found or len(found) == MAX_FILES:
            raise ModelError(f"{info.filename} is there twice, or there are too many files")
        found[info.filename] = info
    return found


def _zip_members(file: Path) -> Iterator[tuple[str, BinaryIO]]:
    with zipfile.ZipFile(file) as archive:
        for path, info in zip_files(archive).items():
            with archive.open(info) as stream:
                yield path, cast("BinaryIO", stream)


def _tar_members(file: Path) -> Iterator[tuple[str, BinaryIO]]:
    with tarfile.open(file) as archive:
        for count, member in enumerate(archive):
            if member.isdir():
                continue
            path = member.name.removeprefix("./")
            require_inside(path)
            stream: IO[bytes] | None = archive.extractfile(member) if member.isreg() else None
            if stream is None:
                raise ModelError(f"{path} is no plain file; archives of models hold no links")
            if count > 10 * MAX_FILES:
                raise ModelError(f"{file} holds too many files")
            with stream:
                yield path, cast("BinaryIO", stream)


@contextmanager
def _sound(file: Path) -> Iterator[None]:
    try:
        yield
    except FileExistsError as error:
        raise ModelError(f"{file} holds {error.filename} twice") from error
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, NotImplementedError) as error:
        raise ModelError(f"{file} is damaged, or no archive: {error}") from error
