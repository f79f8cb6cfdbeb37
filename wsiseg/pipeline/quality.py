"""Quality of a slide's tissue, field by field, and leaving out what the user wants left out."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from wsiseg.geometry import Box, Frame
from wsiseg.quality.fields import (
    FAULTS,
    FIELD_UM,
    MPP,
    Fault,
    FieldMeasures,
    Flags,
    collect,
    flag,
    measure_field,
)
from wsiseg.slides.slide import Slide
from wsiseg.stain import Counterstain, Stains, measure_stains
from wsiseg.store.parquet import arrow_column, write_table
from wsiseg.tissue import TissueCode, TissueMask

_CODES = {
    "blurred": TissueCode.BLURRED,
    "folded": TissueCode.FOLDED,
    "grey": TissueCode.GREY,
    "odd_stain": TissueCode.ODD_STAIN,
}
_LEAST_TISSUE = 0.25
_STAIN_FIELDS = 64
_WORTH_TELLING = 0.05
_STRIP = 16
_THREADS = 2


@dataclass(frozen=True, slots=True)
class SlideQuality:
    """Quality of the fields of a slide that hold tissue.

    Attributes
    ----------
    boxes
        int64 ``[n, 4]``: ``x0, y0, x1, y1`` of the fields in pixels of ``frame``.
    frame
        The frame they were looked at in, about 1 µm/px.
    measures, flags
        What was measured, and which fields stand out.
    """

    boxes: NDArray[np.int64]
    frame: Frame
    measures: FieldMeasures
    flags: Flags

    def count(self, fault: Fault) -> int:
        """Number of fields with a fault."""
        return int(getattr(self.flags, fault).sum())

    def warnings(self) -> tuple[str, ...]:
        """Faults of more than a twentieth of the fields."""
        total = len(self.boxes)
        return tuple(
            f"{self.count(fault)} of {total} fields of tissue look {fault.replace('_', '-')}: see "
            f"quality.parquet; --gate {fault} leaves them out"
            for fault in FAULTS
            if self.count(fault) > _WORTH_TELLING * total
        )

    def gated(self, mask: TissueMask, gate: Sequence[Fault]) -> TissueMask:
        """The mask with the tissue of faulty fields left out, each with its code."""
        codes = mask.codes.copy()
        for fault in reversed(FAULTS):
            if fault in gate:
                for row in self.boxes[getattr(self.flags, fault)]:
                    box = Box(*(int(v) for v in row))
                    place = self.frame.box_in(box, mask.frame).intersection(mask.frame.box)
                    here = codes[place.slices()]
                    here[here == TissueCode.TISSUE] = _CODES[fault]
        return TissueMask(codes, mask.frame, mask.method, mask.warnings)


def measure_quality(
    slide: Slide, mask: TissueMask, kind: Counterstain | None = None
) -> SlideQuality | None:
    """Look at every field that is tissue to a quarter; ``None`` for fluorescence slides."""
    if slide.facts.illumination != "brightfield" or len(slide.facts.channels) < 3:
        return None
    frame = slide.level0.reduced(max(1, round(MPP / slide.level0.mpp.mean)))
    side = max(1, round(FIELD_UM / frame.mpp.mean))
    shares = mask.shares(frame, side)
    cells = zip(frame.box.split(side), shares.tolist(), strict=True)
    boxes = [box for box, share in cells if share >= _LEAST_TISSUE]
    step = max(1, len(boxes) // _STAIN_FIELDS)
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="wsiseg-fields") as pool:
        some = pool.map(lambda box: _read(slide, box, frame), boxes[::step])
        stains = measure_stains(list(some), kind=kind)
        measured = partial(_measured, slide, frame, stains)
        # From the last to the first: what was read last is still kept.
        found = list(pool.map(measured, _strips(boxes)[::-1]))
    measures = collect([row for rows in reversed(found) for row in rows])
    corners = np.array([(b.x0, b.y0, b.x1, b.y1) for b in boxes], np.int64).reshape(-1, 4)
    return SlideQuality(corners, frame, measures, flag(measures, stains.kind))


def write_quality(path: Path, quality: SlideQuality, level0: Frame) -> None:
    """Write one row a field: its box in level-0 pixels, the measures and the flags."""
    scale = np.tile(quality.frame.scale_to(level0), 2)
    boxes = quality.boxes * scale
    columns = {
        **{name: boxes[:, k] for k, name in enumerate(("x0_px", "y0_px", "x1_px", "y1_px"))},
        **asdict(quality.measures),
        **asdict(quality.flags),
    }
    write_table(path, pa.table({name: arrow_column(values) for name, values in columns.items()}))


def _measured(
    slide: Slide, frame: Frame, stains: Stains, strip: Sequence[Box]
) -> list[tuple[float, ...]]:
    """What is measured of neighbours in a row, which are read at once."""
    around = strip[0].union(strip[-1])
    pixels = _read(slide, around, frame)
    return [
        measure_field(np.ascontiguousarray(pixels[box.slices(around)]), stains) for box in strip
    ]


def _strips(boxes: Sequence[Box]) -> list[list[Box]]:
    """Fields as they are read: neighbours in a row, ``_STRIP`` at most."""
    strips: list[list[Box]] = []
    for box in boxes:
        last = strips[-1][-1] if strips else None
        beside = last is not None and (last.x1, last.y0) == (box.x0, box.y0)
        if beside and len(strips[-1]) < _STRIP:
            strips[-1].append(box)
        else:
            strips.append([box])
    return strips


def _read(slide: Slide, box: Box, frame: Frame) -> NDArray[np.uint8]:
    pixels = slide.read(box, frame, (0, 1, 2))
    shift = 8 if pixels.dtype == np.uint16 else 0
    return np.asarray(pixels >> shift if shift else pixels, np.uint8)
