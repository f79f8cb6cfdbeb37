"""The comparison as a Markdown table."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def print_table(known: dict[str, Any]) -> None:
    """Print a row a variant: scores as they are and with colours changed, difference of the sum of
    the three scores to the first variant with its standard error over tiles, cost."""
    variants = known["variants"]
    reference = np.array(next(iter(variants.values()))["scores"])
    print(f"{known['steps']} steps; {len(known['tiles'])} tiles")
    print(f"truth on 0.5 µm pixels: {_scores(np.array(known['ceiling']))}")
    print(
        "| variant | F1@0.5 | AJI | PQ | the same, colours changed | sum, against the first "
        "| s/mm² (with halo) | reach | decode + vectorize | bounded |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name, entry in variants.items():
        scores = np.array(entry["scores"])
        plain, changed = (np.nanmean(scores[:, k], axis=0) for k in (0, 1))
        paired = (scores - reference).sum(axis=2).mean(axis=1)
        error = np.nanstd(paired, ddof=1) / np.sqrt(np.isfinite(paired).sum())
        cells = [
            name,
            *(f"{value:.3f}" for value in plain),
            _scores(changed),
            f"{np.nanmean(paired):+.3f} ± {error:.3f}",
            *_cost(entry.get("cost")),
            "yes" if entry["bounded"] else "no",
        ]
        print("| " + " | ".join(cells) + " |")


def _scores(values: NDArray[np.float64]) -> str:
    return ", ".join(f"{value:.3f}" for value in values)


def _cost(cost: dict[str, float] | None) -> list[str]:
    if cost is None:
        return ["", "", ""]
    return [
        f"{cost['s_a_mm2']:.2f} ({cost['s_a_mm2_with_halo']:.2f})",
        f"{cost['reach_px']:.0f} px" if "reach_px" in cost else "not measured",
        f"{cost['decode_us']:.1f} + {cost['vectorize_us']:.1f} µs",
    ]
