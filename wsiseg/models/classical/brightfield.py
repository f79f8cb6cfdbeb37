"""Nuclei by their haematoxylin, on brightfield slides."""

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
from wsiseg.models.signals import Haematoxylin
from wsiseg.slides.reader import Pixels
from wsiseg.stain import Counterstain

RULE = Rule(
    smoothing=1,
    surroundings=16,
    slide_share=170,
    local_share=60,
    least_share=180,
    vote=140,
    step_share=96,
    depth=12,
    stain_weight=384,
    relief_smoothing=3,
    pass_share=246,
    trim_share=190,
    largest_hole=60,
    least_area=32,
    least_contrast=13,
    least_fit=192,
)

_EMPTY = 40
_BOUNDS = (90, 700)
_SIGNAL = Haematoxylin()


class BrightfieldSegmenter:
    """``classical-he``: haematoxylin by colour deconvolution, then the rule.

    For haematoxylin with eosin and haematoxylin with DAB. A nucleus whose haematoxylin is wholly
    hidden by DAB is not found.
    """

    def __init__(self, rule: Rule = RULE) -> None:
        self._rule = rule
        self._spec = classical_spec(
            "classical-he", rule, kind="haematoxylin", illumination="brightfield", channels=3
        )

    @property
    def spec(self) -> ModelSpec:
        """What the model is."""
        return self._spec

    def calibrate(self, samples: Sequence[Pixels]) -> Statistics:
        """Stain vectors and the threshold of haematoxylin.

        Returns
        -------
        ``haematoxylin``, ``counterstain``, ``white``
            Three numbers each, see :class:`wsiseg.stain.Stains`.
        ``brown``
            1 where the counterstain is DAB, else 0.
        ``threshold``
            In 1/8192 of optical density.
        ``stains_measured``
            1, or 0 where the vectors of the literature stand in.
        """
        return self._calibrated(samples, None)

    def calibrate_stained(self, samples: Sequence[Pixels], kind: Counterstain) -> Statistics:
        """As :meth:`calibrate`, for a slide whose counterstain is known."""
        return self._calibrated(samples, kind)

    def _calibrated(self, samples: Sequence[Pixels], kind: Counterstain | None) -> Statistics:
        measured = _SIGNAL.measure(samples, kind)
        images = [_SIGNAL.draw(sample, measured) for sample in samples]
        threshold = slide_threshold(images, self._rule, empty=_EMPTY, bounds=_BOUNDS)
        return {**measured, "threshold": (threshold,)}

    def remarks(self, statistics: Statistics) -> tuple[str, ...]:
        """Whether the slide's own stains could be measured."""
        return _SIGNAL.remarks(statistics)

    def predict(self, pixels: Pixels, statistics: Statistics) -> list[Relief]:
        """Foreground and relief of windows ``[n, y, x, 3]`` uint8."""
        threshold = int(statistics["threshold"][0])
        return [
            make_relief(_SIGNAL.draw(window, statistics), threshold, self._rule)
            for window in pixels
        ]

    def decode(self, prediction: list[Relief]) -> list[Instances]:
        """The instances of every window."""
        return [find_instances(relief, self._rule) for relief in prediction]
