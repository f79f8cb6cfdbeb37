"""The measured features of a slide: parts beside the parts of its cells, row by row.

::

    OUT/slides/NAME/features/plan.json           what is measured, the measure key
    OUT/slides/NAME/features/part-NNNNN.columns  the columns of that part of the cells
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsiseg.cells.batch import CellBatch, CellsInfo, Places
from wsiseg.cells.polygons import Polygons
from wsiseg.errors import StoreError
from wsiseg.features.definitions import ALL_SETS, PIXEL_SETS, RING_UM
from wsiseg.features.measure import Recipe
from wsiseg.features.plugged import PluggedColumns
from wsiseg.features.registry import shape_columns
from wsiseg.files import read_json, write_json
from wsiseg.geometry import Box
from wsiseg.stain import Counterstain, Stains
from wsiseg.store.cells import StoredCells
from wsiseg.store.columns import open_columns, write_columns
from wsiseg.store.folders import SlideFolder


@dataclass(frozen=True, slots=True)
class FeaturePlan:
    """What is measured on a slide.

    Attributes
    ----------
    key
        The measure key: hash of everything the features depend on.
    recipe
        What is measured, and with what.
    given
        Whether the user gave the stain vectors.
    channel_names
        The channels' own names, in the order of ``recipe.channels``.
    """

    key: str
    recipe: Recipe
    given: bool = False
    channel_names: tuple[str, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences for the report."""
        stains = self.recipe.stains
        if stains is None or not stains.problem or not self.recipe.reads_pixels:
            return ()
        return (
            f"optical densities of stains are by the literature's vectors for haematoxylin and "
            f"{stains.kind}: {stains.problem}",
        )

    def described(self) -> dict[str, Any]:
        """For reports and the metadata of tables, as JSON."""
        recipe = self.recipe
        found: dict[str, Any] = {
            "key": self.key,
            "sets": [*recipe.sets, *(one.name for one in recipe.plugged)],
        }
        if PIXEL_SETS.intersection(recipe.sets):
            found["ring_um"] = RING_UM
            if recipe.stains is not None:
                usual = "literature" if recipe.stains.problem else "measured on the slide"
                found["stains"] = {
                    "haematoxylin": list(recipe.stains.haematoxylin),
                    recipe.stains.kind: list(recipe.stains.counterstain),
                    "white": list(recipe.stains.white),
                    "vectors": "given" if self.given else usual,
                    "problem": recipe.stains.problem,
                }
            else:
                names = zip(recipe.channels, self.channel_names, strict=True)
                found["channels"] = dict(names)
                if "texture" in recipe.sets:
                    found["texture_limits"] = list(recipe.texture_limits)
        return found


class FeatureFolder:
    """The features of one slide."""

    def __init__(self, folder: SlideFolder) -> None:
        self.root = folder.root / "features"

    @property
    def plan_file(self) -> Path:
        """What is measured."""
        return self.root / "plan.json"

    def part_file(self, part: int) -> Path:
        """The features of one part of the cells."""
        return self.root / f"part-{part:05d}.columns"

    def write_plan(self, plan: FeaturePlan) -> None:
        """Write what is to be measured."""
        write_json(self.plan_file, asdict(plan))

    def read_plan(self) -> FeaturePlan:
        """What is measured here.

        Raises
        ------
        StoreError
            If it is missing or damaged.
        """
        value: Any = read_json(self.plan_file)
        try:
            recipe = value["recipe"]
            return FeaturePlan(
                key=str(value["key"]),
                recipe=Recipe(
                    sets=tuple(name for name in ALL_SETS if name in recipe["sets"]),
                    classes=int(recipe["classes"]),
                    stains=_stains(recipe["stains"]),
                    channels=tuple(map(str, recipe["channels"])),
                    nuclear=int(recipe["nuclear"]),
                    texture_limits=(
                        float(recipe["texture_limits"][0]),
                        float(recipe["texture_limits"][1]),
                    ),
                    plugged=tuple(_plugged(one) for one in recipe.get("plugged", ())),
                ),
                given=bool(value["given"]),
                channel_names=tuple(map(str, value["channel_names"])),
            )
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise StoreError(f"{self.plan_file} is damaged; delete it and run again") from error

    def write_part(
        self, part: int, key: str, columns: Mapping[str, NDArray[np.float32]], count: int
    ) -> None:
        """Commit the features of a part of ``count`` cells."""
        write_columns(self.part_file(part), columns, {"key": key, "count": count})

    def read_part(
        self, part: int, plan: FeaturePlan, wanted: Sequence[str] | None = None
    ) -> dict[str, NDArray[np.float32]]:
        """The features of a part, or those wanted of them, checksums verified.

        Raises
        ------
        StoreError
            If they are missing, damaged or of another measure key.
        """
        path = self.part_file(part)
        with open_columns(path) as file:
            if file.about["key"] != plan.key:
                raise StoreError(
                    f"{path} was measured with other settings; run wsiseg measure again"
                )
            names = plan.recipe.columns
            return {name: file[name] for name in names if wanted is None or name in wanted}

    def missing(self, parts: int, key: str) -> tuple[int, ...]:
        """The parts that are not there, whole, with that measure key."""
        return tuple(part for part in range(parts) if not self._whole(part, key))

    def _whole(self, part: int, key: str) -> bool:
        try:
            with open_columns(self.part_file(part)) as file:
                return bool(file.verify().about["key"] == key)
        except StoreError:
            return False


