"""The classes of tissue as the values of a label image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsiseg.geometry import Box
from wsiseg.tissue.class_map import ClassMap
from wsiseg.tissue.mask import TissueCode, TissueMask

FIRST_CLASS = 16
"""Class ``i`` has the value ``FIRST_CLASS + i``; smaller ones are those of :class:`TissueCode`."""

_OPAQUE = 120

Rgba = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class ClassCodes:
    """The classes of a slide, and over them what the mask leaves out for other reasons.

    Squares are drawn when asked for: ``codes[rows, columns]`` is uint8 ``[y, x]``.
    """

    classes: ClassMap
    mask: TissueMask

    @property
    def shape(self) -> tuple[int, int]:
        """``(height, width)``."""
        return self.classes.shape

    def __getitem__(self, place: tuple[slice, slice], /) -> NDArray[np.uint8]:
        """A square of the label image."""
        rows, columns = (s.indices(n) for s, n in zip(place, self.shape, strict=True))
        box = Box(columns[0], rows[0], columns[1], rows[1])
        values = np.array([_value(self.classes, k) for k in range(len(self.classes.classes))])
        drawn = values.astype(np.uint8)[self.classes.read(box)]
        fx, fy = self.classes.frame.scale_to(self.mask.frame)
        height, width = self.mask.codes.shape
        over = self.mask.codes[
            np.ix_(_under(box.y0, box.y1, fy, height), _under(box.x0, box.x1, fx, width))
        ]
        result: NDArray[np.uint8] = np.where(over >= TissueCode.EXCLUDED, over, drawn)
        return result


def class_values(
    classes: ClassMap, codes: Mapping[TissueCode, Rgba]
) -> tuple[tuple[int, str, Rgba], ...]:
    """Value, meaning and colour of all that a label image of classes may hold.

    ``codes`` are the colours of the mask's own codes.
    """
    reasons = tuple(
        (int(code), code.name.lower().replace("_", " "), colour)
        for code, colour in codes.items()
        if code == TissueCode.BACKGROUND or code >= TissueCode.EXCLUDED
    )
    named = tuple(
        (_value(classes, number), entry.name, (*entry.color, _OPAQUE))
        for number, entry in enumerate(classes.classes)
        if entry.counts != "background"
    )
    return (*reasons, *named)


def _value(classes: ClassMap, number: int) -> int:
    background = classes.classes[number].counts == "background"
    return int(TissueCode.BACKGROUND) if background else FIRST_CLASS + number


def _under(first: int, last: int, factor: float, limit: int) -> NDArray[np.int64]:
    found = np.floor((np.arange(first, last) + 0.5) * factor).astype(np.int64)
    capped: NDArray[np.int64] = np.minimum(found, limit - 1)
    return capped
