"""The report of one slide: counts, areas, times, seams, versions, warnings."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from importlib.metadata import version
from typing import Any

from wsiseg import __version__
from wsiseg.features.definitions import ALL_SETS
from wsiseg.models.zoo import load_segmenter
from wsiseg.pipeline.exports import FILES, Exported
from wsiseg.pipeline.ledger import Ledger
from wsiseg.pipeline.measuring import MeasureSettings
from wsiseg.pipeline.plan import SlidePlan
from wsiseg.pipeline.session import fitted_tile, totals
from wsiseg.pipeline.stitching import Stitched
from wsiseg.plugins import origins
from wsiseg.store.blocks import BlockRecord
from wsiseg.store.cells import frame_dict
from wsiseg.store.features import FeatureFolder
from wsiseg.store.folders import SlideFolder
from wsiseg.tissue import ClassMap, TissueCode, TissueMask

_PACKAGES = (
    "numpy",
    "scipy",
    "scikit-image",
    "numba",
    "openslide-python",
    "openslide-bin",
    "tiffslide",
    "imagecodecs",
    "simplejpeg",
    "zarr",
    "pyarrow",
    "shapely",
    "dask",
    "openvino",
)


@cache
def versions() -> dict[str, str]:
    """Versions of everything that can change a result."""
    found = {"python": platform.python_version(), "wsiseg": __version__}
    return found | {name: version(name) for name in _PACKAGES}


def damaged_places(
    plan: SlidePlan, records: Mapping[str, BlockRecord]
) -> tuple[tuple[int, int, int, int, str], ...]:
    """Every level-0 box of the slide that could not be decoded, once each."""
    places = {(*d[:4],): d for record in records.values() for d in record.damage}
    places |= {(*d[:4],): d for d in plan.damage}
    return tuple(places[box] for box in sorted(places))


def slide_report(
    folder: SlideFolder,
    plan: SlidePlan,
    tissue: TissueMask,
    records: Mapping[str, BlockRecord],
    stitched: Stitched,
    exported: Sequence[Exported],
    prepared: Mapping[str, float],
    about: Mapping[str, object],
    measure: MeasureSettings,
) -> dict[str, Any]:
    """Everything worth knowing of a finished slide, as JSON.

    ``about`` is what the user told of it, see :attr:`wsiseg.job.SlideEntry.about`; ``measure``
    what was measured of its cells.
    """
    features = FeatureFolder(folder).read_plan() if measure.sets else None
    spec = load_segmenter(plan.model, plan.device).spec
    ledger = Ledger.total(record.ledger for record in records.values())
    busy = totals([record.seconds for record in records.values()])
    span = sum(record.span for record in records.values())
    area = tissue.area_mm2()
    tiles = [fitted_tile(plan.grid.tile(*place), plan, tissue, spec) for place in plan.tiles]
    damage = damaged_places(plan, records)
    plugged = _plugged(plan, measure, exported)
    return {
        "slide": plan.path.name,
        "path": str(plan.path),
        "about": dict(about),
        "state": "complete",
        "counts": {
            "nuclei": stitched.cells,
            "truncated": stitched.truncated,
            "tiles": len(tiles),
            "blocks": len(records),
            "damaged_places": len(damage),
        },
        "area_mm2": {
            code.name.lower(): round(tissue.area_mm2(code), 6)
            for code in TissueCode
            if code is not TissueCode.BACKGROUND
        },
        "megapixels": round(sum(tile.core.area for tile in tiles) / 1e6, 3),
        "nuclei_per_mm2": round(stitched.cells / area, 3) if area > 0 else None,
        "seconds": {
            "prepare": dict(prepared),
            "blocks": busy,
            "waited": {stage: max(span - taken, 0.0) for stage, taken in busy.items()},
            "stitch": stitched.seconds,
        },
        "seams": {**ledger.to_dict(), **_settled(stitched)},
        "exports": {
            item.name: {k: v for k, v in asdict(item).items() if k != "name"} for item in exported
        },
        "damage": [{"box_level0_px": list(place[:4]), "reason": place[4]} for place in damage],
        "resolution": {
            "level0": frame_dict(plan.level0),
            "frame": frame_dict(plan.grid.frame),
            "mpp_stated": plan.stated_mpp,
            "mpp_source": plan.mpp_source,
            "reader": plan.reader,
            "level": plan.level,
            "reduction": plan.reduction,
            "decoder": plan.decoder,
            "origin_px": list(plan.origin_px),
        },
        "lattice": {
            "core_px": plan.grid.core,
            "halo_px": plan.grid.halo,
            "tiles_per_block": plan.grid.tiles_per_block,
        },
        "tissue_method": tissue.method,
        "tissue_classes": _tissue_classes(tissue.classes),
        "model": asdict(spec),
        "device": plan.device,
        "pace": _pace(records),
        "statistics": {name: list(values) for name, values in plan.statistics.items()},
        "appearance": {name: list(values) for name, values in plan.appearance.items()},
        "features": features.described() if features else None,
        "segment_key": plan.segment_key,
        "slide_fingerprint": plan.segment["slide"],
        "versions": versions() | dict(map(_parted, plugged.values())),
        "plugins": plugged,
        "warnings": [
            *plan.warnings,
            *sorted({remark for record in records.values() for remark in record.remarks}),
            *(features.warnings if features else ()),
            *_on_damage(len(damage)),
        ],
    }


def told_speed(report: Mapping[str, Any], wall: float) -> dict[str, Any]:
    """How fast a slide was done in ``wall`` seconds, and what took most of the work on blocks.

    Megapixels are those of the tiles' cores at the model's pixel size. A graphics card's busy
    share counts the time from handing over a batch to having its answer, in all processes.
    """
    busy: Mapping[str, float] = report["seconds"]["blocks"]
    told: dict[str, Any] = {
        "mm2_per_second": report["area_mm2"]["tissue"] / wall,
        "megapixels_per_second": report["megapixels"] / wall,
        "bottleneck": max(busy, key=lambda stage: busy[stage]) if busy else None,
    }
    if str(report["device"]).startswith("cuda"):
        told["card_busy_share"] = min(busy.get("predict", 0.0) / wall, 1.0)
    return told


def _plugged(
    plan: SlidePlan, measure: MeasureSettings, exported: Sequence[Exported]
) -> dict[str, str]:
    """Packages and versions of the plug-ins that took part, by what they did."""
    sets = origins("features", set(measure.sets) - set(ALL_SETS))
    files = origins("exporters", {item.name for item in exported} - FILES.keys())
    return {
        **plan.segment.get("plugins", {}),
        **{f"features {name}": origin for name, origin in sets.items()},
        **{f"exporter {name}": origin for name, origin in files.items()},
    }


def _pace(records: Mapping[str, BlockRecord]) -> dict[str, list[int]]:
    """The settings of speed that its blocks were done with, each with all the values it had."""
    names = sorted({name for record in records.values() for name in record.pace})
    return {
        name: sorted({record.pace[name] for record in records.values() if name in record.pace})
        for name in names
    }


def _parted(origin: str) -> tuple[str, str]:
    package, _, number = origin.partition(" ")
    return package, number


def _tissue_classes(classes: ClassMap | None) -> dict[str, Any] | None:
    """Area of each class that a tissue network told apart, and what network that was."""
    if classes is None:
        return None
    return {
        "network": dict(classes.model),
        "mpp": classes.frame.mpp.mean,
        "classes": [
            {
                "name": entry.name,
                "counts": entry.counts,
                "color": list(entry.color),
                "area_mm2": round(classes.area_mm2(number), 6),
            }
            for number, entry in enumerate(classes.classes)
        ],
    }


def _on_damage(places: int) -> list[str]:
    if not places:
        return []
    return [f"{places} places of the slide cannot be decoded and were taken for background"]


def _settled(stitched: Stitched) -> dict[str, int]:
    return {
        "candidates": stitched.candidates,
        "identical_copies": stitched.duplicates,
        "settled": stitched.settled,
        "kept": stitched.cells,
    }
