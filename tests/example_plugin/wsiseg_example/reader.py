"""Reads slides of one resolution from ``.npz`` files: ``pixels`` [y, x, 3] uint8, ``mpp`` in µm."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsiseg.errors import UnreadableSlideError
from wsiseg.geometry import MPP, Box, Size
from wsiseg.slides.reader import Level, SlideFacts


class NpzReader:
    """A slide in an ``.npz`` file, held in memory."""

    SUFFIXES = (".npz",)

    def __init__(self, path: Path) -> None:
        try:
            with np.load(path, allow_pickle=False) as stored:
                self._pixels = stored["pixels"]
                mpp = float(stored["mpp"])
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise UnreadableSlideError(f"{path}: no slide in an npz file: {error}") from error
        if self._pixels.ndim != 3 or self._pixels.shape[2] != 3 or self._pixels.dtype != np.uint8:
            raise UnreadableSlideError(f"{path}: its pixels are not [y, x, 3] of uint8")
        height, width, _ = self._pixels.shape
        self._facts = SlideFacts(
            path=path,
            reader="example-npz",
            vendor="npz",
            levels=(Level(Size(width, height), 1.0),),
            mpp=MPP.square(mpp),
            mpp_source="npz.mpp",
            objective=None,
            channels=("red", "green", "blue"),
            illumination="brightfield",
            dtype="uint8",
        )

    @staticmethod
    def recognises(path: Path) -> bool:
        """Whether it is a zip archive with the two arrays."""
        try:
            with zipfile.ZipFile(path) as archive:
                return {"pixels.npy", "mpp.npy"} <= set(archive.namelist())
        except zipfile.BadZipFile:
            return False

    @property
    def facts(self) -> SlideFacts:
        """What the file says of itself."""
        return self._facts

    def read_level(self, level: int, box: Box) -> NDArray[np.uint8]:
        """A copy of the pixels of a box."""
        return self._pixels[box.slices()].copy()

    def close(self) -> None:
        """Nothing to release."""
