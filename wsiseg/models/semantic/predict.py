"""A slide's classes of tissue, strip by strip, so that no tile shows.

Windows lie on one lattice from the slide's corner, whose step is a multiple of the network's
stride. Where the network's reach is known, the halo is at least as wide and each window answers
for its core: an answer is the same whatever window gives it. Where it is not (attention,
statistics of the window), neighbouring windows overlap and their probabilities are blended
linearly across the overlap, so that nothing changes abruptly at a border.

Only one row of windows is in memory at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from wsiseg.errors import ModelError, ResolutionError
from wsiseg.geometry import MPP, Box, Frame
from wsiseg.models.network.runtime import widened
from wsiseg.models.semantic.files import SemanticFile
from wsiseg.models.semantic.running import ClassRuntime
from wsiseg.tiling import Tile, TileGrid

Probabilities = NDArray[np.float32]
"""``[classes, y, x]``, on the grid of the class map."""

Read = Callable[[Box, Frame], NDArray[np.uint8]]
"""RGB ``[y, x, 3]`` of a box of a frame, white beyond the slide."""

_COARSEST = 2.0


def network_frame(level0: Frame, described: SemanticFile, name: str) -> Frame:
    """The frame that a network sees a slide in: a whole-number reduction of level 0 where one
    lies in its range, so that nothing is resampled twice, else exactly its own pixel size.

    Raises
    ------
    ResolutionError
        If the slide is too coarse for it.
    """
    fine = level0.mpp.mean
    if fine > _COARSEST * described.mpp:
        raise ResolutionError(
            f"{name}: its finest level has {fine:g} µm/px, too coarse for {described.name}, which "
            f"works at {described.mpp:g} µm/px; if the pixel size is wrong, state the right one "
            "(--mpp), or find the tissue otherwise (--tissue classical)"
        )
    factor = max(1, round(described.mpp / fine))
    low, high = described.mpp_range
    if low <= fine * factor <= high:
        return level0.reduced(factor)
    return level0.at(MPP.square(described.mpp))


def class_frame(frame: Frame, described: SemanticFile) -> Frame:
    """The frame of the class map of a network's frame."""
    return frame.reduced(described.network.grid)


def class_rows(
    read: Read,
    frame: Frame,
    described: SemanticFile,
    runtime: ClassRuntime,
    core: int | None = None,
) -> Iterator[NDArray[np.uint8]]:
    """The classes of a slide from the top: uint8 ``[rows, width]`` in the class map's frame.

    Parameters
    ----------
    read
        Reads the slide.
    frame
        That of :func:`network_frame`.
    described, runtime
        The network.
    core
        Side of a window's core in pixels of ``frame``; ``None``: the network's own. Where the
        reach is known, no result hangs on it.
    """
    if described.network.reach_px is None:
        for rows in probability_rows(read, frame, described, runtime, core):
            yield rows.argmax(axis=0).astype(np.uint8)
        return
    grid = _lattice(frame, described, core)
    predict = _predictor(read, grid, described, runtime)

    def decide(tile: Tile) -> NDArray[np.uint8]:
        best: NDArray[np.uint8] = predict(tile).argmax(axis=0, keepdims=True).astype(np.uint8)
        return best

    size = class_frame(frame, described).size
    for codes in _cut(_plain(decide, grid, described), size.height, size.width):
        yield codes[0]


def probability_rows(
    read: Read,
    frame: Frame,
    described: SemanticFile,
    runtime: ClassRuntime,
    core: int | None = None,
) -> Iterator[Probabilities]:
    """As :func:`class_rows`, the probabilities ``[classes, rows, width]``."""
    grid = _lattice(frame, described, core)
    exact = described.network.reach_px is not None
    size = class_frame(frame, described).size
    yield from _cut(
        (_plain if exact else _blended)(
            _predictor(read, grid, described, runtime), grid, described
        ),
        size.height,
        size.width,
    )