class MeasuredCells:
    """The cells of a slide with their features; a :class:`wsiseg.cells.batch.CellSource`.

    A slide without cells has one empty part, so that its tables have their columns.

    Parameters
    ----------
    folder
        The slide's place in the run directory.
    about
        As for :class:`wsiseg.store.cells.StoredCells`.
    measured
        Whether features besides the shapes are there to be read.
    columns
        Chooses the features wanted among the names of all; ``None``: all.

    Raises
    ------
    StoreError
        If the cells are missing or damaged, or the plan of their features is.
    """

    def __init__(
        self,
        folder: SlideFolder,
        about: Mapping[str, object] | None = None,
        *,
        measured: bool = True,
        columns: Callable[[Sequence[str]], Sequence[str]] | None = None,
    ) -> None:
        self._features = FeatureFolder(folder)
        self._plan = self._features.read_plan() if measured else None
        more = self._plan.recipe.columns if self._plan else ()
        names = (*shape_columns(), *more)
        self.columns = tuple(columns(names)) if columns else names
        self._cells = StoredCells(folder.cells, about, features=self.columns)

    @property
    def info(self) -> CellsInfo:
        """What is common to all cells; its provenance tells what was measured."""
        info = self._cells.info
        if self._plan is None:
            return info
        return replace(info, provenance={**info.provenance, "measure": self._plan.described()})

    @property
    def count(self) -> int:
        """Number of cells."""
        return self._cells.count

    @property
    def extents(self) -> tuple[Box, ...]:
        """Frame box over the polygons of every part."""
        return self._cells.extents or (Box(0, 0, 0, 0),)

    def read(self, part: int) -> CellBatch:
        """The cells of one part.

        Raises
        ------
        StoreError
            If the part or its features are damaged.
        """
        if not self._cells.extents:
            return _no_cells(self.columns)
        batch = self._cells.read(part)
        found = dict(batch.features)
        if self._plan is not None:
            found |= self._features.read_part(part, self._plan, self.columns)
        if any(len(values) != len(batch) for values in found.values()):
            raise StoreError(
                f"{self._features.part_file(part)} does not belong to the cells beside it; "
                "delete it and run wsiseg measure"
            )
        return replace(batch, features={n: found[n] for n in self.columns if n in found})

    def places(self, part: int) -> Places:
        """Where the cells of one part lie, and their classes; nothing else is read.

        Raises
        ------
        StoreError
            If the part is damaged.
        """
        if not self._cells.extents:
            return Places(np.empty((0, 2), np.float64), np.empty(0, np.uint8))
        return self._cells.places(part)


def _no_cells(columns: Sequence[str]) -> CellBatch:
    return CellBatch(
        np.empty(0, np.uint32),
        np.empty((0, 16), np.uint8),
        Polygons.empty(),
        np.empty((0, 2), np.float64),
        np.empty(0, np.uint8),
        np.empty(0, np.float32),
        np.empty(0, np.bool_),
        {name: np.empty(0, np.float32) for name in columns},
    )


def _plugged(value: Any) -> PluggedColumns:
    columns = tuple(map(str, value["columns"]))
    margin = float(value["margin_um"])
    return PluggedColumns(str(value["name"]), columns, bool(value["pixels"]), margin)


def _stains(value: Any) -> Stains | None:
    if value is None:
        return None
    first, second, white = (
        (float(v[0]), float(v[1]), float(v[2]))
        for v in (value["haematoxylin"], value["counterstain"], value["white"])
    )
    kind: Counterstain = "DAB" if value["kind"] == "DAB" else "eosin"
    return Stains(first, second, kind, white, str(value["problem"]))
