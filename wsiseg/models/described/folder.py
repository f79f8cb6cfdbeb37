"""Where the description of an exported network lies, and which format the network is in."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from wsiseg.errors import ModelError

DESCRIPTION = "model.toml"
LARGEST = 1 << 20
"""Bytes of a description; a larger file is none."""


def description_of(path: Path) -> Path:
    """The description in a folder, or the file itself."""
    return path / DESCRIPTION if path.is_dir() else path


def looks_described(path: Path) -> bool:
    """Whether a path is a folder with a description, or a TOML file."""
    return (path / DESCRIPTION).is_file() or (path.suffix == ".toml" and path.is_file())


def names_onnx(path: Path) -> bool:
    """Whether the description names a network in ONNX; ``False`` where it cannot be read."""
    try:
        return str(read_table(description_of(path)).get("file", "")).lower().endswith(".onnx")
    except ModelError:
        return False


def read_table(source: Path) -> dict[str, Any]:
    """What a description holds, not yet checked.

    Raises
    ------
    ModelError
        If it cannot be read or is no TOML.
    """
    try:
        if source.stat().st_size > LARGEST:
            raise ModelError(f"{source} is too large to describe a network")
        return tomllib.loads(source.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"cannot read {source}: {error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"{source} is no TOML file: {error}") from error