def _lattice(frame: Frame, described: SemanticFile, core: int | None) -> TileGrid:
    reach = described.network.reach_px
    if reach is not None and described.halo < reach:
        raise ModelError(
            f"{described.name} sees {reach} px around a pixel, but its halo is "
            f"{described.halo} px: tiles would show"
        )
    side = core or described.core
    return TileGrid(frame, side, described.halo, 1, described.network.stride)


_Predict = Callable[[Tile], Probabilities]
_Pixel = TypeVar("_Pixel", np.float32, np.uint8)


def _predictor(
    read: Read, grid: TileGrid, described: SemanticFile, runtime: ClassRuntime
) -> _Predict:
    def predict(tile: Tile) -> Probabilities:
        pixels = read(tile.window, grid.frame)
        if pixels.shape[-1] != 3 or pixels.dtype != np.uint8:
            raise ModelError(
                f"{described.name} needs 8-bit RGB pixels, not {pixels.shape[-1]} channels of "
                f"{pixels.dtype}"
            )
        return _softmax(widened(runtime.run(np.ascontiguousarray(pixels)[np.newaxis])[0]))

    return predict


def _softmax(logits: NDArray[np.float32]) -> Probabilities:
    raised = np.exp(logits - logits.max(axis=0))
    shares: Probabilities = (raised / raised.sum(axis=0)).astype(np.float32)
    return shares


def _plain(
    answer: Callable[[Tile], NDArray[_Pixel]], grid: TileGrid, described: SemanticFile
) -> Iterator[NDArray[_Pixel]]:
    """Rows of cores side by side."""
    cell, halo = grid.core // described.network.grid, grid.halo // described.network.grid
    inner = slice(halo, halo + cell)
    for row in range(grid.rows):
        cores = [
            # Cut out by copying, else the whole window would stay.
            answer(grid.tile(column, row))[:, inner, inner].copy()
            for column in range(grid.columns)
        ]
        yield np.concatenate(cores, axis=2)


def _blended(predict: _Predict, grid: TileGrid, described: SemanticFile) -> Iterator[Probabilities]:
    """Rows of windows added up with weights that sum to one everywhere.

    A row is finished when the next one's windows no longer reach it.
    """
    scale = described.network.grid
    cell, halo = grid.core // scale, grid.halo // scale
    side, classes = cell + 2 * halo, len(described.classes)
    width = cell * grid.columns + 2 * halo
    down = [_ramp(cell, halo, row, grid.rows) for row in range(grid.rows)]
    across = [_ramp(cell, halo, column, grid.columns) for column in range(grid.columns)]
    band = np.zeros((classes, side, width), np.float32)
    for row in range(grid.rows):
        for column in range(grid.columns):
            weight = np.outer(down[row], across[column])
            place = slice(column * cell, column * cell + side)
            band[:, :, place] += predict(grid.tile(column, row)) * weight
        last = row == grid.rows - 1
        # What lies above the slide is left out of the first rows, what lies beside it of all.
        done = band[:, halo if row == 0 else 0 : side if last else cell, halo : width - halo]
        yield done.copy()
        band[:, : 2 * halo] = band[:, cell:]
        band[:, 2 * halo :] = 0


def _ramp(cell: int, halo: int, number: int, count: int) -> NDArray[np.float32]:
    """Weights along one side of a window; those of neighbours sum to one."""
    weights = np.ones(cell + 2 * halo, np.float32)
    if halo:
        rise = ((np.arange(2 * halo) + 0.5) / (2 * halo)).astype(np.float32)
        if number > 0:
            weights[: 2 * halo] = rise
        if number < count - 1:
            weights[-2 * halo :] = rise[::-1]
    return weights


def _cut(bands: Iterator[NDArray[_Pixel]], height: int, width: int) -> Iterator[NDArray[_Pixel]]:
    """Without what lies below and to the right of the slide."""
    left = height
    for band in bands:
        if left <= 0:
            return
        yield band[:, : min(left, band.shape[1]), :width]
        left -= band.shape[1]
