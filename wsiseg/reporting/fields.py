"""Quality of a slide's tissue as its ``quality.parquet`` has it: counts, a map, places to see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsiseg.errors import StoreError
from wsiseg.quality.fields import FAULTS, Fault
from wsiseg.store.folders import SlideFolder
from wsiseg.store.parquet import read_table

FAULT_COLORS: Mapping[Fault, tuple[int, int, int]] = {
    "blurred": (0, 158, 115),
    "folded": (204, 121, 167),
    "grey": (130, 130, 130),
    "odd_stain": (230, 159, 0),
}
SOUND: tuple[int, int, int] = (214, 220, 230)
FAULT_MEANING: Mapping[Fault, str] = {
    "blurred": "out of focus",
    "folded": "two layers of tissue",
    "grey": "without colour: bubbles, dust, debris, pencil",
    "odd_stain": "stained unlike the rest of the slide",
}

_PAPER = (255, 255, 255)
_CORNERS = ("x0_px", "y0_px", "x1_px", "y1_px")
_MOST_FIELDS_ACROSS = 4096
# Where a fault is worst: the measure that tells it, and whether the highest value is the worst.
_WORST: Mapping[Fault, tuple[str, bool]] = {
    "blurred": ("sharpness", False),
    "folded": ("dense", True),
    "grey": ("grey_share", True),
}


@dataclass(frozen=True, slots=True)
class SlideFields:
    """The fields of a slide that hold tissue.

    Attributes
    ----------
    boxes
        float64 ``[n, 4]``: ``x0, y0, x1, y1`` in level-0 pixels.
    flags
        Which are flagged, bool ``[n]`` by fault.
    measures
        float64 ``[n]`` by name, NaN where not defined; see
        :class:`wsiseg.quality.fields.FieldMeasures`.
    """

    boxes: NDArray[np.float64]
    flags: Mapping[Fault, NDArray[np.bool_]]
    measures: Mapping[str, NDArray[np.float64]]

    def __len__(self) -> int:
        return len(self.boxes)

    def count(self, fault: Fault) -> int:
        """Number of fields with a fault."""
        return int(self.flags[fault].sum())

    @property
    def flagged(self) -> int:
        """Number of fields with any fault."""
        return int(np.logical_or.reduce([self.flags[fault] for fault in FAULTS]).sum())


def read_fields(folder: SlideFolder) -> SlideFields | None:
    """The fields of a slide; ``None`` where none were looked at, as in fluorescence.

    Raises
    ------
    StoreError
        If the file is damaged.
    """
    if not folder.quality.exists():
        return None
    table = read_table(folder.quality)
    missing = {*_CORNERS, *FAULTS} - set(table.column_names)
    if missing:
        raise StoreError(f"{folder.quality} has no column {sorted(missing)[0]}: run it again")
    others = [name for name in table.column_names if name not in (*_CORNERS, *FAULTS)]
    return SlideFields(
        np.stack([np.asarray(table[name].to_numpy(), np.float64) for name in _CORNERS], axis=1),
        {fault: np.asarray(table[fault].to_numpy(), np.bool_) for fault in FAULTS},
        {name: np.asarray(table[name].to_numpy(), np.float64) for name in others},
    )


def fault_map(fields: SlideFields) -> Image.Image | None:
    """A pixel a field, in the colour of its first fault; ``None`` without fields."""
    if not len(fields):
        return None
    step = (fields.boxes[:, 2:] - fields.boxes[:, :2]).max(axis=0)
    # The last field of a row may be narrower, its beginning is a multiple of the step all the same.
    places = np.rint(fields.boxes[:, :2] / np.maximum(step, 1e-9)).astype(np.int64)
    places -= places.min(axis=0)
    columns, rows = (places.max(axis=0) + 1).tolist()
    if max(columns, rows) > _MOST_FIELDS_ACROSS:
        return None
    picture = np.full((rows, columns, 3), _PAPER, np.uint8)
    picture[places[:, 1], places[:, 0]] = SOUND
    for fault in reversed(FAULTS):
        here = places[fields.flags[fault]]
        picture[here[:, 1], here[:, 0]] = FAULT_COLORS[fault]
    return Image.fromarray(picture)


def places_to_see(fields: SlideFields) -> list[tuple[str, tuple[float, float]]]:
    """Reason and middle (level-0 pixels) of the palest field, and of the worst one of the most
    frequent fault. Pale is little haematoxylin in the stained pixels."""
    middles = (fields.boxes[:, :2] + fields.boxes[:, 2:]) / 2
    found = []
    pale = _lowest(fields.measures.get("haematoxylin_od"))
    if pale is not None:
        found.append(("Palest field", pale))
    fault = max(FAULTS, key=fields.count)
    if fields.count(fault):
        measure, highest = _WORST.get(fault, ("density", True))
        among = np.flatnonzero(fields.flags[fault])
        values = fields.measures.get(measure, np.zeros(len(fields)))[among]
        worst = _lowest(-values if highest else values)
        index = int(among[worst if worst is not None else 0])
        if index != pale:
            found.append((f"Flagged as {fault.replace('_', ' ')}", index))
    return [(reason, (float(middles[i, 0]), float(middles[i, 1]))) for reason, i in found]


def _lowest(values: NDArray[np.float64] | None) -> int | None:
    if values is None or not np.isfinite(values).any():
        return None
    return int(np.nanargmin(values))
