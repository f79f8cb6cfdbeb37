"""The losses; every one is trained on the sum of its parts."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.decodings.targets import OFFSET_UNIT, RAYS
from wsiseg.training.losses import star_loss


def stars(outputs: Tensor, target: Tensor) -> Tensor:
    """The package's own."""
    parts = star_loss(outputs, target[:, :1], target[:, 1 : 1 + RAYS], target[:, 1 + RAYS :])
    return torch.stack(list(parts.values())).sum()


def offsets(outputs: Tensor, target: Tensor) -> Tensor:
    """Cross entropy of peaks, mean length of the offsets' errors, foreground."""
    inside = (target[:, 1:3].abs().sum(1, keepdim=True) > 0).float()
    error = (outputs[:, 1:3] - target[:, 1:3] / OFFSET_UNIT).abs() * inside
    return (
        4.0 * _soft(outputs[:, :1], target[:, :1])
        + 2.0 * error.sum() / (inside.sum() + 1.0)
        + _covered(outputs[:, 3:], target[:, 3:])
    )


def maps(outputs: Tensor, target: Tensor) -> Tensor:
    """Cross entropy of the scaled distance; squared errors of the places and of their slopes
    within nuclei; foreground."""
    inside = (target[:, :1] > 0).float()
    total = inside.sum() + 1.0
    error = outputs[:, 1:3] - target[:, 1:3]
    places = (error.square() * inside).sum() / total
    slopes = (error[:, 0, :, 1:] - error[:, 0, :, :-1]).square() * inside[:, 0, :, 1:]
    climbs = (error[:, 1, 1:] - error[:, 1, :-1]).square() * inside[:, 0, 1:]
    return (
        4.0 * _soft(outputs[:, :1], target[:, :1])
        + places
        + 2.0 * (slopes.sum() + climbs.sum()) / total
        + _covered(outputs[:, 3:], target[:, 3:])
    )


def boundaries(outputs: Tensor, target: Tensor) -> Tensor:
    """Foreground and borders alike."""
    return 2.0 * _covered(outputs[:, :4], target[:, :4]) + _covered(outputs[:, 4:], target[:, 4:])


def _soft(logits: Tensor, target: Tensor) -> Tensor:
    entropy = functional.binary_cross_entropy(target, target)
    return functional.binary_cross_entropy_with_logits(logits, target) - entropy


def _covered(logits: Tensor, target: Tensor) -> Tensor:
    shares = torch.sigmoid(logits)
    dice = 1 - (2 * (shares * target).sum() + 1.0) / (shares.sum() + target.sum() + 1.0)
    return functional.binary_cross_entropy_with_logits(logits, target) + 0.5 * dice
