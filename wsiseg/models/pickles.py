"""Whether a file of PyTorch holds tensors alone.

A pickle is a programme: it may name any function of any module and call it. The functions that
one names are read off its instructions (:mod:`pickletools`), and nothing is executed.
"""

from __future__ import annotations

import pickletools
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from wsiseg.errors import ModelError

_SUFFIXES = frozenset((".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".tar", ""))
_ZIP_SUFFIXES = frozenset((".bin",))
"""Of files that are plain numbers as often: any bytes may stand at their beginning."""

_MAX_PICKLE = 256 << 20

_PLAIN = re.compile(
    r"collections OrderedDict"
    r"|torch\._utils _rebuild_(tensor|tensor_v2|parameter|parameter_with_state|qtensor)"
    r"|torch\._tensor _rebuild_from_type_v2"
    r"|torch (\w+Storage|Size|Tensor|device|dtype|b?float\d*|u?int\d+|bool|double|half|long)"
    r"|torch\.storage (Untyped|Typed)Storage"
    r"|torch\.nn\.parameter Parameter"
    r"|torch\.serialization _get_layout"
    r"|(builtins|__builtin__) (set|bytearray|complex)"
    r"|_codecs encode"
    r"|numpy(\._?core\.multiarray)? (dtype|ndarray|_reconstruct|scalar)"
    r"|numpy\.core\.multiarray (_reconstruct|scalar)"
    r"|numpy\.dtypes \w+DType"
)
"""What makes tensors, arrays of numbers and plain containers; nothing else is needed."""


def require_plain_tensors(path: Path) -> None:
    """Refuse a file whose pickle names anything but tensors, numbers and plain containers.

    Files that are no pickles pass, TorchScript archives too: they are a matter of trust, see
    :mod:`wsiseg.models.trust`.

    Raises
    ------
    ModelError
        If it does; the message says what it names.
    """
    if path.suffix.lower() not in _SUFFIXES | _ZIP_SUFFIXES:
        return
    try:
        odd = next((name for name in _named(path) if not _PLAIN.fullmatch(name)), None)
    except (ValueError, IndexError, KeyError, UnicodeDecodeError, zipfile.BadZipFile) as error:
        raise ModelError(f"{path.name} is a damaged pickle: {error}") from error
    if odd is not None:
        called = odd.replace(" ", ".", 1) if odd.count(" ") == 1 else odd
        raise ModelError(
            f"{path.name} is refused: it is a pickle that would call {called}, where weights need "
            "tensors alone, so opening it could run code of its maker's; save the tensors alone "
            "(torch.save(model.state_dict(), ...) or safetensors) and add that"
        )


def _named(path: Path) -> Iterator[str]:
    """Module and name of everything that the pickles of a file may call."""
    with path.open("rb") as file:
        if zipfile.is_zipfile(file):
            yield from _named_in_zip(path)
        elif path.suffix.lower() in _SUFFIXES:
            file.seek(0)
            yield from _named_in_stream(file)


def _named_in_zip(path: Path) -> Iterator[str]:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if any(name.endswith("/constants.pkl") for name in names):
            return
        for info in archive.infolist():
            if info.filename.endswith(".pkl"):
                if info.file_size > _MAX_PICKLE:
                    raise ValueError(f"{info.filename} is larger than {_MAX_PICKLE >> 20} MB")
                with archive.open(info) as stream:
                    yield from _globals(stream)


def _named_in_stream(file: IO[bytes]) -> Iterator[str]:
    """Older files: a number, a version, a table of sizes, the tensors' pickle, a list of keys,
    one after the other, then the numbers themselves."""
    for _ in range(5):
        if not _is_pickle_at(file):
            return
        yield from _globals(file)


def _is_pickle_at(file: IO[bytes]) -> bool:
    at = file.tell()
    head = file.read(2)
    file.seek(at)
    return len(head) == 2 and head[0] == 0x80 and head[1] <= 5


def _globals(stream: IO[bytes]) -> Iterator[str]:
    for opcode, argument, _ in pickletools.genops(stream):
        if opcode.name in ("GLOBAL", "INST"):
            yield str(argument)
        elif opcode.name in ("STACK_GLOBAL", "EXT1", "EXT2", "EXT4"):
            # What it names is the outcome of earlier instructions. PyTorch writes none of these.
            yield "something that only running it would tell"
