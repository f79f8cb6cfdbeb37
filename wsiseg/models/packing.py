"""A model in one file, for computers without a network.

The file is a zip archive, uncompressed::

    wsiseg-model.json   the model's record: name, every file with its size and sha256
    files/...           the files

Packing the same files under the same name gives the same bytes.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

import orjson
from pydantic import ValidationError

from wsiseg.errors import ModelError, StoreError
from wsiseg.files import writing
from wsiseg.models.added import FILES, Record, is_name, record_of, require_name, working_folder
from wsiseg.models.adding import Added, place_model
from wsiseg.models.archives import zip_files
from wsiseg.models.contents import Content, content_of, copied, model_root
from wsiseg.models.zoo import weights_of, without_normalisation

if TYPE_CHECKING:
    from collections.abc import Iterator

MANIFEST = "wsiseg-model.json"

_MAX_MANIFEST = 1 << 20
_LONG_AGO = (1980, 1, 1, 0, 0, 0)
_MODE = 0o100644 << 16
_UNIX = 3


def pack_model(name: str, out: Path) -> Content:
    """Write a model into one file; its size and sha256.

    Parameters
    ----------
    name
        As for :func:`wsiseg.models.zoo.load_segmenter`.
    out
        The file; one that is there is replaced.

    Raises
    ------
    ModelError
        If there is no such model, or it has no weights to pack.
    """
    path = weights_of(name)
    if path is None:
        raise ModelError(f"{name} has no weights of its own to pack: it comes with its package")
    inner, _ = without_normalisation(name)
    called = inner if is_name(inner) else path.stem
    require_name(called)
    record = record_of(path, called)
    root = model_root(path)
    with writing(out) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        _put(archive, MANIFEST, lambda sink: sink.write(orjson.dumps(record.model_dump())))
        for file, content in record.files.items():
            _put_file(archive, root / file, f"{FILES}/{file}", content)
    return content_of(out)


def is_packed(file: Path) -> bool:
    """Whether a file looks like one that :func:`pack_model` wrote."""
    try:
        with zipfile.ZipFile(file) as archive:
            return archive.namelist()[:1] == [MANIFEST]
    except (OSError, zipfile.BadZipFile):
        return False


def unpack_model(file: Path, *, name: str | None = None, trust: bool = False) -> Added:
    """Add the model that is packed in a file; nothing is placed before all digests are checked.

    Parameters
    ----------
    file
        What :func:`pack_model` wrote.
    name, trust
        As for :func:`wsiseg.models.adding.add_model`.

    Raises
    ------
    ModelError
        If it is no such file, damaged, or holds anything but what it states.
    """
    with _unpacked(file) as (record, root):
        return place_model(record, root, name or record.name, trust=trust)


@contextmanager
def _unpacked(file: Path) -> Iterator[tuple[Record, Path]]:
    with working_folder() as root:
        try:
            with zipfile.ZipFile(file) as archive:
                record = _unpack_into(archive, root)
        except OSError as error:
            raise StoreError(f"cannot read {file}: {error.strerror or error}") from error
        except (zipfile.BadZipFile, ValidationError, EOFError) as error:
            raise ModelError(
                f"{file} is no whole model that wsiseg packed: {str(error).splitlines()[0]}"
            ) from error
        yield record, root


def _unpack_into(archive: zipfile.ZipFile, root: Path) -> Record:
    there = zip_files(archive)
    manifest = there.pop(MANIFEST, None)
    if manifest is None or manifest.file_size > _MAX_MANIFEST:
        raise ModelError(f"{archive.filename} is no model that wsiseg packed: no {MANIFEST} in it")
    with archive.open(manifest) as stream:
        record = Record.model_validate_json(stream.read(_MAX_MANIFEST)).checked()
    stated = {f"{FILES}/{path}": content for path, content in record.files.items()}
    if stated.keys() != there.keys():
        odd = sorted(stated.keys() ^ there.keys())[0]
        raise ModelError(f"{archive.filename} is not whole, or holds what it does not state: {odd}")
    for path, content in stated.items():
        target = root / path.removeprefix(f"{FILES}/")
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(there[path]) as stream, target.open("xb") as sink:
            found = copied(cast("BinaryIO", stream), sink, content.bytes)
        if found != content:
            raise ModelError(
                f"{archive.filename} is damaged: {path} is not the file whose sha256 it states; "
                "copy it again"
            )
    return record


def _put_file(archive: zipfile.ZipFile, file: Path, name: str, content: Content) -> None:
    def write(sink: BinaryIO) -> None:
        with file.open("rb") as source:
            if copied(source, sink, content.bytes) != content:
                raise ModelError(f"{file} changed while it was packed")

    _put(archive, name, write, content.bytes)


def _put(
    archive: zipfile.ZipFile, name: str, write: Callable[[BinaryIO], object], size: int = 0
) -> None:
    info = zipfile.ZipInfo(name, _LONG_AGO)
    info.create_system = _UNIX
    info.external_attr = _MODE
    info.file_size = size
    with archive.open(info, "w") as sink:
        write(cast("BinaryIO", sink))
