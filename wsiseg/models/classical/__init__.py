"""Segmenters without weights: classical image processing, exact at every tile border."""

from wsiseg.models.classical.brightfield import BrightfieldSegmenter
from wsiseg.models.classical.fluorescence import FluorescenceSegmenter

__all__ = ["BrightfieldSegmenter", "FluorescenceSegmenter"]
