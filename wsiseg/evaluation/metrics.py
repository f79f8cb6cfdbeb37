"""Scores of instance segmentation, from counts that add up over images.

Every image is reduced to a row of counts; a score is a formula over such rows. So the score of
one image, of all images taken together, and of every bootstrap resample is the same formula.

Two objects *match* at a threshold ``t >= 0.5`` if the intersection over union of their pixels
is larger than ``t``. Objects of one set being disjoint, nothing can match twice (Kirillov et
al., "Panoptic segmentation", CVPR 2019, section 4.1).

A score whose denominator is 0 is NaN: it is not defined for that image and left out of means.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from wsiseg.errors import ConfigurationError
from wsiseg.evaluation.matching import Overlaps

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
"""Thresholds at which precision, recall and F1 are told; 0.5 always comes first."""

DEFINITIONS: Mapping[str, str] = {
    "dice": "2 |T and P| / (|T| + |P|) over the pixels of all true (T) and predicted (P) nuclei, "
    "instances ignored (Dice 1945).",
    "aji": "Aggregated Jaccard index (Kumar et al., IEEE Trans. Med. Imaging 36, 2017): every "
    "true nucleus is joined to the prediction of highest IoU (of equals the one of lower label); "
    "shared pixels of these pairs over the pixels of their unions, of true nuclei that meet no "
    "prediction and of predictions never joined. Not symmetric in truth and prediction.",
    "pq": "Panoptic quality (Kirillov et al., CVPR 2019): sum of the IoU of matches over "
    "TP + FP / 2 + FN / 2, matches at IoU > 0.5; PQ = DQ x SQ.",
    "dq": "Detection quality: TP / (TP + FP / 2 + FN / 2) at IoU > 0.5; the same as F1@0.50.",
    "sq": "Segmentation quality: mean IoU of the matches at IoU > 0.5; not defined without any.",
    "precision": "TP / (TP + FP); a match needs an IoU above the number after the @.",
    "recall": "TP / (TP + FN); a match needs an IoU above the number after the @.",
    "f1": "2 TP / (2 TP + FP + FN); a match needs an IoU above the number after the @.",
}
"""What every score means, by the name before any ``@``."""

_TRUTH, _PREDICTED, _IOU_SUM, _DETECTION = 0, 1, 2, 3
_TRUTH_PX, _PREDICTED_PX, _COMMON_PX, _AJI_COMMON, _AJI_UNION = range(5)
_PIXELS = 5


def check_thresholds(thresholds: Sequence[float]) -> tuple[float, ...]:
    """Rising thresholds with 0.5 first.

    Raises
    ------
    ConfigurationError
        If one lies outside 0.5..1: below, an object could match twice.
    """
    if any(not 0.5 <= value < 1 for value in thresholds):
        raise ConfigurationError(
            "thresholds of IoU must lie from 0.5 to below 1 (below 0.5 a nucleus could match "
            f"twice), not {', '.join(f'{value:g}' for value in thresholds)}"
        )
    return tuple(sorted({0.5, *map(float, thresholds)}))


def detection_counts(
    overlaps: Overlaps,
    thresholds: Sequence[float],
    *,
    truth_in: NDArray[np.bool_] | None = None,
    predicted_in: NDArray[np.bool_] | None = None,
    allowed: NDArray[np.bool_] | None = None,
) -> NDArray[np.float64]:
    """The counts behind PQ, F1, precision and recall, of all objects or of some.

    Parameters
    ----------
    overlaps
        Of one image.
    thresholds
        From :func:`check_thresholds`.
    truth_in, predicted_in
        bool ``[n]`` and ``[m]``: the objects to count; by default all. A match counts where its
        true object does; a prediction without a match where it does itself. So the counts of
        the parts of a partition add up to those of the whole.
    allowed
        bool ``[k]``: the pairs that may match; by default all.

    Returns
    -------
    float64 ``[3 + 2 t]``: true objects, predicted objects, sum of IoU at 0.5, then true positives
    and then false positives at every threshold.
    """
    pairs = np.ones(len(overlaps.truth), bool) if allowed is None else allowed
    truths = np.ones(len(overlaps.truth_px), bool) if truth_in is None else truth_in
    predictions = (
        np.ones(len(overlaps.predicted_px), bool) if predicted_in is None else predicted_in
    )
    count = len(thresholds)
    row = np.zeros(_DETECTION + 2 * count)
    row[_TRUTH], row[_PREDICTED] = truths.sum(), predictions.sum()
    counted = truths[overlaps.truth]
    row[_IOU_SUM] = overlaps.iou[pairs & counted & (overlaps.iou > 0.5)].sum()
    for i, threshold in enumerate(thresholds):
        matches = pairs & (overlaps.iou > threshold)
        lonely = predictions.copy()
        lonely[overlaps.predicted[matches]] = False
        row[_DETECTION + i] = (matches & counted).sum()
        row[_DETECTION + count + i] = lonely.sum()
    return row


def pixel_counts(overlaps: Overlaps) -> NDArray[np.float64]:
    """The counts behind Dice and AJI.

    Returns
    -------
    float64 ``[5]``: true, predicted and common foreground pixels; pixels of AJI's intersections
    and of its unions.
    """
    order = np.lexsort((overlaps.predicted, -overlaps.iou, overlaps.truth))
    truth = overlaps.truth[order]
    best = order[np.flatnonzero(np.concatenate([truth[:1] >= 0, np.diff(truth) != 0]))]
    missed = np.ones(len(overlaps.truth_px), bool)
    missed[overlaps.truth[best]] = False
    unused = np.ones(len(overlaps.predicted_px), bool)
    unused[overlaps.predicted[best]] = False
    union = (
        overlaps.union_px[best].sum()
        + overlaps.truth_px[missed].sum()
        + overlaps.predicted_px[unused].sum()
    )
    return np.array(
        [
            overlaps.truth_px.sum(),
            overlaps.predicted_px.sum(),
            overlaps.common_px.sum(),
            overlaps.common_px[best].sum(),
            union,
        ],
        np.float64,
    )


def image_counts(overlaps: Overlaps, thresholds: Sequence[float]) -> NDArray[np.float64]:
    """All counts of one image: those of pixels, then those of detection."""
    return np.concatenate([pixel_counts(overlaps), detection_counts(overlaps, thresholds)])


def detection_scores(
    counts: NDArray[np.float64], thresholds: Sequence[float]
) -> dict[str, NDArray[np.float64]]:
    """PQ, DQ, SQ and precision, recall and F1 at every threshold.

    Parameters
    ----------
    counts
        float64 ``[..., 3 + 2 t]`` of :func:`detection_counts`, or sums of such rows.
    thresholds
        The same as there.

    Returns
    -------
    By name (``"f1@0.50"``), float64 ``[...]``; NaN where not defined. With no object in either
    set nothing but counts is defined. With objects in one set only, F1, DQ and PQ are 0;
    recall is not defined without true objects, precision not without predicted ones.
    """
    truth, iou_sum = counts[..., _TRUTH], counts[..., _IOU_SUM]
    count = len(thresholds)
    hits = counts[..., _DETECTION : _DETECTION + count]
    false = counts[..., _DETECTION + count :]
    halves = (hits[..., 0] + false[..., 0] + truth) / 2
    scores = {
        "pq": _ratio(iou_sum, halves),
        "dq": _ratio(hits[..., 0], halves),
        "sq": _ratio(iou_sum, hits[..., 0]),
    }
    for i, threshold in enumerate(thresholds):
        tp, fp = hits[..., i], false[..., i]
        scores[f"f1@{threshold:.2f}"] = _ratio(2 * tp, tp + fp + truth)
        scores[f"precision@{threshold:.2f}"] = _ratio(tp, tp + fp)
        scores[f"recall@{threshold:.2f}"] = _ratio(tp, truth)
    return scores


def image_scores(
    counts: NDArray[np.float64], thresholds: Sequence[float]
) -> dict[str, NDArray[np.float64]]:
    """Dice, AJI and all of :func:`detection_scores`.

    ``counts`` is float64 ``[..., 8 + 2 t]`` of :func:`image_counts`, or sums of such rows.
    """
    pixels = counts[..., :_PIXELS]
    return {
        "dice": _ratio(
            2 * pixels[..., _COMMON_PX], pixels[..., _TRUTH_PX] + pixels[..., _PREDICTED_PX]
        ),
        "aji": _ratio(pixels[..., _AJI_COMMON], pixels[..., _AJI_UNION]),
        **detection_scores(counts[..., _PIXELS:], thresholds),
    }


def object_counts(counts: NDArray[np.float64]) -> NDArray[np.int64]:
    """int64 ``[..., 2]``: true and predicted objects of rows of :func:`image_counts`."""
    return counts[..., _PIXELS : _PIXELS + 2].astype(np.int64)


def _ratio(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    above, below = np.asarray(above, np.float64), np.asarray(below, np.float64)
    out = np.full(np.broadcast_shapes(above.shape, below.shape), np.nan)
    np.divide(above, below, out=out, where=below > 0)
    return out
