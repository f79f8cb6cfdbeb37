"""The report of one slide: counts, areas, times, seams, versions, warnings."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from wsiseg import __version__
from wsiseg.models.zoo import load_segmenter
from wsiseg.pipeline.exports import Exported
from wsiseg.pipeline.ledger import Ledger
from wsiseg.pipeline.measuring import MeasureSettings
from wsiseg.pipeline.plan import SlidePlan
from wsiseg.pipeline.session import totals
from wsiseg.pipeline.stitching import Stitched
from wsiseg.store.blocks import BlockRecord
from wsiseg.store.cells import frame_dict
from wsiseg.store.features import FeatureFolder
from wsiseg.store.folders import SlideFolder
from wsiseg.tissue import TissueCode, TissueMask

_PACKAGES = (
    "numpy",
    "scipy",
    "scikit-image",
    "numba",
    "openslide-python",
    "openslide-bin",
    "tiffslide",
    "imagecodecs",
    "zarr",
    "pyarrow",
    "shapely",
    "dask",
    "openvino",
)


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
    seconds = totals([record.seconds for record in records.values()])
    area = tissue.area_mm2()
    damage = damaged_places(plan, records)
    return {
        "slide": plan.path.name,
        "path": str(plan.path),
        "about": dict(about),
        "state": "complete",
        "counts": {
            "nuclei": stitched.cells,
            "truncated": stitched.truncated,
            "tiles": len(plan.tiles),
            "blocks": len(records),
            "damaged_places": len(damage),
        },
        "area_mm2": {
            code.name.lower(): round(tissue.area_mm2(code), 6)
            for code in TissueCode
            if code is not TissueCode.BACKGROUND
        },
        "nuclei_per_mm2": round(stitched.cells / area, 3) if area > 0 else None,
        "seconds": {
            "prepare": dict(prepared),
            "blocks": seconds,
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
            "origin_px": list(plan.origin_px),
        },
        "lattice": {
            "core_px": plan.grid.core,
            "halo_px": plan.grid.halo,
            "tiles_per_block": plan.grid.tiles_per_block,
        },
        "tissue_method": tissue.method,
        "model": asdict(spec),
        "device": plan.device,
        "statistics": {name: list(values) for name, values in plan.statistics.items()},
        "appearance": {name: list(values) for name, values in plan.appearance.items()},
        "features": features.described() if features else None,
        "segment_key": plan.segment_key,
        "slide_fingerprint": plan.segment["slide"],
        "versions": versions(),
        "warnings": [
            *plan.warnings,
            *sorted({remark for record in records.values() for remark in record.remarks}),
            *(features.warnings if features else ()),
            *_on_damage(len(damage)),
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
