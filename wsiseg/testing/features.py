"""The contract of sets of features as a test, for authors of plug-ins."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsiseg.cells.batch import CellBatch, CellSource
from wsiseg.errors import WsisegError
from wsiseg.features.measure import Neighbourhood, Surroundings, frame_boxes
from wsiseg.features.plugged import FeaturePlugin, check_columns, check_features
from wsiseg.geometry import Box
from wsiseg.slides.reader import Pixels
from wsiseg.testing.sources import synthetic_cells

_CELLS = 600
_SOME = slice(200, 260)


def check_feature_set(name: str, plugin: FeaturePlugin) -> None:
    """Check a set of features against the contract, on synthetic nuclei and pixels.

    Parameters
    ----------
    name
        The name of its entry point.
    plugin
        What the entry point names.

    Raises
    ------
    AssertionError
        If a promise is broken; the message says which.
    """
    try:
        columns = check_features(name, plugin).columns
    except (WsisegError, ValueError) as error:
        raise AssertionError(str(error)) from error
    source = synthetic_cells(_CELLS)
    cells = source.read(0)
    place = Surroundings(source.info, _pixels if plugin.PIXELS else None)
    whole = _measured(plugin, Neighbourhood(cells, slice(0, len(cells))), place, columns)
    again = _measured(plugin, Neighbourhood(cells, slice(0, len(cells))), place, columns)
    assert _equal(whole, again), "measuring the same cells twice gives other values"
    some = _measured(plugin, _around(cells, source, plugin.MARGIN_UM), place, columns)
    part = {column: values[_SOME] for column, values in whole.items()}
    for column in columns:
        assert np.array_equal(some[column], part[column], equal_nan=True), (
            f"{column} hangs on cells farther than MARGIN_UM = {plugin.MARGIN_UM:g} µm away, or on "
            "which cells are measured together"
        )
    none = _measured(plugin, Neighbourhood(cells, slice(0, 0)), place, columns)
    assert all(len(values) == 0 for values in none.values()), "no cells have no values"


def _measured(
    plugin: FeaturePlugin, around: Neighbourhood, place: Surroundings, columns: tuple[str, ...]
) -> dict[str, NDArray[np.float32]]:
    centroids = around.cells.centroids.copy()
    found = dict(plugin.measure(around, place))
    try:
        check_columns(found, columns, around.own.stop - around.own.start)
    except WsisegError as error:
        raise AssertionError(str(error)) from error
    assert np.array_equal(around.cells.centroids, centroids), "measure changed the cells"
    return found


def _around(cells: CellBatch, source: CellSource, margin_um: float) -> Neighbourhood:
    """Some cells, with only those others that come within the margin of the box around them."""
    info = source.info
    boxes = frame_boxes(cells, info)
    reach = int(margin_um / min(info.frame.mpp.x, info.frame.mpp.y)) + 2
    low, high = boxes[_SOME, :2].min(axis=0) - reach, boxes[_SOME, 2:].max(axis=0) + reach
    near = (boxes[:, 2:] > low).all(axis=1) & (boxes[:, :2] < high).all(axis=1)
    kept = np.flatnonzero(near)
    start = int(np.searchsorted(kept, _SOME.start))
    return Neighbourhood(cells.take(kept), slice(start, start + _SOME.stop - _SOME.start))


def _pixels(box: Box) -> Pixels:
    """A texture that hangs on the place alone."""
    y, x = np.mgrid[box.y0 : box.y1, box.x0 : box.x1]
    planes = [(x * 7 + y * 13) % 256, (x * 5 + y * 3) % 256, (x * y) % 256]
    return np.stack(planes, axis=2).astype(np.uint8)


def _equal(a: dict[str, NDArray[np.float32]], b: dict[str, NDArray[np.float32]]) -> bool:
    return all(np.array_equal(a[name], b[name], equal_nan=True) for name in a)
