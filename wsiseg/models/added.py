"""The models that a user added: one folder each, in the user's own folder of models.

::

    MODELS/NAME/record.json   what it is made of: every file with its size and sha256
    MODELS/NAME/files/        the model's files as they were
    MODELS/trusted.json       digests of models that may run code (wsiseg.models.trust)
    MODELS/downloads/         transfers that are not whole yet (wsiseg.models.fetching)

``MODELS`` is the environment's ``WSISEG_MODELS``, or ``wsiseg/models`` in the user's folder of
data (``XDG_DATA_HOME``, by default ``~/.local/share``).
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from wsiseg.errors import ModelError
from wsiseg.files import named_disk, sweep, temporary_name, write_json, writing
from wsiseg.models.contents import (
    MAX_FILES,
    Content,
    content_of,
    copied,
    model_files,
    model_root,
    require_inside,
    require_size,
)

RECORD = "record.json"
FILES = "files"

_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?", re.IGNORECASE)
_RESERVED = ("downloads", "trusted.json", "catalogue.toml")


class Record(BaseModel):
    """What a model is made of.

    Attributes
    ----------
    name
        What it is called by.
    entry
        What is opened, relative to ``files``: ``"."`` for the folder itself, or one file.
    files
        Every file by its path relative to ``files``, with ``/`` between its parts.
    source
        Where it came from: the name of a file, or an address.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = Field(default=1, ge=1, le=1)
    name: str
    entry: str
    files: dict[str, Content] = Field(min_length=1, max_length=MAX_FILES)
    source: str = ""

    def checked(self) -> Record:
        """The record, if its paths and sizes are such as a model may have.

        Raises
        ------
        ModelError
            If a path leads out of the model's folder, or the sizes are too large together.
        """
        for path in (*self.files, *(() if self.entry == "." else (self.entry,))):
            require_inside(path)
        if self.entry != "." and self.entry not in self.files:
            raise ModelError(f"the model {self.name} lacks the file it is opened by: {self.entry}")
        require_size(sum(content.bytes for content in self.files.values()))
        return self


def models_folder() -> Path:
    """The user's own folder of models, which need not be there."""
    stated = os.environ.get("WSISEG_MODELS")
    if stated:
        return Path(stated).absolute()
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "wsiseg" / "models"


def added_models() -> tuple[str, ...]:
    """Names of the models that were added, in order."""
    folder = models_folder()
    if not folder.is_dir():
        return ()
    return tuple(
        sorted(p.parent.name for p in folder.glob(f"*/{RECORD}") if is_name(p.parent.name))
    )


def added_model(name: str) -> Path | None:
    """The file or folder of a model that was added; ``None`` if there is none of that name.

    Raises
    ------
    ModelError
        If what is recorded of it is damaged.
    """
    if not is_name(name) or not (models_folder() / name / RECORD).is_file():
        return None
    record = read_record(name)
    root = models_folder() / name / FILES
    return root if record.entry == "." else root / record.entry


def read_record(name: str) -> Record:
    """What was recorded of a model that was added.

    Raises
    ------
    ModelError
        If it is missing or damaged.
    """
    path = models_folder() / name / RECORD
    try:
        return Record.model_validate_json(path.read_bytes()).checked()
    except (OSError, ValidationError, ModelError) as error:
        raise ModelError(
            f"{path} is damaged; remove the model (wsiseg models remove {name}) and add it again"
        ) from error


def remove_model(name: str) -> None:
    """Remove a model that was added.

    Raises
    ------
    ModelError
        If there is none of that name.
    """
    folder = models_folder() / name
    if not is_name(name) or not (folder / RECORD).is_file():
        there = ", ".join(added_models()) or "none"
        raise ModelError(f"{name} is no model that was added; there are: {there}")
    # Without its record it is no model any more, should removing the rest be cut short.
    (folder / RECORD).unlink()
    shutil.rmtree(folder, ignore_errors=True)


def place(record: Record, root: Path, name: str) -> Path:
    """Copy a model's files to their place under a name, whole or not at all.

    Parameters
    ----------
    record
        What must be there: every file is compared with it.
    root
        The folder that its files lie in.
    name
        What it is to be called by.

    Returns
    -------
    The file or folder to open.

    Raises
    ------
    ModelError
        If the name cannot be used, or a file is not as recorded.
    """
    require_name(name)
    with writing(models_folder() / name) as temporary:
        for path, content in record.files.items():
            target = temporary / FILES / path
            target.parent.mkdir(parents=True, exist_ok=True)
            with (root / path).open("rb") as source, target.open("wb") as sink:
                found = copied(source, sink, content.bytes)
            if found != content:
                raise ModelError(f"{root / path} is not the file that was recorded: it changed")
        write_json(temporary / RECORD, record.model_copy(update={"name": name}).model_dump())
    found_model = added_model(name)
    if found_model is None:
        raise ModelError(f"{name} vanished while it was added; add it again")
    return found_model


@contextmanager
def working_folder() -> Iterator[Path]:
    """A new folder among the models for what is not one yet; removed afterwards."""
    folder = models_folder()
    working = temporary_name(folder / "working")
    with named_disk(folder):
        working.mkdir(parents=True)
        sweep(folder)
    try:
        yield working
    finally:
        shutil.rmtree(working, ignore_errors=True)


def record_of(path: Path, name: str, source: str = "") -> Record:
    """The record of a model file, of a folder with all its files, or of a description with the
    files beside it.

    Raises
    ------
    ModelError
        If it has no files, too many or too large ones.
    """
    root = model_root(path)
    files: dict[str, Content] = {}
    total = 0
    for file in model_files(path):
        relative = file.relative_to(root).as_posix()
        files[relative] = content_of(file)
        total += files[relative].bytes
        require_size(total)
    entry = "." if path.is_dir() else path.name
    return Record(name=name, entry=entry, files=files, source=source).checked()


def damaged_files(record: Record, root: Path) -> Mapping[str, str]:
    """What is wrong with the files of a model, by path; nothing where all are as recorded."""
    wrong = {}
    for path, content in record.files.items():
        if not (root / path).is_file():
            wrong[path] = "is missing"
        elif content_of(root / path) != content:
            wrong[path] = "is not the file that was added"
    return wrong


def is_name(name: str) -> bool:
    """Whether a model can have that name."""
    return _NAME.fullmatch(name) is not None and name not in _RESERVED


def require_name(name: str) -> None:
    """Refuse a name that cannot be one.

    Raises
    ------
    ModelError
        If it cannot.
    """
    if not is_name(name):
        raise ModelError(
            f"a model cannot be called {name!r}: up to 64 letters, digits, '.', '_' and '-', "
            "beginning and ending with a letter or digit; choose another with --name"
        )
