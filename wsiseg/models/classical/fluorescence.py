"""Nuclei by their glow, in one fluorescence channel."""

from __future__ import annotations

from collections.abc import Sequence

from wsiseg.models.classical.rule import (
    Relief,
    Rule,
    find_instances,
    make_relief,
    slide_threshold,
)
from wsiseg.models.classical.spec import classical_spec
from wsiseg.models.segmenter import Instances, ModelSpec, Statistics
from wsiseg.models.signals import Glow
from wsiseg.slides.reader import Pixels

RULE = Rule(
    smoothing=1,
    surroundings=16,
    slide_share=185,
    local_share=77,
    least_share=80,
    vote=128,
    step_share=64,
    depth=8,
    stain_weight=512,
    relief_smoothing=2,
    pass_share=253,
    trim_share=200,
    largest_hole=60,
    least_area=32,
    least_contrast=26,
    least_fit=192,
)

_SIGNAL = Glow()
_BOUNDS = (100, 1200)


class FluorescenceSegmenter:
    """``classical-fluo``: a nuclear stain such as DAPI, uint8 or uint16, then the rule.

    Intensities are brought to a common scale between the slide's background and its bright
    nuclei; the square root of that scale evens out the noise of counting photons.
    """

    def __init__(self, rule: Rule = RULE) -> None:
        self._rule = rule
        self._spec = classical_spec(
            "classical-fluo", rule, kind="fluorescence", illumination="fluorescence", channels=1
        )

    @property
    def spec(self) -> ModelSpec:
        """What the model is."""
        return self._spec

    def calibrate(self, samples: Sequence[Pixels]) -> Statistics:
        """Background, bright level and threshold.

        Returns
        -------
        ``dark``, ``bright``
            Intensities: what counts as background, and the 99.5th percentile.
        ``threshold``
            On the square root scale, in steps of 1/8 of a stain level.
        """
        measured = _SIGNAL.measure(samples, None)
        images = [_SIGNAL.draw(sample, measured) for sample in samples]
        threshold = slide_threshold(images, self._rule, empty=0, bounds=_BOUNDS)
        return {**measured, "threshold": (threshold,)}

    def remarks(self, statistics: Statistics) -> tuple[str, ...]:
        """None."""
        return ()

    def predict(self, pixels: Pixels, statistics: Statistics) -> list[Relief]:
        """Foreground and relief of windows ``[n, y, x, 1]``, uint8 or uint16."""
        threshold = int(statistics["threshold"][0])
        return [
            make_relief(_SIGNAL.draw(window, statistics), threshold, self._rule)
            for window in pixels
        ]

    def decode(self, prediction: list[Relief]) -> list[Instances]:
        """The instances of every window."""
        return [find_instances(relief, self._rule) for relief in prediction]
