"""Nuclei as GeoJSON that QuPath imports, streamed.

What is written follows QuPath's own reader (0.5 to 0.8): detections with UUIDs, closed valid
rings in the pixels of the image as QuPath shows it, classes with a colour, measurements as an
object of finite numbers. One polygon that its geometry library refuses would lose the whole
file there, so every one is checked in the form it is written in.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import orjson
from numpy.typing import NDArray

from wsiseg.cells.batch import CellBatch, CellsInfo, CellSource
from wsiseg.errors import ConfigurationError
from wsiseg.export._gzip import gzip_member
from wsiseg.export._text import Texts, Written, features_text
from wsiseg.export.units import measurement_name
from wsiseg.export.validity import sound
from wsiseg.files import write_json, writing
from wsiseg.geometry import HUNDREDTHS, Box

_OPENING = b'{"type":"FeatureCollection","features":[\n'
_CLOSING = b"\n]}"
_SEPARATOR = b",\n"

_CHUNK = 4096
"""Nuclei whose text is held at once: about 5 MB."""

_MAX_REGIONS = 10_000

_IMPORT_SCRIPT = """\
// Adds every region of the folder that this script lies in to the image open in QuPath
// (0.4 or later). Open the script from that folder in QuPath's script editor and run it.
import static qupath.lib.scripting.QP.importObjectsFromFile

def name = 'qupath.script.file'
def script = binding.hasVariable(name) ? binding.getVariable(name) : null
if (script == null)
    throw new IllegalStateException('Open this script from its folder instead of pasting it.')

def files = new File(script.toString()).absoluteFile.parentFile.listFiles()
    .findAll { it.name.endsWith('.geojson.gz') }
    .sort { it.name }
files.each { importObjectsFromFile(it.path) }
println "Imported ${files.size()} regions"
"""


@dataclass(frozen=True, slots=True)
class GeojsonReport:
    """How many nuclei were written, mended before (counted among those) and left out."""

    written: int = 0
    mended: int = 0
    left_out: int = 0

    def __add__(self, other: GeojsonReport) -> GeojsonReport:
        """The sums."""
        return GeojsonReport(
            self.written + other.written,
            self.mended + other.mended,
            self.left_out + other.left_out,
        )


def write_cells_geojson(path: Path, source: CellSource) -> GeojsonReport:
    """Write all nuclei as one gzip-compressed FeatureCollection, whole or not at all.

    Coordinates are level-0 pixels counted from ``info.origin_px``, with at most two decimals.
    A measurement has as many digits as its float32 needs, and is absent where it is not finite.
    Equal cells make equal bytes. The file consists of several gzip members, which readers
    (Java's and Python's among them) take for one stream.

    Raises
    ------
    ConfigurationError
        If one class name comes in two colours.
    StoreError
        If the file cannot be written.
    """
    classes = _class_texts(source.info)
    reports: list[GeojsonReport] = []
    with writing(path) as temporary, temporary.open("wb") as file:
        for member in _members(_collection(source, classes, reports)):
            file.write(member)
    return sum(reports, GeojsonReport())


def write_cells_geojson_split(folder: Path, source: CellSource, *, side_um: float) -> GeojsonReport:
    """Write the nuclei into one file for every square region, whole or not at all.

    The regions are cells of a lattice from the corner of level 0; a nucleus lies in the file of
    the region that holds its centroid. ``index.json`` lists every region with its file, its box
    in level-0 pixels and its count; ``import.groovy`` makes QuPath read the whole folder.

    Parameters
    ----------
    folder
        Created, or replaced as a whole.
    source
        The nuclei.
    side_um
        Side of a region in µm, rounded to whole pixels.

    Raises
    ------
    ConfigurationError
        If the side would make more than 10,000 regions, or one class name comes in two colours.
    StoreError
        If the folder cannot be written.
    """
    level0 = source.info.level0
    side = _side_px(source.info, side_um)
    classes = _class_texts(source.info)
    counts: dict[tuple[int, int], int] = {}
    report = GeojsonReport()
    with writing(folder) as temporary:
        temporary.mkdir()
        for cells, counted in _pieces(source):
            report += counted
            for place, members in _by_region(cells, side):
                opening = _SEPARATOR if place in counts else _OPENING
                text = _text(cells.take(members), classes, opening)
                with (temporary / _region_file(place)).open("ab") as file:
                    file.write(gzip_member(text))
                counts[place] = counts.get(place, 0) + len(members)
        for place in counts:
            with (temporary / _region_file(place)).open("ab") as file:
                file.write(gzip_member(_CLOSING))
        write_json(
            temporary / "index.json",
            {
                "slide": source.info.slide,
                "level0_size_px": [level0.size.width, level0.size.height],
                "origin_px": list(source.info.origin_px),
                "regions": [
                    _index_entry(place, side, level0.box, count)
                    for place, count in sorted(counts.items())
                ],
            },
        )
        (temporary / "import.groovy").write_text(_IMPORT_SCRIPT, encoding="utf-8")
    return report


def _collection(
    source: CellSource, classes: Texts, reports: list[GeojsonReport]
) -> Iterator[bytes | NDArray[np.uint8]]:
    """The text of all nuclei, piece by piece; what became of those of a piece is appended."""
    pending = _OPENING
    for cells, counted in _pieces(source):
        reports.append(counted)
        if len(cells):
            yield _text(cells, classes, pending)
            pending = _SEPARATOR
    yield _OPENING + _CLOSING if pending == _OPENING else _CLOSING


def _members(texts: Iterator[bytes | NDArray[np.uint8]]) -> Iterator[bytes]:
    """Each text compressed, in order; one while the next is put together."""
    with ThreadPoolExecutor(1) as beside:
        before = beside.submit(gzip_member, next(texts))
        for text in texts:
            following = beside.submit(gzip_member, text)
            yield before.result()
            before = following
        yield before.result()


def _pieces(source: CellSource) -> Iterator[tuple[CellBatch, GeojsonReport]]:
    """All cells that can be written, some at a time, and what became of the others."""
    for part in range(len(source.extents)):
        batch = source.read(part)
        for start in range(0, len(batch), _CHUNK):
            yield _accepted(batch.between(start, min(start + _CHUNK, len(batch))), source.info)


def _accepted(batch: CellBatch, info: CellsInfo) -> tuple[CellBatch, GeojsonReport]:
    """The cells that can be written, their outlines valid and in QuPath's frame."""
    if len(batch) and int(batch.class_index.max()) >= len(info.classes):
        raise ValueError(f"class {batch.class_index.max()} of {len(info.classes)} classes")
    shift = np.asarray(info.origin_px, np.int32) * HUNDREDTHS
    outlines = batch.polygons
    # Wherever an outline lies, it is as valid.
    moved = replace(outlines, vertices=outlines.vertices - shift)
    checked = sound(moved)
    written = len(checked.kept)
    whole = batch if written == len(batch) else batch.take(checked.kept)
    cells = replace(whole, polygons=checked.polygons)
    return cells, GeojsonReport(written, checked.mended, len(batch) - written)


