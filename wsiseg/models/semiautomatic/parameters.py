"""What the tools can be told, in physical units."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

MPP = 0.5
"""Pixel size that all of them work at, in µm."""

REVISION = 1
"""To be raised whenever the code changes what the same parameters answer."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """Parameters of the five tools; each reads those it needs. Shares are of 1.

    Attributes
    ----------
    smoothing_um
        Standard deviation of the smoothing before everything else.
    least_area_um2, most_area_um2, largest_hole_um2
        Smaller and larger ones are no nuclei; holes up to this one are filled.
    surroundings_um
        ``local-threshold``: radius of the square whose mean is the local background.
    offset
        ``local-threshold``: how far above that mean a nucleus is, as a share of the slide's
        threshold.
    floor
        ``local-threshold``, ``region-growing``, ``active-contours``: nothing below this share of
        the slide's threshold is a nucleus.
    notch_um
        ``watershed``: a clump is cut where its half-width falls by more than this.
    seed_um
        ``region-growing``, ``active-contours``: standard deviation of the smoothing in which
        seeds are the summits.
    prominence
        The same: how far a seed rises above the pass to a higher one, as a share of the slide's
        threshold.
    tolerance
        ``region-growing``: pixels above this share of their seed's level are taken.
    start_um
        ``active-contours``: radius of the diamonds that the contours start as.
    reach_um
        The same: how far a contour travels at most.
    stiffness
        ``active-contours``: a contour stops where the slope over one pixel is above this share of
        the slide's threshold.
    """

    smoothing_um: float = 0.7
    least_area_um2: float = 10.0
    most_area_um2: float = 400.0
    largest_hole_um2: float = 15.0
    surroundings_um: float = 12.0
    offset: float = 0.4
    floor: float = 0.85
    notch_um: float = 0.3
    seed_um: float = 1.5
    prominence: float = 0.1
    tolerance: float = 0.52
    start_um: float = 1.5
    reach_um: float = 4.0
    stiffness: float = 0.5

    def sha256(self, method: str, signal: str) -> str:
        """Digest of the parameters, of the tool and of what it looks at."""
        facts = {"method": method, "signal": signal, "revision": REVISION} | asdict(self)
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def passes(deviation_um: float) -> int:
    """Binomial passes, of variance 1 px² each, for a smoothing of this standard deviation."""
    return max(round((deviation_um / MPP) ** 2), 1)


def pixels(length_um: float) -> int:
    """A length in whole pixels, at least one."""
    return max(round(length_um / MPP), 1)


def area_pixels(area_um2: float) -> int:
    """An area in whole pixels."""
    return round(area_um2 / MPP**2)
