"""The files of a model, in a folder or in a zip archive; untrusted, so sizes are bounded."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from wsiseg.errors import ModelError

MAX_BYTES = 2 << 30
"""Largest file of a model that is read, unpacked; published weights have 6 to 40 MB."""

MAX_TEXT_BYTES = 16 << 20
"""Largest file of settings."""

_MAX_ENTRIES = 4096
_MAX_DEPTH = 3


@dataclass(frozen=True, slots=True)
class Files:
    """Some files by their path below one folder, ``/`` between its parts.

    Attributes
    ----------
    origin
        Where they lie, for messages.
    names
        Their paths, in order.
    read_bytes
        Content of one of ``names`` of at most so many bytes; an ``OSError`` or ``BadZipFile`` where
        it cannot be read, :class:`ModelError` where it is larger.
    """

    origin: str
    names: tuple[str, ...]
    read_bytes: Callable[[str, int], bytes]

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def read(self, name: str, most: int = MAX_BYTES) -> bytes:
        """The content of a file.

        Raises
        ------
        ModelError
            If it is missing, damaged, or has more than ``most`` bytes.
        """
        if name not in self.names:
            raise ModelError(f"the model {self.origin} lacks {name}")
        try:
            return self.read_bytes(name, most)
        except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
            raise ModelError(f"cannot read {name} of {self.origin}: {error}") from error

    def below(self, folder: str) -> Files:
        """The files below one of the folders."""
        if not folder:
            return self
        start = f"{folder}/"
        names = tuple(name.removeprefix(start) for name in self.names if name.startswith(start))
        return Files(
            f"{self.origin}/{folder}", names, lambda name, most: self.read_bytes(start + name, most)
        )

    def ending(self, *ends: str) -> tuple[str, ...]:
        """The files whose names end so, those nearest to the top first."""
        found = (name for name in self.names if name.endswith(ends))
        return tuple(sorted(found, key=lambda name: (name.count("/"), name)))


def open_files(path: Path) -> Files:
    """The files of a folder (three levels down at most) or of a zip archive.

    Raises
    ------
    ModelError
        If it is neither, or has too many files to be a model.
    """
    if path.is_dir():
        return _of_folder(path)
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise ModelError(f"{path} is no folder and no zip archive: {error}") from error
    return _of_archive(archive, str(path))


def open_packed(files: Files, name: str) -> Files:
    """The files of a zip archive that is itself one of the files.

    Raises
    ------
    ModelError
        If it is damaged, too large or has too many files.
    """
    origin = f"{files.origin}/{name}"
    try:
        return _of_archive(zipfile.ZipFile(io.BytesIO(files.read(name))), origin)
    except zipfile.BadZipFile as error:
        raise ModelError(f"{origin} is no zip archive: {error}") from error


def _of_folder(root: Path) -> Files:
    names = []
    for file in root.rglob("*"):
        parts = file.relative_to(root).parts
        if len(parts) <= _MAX_DEPTH and not parts[0].startswith(".") and file.is_file():
            names.append("/".join(parts))
            _require_few(len(names), str(root))

    def read(name: str, most: int) -> bytes:
        path = root / name
        with path.open("rb") as stream:
            content = stream.read(most + 1)
        return _bounded(content, most, str(path))

    return Files(str(root), tuple(sorted(names)), read)


def _of_archive(archive: zipfile.ZipFile, origin: str) -> Files:
    entries = {entry.filename: entry for entry in archive.infolist() if not entry.is_dir()}
    _require_few(len(entries), origin)

    def read(name: str, most: int) -> bytes:
        # What an archive says of its sizes need not be true: no more than this is unpacked.
        with archive.open(entries[name]) as stream:
            content = stream.read(most + 1)
        return _bounded(content, most, f"{origin}/{name}")

    return Files(origin, tuple(sorted(entries)), read)


def _require_few(count: int, origin: str) -> None:
    if count > _MAX_ENTRIES:
        raise ModelError(f"{origin} holds more than {_MAX_ENTRIES:,} files: it is no model")


def _bounded(content: bytes, most: int, place: str) -> bytes:
    if len(content) > most:
        raise ModelError(f"{place} has more than the {most:,} bytes that such a file may have")
    return content
