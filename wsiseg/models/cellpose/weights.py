"""Files of weights as cellpose saves them: told by their keys, read as plain tensors only."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from wsiseg.errors import MissingExtraError, ModelError

if TYPE_CHECKING:
    import torch

Generation = Literal["3", "4", "4-dino"]
"""Which cellpose a file belongs to."""

PREFIX = "cellpose:"
"""Before a name, for a file in cellpose's own folder of models."""

_FILES = {"nuclei": "nucleitorch_0", "cyto": "cytotorch_0", "cyto2": "cyto2torch_0"}
"""Names of cellpose's models whose files are called otherwise."""

MOST_LISTED = 200
"""Files of cellpose's folder that are looked at."""

_MAX_KEYS_BYTES = 1 << 20
"""Of a file's start, or of its list of tensors, that are searched."""

_ZIP = b"PK\x03\x04"
_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""First bytes of what torch saves, since 1.6 and before."""

_CELLPOSE_3 = (b"downsample.down.res_down_0", b"upsample.up.res_up_0", b"output.2.weight")
_CELLPOSE_4 = (b"W2", b"encoder.patch_embed.proj.weight", b"out.weight")
_DINO = b"encoder.cls_token"


def named_weights(name: str) -> Path | None:
    """The file that a name such as ``cellpose:nuclei`` stands for; ``None`` for other names.

    Looked for where cellpose keeps its models: the environment's ``CELLPOSE_LOCAL_MODELS_PATH``,
    or ``~/.cellpose/models``. Nothing is fetched.

    Raises
    ------
    ModelError
        If there is no such file; the message says where it was looked for.
    """
    if not name.startswith(PREFIX):
        return None
    short, folder = name.removeprefix(PREFIX), _folder()
    for file in (_FILES.get(short, short), short):
        # A name is one part of a path: it must not lead out of the folder.
        if Path(file).name == file and (folder / file).is_file():
            return folder / file
    raise ModelError(
        f"there is no model {name!r}: {folder} holds no file {_FILES.get(short, short)!r}; copy "
        "cellpose's weights there, set CELLPOSE_LOCAL_MODELS_PATH to where they are, or give "
        "their path"
    )


def named_models() -> tuple[str, ...]:
    """Names for the weights where cellpose keeps its models, ``cellpose:nuclei`` and so on."""
    short = {file: name for name, file in _FILES.items()}
    try:
        files = sorted(_folder().iterdir())[:MOST_LISTED]
    except OSError:
        return ()
    return tuple(PREFIX + short.get(f.name, f.name) for f in files if generation_of(f) is not None)


def _folder() -> Path:
    stated = os.environ.get("CELLPOSE_LOCAL_MODELS_PATH")
    return Path(stated) if stated else Path.home() / ".cellpose" / "models"


def generation_of(path: Path) -> Generation | None:
    """Which cellpose a file of weights belongs to, or ``None`` if to none.

    At most one megabyte is read and nothing is unpickled: the keys of the tensors stand in the
    file as plain text.
    """
    try:
        keys = _keys(path)
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError):
        return None
    if all(key in keys for key in _CELLPOSE_3):
        return "3"
    if all(key in keys for key in _CELLPOSE_4):
        return "4-dino" if _DINO in keys else "4"
    return None


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """The tensors in a file by name, on the processor.

    Raises
    ------
    MissingExtraError
        If torch is not installed.
    ModelError
        If it holds anything but tensors, or is damaged.
    """
    try:
        import torch
    except ImportError as error:
        raise MissingExtraError("running cellpose's networks", "cellpose") from error
    import pickle

    try:
        found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, KeyError, ValueError) as error:
        raise ModelError(f"cannot read the weights {path}: {_first_line(error)}") from error
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{path} holds more than plain tensors and is refused, because opening it could run "
            "a programme; save its state dict with torch.save and give that"
        ) from error
    if not isinstance(found, dict) or not all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in found.items()
    ):
        raise ModelError(f"{path} holds no weights by name as cellpose saves them")
    # Training on several graphics cards leaves this before every name.
    return {name.removeprefix("module."): value for name, value in found.items()}


def _keys(path: Path) -> bytes:
    if not path.is_file():
        return b""
    with path.open("rb") as file:
        start = file.read(len(_LEGACY))
        if start == _LEGACY:
            return file.read(_MAX_KEYS_BYTES)
        if not start.startswith(_ZIP):
            return b""
        with zipfile.ZipFile(file) as archive:
            for member in archive.infolist():
                parts = member.filename.split("/")
                if len(parts) == 2 and parts[1] == "data.pkl":
                    with archive.open(member) as keys:
                        return keys.read(_MAX_KEYS_BYTES)
    return b""


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
