"""What scores depend on, and what about a slide makes them doubtful."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsiseg import __version__
from wsiseg.scoring.cells import SlideCells
from wsiseg.scoring.options import ScoreOptions
from wsiseg.statistics.estimate import UNVALIDATED

_SHIFT = 0.05
_STEADY = 15.0

DISCLAIMER = (
    f"For research use only, {UNVALIDATED}: numbers by published formulas from segmented nuclei, "
    "not compared with pathologists' readings. Not a diagnosis."
)


def provenance(report: Mapping[str, Any], options: ScoreOptions) -> dict[str, Any]:
    """Versions, model, stains and options, as JSON.

    Parameters
    ----------
    report
        Of the slide.
    """
    model = report.get("model") or {}
    return {
        "wsiseg": __version__,
        "model": model.get("name"),
        "model_sha256": model.get("sha256"),
        "segment_key": report.get("segment_key"),
        "slide_fingerprint": report.get("slide_fingerprint"),
        "stains": _stains(report),
        "options": options.to_dict(),
        "disclaimer": DISCLAIMER,
    }


def stain_warnings(
    report: Mapping[str, Any], cells: SlideCells, options: ScoreOptions
) -> Iterator[str]:
    """What about the staining does not fit what is asked for."""
    wanted = [name for name in options.biomarkers if options.column_of(name)]
    if wanted:
        stains = _stains(report)
        if stains.get("problem"):
            yield (
                "the slide's own stain colours could not be told and those of the literature stand "
                f"in ({stains['problem']}): thresholds of density hold less well"
            )
        if (report.get("appearance") or {}).get("brown") == [0.0]:
            yield (
                f"the slide's counterstain looks like eosin, not DAB: {', '.join(wanted)} may be "
                "of no meaning here"
            )
        yield (
            "thresholds of optical density are a convention until they are calibrated on this "
            "stain and scanner"
        )
        yield from _on_model(report)
    if not len(cells):
        yield "the slide has no cells"


def on_thresholds(
    cells: SlideCells, tumour: NDArray[np.bool_], options: ScoreOptions
) -> Iterator[str]:
    """Where the share of positive cells hangs on the second digit of the threshold.

    Then it lies among unstained cells, as where the background is stained or the stain vectors
    are off, or among weakly stained ones.

    Parameters
    ----------
    tumour
        bool ``[n]``: the cells that count.
    """
    weak = options.thresholds.weak
    for column in dict.fromkeys(filter(None, map(options.column_of, options.biomarkers))):
        density = cells.columns[column][tumour]
        density = density[np.isfinite(density)]
        if not len(density):
            continue
        lower, upper = (100 * float((density >= weak + d).mean()) for d in (-_SHIFT, _SHIFT))
        if lower - upper > _STEADY:
            yield (
                f"{column}: the threshold of {weak:g} OD cuts through a crowd of cells: at "
                f"{weak - _SHIFT:g} OD {lower:.0f} % would be positive, at {weak + _SHIFT:g} OD "
                f"{upper:.0f} %; check the stain vectors and calibrate the threshold"
            )


def _on_model(report: Mapping[str, Any]) -> Iterator[str]:
    """Which stained nuclei the model is known to miss, or may."""
    name = (report.get("model") or {}).get("name")
    if name == "classical-he":
        yield (
            "classical-he misses most nuclei that strong DAB covers: shares of positive nuclei "
            "come out far too low; use nuclei-he or a model trained on this stain"
        )
    else:
        yield (
            f"see in the overlay that {name} finds strongly stained nuclei too: those it misses "
            "lower the shares"
        )


def _stains(report: Mapping[str, Any]) -> dict[str, Any]:
    """The stain vectors that the features rest on; empty where none were measured."""
    features = report.get("features") or {}
    return dict(features.get("stains") or {})
