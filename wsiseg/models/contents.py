"""The files of a model, wherever they come from: bounded in size and number, plain in their paths,
known by their sha256."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from pydantic import BaseModel, ConfigDict, Field

from wsiseg.errors import ModelError

MAX_BYTES = 16 << 30
"""Size of a model's files together at most."""

MAX_FILES = 1000
"""Number of a model's files at most."""

_PIECE = 1 << 20
_PASSED_OVER = ("__pycache__", ".git", ".DS_Store")


class Content(BaseModel):
    """Size and sha256 of one file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bytes: int = Field(ge=0, le=MAX_BYTES)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


def model_root(path: Path) -> Path:
    """The folder that a model's files lie in."""
    return path if path.is_dir() else path.parent


def model_files(path: Path) -> list[Path]:
    """The files of a model, in order; caches are passed over.

    A description (``.toml``) stands for the folder it lies in: the network is beside it.

    Raises
    ------
    ModelError
        If there are none, or too many.
    """
    if path.is_file() and path.suffix != ".toml":
        return [path]
    root = model_root(path)
    found = []
    for file in root.rglob("*"):
        if not set(file.relative_to(root).parts) & set(_PASSED_OVER) and file.is_file():
            found.append(file)
            if len(found) > MAX_FILES:
                raise ModelError(f"{root} holds more than {MAX_FILES:,} files: it is no model")
    if not found:
        raise ModelError(f"{root} holds no files")
    return sorted(found)


def content_of(file: Path) -> Content:
    """Size and sha256 of a file."""
    digest = hashlib.sha256()
    count = 0
    with file.open("rb") as stream:
        for piece in pieces(stream):
            digest.update(piece)
            count += len(piece)
    require_size(count)
    return Content(bytes=count, sha256=digest.hexdigest())


def copied(source: BinaryIO, sink: BinaryIO, most: int) -> Content:
    """Copy a stream and tell what it was.

    Raises
    ------
    ModelError
        If it is longer than ``most`` bytes.
    """
    digest = hashlib.sha256()
    count = 0
    for piece in pieces(source):
        count += len(piece)
        if count > most:
            raise ModelError(f"a file of the model is larger than the {most:,} bytes stated")
        digest.update(piece)
        sink.write(piece)
    return Content(bytes=count, sha256=digest.hexdigest())


def pieces(stream: BinaryIO) -> Iterator[bytes]:
    """A stream in pieces of a megabyte."""
    while piece := stream.read(_PIECE):
        yield piece


def require_inside(path: str) -> None:
    """Refuse a path that leads out of a model's folder, or is not a plain one.

    Raises
    ------
    ModelError
        If it does.
    """
    parts = PurePosixPath(path).parts
    plain = "/".join(parts) == path and path.isprintable() and len(path) <= 512
    if (
        not parts
        or not plain
        or "\\" in path
        or ":" in path
        or {"..", "."} & set(parts)
        or (parts[0] == "/")
    ):
        raise ModelError(f"the path {path!r} may not occur in a model: it leads out of its folder")


def require_size(count: int) -> None:
    """Refuse what is too large.

    Raises
    ------
    ModelError
        If it is.
    """
    if count > MAX_BYTES:
        raise ModelError(f"a model may hold {MAX_BYTES >> 30} GiB at most")
