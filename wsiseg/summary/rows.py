"""What the files of a run directory say of every slide. Nothing is opened but small JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from wsiseg.errors import StoreError
from wsiseg.files import read_json
from wsiseg.store.folders import RunFolder, SlideFolder, read_manifest

State = Literal["whole", "failed", "begun", "waiting"]
"""``begun``: some of its work is done, and nobody has said that it failed."""


@dataclass(frozen=True, slots=True)
class SlideRow:
    """One slide. Numbers are ``None`` where they are not known (yet).

    Attributes
    ----------
    name, path
        Its name in the run, and its file.
    state, reason
        How far it is, and why it failed.
    group, stain, metadata
        What the list of slides says of it.
    model, mpp, mpp_source
        The segmenter; level-0 pixel size in µm/px, and where that was read.
    nuclei, tissue_mm2, nuclei_per_mm2
        Cells, area of the tissue, and the one by the other.
    nuclear_area_um2
        Median area of the nuclei.
    sharpness, haematoxylin_od, counterstain_od, signal
        See :func:`wsiseg.pipeline.appearance.measure_appearance`.
    density
        Mean optical density of red, green and blue, or nothing.
    damaged_places, rereads, settled, truncated
        Places that could not be decoded; wider windows read for cut nuclei; readings that gave
        way to a better one; pieces of what is larger than the largest window.
    seconds, busy_seconds, mm2_per_second
        Wall time from its first task to its last in the run that finished it; work of all
        processes on it; tissue by that work, so the speed of one process.
    warnings
        What its report warns of.
    """

    name: str
    path: str
    state: State
    reason: str = ""
    group: str = ""
    stain: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    model: str = ""
    mpp: float | None = None
    mpp_source: str = ""
    nuclei: int | None = None
    tissue_mm2: float | None = None
    nuclei_per_mm2: float | None = None
    nuclear_area_um2: float | None = None
    sharpness: float | None = None
    haematoxylin_od: float | None = None
    counterstain_od: float | None = None
    signal: float | None = None
    density: tuple[float, ...] = ()
    damaged_places: int | None = None
    rereads: int | None = None
    settled: int | None = None
    truncated: int | None = None
    seconds: float | None = None
    busy_seconds: float | None = None
    mm2_per_second: float | None = None
    warnings: tuple[str, ...] = ()


def read_rows(run: RunFolder) -> tuple[SlideRow, ...]:
    """A row for every slide of the manifest, in its order.

    Raises
    ------
    StoreError
        If the folder is not a run directory.
    """
    slides = read_manifest(run)["slides"]
    return tuple(_row(run.slide(name), _table(entry)) for name, entry in slides.items())


def slide_state(folder: SlideFolder, entry: Mapping[str, Any]) -> State:
    """How far a slide is, by what lies in its folder and by its entry in the manifest."""
    if folder.report.exists():
        return "whole"
    if folder.failure.exists() or entry.get("state") == "failed":
        return "failed"
    return "begun" if folder.plan.exists() else "waiting"


def failure_reason(folder: SlideFolder, entry: Mapping[str, Any]) -> str:
    """Why a slide failed, in one sentence."""
    told = _read(folder.failure).get("reason") or entry.get("reason")
    return str(told) if told else "it is not known why"


def _row(folder: SlideFolder, entry: Mapping[str, Any]) -> SlideRow:
    state = slide_state(folder, entry)
    asked, job = _table(entry.get("entry")), _table(entry.get("job"))
    facts: dict[str, Any] = {
        "name": folder.name,
        "path": str(entry.get("path", "")),
        "state": state,
        "group": str(asked.get("group") or ""),
        "stain": str(asked.get("stain") or ""),
        "metadata": {str(k): str(v) for k, v in _table(asked.get("metadata")).items()},
        "model": str(job.get("model", "")),
    }
    if state == "failed":
        return SlideRow(**facts, reason=failure_reason(folder, entry))
    if state != "whole":
        return SlideRow(**facts)
    report = _read(folder.report)
    if not report:
        facts["state"] = "failed"
        return SlideRow(**facts, reason=f"{folder.report} cannot be read: run it again")
    return SlideRow(**{**facts, **_reported(report)})


def _reported(report: Mapping[str, Any]) -> dict[str, Any]:
    """What a report says, whatever of it is missing."""
    counts, seams = _table(report.get("counts")), _table(report.get("seams"))
    resolution, seconds = _table(report.get("resolution")), _table(report.get("seconds"))
    look = _table(report.get("appearance"))
    tissue = _number(_table(report.get("area_mm2")).get("tissue"))
    exports = _table(report.get("exports")).values()
    parts: list[object] = [*_table(seconds.get("prepare")).values(), seconds.get("stitch")]
    parts += _table(seconds.get("blocks")).values()
    parts += [_table(export).get("seconds") for export in exports]
    busy = sum(found for part in parts if (found := _number(part)) is not None)
    density = look.get("density")
    return {
        "model": str(_table(report.get("model")).get("name", "")),
        "mpp": _number(_table(resolution.get("level0")).get("mpp_x")),
        "mpp_source": str(resolution.get("mpp_source") or ""),
        "nuclei": _count(counts.get("nuclei")),
        "tissue_mm2": tissue,
        "nuclei_per_mm2": _number(report.get("nuclei_per_mm2")),
        "nuclear_area_um2": _number(report.get("nuclear_area_um2")),
        **{
            name: _number(_first(look.get(name)))
            for name in ("sharpness", "haematoxylin_od", "counterstain_od", "signal")
        },
        "density": tuple(map(float, density)) if isinstance(density, list) else (),
        "damaged_places": _count(counts.get("damaged_places")),
        "rereads": _count(seams.get("rereads")),
        "settled": _count(seams.get("settled")),
        "truncated": _count(counts.get("truncated")),
        "seconds": _number(report.get("wall_seconds")),
        "busy_seconds": busy,
        "mm2_per_second": tissue / busy if tissue is not None and busy > 0 else None,
        "warnings": tuple(str(text) for text in report.get("warnings") or ()),
    }


def _read(path: Any) -> Mapping[str, Any]:
    """A JSON object, or nothing where there is none to be read."""
    try:
        return _table(read_json(path))
    except StoreError:
        return {}


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _first(value: object) -> object:
    return value[0] if isinstance(value, list) and value else None


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _count(value: object) -> int | None:
    return int(value) if isinstance(value, int | float) else None
