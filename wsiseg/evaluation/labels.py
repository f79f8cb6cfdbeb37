"""Label images in files."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from wsiseg.errors import ConfigurationError
from wsiseg.evaluation.matching import as_labels
from wsiseg.slides.reader import Pixels

SUFFIXES = (".png", ".tif", ".tiff", ".npy")
PICTURE_SUFFIXES = (*SUFFIXES, ".jpg", ".jpeg")
MAX_PX = 100_000_000
"""Larger files are refused: such images are slides, to be run and compared as runs."""


_AS_PIXELS = {"1": "L", "LA": "L", "P": "RGB", "CMYK": "RGB"}


def image_files(folder: Path, suffixes: tuple[str, ...] = SUFFIXES) -> dict[str, Path]:
    """The image files of a folder by name without ending, in order.

    Raises
    ------
    ConfigurationError
        If the folder is missing, or two files have one name.
    """
    if not folder.is_dir():
        raise ConfigurationError(f"{folder} is not a folder")
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in suffixes and not path.name.startswith("."):
            if path.stem in files:
                raise ConfigurationError(
                    f"{folder} holds both {files[path.stem].name} and {path.name}; keep one"
                )
            files[path.stem] = path
    return files


def read_labels(path: Path) -> NDArray[np.uint32]:
    """A label image, uint32 ``[y, x]``, 0 is background.

    Reads 8- and 16-bit grey PNG, the indices of PNG with a palette, grey TIFF of up to 32 bits
    (the first page) and ``.npy``.

    Raises
    ------
    ConfigurationError
        If the file cannot be read, is too large or holds no labels; the message names it.
    """
    values = _array(path) if path.suffix.lower() == ".npy" else _picture(path, {})
    if values.dtype.kind == "f" and np.array_equal(values, np.floor(values)):
        values = values.astype(np.int64)
    try:
        return as_labels(values)
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from error


def read_pixels(path: Path) -> Pixels:
    """A picture ``[y, x, c]``: colour as uint8 RGB, an alpha channel left out; grey as uint8 or
    uint16 of one channel.

    Raises
    ------
    ConfigurationError
        If the file cannot be read or is too large; the message names it.
    """
    values = _array(path) if path.suffix.lower() == ".npy" else _picture(path, _AS_PIXELS)
    if values.ndim == 2:
        values = values[..., None]
    if values.ndim != 3 or values.dtype not in (np.uint8, np.uint16):
        raise ConfigurationError(
            f"{path} is no picture of 8 or 16 bits: {values.dtype} of shape {values.shape}"
        )
    return values[..., :3] if values.shape[2] == 4 else values


def require_same_size(sizes: Mapping[Path, tuple[int, ...]]) -> None:
    """See that files have one size.

    Raises
    ------
    ConfigurationError
        If two differ; the message names both.
    """
    (first, size), *others = sizes.items()
    for path, other in others:
        if other[:2] != size[:2]:
            raise ConfigurationError(
                f"{first} has {size[1]} x {size[0]} px, but {path} has {other[1]} x {other[0]} "
                "px; both must show the same pixels"
            )


def _array(path: Path) -> NDArray[Any]:
    try:
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ConfigurationError(f"cannot read {path}: {error}") from error
    if mapped.ndim >= 2:
        _refuse_large(path, mapped.shape[1], mapped.shape[0])
    return np.asarray(mapped)


def _picture(path: Path, modes: Mapping[str, str]) -> NDArray[Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                _refuse_large(path, *picture.size)
                mode = modes.get(picture.mode, picture.mode)
                return np.asarray(picture if mode == picture.mode else picture.convert(mode))
    except (OSError, UnidentifiedImageError, SyntaxError, Image.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigurationError(f"cannot read {path}: {reason}") from error


def _refuse_large(path: Path, width: int, height: int) -> None:
    if width * height > MAX_PX:
        raise ConfigurationError(
            f"{path} has {width} x {height} px, too many to compare as one image; segment it as a "
            "slide (wsiseg run) and compare the run directory (--run)"
        )
