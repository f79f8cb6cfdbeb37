"""The tools by the names they have as models (see :mod:`wsiseg.models.zoo`)."""

from __future__ import annotations

from functools import partial

from wsiseg.models.semiautomatic.segmenter import SemiAutomaticSegmenter

otsu_he = partial(SemiAutomaticSegmenter, "otsu", "he")
otsu_fluo = partial(SemiAutomaticSegmenter, "otsu", "fluo")
local_threshold_he = partial(SemiAutomaticSegmenter, "local-threshold", "he")
local_threshold_fluo = partial(SemiAutomaticSegmenter, "local-threshold", "fluo")
watershed_he = partial(SemiAutomaticSegmenter, "watershed", "he")
watershed_fluo = partial(SemiAutomaticSegmenter, "watershed", "fluo")
region_growing_he = partial(SemiAutomaticSegmenter, "region-growing", "he")
region_growing_fluo = partial(SemiAutomaticSegmenter, "region-growing", "fluo")
active_contours_he = partial(SemiAutomaticSegmenter, "active-contours", "he")
active_contours_fluo = partial(SemiAutomaticSegmenter, "active-contours", "fluo")
