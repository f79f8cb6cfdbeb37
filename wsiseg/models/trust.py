"""Models that can run code of their maker's, and whose makers the user trusts.

Weights are numbers; a TorchScript or ONNX file is a programme, and what reads it is a large piece
of compiled code. Such a model runs only if the user says so, once for a run or for good: then its
digest is kept beside the models that were added, and the same files are trusted wherever they lie.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from wsiseg.errors import ModelError, StoreError
from wsiseg.files import read_json, write_json
from wsiseg.models.added import models_folder
from wsiseg.models.contents import content_of, model_files, model_root
from wsiseg.models.zoo import format_of, weights_of


def require_trusted(name: str, *, trust: bool) -> None:
    """Refuse a model that can run code and is not trusted; asked before it is first loaded.

    Parameters
    ----------
    name
        As for :func:`wsiseg.models.zoo.load_segmenter`.
    trust
        Whether the user trusts it for this time.

    Raises
    ------
    ModelError
        If it needs trust and has none, or there is no such model; the message says what to do.
    """
    path = weights_of(name)
    if path is None or trust or not needs_trust(path) or is_trusted(path):
        return
    raise ModelError(
        f"{path} is {format_of(path).NAME}, which can run code on this computer, and nobody here "
        "has said that its maker is trusted; if you trust it, keep that with "
        f"'wsiseg models add {path} --trust', or pass --trust for this time"
    )


def needs_trust(path: Path) -> bool:
    """Whether the model in a file or folder can run code of its maker's."""
    return bool(getattr(format_of(path), "NEEDS_TRUST", False))


def is_trusted(path: Path) -> bool:
    """Whether the user has trusted exactly these files before."""
    return model_digest(path) in _trusted()


def record_trust(path: Path) -> str:
    """Trust the files of a model from now on; their digest."""
    digest = model_digest(path)
    today = datetime.now(UTC).date().isoformat()
    entry = {"name": path.name, "date": today}
    write_json(_file(), {"format": 1, "sha256": {**_trusted(), digest: entry}})
    return digest


def model_digest(path: Path) -> str:
    """sha256 over the names and contents of a model's files."""
    root = model_root(path)
    digest = hashlib.sha256()
    for file in model_files(path):
        digest.update(f"{file.relative_to(root).as_posix()}\0{content_of(file).sha256}\n".encode())
    return digest.hexdigest()


def _trusted() -> dict[str, Any]:
    path = _file()
    if not path.exists():
        return {}
    value: Any = read_json(path)
    try:
        return dict(value["sha256"])
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(
            f"{path} is damaged: delete it, and trust the models in question again"
        ) from error


def _file() -> Path:
    return models_folder() / "trusted.json"