def _text(cells: CellBatch, classes: Texts, opening: bytes) -> NDArray[np.uint8]:
    columns = [*cells.features.values(), cells.probabilities]
    names = [*(measurement_name(name) for name in cells.features), "Probability"]
    keys = Texts.of([orjson.dumps(name) + b":" for name in names])
    values = np.stack(columns, axis=1).astype(np.float32, copy=False)
    return features_text(
        cells.polygons, Written(cells.uuids, cells.class_index, values), classes, keys, opening
    )


def _class_texts(info: CellsInfo) -> Texts:
    """For every class all that stands between the rings and the first measurement."""
    colors: dict[str, tuple[int, int, int]] = {}
    for kind in info.classes:
        if colors.setdefault(kind.name, kind.color) != kind.color:
            raise ConfigurationError(
                f"{info.slide}: the class {kind.name!r} comes in two colours, "
                f"{colors[kind.name]} and {kind.color}; QuPath knows one colour a class"
            )
    return Texts.of(
        [
            b']},"properties":{"objectType":"detection","classification":'
            + orjson.dumps({"name": kind.name, "color": list(kind.color)})
            + b',"measurements":{'
            for kind in info.classes
        ]
    )


def _side_px(info: CellsInfo, side_um: float) -> tuple[int, int]:
    size, mpp = info.level0.size, info.level0.mpp
    side = (round(side_um / mpp.x), round(side_um / mpp.y))
    if min(side) < 1 or -(-size.width // side[0]) * -(-size.height // side[1]) > _MAX_REGIONS:
        raise ConfigurationError(
            f"{info.slide}: regions of {side_um:g} µm would be more than {_MAX_REGIONS:,} on this "
            "slide; choose a larger side"
        )
    return side


def _by_region(
    cells: CellBatch, side: tuple[int, int]
) -> Iterator[tuple[tuple[int, int], NDArray[np.int64]]]:
    """``(row, column)`` of every region that holds a centroid, and the indices of its cells."""
    place = np.floor(cells.centroids[:, ::-1] / side[::-1]).astype(np.int64)
    regions, members = np.unique(place, axis=0, return_inverse=True)
    order = np.argsort(members, kind="stable")
    ends = np.cumsum(np.bincount(members, minlength=len(regions)))
    places = [(row, column) for row, column in regions.tolist()]
    yield from zip(places, np.split(order, ends[:-1]), strict=True)


def _region_file(place: tuple[int, int]) -> str:
    return f"cells-{place[0]:04d}-{place[1]:04d}.geojson.gz"


def _index_entry(
    place: tuple[int, int], side: tuple[int, int], whole: Box, count: int
) -> dict[str, object]:
    x, y = place[1] * side[0], place[0] * side[1]
    box = Box(x, y, x + side[0], y + side[1]).intersection(whole)
    return {
        "file": _region_file(place),
        "box_px": [box.x0, box.y0, box.x1, box.y1],
        "count": count,
    }
