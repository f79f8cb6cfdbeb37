"""The rows of ``wsiseg plan``."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from wsiseg.execution.estimate import Estimate


def plan_rows(found: Estimate, out: Path) -> dict[str, str]:
    """What to show of an estimate, by label."""
    plan, tissue = found.prepared.plan, found.prepared.tissue
    place = next(p for p in (out.resolve(), *out.resolve().parents) if p.exists())
    free = shutil.disk_usage(place).free
    grid = plan.grid
    return {
        "Frame": f"{grid.frame.size.width:,} x {grid.frame.size.height:,} px "
        f"at {grid.frame.mpp.mean:.4g} µm/px, from level {plan.level} by {plan.reader}"
        + (f", decoded at 1/{plan.reduction}" if plan.reduction > 1 else ""),
        "Tissue": f"{tissue.area_mm2():.2f} mm² of {plan.level0.area_mm2:.2f} mm²",
        "Tiles": f"{len(plan.tiles):,} of {grid.core} px, halo {grid.halo} px, "
        f"in {len(plan.blocks()):,} blocks",
        "Model": f"{plan.model} on {plan.device}",
        "To read": f"{found.megapixels:,.1f} megapixels, about {_size(found.bytes_to_read)}",
        "Nuclei": f"about {found.cells:,}",
        "Memory": f"at most {_size(found.memory_bytes)} with {found.workers} workers",
        "Disk": f"about {_size(found.disk_bytes)}, {_size(free)} free",
        "Time": f"about {_duration(found.seconds)}",
        "Warnings": "; ".join(plan.warnings) or "none",
    }


def total_rows(found: Sequence[Estimate]) -> dict[str, str]:
    """What several slides come to, by label."""
    return {
        "Tissue": f"{sum(e.prepared.tissue.area_mm2() for e in found):,.2f} mm²",
        "Nuclei": f"about {sum(e.cells for e in found):,}",
        "Memory": f"at most {_size(max(e.memory_bytes for e in found))}",
        "Disk": f"about {_size(sum(e.disk_bytes for e in found))}",
        "Time": f"about {_duration(sum(e.seconds for e in found))}",
    }


def _size(count: int) -> str:
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
