"""The stitched cells of a slide, in parts."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Executor, wait
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from wsiseg.cells.batch import CellBatch, CellClass, CellsInfo, Places
from wsiseg.cells.simple import plainly_valid
from wsiseg.errors import StoreError
from wsiseg.files import read_json, write_json, writing
from wsiseg.geometry import HUNDREDTHS, MPP, Box, Frame, Size
from wsiseg.store.columns import ColumnFile, open_columns, write_part
from wsiseg.store.outlines import column_outlines, outline_columns

_FEATURE = "feature:"

LAYOUT = 2
"""Raised whenever parts of cells lie in their folder in another way."""

Item = TypeVar("Item")


def write_cells(
    folder: Path,
    info: CellsInfo,
    make: Callable[[Item], CellBatch],
    items: Iterable[Item],
    pool: Executor,
) -> int:
    """Write the cells of a slide part by part, the whole folder or nothing; their number.

    ``make`` gives the cells of a part for each of ``items``; as many parts as ``pool`` has
    threads are made and written at a time.
    """

    def put(number: int, item: Item) -> dict[str, Any]:
        batch = make(item)
        write_part(temporary / _part_name(number), _columns(batch), {})
        extent = _extent(batch, info)
        return {"count": len(batch), "extent": [extent.x0, extent.y0, extent.x1, extent.y1]}

    with writing(folder) as temporary:
        temporary.mkdir()
        futures = [pool.submit(put, number, item) for number, item in enumerate(items)]
        try:
            parts = [future.result() for future in futures]
        finally:
            # The folder goes if one has failed: nobody may still be writing into it.
            for future in futures:
                future.cancel()
            wait(futures)
        index = {"layout": LAYOUT, "info": _info_dict(info), "parts": parts}
        write_json(temporary / "index.json", index)
    return sum(part["count"] for part in parts)


class StoredCells:
    """The stitched cells in a folder; a :class:`wsiseg.cells.batch.CellSource`.

    Parameters
    ----------
    folder
        The folder.
    about
        For ``info.about``, which the store does not keep.
    features
        Names of the features wanted, as stitching measured them; ``None``: all. Those that draw
        or measure cells want none.

    Raises
    ------
    StoreError
        If the folder is missing, damaged or of another version.
    """

    def __init__(
        self,
        folder: Path,
        about: Mapping[str, object] | None = None,
        *,
        features: Collection[str] | None = None,
    ) -> None:
        index: Any = read_json(folder / "index.json")
        try:
            if index.get("layout") != LAYOUT:
                raise StoreError(
                    f"the cells in {folder} are as another version of wsiseg keeps them; segment "
                    "the slide again with the command that made them"
                )
            self._parts: list[dict[str, Any]] = list(index["parts"])
            self._info = replace(_info_from(index["info"]), about=dict(about or {}))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise StoreError(f"{folder / 'index.json'} is damaged; export again") from error
        self._folder = folder
        self._features = features

    @property
    def info(self) -> CellsInfo:
        """What is common to all cells."""
        return self._info

    @property
    def count(self) -> int:
        """Number of cells."""
        return sum(int(part["count"]) for part in self._parts)

    @property
    def extents(self) -> tuple[Box, ...]:
        """Frame box over the polygons of every part."""
        return tuple(Box(*part["extent"]) for part in self._parts)

    def read(self, part: int) -> CellBatch:
        """The cells of one part, checksums verified.

        Raises
        ------
        StoreError
            If it is missing or damaged.
        """
        with open_columns(self._folder / _part_name(part)) as file:
            return _batch(file, self._features)

    def places(self, part: int) -> Places:
        """Where the cells of one part lie, and their classes; nothing else is read.

        Raises
        ------
        StoreError
            If it is missing or damaged.
        """
        with open_columns(self._folder / _part_name(part)) as file:
            return Places(file["centroid"], file["class"])

    def feature(self, part: int, name: str) -> NDArray[np.float32]:
        """One feature ``[n]`` of the cells of one part; nothing else is read.

        Raises
        ------
        StoreError
            If the part is missing or damaged, or has no such feature.
        """
        with open_columns(self._folder / _part_name(part)) as file:
            return file[_FEATURE + name]


def _part_name(number: int) -> str:
    return f"part-{number:05d}.columns"


def _extent(batch: CellBatch, info: CellsInfo) -> Box:
    """Frame box that covers the polygons of a batch."""
    fx, fy = info.level0.scale_to(info.frame)
    x, y = (batch.polygons.vertices[:, axis] for axis in range(2))
    x0, y0 = int(x.min()) / HUNDREDTHS * fx, int(y.min()) / HUNDREDTHS * fy
    x1, y1 = int(x.max()) / HUNDREDTHS * fx, int(y.max()) / HUNDREDTHS * fy
    return Box(math.floor(x0), math.floor(y0), math.ceil(x1), math.ceil(y1))


def _columns(batch: CellBatch) -> dict[str, NDArray[Any]]:
    return {
        "id": batch.ids,
        "uuid": batch.uuids,
        "centroid": batch.centroids,
        "class": batch.class_index,
        "probability": batch.probabilities,
        "truncated": batch.truncated,
        # Found out here once, for all exports that would have to.
        **outline_columns(replace(batch.polygons, plain=plainly_valid(batch.polygons))),
        **{_FEATURE + name: values for name, values in batch.features.items()},
    }


def _batch(file: ColumnFile, wanted: Collection[str] | None) -> CellBatch:
    stored = [n.removeprefix(_FEATURE) for n in file.names if n.startswith(_FEATURE)]
    return CellBatch(
        file["id"],
        file["uuid"],
        column_outlines(file),
        file["centroid"],
        file["class"],
        file["probability"],
        file["truncated"],
        {name: file[_FEATURE + name] for name in stored if wanted is None or name in wanted},
    )


def _info_dict(info: CellsInfo) -> dict[str, object]:
    return {
        "slide": info.slide,
        "level0": frame_dict(info.level0),
        "frame": frame_dict(info.frame),
        "classes": [{"name": c.name, "color": list(c.color)} for c in info.classes],
        "origin_px": list(info.origin_px),
        "provenance": dict(info.provenance),
    }


def _info_from(value: Any) -> CellsInfo:
    return CellsInfo(
        slide=str(value["slide"]),
        level0=frame_from(value["level0"]),
        frame=frame_from(value["frame"]),
        classes=tuple(CellClass(c["name"], tuple(c["color"])) for c in value["classes"]),
        origin_px=(int(value["origin_px"][0]), int(value["origin_px"][1])),
        provenance=value["provenance"],
    )


def frame_dict(frame: Frame) -> dict[str, float]:
    """A frame as JSON."""
    return {
        "width": frame.size.width,
        "height": frame.size.height,
        "mpp_x": frame.mpp.x,
        "mpp_y": frame.mpp.y,
    }


def frame_from(value: Any) -> Frame:
    """The inverse of :func:`frame_dict`."""
    return Frame(
        Size(int(value["width"]), int(value["height"])),
        MPP(float(value["mpp_x"]), float(value["mpp_y"])),
    )
