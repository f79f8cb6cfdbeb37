"""What the classical models have in common as models."""

from __future__ import annotations

from typing import Literal

from wsiseg.models.classical.rule import Rule
from wsiseg.models.segmenter import NUCLEUS, ModelSpec
from wsiseg.slides.reader import Illumination

_BYTES_PER_PX = 36
_ROOM_PX = 48
"""Room in the halo for a nucleus with its neighbours."""


def classical_spec(
    name: str, rule: Rule, *, kind: str, illumination: Illumination, channels: Literal[1, 3]
) -> ModelSpec:
    """The spec of a rule at 0.5 µm/px; ``kind`` names the stain image it works on."""
    return ModelSpec(
        name=name,
        sha256=rule.sha256(kind),
        illumination=illumination,
        mpp=0.5,
        mpp_range=(0.45, 0.55),
        core=1024,
        halo=-(-(rule.reach_px + _ROOM_PX) // 16) * 16,
        reach_px=rule.reach_px,
        stride=1,
        exact=True,
        channels=channels,
        classes=(NUCLEUS,),
        licence="Apache-2.0",
        bytes_per_px=_BYTES_PER_PX,
    )
